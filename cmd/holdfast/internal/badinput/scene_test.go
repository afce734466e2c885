//go:build linux

package badinput

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	testPassword = "opensesame"

	anchorARN  = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/11111111-2222-3333-4444-555555555555"
	profileARN = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/66666666-7777-8888-9999-000000000000"
	roleARN    = "arn:aws:iam::111122223333:role/app"
)

var goodFlags = []string{
	"credential-process", "--certificate", "cert.pem", "--private-key", "key.pem", "--endpoint", "{url}",
	"--trust-anchor-arn", anchorARN, "--profile-arn", profileARN, "--role-arn", roleARN,
}

// pki is what the cases share: a good key and its certificate.
type pki struct {
	ca                     *signertest.CA
	key                    crypto.Signer
	leaf                   *x509.Certificate
	caPEM, keyPEM, certPEM []byte
	tls                    tls.Certificate // for 127.0.0.1, of the same CA
}

func newPKI(t *testing.T) *pki {
	p := &pki{ca: signertest.NewCA(t, "root"), key: signertest.NewKey(t, "p256")}
	p.leaf = p.ca.Issue(t, p.key, nil)
	p.caPEM, p.keyPEM, p.certPEM = signertest.CertPEM(p.ca.Cert), signertest.KeyPEM(t, p.key), signertest.CertPEM(p.leaf)
	p.tls = p.tlsCertificate(t, nil)
	return p
}

func (p *pki) tlsCertificate(t testing.TB, mutate func(*x509.Certificate)) tls.Certificate {
	key := signertest.NewKey(t, "p256")
	cert := p.ca.Issue(t, key, func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if mutate != nil {
			mutate(c)
		}
	})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// The setups of scenes.

func write(name string, parts ...[]byte) func(*scene) {
	return func(s *scene) { s.write(name, bytes.Join(parts, nil)) }
}

func remove(name string) func(*scene) {
	return func(s *scene) { s.must(os.Remove(s.path(name))) }
}

func steps(all ...func(*scene)) func(*scene) {
	return func(s *scene) {
		for _, step := range all {
			step(s)
		}
	}
}

// issued puts a certificate for the good key into cert.pem.
func issued(mutate func(*x509.Certificate)) func(*scene) {
	return func(s *scene) { s.write("cert.pem", signertest.CertPEM(s.ca.Issue(s, s.key, mutate))) }
}

// openssl runs the real program in the folder, where plain.pem is the good key.
// Passwords are env:PW.
func openssl(args ...string) func(*scene) {
	return func(s *scene) {
		s.write("plain.pem", s.keyPEM)
		cmd := exec.Command(signertest.Require(s, "openssl", "openssl"), args...)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "PW="+testPassword)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
}

// typed writes text to standard input, which ends after it or stays open.
func typed(text io.Reader, ends bool) func(*scene) {
	return func(s *scene) {
		r, w, err := os.Pipe()
		s.must(err)
		s.stdin = r
		go func() {
			_, _ = io.Copy(w, text) // the child may not want it all
			if ends {
				w.Close()
			}
		}()
		s.Cleanup(func() { w.Close() })
	}
}

// A server answers instead of Roles Anywhere until the test ends. What it
// returns second counts.
type server func(*scene) (url string, sent *atomic.Int32)

func silent(s *scene) (string, *atomic.Int32) { return answer(http.NotFound)(s) }

func answer(h http.HandlerFunc) server { return answerTLS(nil, h) }

// answerTLS speaks TLS if config is not nil.
func answerTLS(config func(*scene) *tls.Config, h http.HandlerFunc) server {
	return func(s *scene) (string, *atomic.Int32) {
		var sent atomic.Int32
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent.Add(1)
			// Without that the context does not notice that the client went away.
			_, _ = io.Copy(io.Discard, r.Body)
			h(w, r)
		}))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		if config == nil {
			srv.Start()
		} else {
			srv.TLS = config(s)
			srv.StartTLS()
		}
		s.Cleanup(srv.Close)
		return srv.URL, &sent
	}
}

// converse hands out connections, for what is not HTTP.
func converse(talk func(net.Conn)) server {
	return func(s *scene) (string, *atomic.Int32) {
		var sent atomic.Int32
		l, err := net.Listen("tcp", "127.0.0.1:0")
		s.must(err)
		s.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				sent.Add(1)
				go func() {
					defer c.Close()
					talk(c)
				}()
			}
		}()
		return "http://" + l.Addr().String(), &sent
	}
}

// refusing has an address where nobody listens.
func refusing(s *scene) (string, *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	defer l.Close()
	return "http://" + l.Addr().String(), new(atomic.Int32)
}

// given gives the whole folder to the user of badInput.nobody.
func given(s *scene) {
	if os.Geteuid() != 0 {
		return
	}
	s.must(filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	}))
}

// imprison lets the program see these files of the folder and nothing else.
// Another process copies them: one that this test starts meanwhile would inherit
// the open file, and the kernel runs no program that somebody writes to.
func (s *scene) imprison(names ...string) {
	s.root = s.path("root")
	s.must(os.Mkdir(s.root, 0o755))
	for _, name := range names {
		out, err := exec.Command("cp", s.path(name), s.root).CombinedOutput()
		if err != nil {
			s.Fatalf("%v\n%s", err, out)
		}
	}
}
