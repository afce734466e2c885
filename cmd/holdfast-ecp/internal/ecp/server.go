package ecp

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// maxCalls is the maximum number of calls at the same time. Each waits for the
// device.
const maxCalls = 64

// The messages of net/rpc. Package net/rpc itself links an HTTP server and calls
// methods that it finds by reflection, and does not bound the number of calls.
type (
	request struct {
		ServiceMethod string
		Seq           uint64
	}
	response struct {
		ServiceMethod string
		Seq           uint64
		Error         string // "": there is none
	}
)

// signArgs are the arguments of Sign.
type signArgs struct {
	Digest []byte
	Opts   crypto.SignerOpts
}

// A server answers the calls of one client.
type server struct {
	key     signer.Signer
	timeout time.Duration // of a signature
	methods map[string]method

	writing sync.Mutex
	out     *bufio.Writer
	encoder *gob.Encoder

	running sync.WaitGroup
	free    chan struct{} // has an element for each further call
}

// A method reads its arguments and returns a function that does the work and
// can wait for a device.
type method func(*gob.Decoder) (work func(context.Context) (any, error), err error)

// newServer borrows key.
func newServer(key *rotate.Identity) (*server, error) {
	registerOptions()
	borrowed, err := key.Acquire(context.Background())
	if err != nil {
		return nil, err
	}
	defer borrowed.Close()
	s := &server{key: key.Signer(), timeout: signTimeout, free: make(chan struct{}, maxCalls)}
	for range maxCalls {
		s.free <- struct{}{}
	}
	var chain [][]byte // DER, leaf first
	for _, c := range borrowed.Chain() {
		chain = append(chain, c.Raw)
	}
	public, err := x509.MarshalPKIXPublicKey(borrowed.Public())
	if err != nil {
		return nil, err
	}
	s.methods = map[string]method{
		"EnterpriseCertSigner.CertificateChain": constant(chain),
		"EnterpriseCertSigner.Public":           constant(public),
		"EnterpriseCertSigner.Sign":             s.sign,
		"EnterpriseCertSigner.Encrypt":          refuse("Encrypt: holdfast-ecp only signs"),
		"EnterpriseCertSigner.Decrypt":          refuse("Decrypt: holdfast-ecp only signs"),
	}
	return s, nil
}

// registerOptions tells gob the types of options that clients send. They are the
// types of crypto.SignerOpts that RSA and ECDSA keys know.
func registerOptions() {
	gob.Register(crypto.SHA256)
	gob.Register(&rsa.PSSOptions{})
}

// serve answers calls until in ends, which is no error, or until a message cannot
// be read or written. Signatures in flight end then.
func (s *server) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, end := context.WithCancelCause(ctx)
	s.out = bufio.NewWriter(out)
	s.encoder = gob.NewEncoder(s.out)
	go func() { end(s.read(ctx, end, gob.NewDecoder(newMessages(in)))) }()
	<-ctx.Done()
	waitFor(closeTimeout, s.running.Wait)
	if err := context.Cause(ctx); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// read reads calls until the stream ends, and returns its error.
func (s *server) read(ctx context.Context, end context.CancelCauseFunc, in *gob.Decoder) error {
	for ctx.Err() == nil {
		var r request
		if err := decode(in, &r); err != nil {
			if err == io.EOF {
				return err
			}
			return signer.WithHint(fmt.Errorf("what the client sends is not the protocol: %w", err), "only a client library of Google runs this program; see docs/google.md")
		}
		m, known := s.methods[r.ServiceMethod]
		if !known {
			m = refuse("holdfast-ecp has no such method")
		}
		work, err := m(in)
		if err != nil {
			work = func(context.Context) (any, error) { return nil, fmt.Errorf("the arguments are invalid: %w", err) }
		}
		answer := func(work func(context.Context) (any, error)) {
			result, err := work(ctx)
			if err := s.write(r, result, err); err != nil {
				end(fmt.Errorf("standard output: %w", err))
			}
		}
		select {
		case <-s.free:
			s.running.Go(func() {
				defer func() { s.free <- struct{}{} }()
				answer(work)
			})
		default:
			answer(func(context.Context) (any, error) {
				return nil, fmt.Errorf("more than %d calls at the same time", maxCalls)
			})
		}
	}
	return context.Cause(ctx)
}

// write sends the answer to a request.
func (s *server) write(r request, result any, err error) error {
	answer := response{ServiceMethod: r.ServiceMethod, Seq: r.Seq}
	if err != nil {
		answer.Error = message(err)
		result = struct{}{}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return errors.Join(s.encoder.Encode(answer), s.encoder.Encode(result), s.out.Flush())
}

// message returns the text of an error with its hint, for the client to print. It
// is never empty, which would mean success.
func message(err error) string {
	text := "holdfast-ecp: " + clean(err.Error())
	if hint := signer.Hint(err); hint != "" {
		text += "; " + clean(inFile(hint))
	}
	return text
}

// decode decodes the next value into *v.
func decode(in *gob.Decoder, v any) error { return decodeValue(in, reflect.ValueOf(v)) }

// discard reads the next value.
func discard(in *gob.Decoder) error { return decodeValue(in, reflect.Value{}) }

// decodeValue is DecodeValue of package gob, which panics at the second value of a type
// that the stream does not describe.
func decodeValue(in *gob.Decoder, v reflect.Value) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("a value of an unknown type")
		}
	}()
	return in.DecodeValue(v)
}

func constant(result any) method {
	return func(in *gob.Decoder) (func(context.Context) (any, error), error) {
		return func(context.Context) (any, error) { return result, nil }, discard(in)
	}
}

func refuse(why string) method {
	return func(in *gob.Decoder) (func(context.Context) (any, error), error) {
		return func(context.Context) (any, error) { return nil, errors.New(why) }, discard(in)
	}
}

// sign implements Sign.
func (s *server) sign(in *gob.Decoder) (func(context.Context) (any, error), error) {
	var args signArgs
	if err := decode(in, &args); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		if _, err := signer.MechanismFor(s.key.Public(), args.Digest, args.Opts); err != nil {
			return nil, err
		}
		return signer.WithTimeout(ctx, s.key, s.timeout).Sign(rand.Reader, args.Digest, args.Opts)
	}, nil
}
