// Package spiffetest has a SPIFFE Workload API for tests: the part that gives out
// X.509-SVIDs, on a Unix socket, with the HTTP/2 of package net/http. It is no
// implementation of SPIRE. The package imports only the standard library and
// signer/signertest.
package spiffetest

import (
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The gRPC status codes that a Workload API sends.
const (
	PermissionDenied = 7
	Unavailable      = 14
)

// An SVID is a certificate with its chain, its private key and its names.
type SVID struct {
	ID, Hint string
	Chain    []*x509.Certificate // leaf first
	Key      crypto.Signer
}

// Issue returns an SVID of ca with a new key of a kind as [signertest.Key] knows them.
// Its subject is that of SPIRE's default, C=US,O=SPIRE. mutate, unless nil, can change the
// template of the certificate.
func Issue(tb testing.TB, ca *signertest.CA, kind, id string, mutate func(*x509.Certificate)) SVID {
	tb.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		tb.Fatal(err)
	}
	key := signertest.NewKey(tb, kind)
	leaf := ca.Issue(tb, key, func(c *x509.Certificate) {
		c.Subject.CommonName, c.Subject.Country, c.Subject.Organization = "", []string{"US"}, []string{"SPIRE"}
		c.URIs = []*url.URL{uri}
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		c.NotAfter = time.Now().Add(time.Hour)
		if mutate != nil {
			mutate(c)
		}
	})
	return SVID{ID: id, Chain: append([]*x509.Certificate{leaf}, ca.Chain()...), Key: key}
}

// Message returns the X509SVIDResponse with svids, without its frame.
func Message(tb testing.TB, svids ...SVID) []byte {
	tb.Helper()
	var message []byte
	for _, s := range svids {
		key, err := x509.MarshalPKCS8PrivateKey(s.Key)
		if err != nil {
			tb.Fatal(err)
		}
		var chain, one []byte
		for _, c := range s.Chain {
			chain = append(chain, c.Raw...)
		}
		for i, value := range [][]byte{[]byte(s.ID), chain, key, chain[:len(s.Chain[0].Raw)], []byte(s.Hint)} {
			if len(value) > 0 {
				one = Field(one, i+1, value)
			}
		}
		message = Field(message, 1, one)
	}
	return message
}

// Field appends a field of bytes to a message of Protocol Buffers.
func Field(message []byte, number int, value []byte) []byte {
	message = binary.AppendUvarint(message, uint64(number)<<3|2)
	message = binary.AppendUvarint(message, uint64(len(value)))
	return append(message, value...)
}

// Frame returns a message as gRPC sends it.
func Frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// A Server is a Workload API. It is safe for concurrent use.
type Server struct {
	Path string // of its socket

	tb testing.TB

	mu      sync.Mutex
	handler http.HandlerFunc // nil: the API
	message []byte
	code    int           // unless 0, the status of all calls
	changed chan struct{} // closed by the next change
	http    *http.Server  // nil: stopped
	calls   int
}

// Start starts a Server that gives out svids until the test ends.
func Start(tb testing.TB, svids ...SVID) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "spiffe") // tb.TempDir can be too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Path: filepath.Join(dir, "api.sock"), tb: tb, changed: make(chan struct{}), message: Message(tb, svids...)}
	s.Restart()
	tb.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	return s
}

// Variable returns SPIFFE_ENDPOINT_SOCKET with the address of the Server, for the
// environment of a program.
func (s *Server) Variable() string { return "SPIFFE_ENDPOINT_SOCKET=unix://" + s.Path }

// Send sends svids in all calls, also those that wait.
func (s *Server) Send(svids ...SVID) {
	s.tb.Helper()
	message := Message(s.tb, svids...)
	s.change(func() { s.message, s.code = message, 0 })
}

// Refuse ends all calls with a status code of gRPC, until Send is called.
func (s *Server) Refuse(code int) { s.change(func() { s.code = code }) }

// Answer gives the calls to handler instead; nil: the API.
func (s *Server) Answer(handler http.HandlerFunc) { s.change(func() { s.handler = handler }) }

func (s *Server) change(set func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Calls returns how many calls there were.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Stop ends all calls and removes the socket.
func (s *Server) Stop() {
	s.mu.Lock()
	running := s.http
	s.http = nil
	s.mu.Unlock()
	if running != nil {
		_ = running.Close()
	}
}

// Restart starts the Server again after Stop.
func (s *Server) Restart() {
	s.tb.Helper()
	l, err := net.Listen("unix", s.Path)
	if err != nil {
		s.tb.Fatal(err)
	}
	running := &http.Server{Handler: s, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0)}
	running.Protocols.SetUnencryptedHTTP2(true)
	running.Protocols.SetHTTP1(true) // for handlers that answer like another server
	s.mu.Lock()
	s.http = running
	s.mu.Unlock()
	go func() { _ = running.Serve(l) }() // Close ends it
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls++
	handler := s.handler
	s.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	switch {
	case r.URL.Path != "/SpiffeWorkloadAPI/FetchX509SVID" || r.Method != http.MethodPost || r.Header.Get("Te") != "trailers":
		end(w, 12, "unknown method")
		return
	case err != nil || string(body) != "\x00\x00\x00\x00\x00" || r.Header.Get("Workload.spiffe.io") != "true":
		end(w, 3, "security header missing from request")
		return
	}
	for {
		s.mu.Lock()
		message, code, changed := s.message, s.code, s.changed
		s.mu.Unlock()
		if code != 0 {
			end(w, code, "no identity issued")
			return
		}
		if _, err := w.Write(Frame(message)); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func end(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Grpc-Status", strconv.Itoa(code))
	w.Header().Set("Grpc-Message", message)
}
