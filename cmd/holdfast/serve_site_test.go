//go:build linux

package main

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// An upstream is an emulator behind a fault that a test switches.
type upstream struct {
	*httptest.Server
	fault    atomic.Pointer[http.HandlerFunc] // nil: none
	sessions atomic.Int64                     // that were created
	events   *lockedBuffer
	args     []string // of serve, to reach it

	server *emulator.Server // behind the fault
}

func newUpstream(t testing.TB, root *x509.Certificate, life time.Duration) *upstream {
	t.Helper()
	u := &upstream{events: new(lockedBuffer)}
	s, err := emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(root)}},
		Faults:       emulator.Faults{SessionLifetime: life},
		Events:       u.events,
	})
	if err != nil {
		t.Fatal(err)
	}
	u.server = s
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := u.fault.Load(); fault != nil {
			(*fault)(w, r)
			return
		}
		u.sessions.Add(1)
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	u.args = []string{
		"--endpoint", u.URL, "--trust-anchor-arn", s.TrustAnchorARNs()[0],
		"--profile-arn", s.ProfileARNs()[0], "--role-arn", s.RoleARNs()[0],
	}
	return u
}

func (u *upstream) break_(h http.HandlerFunc) { u.fault.Store(&h) }

func (u *upstream) heal() { u.fault.Store(nil) }

// A site is a folder with a key and a certificate, an upstream that trusts it,
// and serve.
type site struct {
	*served
	dir string
	ca  *signertest.CA
	up  *upstream
}

// newFiles makes a site with files alone.
func newFiles(t testing.TB, dir string) *site {
	t.Helper()
	s := &site{dir: dir, ca: signertest.NewCA(t, "root")}
	s.writePair(t, "p256")
	return s
}

func newSite(t testing.TB, life time.Duration, args ...string) *site {
	t.Helper()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, life)
	s.served = startServe(t, s.dir, nil, append(append([]string{
		"--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0",
	}, s.up.args...), args...)...)
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// writePair writes a new pair, the certificate first.
func (s *site) writePair(t testing.TB, kind string) {
	t.Helper()
	key := signertest.NewKey(t, kind)
	s.write(t, "cert.pem", signertest.CertPEM(s.ca.Issue(t, key, nil)))
	s.write(t, "key.pem", signertest.KeyPEM(t, key))
}

func (s *site) write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *site) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// promptly is how long an answer may take, on a machine that is busy. It is less
// than a service that hangs is waited for in the tests.
const promptly = 8 * time.Second

// check asks once: there are valid credentials, or none and none are due.
func (s *site) check(t testing.TB, lastExpiry *time.Time) (status int) {
	t.Helper()
	begin := time.Now()
	status, _, expiration := credentialsOf(t, s.served, "/credentials")
	if took := time.Since(begin); took > promptly {
		t.Errorf("an answer took %v", took)
	}
	switch status {
	case http.StatusOK:
		expires, err := time.Parse(time.RFC3339, expiration)
		if err != nil || !expires.After(begin) {
			t.Errorf("expiration %q, %v", expiration, err)
		}
		*lastExpiry = expires
	case http.StatusServiceUnavailable:
		if time.Now().Before(*lastExpiry) {
			t.Errorf("nothing is given out, %v before the end", time.Until(*lastExpiry))
		}
	default:
		t.Errorf("status %d", status)
	}
	return status
}
