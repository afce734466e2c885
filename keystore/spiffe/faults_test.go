//go:build unix

package spiffe_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer"
)

// wire returns a handler that sends bytes as the body of an answer of gRPC, with the
// status OK.
func wire(parts ...[]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		for _, p := range parts {
			_, _ = w.Write(p)
		}
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("Grpc-Status", "0")
	}
}

func header(name, value string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(name, value)
		_ = http.NewResponseController(w).Flush()
	}
}

// Whatever the peer answers, Open ends soon, with an error that tells what is wrong.
func TestAnswers(t *testing.T) {
	svid := spiffetest.Issue(t, newCA(t), "p256", app, nil)
	message := spiffetest.Message(t, svid)
	one := spiffetest.Field(nil, 1, []byte(app))
	many := make([]spiffetest.SVID, 65)
	for i := range many {
		many[i] = svid
	}
	s := spiffetest.Start(t)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a message of 1 GiB":   {wire([]byte{0, 0x40, 0, 0, 0}), "has 1073741824 bytes"},
		"a message over 1 MiB": {wire([]byte{0, 0, 0x10, 0, 1}), "has 1048577 bytes"},
		"a compressed message": {wire([]byte{1, 0, 0, 0, 1, 0}), "is compressed"},
		"an unknown flag":      {wire([]byte{2, 0, 0, 0, 1, 0}), "begins with 2"},
		"a compressed stream":  {header("Grpc-Encoding", "gzip"), `encoding "gzip"`},
		"a page":               {header("Content-Type", "text/html"), `"text/html"`},
		"no type":              {header("Content-Type", ""), `the type ""`},
		"an error of HTTP":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }, "HTTP status 418"},
		"a redirection": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, "HTTP status 302"},
		"a header of 100 KiB": {header("X", strings.Repeat("x", 100<<10)), "device is not available"},
		"a trailer of 100 KiB": {func(w http.ResponseWriter, _ *http.Request) {
			wire()(w, nil)
			w.Header().Set("Trailer:X", strings.Repeat("x", 100<<10))
		}, "device is not available"},
		"nothing":                    {wire(), "it ended the call"},
		"nothing, not even a status": {header("X", "x"), "without a status"},
		"the end after the flag":     {wire([]byte{0}), "unexpected EOF"},
		"the end in the message":     {wire(spiffetest.Frame(message)[:100]), "unexpected EOF"},
		"an abort in the message": {func(w http.ResponseWriter, _ *http.Request) {
			wire(spiffetest.Frame(message)[:100])(w, nil)
			panic(http.ErrAbortHandler)
		}, "device is not available"},
		"text":                        {wire(spiffetest.Frame([]byte("no SVID today"))), "Protocol Buffers"},
		"a field cut":                 {wire(spiffetest.Frame(message[:len(message)-1])), "Protocol Buffers"},
		"a group":                     {wire(spiffetest.Frame([]byte{0x0b, 0x0c})), "Protocol Buffers"},
		"a number instead of an SVID": {wire(spiffetest.Frame([]byte{0x08, 1})), "Protocol Buffers"},
		"an ID twice":                 {wire(spiffetest.Frame(spiffetest.Field(nil, 1, append(one, one...)))), "Protocol Buffers"},
		"an ID that is not UTF-8":     {wire(spiffetest.Frame(spiffetest.Field(nil, 1, spiffetest.Field(nil, 1, []byte{0xff})))), "Protocol Buffers"},
		"65 SVIDs":                    {wire(spiffetest.Frame(spiffetest.Message(t, many...))), "more than 64"},
		"an SVID with an ID alone":    {wire(spiffetest.Frame(spiffetest.Field(nil, 1, one))), "key has no certificate"},
		"no SVID":                     {wire(spiffetest.Frame(nil)), "has no SVID"},
	} {
		s.Answer(test.answer)
		_, err := store().Open(t.Context(), refOf(t, s), keystore.Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) || signer.Hint(err) == "" {
			t.Errorf("%s: %v, hint %q", name, err, signer.Hint(err))
		}
	}
	// What a later version of the API adds is ignored.
	more := append(spiffetest.Field(nil, 2, []byte("crl")), 0x28, 1, 0x31, 1, 2, 3, 4, 5, 6, 7, 8, 0x3d, 1, 2, 3, 4)
	s.Answer(wire(spiffetest.Frame(append(more, message...))))
	if _, err := store().Open(t.Context(), refOf(t, s), keystore.Options{}); err != nil {
		t.Error(err)
	}
}

// A peer that sends without end is not read to the end.
func TestEndlessMessage(t *testing.T) {
	s := spiffetest.Start(t)
	var sent atomic.Int64
	ended := make(chan struct{})
	s.Answer(func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Type", "application/grpc")
		block := make([]byte, 64<<10)
		for copy(block, []byte{0, 0x40, 0, 0, 0}); sent.Load() < 1<<30; {
			n, err := w.Write(block)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	if _, err := store().Open(t.Context(), refOf(t, s), keystore.Options{}); err == nil {
		t.Error("no error")
	}
	<-ended
	if n := sent.Load(); n > 16<<20 {
		t.Errorf("%d bytes were sent", n)
	}
}

// frame returns a frame of HTTP/2 (RFC 9113, section 4.1).
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	return append(binary.BigEndian.AppendUint32(append(head, kind, flags), stream), payload...)
}

// Whatever a peer sends that is not HTTP/2, or is it without end, Open ends soon.
func TestPeers(t *testing.T) {
	t.Parallel()
	settings := frame(4, 0, 0, nil)
	literal := append([]byte{0, 1, 'x', 0x7f, 0x81, 0x01}, make([]byte, 256)...) // x: 256 bytes
	for name, talk := range map[string]func(net.Conn){
		"closes":       func(net.Conn) {},
		"closes later": func(c net.Conn) { _, _ = c.Write(settings) },
		"HTTP/1":       func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") },
		"text":         func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("SSH-2.0-OpenSSH_9.9\r\n", 100)) },
		"zeros":        func(c net.Conn) { _, _ = c.Write(make([]byte, 1<<16)) },
		"a big frame":  func(c net.Conn) { _, _ = c.Write(append(settings, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1)) },
		"goes away":    func(c net.Conn) { _, _ = c.Write(append(settings, frame(7, 0, 0, make([]byte, 8))...)) },
		"resets":       func(c net.Conn) { _, _ = c.Write(append(settings, frame(3, 0, 1, []byte{0, 0, 0, 7})...)) },
		"pushes":       func(c net.Conn) { _, _ = c.Write(append(settings, frame(5, 4, 1, []byte{0, 0, 0, 2})...)) },
		"endless header": func(c net.Conn) {
			_, err := c.Write(append(settings, frame(1, 0, 1, []byte{0x88})...))
			for range 1 << 18 { // 64 MiB
				if err != nil {
					return
				}
				_, err = c.Write(frame(9, 0, 1, literal))
			}
		},
		"endless settings": func(c net.Conn) {
			for range 1 << 18 {
				if _, err := c.Write(settings); err != nil {
					return
				}
			}
		},
		"endless informational answers": func(c net.Conn) {
			_, err := c.Write(settings)
			for range 1 << 18 {
				if err != nil {
					return
				}
				_, err = c.Write(frame(1, 4, 1, []byte{0x08, 3, '1', '0', '3'})) // :status: 103
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "spiffe")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						_, _ = io.ReadFull(c, make([]byte, 24)) // the preface
						talk(c)
						_, _ = c.Read(make([]byte, 1<<16))
					}()
				}
			}()
			_, err = store().Open(t.Context(), keystore.Ref{Scheme: "spiffe", Rest: "socket=" + path}, keystore.Options{})
			if !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(signer.Hint(err), path) {
				t.Errorf("%v, hint %s", err, signer.Hint(err))
			}
			t.Log(err)
		})
	}
}

// A peer that does not answer at all ends Open after its own time, without a deadline of the
// caller.
func TestHanging(t *testing.T) {
	t.Parallel()
	s := spiffetest.Start(t)
	s.Answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := store().Open(ctx, refOf(t, s), keystore.Options{})
	if !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), "within 10s") || ctx.Err() != nil {
		t.Error(err)
	}
}

// Nothing of a call is left: neither its goroutines nor its connection.
func TestNothingIsLeft(t *testing.T) {
	s := spiffetest.Start(t, spiffetest.Issue(t, newCA(t), "p256", app, nil))
	calls := func(n int) {
		for range n {
			if _, err := store().Open(t.Context(), refOf(t, s), keystore.Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	calls(1)
	before := runtime.NumGoroutine()
	calls(100)
	for runtime.NumGoroutine() > before+20 { // those of other tests come and go
		time.Sleep(10 * time.Millisecond)
	}
}
