//go:build linux

package badinput

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// spiffeCases have no SPIFFE Workload API, something else in its place, or one that sends
// what must not be used. api.sock is its socket.
func spiffeCases(p *pki) (all []badInput) {
	const variable = "SPIFFE_ENDPOINT_SOCKET"
	api := func(change func(*scene, *spiffetest.Server)) func(*scene) {
		return func(s *scene) {
			server := spiffetest.Start(s, spiffetest.Issue(s, s.ca, "p256", "spiffe://example.org/app", nil))
			change(s, server)
			s.must(os.Symlink(server.Path, s.path("api.sock")))
		}
	}
	sending := func(change func(*scene, *spiffetest.SVID), mutate func(*x509.Certificate)) func(*scene) {
		return api(func(s *scene, server *spiffetest.Server) {
			svid := spiffetest.Issue(s, s.ca, "p256", "spiffe://example.org/app", mutate)
			if change != nil {
				change(s, &svid)
			}
			server.Send(svid)
		})
	}
	answering := func(h http.HandlerFunc) func(*scene) {
		return api(func(_ *scene, server *spiffetest.Server) { server.Answer(h) })
	}
	body := func(data []byte) func(*scene) {
		return answering(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write(data)
		})
	}
	status := func(code int) func(*scene) {
		return api(func(_ *scene, server *spiffetest.Server) { server.Refuse(code) })
	}
	saying := func(text string) func(*scene) {
		return listening("api.sock", func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, text)
		})
	}
	other := signertest.NewKey
	for _, c := range []badInput{
		{name: "no variable", args: []string{"--private-key", "spiffe:"}, code: front.ExitUnavailable, culprit: variable, hint: "unix:///"},
		{name: "a path in the variable", args: []string{"--private-key", "spiffe:"}, env: []string{variable + "=/run/api.sock"}, code: front.ExitOther, culprit: variable, hint: "unix:///"},
		{name: "another machine", args: []string{"--private-key", "spiffe:"}, env: []string{variable + "=tcp://192.0.2.1:8081"}, code: front.ExitOther, culprit: "not an address of this machine", hint: "unix:///"},
		{name: "a named pipe", args: []string{"--private-key", "spiffe:"}, env: []string{variable + "=npipe:spire-agent"}, code: front.ExitUnavailable, culprit: "named pipe", hint: "unix:///"},
		{name: "nobody at the port", args: []string{"--private-key", "spiffe:"}, env: []string{variable + "=tcp://127.0.0.1:1"}, code: front.ExitUnavailable, culprit: "127.0.0.1:1", hint: variable},
		{name: "a path as reference", args: []string{"--private-key", "spiffe:/run/api.sock"}, code: front.ExitUsage, culprit: "spiffe:/run/api.sock", hint: "NAME=VALUE"},
		{name: "an ID without a path", args: []string{"--private-key", "spiffe://example.org"}, code: front.ExitUsage, culprit: "has no path", hint: "spiffe://example.org/app"},
		{name: "an ID with a port", args: []string{"--private-key", "spiffe://example.org:80/app"}, code: front.ExitUsage, culprit: "trust domain", hint: "spiffe://example.org/app"},
		{name: "an attribute of another", args: []string{"--private-key", "spiffe:path=api.sock"}, code: front.ExitUsage, culprit: `"path"`, hint: "reference"},

		{name: "no socket", code: front.ExitUnavailable, culprit: "api.sock", hint: "spire-agent healthcheck -socketPath api.sock"},
		{name: "a file", setup: write("api.sock"), code: front.ExitUnavailable, culprit: "api.sock", hint: "socket of the agent"},
		{name: "a folder", setup: func(s *scene) { s.must(os.Mkdir(s.path("api.sock"), 0o700)) }, code: front.ExitUnavailable, culprit: "api.sock", hint: "socket of the agent"},
		{name: "a socket nobody listens on", setup: func(s *scene) { s.must(syscall.Mknod(s.path("api.sock"), syscall.S_IFSOCK|0o666, 0)) },
			code: front.ExitUnavailable, culprit: "api.sock", hint: "agent is running"},
		{name: "a socket of datagrams", setup: func(s *scene) {
			l, err := net.ListenPacket("unixgram", s.path("api.sock"))
			s.must(err)
			s.Cleanup(func() { l.Close() })
		}, code: front.ExitUnavailable, culprit: "api.sock", hint: "socket of the agent"},
		{name: "a socket of another user", setup: steps(listening("api.sock", func(net.Conn) {}), func(s *scene) { s.must(os.Chmod(s.path("api.sock"), 0o700)) }),
			nobody: true, code: front.ExitUnavailable, culprit: "api.sock", hint: "user"},
		{name: "closes", setup: listening("api.sock", func(net.Conn) {}), code: front.ExitUnavailable, culprit: "api.sock", hint: "agent"},
		{name: "HTTP/1", setup: saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), code: front.ExitUnavailable, culprit: "api.sock", hint: "agent"},
		{name: "the agent of SSH", setup: saying("\x00\x00\x00\x01\x05"), code: front.ExitUnavailable, culprit: "api.sock", hint: "agent"},
		{name: "never answers", setup: listening("api.sock", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), code: front.ExitUnavailable, culprit: "does not answer", hint: "agent"},
		{name: "a web server", setup: answering(http.NotFound), code: front.ExitOther, culprit: "404", hint: "agent"},
		{name: "begins, and never answers", setup: answering(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
		}), code: front.ExitUnavailable, culprit: "does not answer", hint: "agent"},

		{name: "no identity", setup: status(7), code: front.ExitNotFound, culprit: "no identity for this process", hint: "spire-agent api fetch x509 -socketPath api.sock"},
		{name: "not available", setup: status(14), code: front.ExitUnavailable, culprit: "Unavailable", hint: "try again"},
		{name: "not implemented", setup: status(12), code: front.ExitOther, culprit: "Unimplemented", hint: "agent"},
		{name: "1 GiB", setup: body([]byte{0, 0x40, 0, 0, 0}), code: front.ExitOther, culprit: "1073741824 bytes", hint: "agent"},
		{name: "compressed", setup: body([]byte{1, 0, 0, 0, 1, 0}), code: front.ExitOther, culprit: "compressed", hint: "agent"},
		{name: "text", setup: body(spiffetest.Frame([]byte("no SVID"))), code: front.ExitOther, culprit: "Protocol Buffers", hint: "agent"},
		{name: "no SVID", setup: body(spiffetest.Frame(nil)), code: front.ExitNotFound, culprit: "has no SVID", hint: "register"},
		{name: "the key of another", setup: sending(func(s *scene, svid *spiffetest.SVID) { svid.Key = other(s, "p256") }, nil),
			code: front.ExitOther, culprit: "its private key is not that of its certificate", hint: "agent"},
		{name: "an ID that steers the terminal", setup: sending(func(_ *scene, svid *spiffetest.SVID) { svid.ID = "spiffe://a/\x1b[2J\u202e" }, nil),
			code: front.ExitOther, culprit: "its SPIFFE ID", hint: "agent"},
		{name: "empty subject", setup: sending(nil, func(c *x509.Certificate) { c.Subject = pkix.Name{} }),
			code: front.ExitOther, culprit: "its subject is empty", hint: "CredentialComposer"},
		{name: "expired", setup: sending(nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			code: front.ExitOther, culprit: "expired", hint: "renew"},
		{name: "Ed25519", setup: api(func(s *scene, server *spiffetest.Server) {
			server.Send(spiffetest.Issue(s, s.ca, "ed25519", "spiffe://example.org/app", nil))
		}), code: front.ExitOther, culprit: "Ed25519", hint: "ECDSA"},
	} {
		c.name = "spiffe: " + c.name
		if len(c.args) == 0 {
			c.args = []string{"--private-key", "spiffe:socket=api.sock"}
		}
		c.args = append([]string{"--certificate="}, c.args...)
		all = append(all, c)
	}
	return append(all, badInput{name: "spiffe: another ID", setup: sending(nil, nil), args: []string{"--certificate=", "--private-key", "spiffe://example.org/b;socket=api.sock"},
		code: front.ExitNotFound, culprit: "no key matches", hint: "spiffe://example.org/app;socket=api.sock"})
}
