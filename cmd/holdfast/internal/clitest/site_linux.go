package clitest

import (
	"cmp"
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

// An Upstream is an emulator behind a fault that a test switches.
type Upstream struct {
	*httptest.Server
	fault    atomic.Pointer[http.HandlerFunc] // nil: none
	Sessions atomic.Int64                     // that were created
	Events   *LockedBuffer
	Args     []string // of serve, to reach it

	Emulator *emulator.Server // behind the fault
}

func NewUpstream(t testing.TB, root *x509.Certificate, life time.Duration) *Upstream {
	t.Helper()
	u := &Upstream{Events: new(LockedBuffer)}
	s, err := emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(root)}},
		Faults:       emulator.Faults{SessionLifetime: life},
		Events:       u.Events,
	})
	if err != nil {
		t.Fatal(err)
	}
	u.Emulator = s
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := u.fault.Load(); fault != nil {
			(*fault)(w, r)
			return
		}
		u.Sessions.Add(1)
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	u.Args = []string{
		"--endpoint", u.URL, "--trust-anchor-arn", s.TrustAnchorARNs()[0],
		"--profile-arn", s.ProfileARNs()[0], "--role-arn", s.RoleARNs()[0],
	}
	return u
}

func (u *Upstream) Break(h http.HandlerFunc) { u.fault.Store(&h) }

func (u *Upstream) Heal() { u.fault.Store(nil) }

// A Site is a folder with a key and a certificate, an upstream that trusts it,
// and serve.
type Site struct {
	// Patience is how long an answer may take; 0: AnswerTimeout.
	Patience time.Duration

	*Served
	Dir string
	CA  *signertest.CA
	Up  *Upstream
}

// NewFiles makes a site with files alone.
func NewFiles(t testing.TB, dir string) *Site {
	t.Helper()
	s := &Site{Dir: dir, CA: signertest.NewCA(t, "root")}
	s.WriteKeyAndCertificate(t, "p256")
	return s
}

func NewSite(t testing.TB, life time.Duration, args ...string) *Site {
	t.Helper()
	s := NewFiles(t, t.TempDir())
	s.Up = NewUpstream(t, s.CA.Cert, life)
	s.Served = StartServe(t, s.Dir, nil, append(append([]string{
		"--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0",
	}, s.Up.Args...), args...)...)
	return s
}

func (s *Site) Path(name string) string { return filepath.Join(s.Dir, name) }

// WriteKeyAndCertificate writes a new pair, the certificate first.
func (s *Site) WriteKeyAndCertificate(t testing.TB, kind string) {
	t.Helper()
	key := signertest.NewKey(t, kind)
	s.Write(t, "cert.pem", signertest.CertPEM(s.CA.Issue(t, key, nil)))
	s.Write(t, "key.pem", signertest.KeyPEM(t, key))
}

func (s *Site) Write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(s.Path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Site) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// AnswerTimeout is how long an answer may take on a busy machine. It is shorter
// than the time for which tests wait for a service that hangs.
const AnswerTimeout = 8 * time.Second

// Check asks once: there are valid credentials, or none and none are due.
func (s *Site) Check(t testing.TB, lastExpiry *time.Time) (status int) {
	t.Helper()
	begin := time.Now()
	status, _, expiration := CredentialsOf(t, s.Served, "/credentials")
	if took := time.Since(begin); took > cmp.Or(s.Patience, AnswerTimeout) {
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
