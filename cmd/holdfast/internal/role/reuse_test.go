//go:build unix

package role

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A counter is an emulator, as a transport, that counts requests.
type counter struct {
	server            *emulator.Server
	sessions, assumed atomic.Int64 // requests to Roles Anywhere and to STS
	refuseSecond      atomic.Int64 // number of requests to STS to refuse
	certificate       string       // its file
	ca                *signertest.CA
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	switch {
	case r.URL.Path == "/sessions":
		c.sessions.Add(1)
	case c.refuseSecond.Add(-1) >= 0:
		c.assumed.Add(1)
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
		return w.Result(), nil
	default:
		c.assumed.Add(1)
	}
	c.server.ServeHTTP(w, r)
	return w.Result(), nil
}

// issue replaces the certificate.
func (c *counter) issue(t *testing.T) {
	t.Helper()
	cert := c.ca.Issue(t, signertest.Key(t, "p256"), func(template *x509.Certificate) { template.NotAfter = template.NotBefore.AddDate(1, 0, 0) })
	if err := os.WriteFile(c.certificate, signertest.CertPEM(cert), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openChain opens a role with a second one. The session of the first role lasts for
// duration.
func openChain(t *testing.T, duration time.Duration) (*Role, *counter) {
	t.Helper()
	dir := t.TempDir()
	c := &counter{ca: signertest.NewCA(t, "CA"), certificate: filepath.Join(dir, "cert.pem")}
	c.issue(t)
	var err error
	c.server, err = emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(c.ca.Cert)}},
		Profiles:     []emulator.Profile{{RoleARNs: []string{arn}, DurationSeconds: int(duration / time.Second)}},
		Roles:        []emulator.Role{{ARN: arn, MaxSessionDuration: 43200}, {ARN: arn + "-second"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	src := base()
	src.keys["private_key"], src.keys["certificate"] = fmt.Sprintf("%q", keyFile(t)), fmt.Sprintf("%q", c.certificate)
	setups, err := src.setups(t, 1)
	if err != nil {
		t.Fatal(err)
	}
	setups[0].Config.Transport = c
	r, err := setups[0].Open(t.Context(), front.App{Store: all.New(), Now: time.Now, LookupEnv: func(string) (string, bool) { return "", false }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, c
}

// The session of the first role is used until it ends, whatever its duration is.
func TestFirstSessionIsReused(t *testing.T) {
	for _, tt := range []struct {
		duration time.Duration
		lo, hi   int64 // times that the second role is assumed with one session, every 24 to 45 minutes
	}{
		{time.Hour, 2, 3},
		{12 * time.Hour, 17, 30},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, c := openChain(t, tt.duration)
			for range 2 * 24 * 60 {
				if _, err := r.Cache.Credentials(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
			}
			sessions, assumed := c.sessions.Load(), c.assumed.Load()
			if assumed < 2*24*60/46 || sessions < assumed/tt.hi || sessions > assumed/tt.lo+1 || r.Cache.Status().FailedRenewals > 0 {
				t.Errorf("%v: %d sessions for %d of the second role, want one for %d to %d; %+v", tt.duration, sessions, assumed, tt.lo, tt.hi, r.Cache.Status())
			}
		})
	}
}

// A session is not used again if there is another certificate, if AWS refused it, or if it
// may end before AssumeRole does.
func TestFirstSessionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := openChain(t, time.Hour)
		get := func(wantErr bool, sessions int64) {
			t.Helper()
			before := c.sessions.Load()
			if _, err := r.Cache.Source.Credentials(t.Context()); (err != nil) != wantErr {
				t.Errorf("error: %v", err)
			}
			if n := c.sessions.Load() - before; n != sessions {
				t.Errorf("%d sessions were created, want %d", n, sessions)
			}
		}
		get(false, 1)
		get(false, 0)
		if err := r.Identity.Reload(t.Context()); err != nil { // with the same certificate
			t.Fatal(err)
		}
		get(false, 0)
		c.issue(t)
		get(false, 0) // not read yet
		if err := r.Identity.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		get(false, 1)
		get(false, 0)
		c.refuseSecond.Store(1) // the session is the cause
		get(false, 1)
		get(false, 0)
		c.refuseSecond.Store(3) // it is not
		get(true, 1)
		get(true, 1)
		get(false, 1)
		get(false, 0)
		time.Sleep(time.Hour - 10*time.Second)
		get(false, 0)
		time.Sleep(3 * time.Second)
		get(false, 1)
	})
}
