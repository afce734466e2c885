package spiffe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

const (
	method = "/SpiffeWorkloadAPI/FetchX509SVID"

	// answerTimeout limits the connection with the first message, and each further
	// message from its first byte on.
	answerTimeout = 10 * time.Second

	maxHeader = 64 << 10 // bytes of the header and of the trailer
	maxWindow = 1 << 20  // bytes of a message that the system of the peer may send ahead
)

// errSlow is the cause of the end of a stream whose peer takes too long.
var errSlow = errors.New("it does not answer within 10s") // answerTimeout

// errClosed is the error of a second connection: one call is one connection.
var errClosed = errors.New("it closed the connection")

// A stream is a call of FetchX509SVID. Only one goroutine may use it at a time.
type stream struct {
	endpoint endpoint
	parent   context.Context
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer // ends the stream; runs while an answer is due
	answered bool        // the first message was read
	conn     net.Conn
	http     *http.Transport
	response *http.Response
}

// fetch returns the first message of a call.
func fetch(ctx context.Context, e endpoint) (svids, error) {
	s, err := dial(ctx, e)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.next()
}

// dial connects to e and sends the request. The caller closes the stream.
func dial(ctx context.Context, e endpoint) (*stream, error) {
	s := &stream{endpoint: e, parent: ctx}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.timer = time.AfterFunc(answerTimeout, func() { s.cancel(errSlow) })
	if err := s.dial(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stream) dial() (err error) {
	var d net.Dialer
	if s.conn, err = d.DialContext(s.ctx, s.endpoint.network, s.endpoint.address); err != nil {
		return s.unreachable(err)
	}
	if err := s.endpoint.checkPeer(s.conn); err != nil {
		return err
	}
	connected := make(chan net.Conn, 1)
	connected <- s.conn
	s.http = &http.Transport{
		Protocols: new(http.Protocols),
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-connected:
				return c, nil
			default:
				return nil, errClosed
			}
		},
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: maxWindow, MaxReceiveBufferPerConnection: maxWindow},
	}
	s.http.Protocols.SetUnencryptedHTTP2(true)
	// The message X509SVIDRequest is empty.
	request, err := http.NewRequestWithContext(s.ctx, http.MethodPost, "http://localhost"+method, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"Content-Type": "application/grpc", "Te": "trailers", "Workload.spiffe.io": "true"} {
		request.Header.Set(name, value)
	}
	if s.response, err = s.http.RoundTrip(request); err != nil {
		return s.broken(err)
	}
	return s.checkHeader()
}

// checkHeader checks the header of the answer (gRPC over HTTP2, Responses).
func (s *stream) checkHeader() error {
	header := s.response.Header
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	kind, _, _ = strings.Cut(kind, "+")
	switch encoding := header.Get("Grpc-Encoding"); {
	case s.response.StatusCode != http.StatusOK:
		return s.stranger(fmt.Errorf("it answers with the HTTP status %d", s.response.StatusCode))
	case kind != "application/grpc":
		return s.stranger(fmt.Errorf("its answer is of the type %q, not of gRPC", clip(header.Get("Content-Type"))))
	case encoding != "" && encoding != "identity":
		return s.stranger(fmt.Errorf("its answer has the encoding %q, which was not offered", clip(encoding)))
	case header.Get("Grpc-Status") != "": // there is no message
		return s.endpoint.status(header)
	}
	return nil
}

// next returns the next message. It waits for the first one until the timeout, and for
// the others until the context of the stream ends.
func (s *stream) next() (svids, error) {
	data, err := readFrame(s.response.Body, func() {
		if s.answered {
			s.timer.Reset(answerTimeout)
		}
	})
	switch {
	case errors.Is(err, io.EOF) && s.ctx.Err() == nil:
		return nil, s.endpoint.status(s.response.Trailer)
	case errors.As(err, new(malformed)):
		return nil, s.stranger(err)
	case err != nil:
		return nil, s.broken(err)
	}
	s.timer.Stop()
	s.answered = true
	all, err := decodeResponse(data)
	if err != nil {
		clear(data)
		return nil, s.stranger(err)
	}
	return all, nil
}

func (s *stream) close() {
	s.timer.Stop()
	s.cancel(nil)
	if s.conn != nil {
		s.conn.Close()
	}
	if s.response != nil {
		s.response.Body.Close()
	}
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
}

// broken returns the error for a connection that ended with err.
func (s *stream) broken(err error) error {
	switch cause := context.Cause(s.ctx); {
	case errors.Is(s.parent.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it does not answer: %w", context.Cause(s.parent))
	case s.parent.Err() != nil:
		return context.Cause(s.parent)
	case cause != nil:
		err = cause
	}
	return signer.WithHint(fmt.Errorf("%w: the Workload API at %s: %w", signer.ErrUnavailable, s.endpoint, err), s.endpoint.check())
}

// stranger returns the error for a peer that does not speak the protocol.
func (s *stream) stranger(err error) error {
	if s.ctx.Err() != nil {
		return s.broken(err)
	}
	return signer.WithHint(fmt.Errorf("%s is not a SPIFFE Workload API: %w", s.endpoint, err), s.endpoint.check())
}
