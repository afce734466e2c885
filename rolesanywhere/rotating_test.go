package rolesanywhere

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A failingKey fails to sign while err is set, and counts calls of Close.
type failingKey struct {
	signer.Signer
	err    error
	closed int
}

func (k *failingKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	switch {
	case k.err != nil:
		return nil, k.err
	case k.closed > 0:
		return nil, signer.ErrClosed
	}
	return k.Signer.Sign(rand, digest, opts)
}

func (k *failingKey) Close() error {
	k.closed++
	return nil
}

// A rotating is a Client whose Identity opens the keys that a test provides.
type rotating struct {
	*Client
	t        *testing.T
	ca       *signertest.CA
	key      *failingKey
	opens    int
	notAfter time.Time // expiry of the certificates that new makes; zero: the CA's default
}

func (r *rotating) new(kind string) *failingKey {
	r.t.Helper()
	key := signertest.NewKey(r.t, kind)
	bound, err := signer.Bind(signer.FromKey(key), []*x509.Certificate{r.ca.Issue(r.t, key, func(c *x509.Certificate) {
		if !r.notAfter.IsZero() {
			c.NotAfter = r.notAfter
		}
	})}, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	r.key = &failingKey{Signer: bound}
	return r.key
}

// newRotating returns a client with the clock now. The emulator uses the real
// clock.
func newRotating(t *testing.T, now func() time.Time) *rotating {
	t.Helper()
	r := &rotating{t: t, ca: signertest.NewCA(t, "root")}
	r.new("p256")
	cfg := startEmulator(t, r.ca, nil)
	cfg.Now, cfg.CertificateName = now, "cert.pem"
	id, err := rotate.New(t.Context(), rotate.Config{Check: cfg.CheckSigner, Now: now, Open: func(context.Context) (signer.Signer, error) {
		r.opens++
		return r.key, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { id.Close() })
	if r.Client, err = NewRotating(cfg, id); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rotating) get(want error, opens int) {
	r.t.Helper()
	if _, err := r.Credentials(r.t.Context()); !errors.Is(err, want) {
		r.t.Errorf("error %v, want %v", err, want)
	}
	if r.opens != opens {
		r.t.Errorf("opened %d times, want %d", r.opens, opens)
	}
}

// Each session uses the key and certificate that are current at that time.
func TestRotating(t *testing.T) {
	r := newRotating(t, time.Now)
	for i, kind := range []string{"p256", "rsa2048", "p384"} {
		old := r.key
		if i > 0 {
			r.new(kind)
			if err := r.identity.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			if old.closed != 1 {
				t.Errorf("previous key: closed %d times, want 1", old.closed)
			}
		}
		creds, err := r.Credentials(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		who, err := emulator.GetCallerIdentity(t.Context(), http.DefaultClient, r.cfg.Endpoint, creds, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		// The service uses the serial number as the session name.
		serial := r.key.Chain()[0].SerialNumber.Text(16)
		if name := who.ARN[strings.LastIndexByte(who.ARN, '/')+1:]; strings.TrimLeft(name, "0") != serial {
			t.Errorf("%s: the session name is %s, want %s", kind, name, serial)
		}
	}
	if r.cfg.Signer != nil {
		t.Error("the client keeps a key")
	}
}

// A key whose device is unavailable is closed and opened again before the next
// session.
func TestRotatingWithUnavailableDevice(t *testing.T) {
	r := newRotating(t, time.Now)
	first := r.key
	r.get(nil, 1)
	first.err = fmt.Errorf("gone: %w", signer.ErrUnavailable)
	r.get(signer.ErrUnavailable, 1)
	if first.closed != 1 {
		t.Errorf("closed %d times", first.closed)
	}
	r.new("rsa2048")
	r.get(nil, 2)
	r.get(nil, 2)
}

// A key that Roles Anywhere would reject does not replace a working one.
func TestRotatingChecks(t *testing.T) {
	r := newRotating(t, time.Now)
	first := r.key
	bad := r.new("p256")
	bad.Signer = signer.FromKey(signertest.NewKey(t, "p256")) // without a certificate
	var refused *CertificateError
	if err := r.identity.Reload(t.Context()); !errors.As(err, &refused) || refused.Name != "cert.pem" || !errors.Is(err, signer.ErrNoCertificate) {
		t.Errorf("error %v", err)
	}
	if a, b := first.closed, bad.closed; a != 0 || b != 1 {
		t.Errorf("closed %d and %d times", a, b)
	}
	r.get(nil, 2)
}

// With an expired certificate, each session tries a reload first, and uses the
// renewed certificate.
func TestRotatingWithExpiredCertificate(t *testing.T) {
	clock := time.Now
	r := newRotating(t, func() time.Time { return clock() })
	r.get(nil, 1)
	first := r.key
	end := first.Chain()[0].NotAfter
	clock = func() time.Time { return end.Add(10 * time.Second) }
	second := r.new("p256")
	var refused *CertificateError
	if _, err := r.Credentials(t.Context()); !errors.As(err, &refused) || r.opens != 2 {
		t.Errorf("error %v; opened %d times", err, r.opens)
	}
	if a, b := first.closed, second.closed; a != 0 || b != 1 {
		t.Errorf("not renewed: closed %d and %d times", a, b)
	}
	r.notAfter = end.AddDate(1, 0, 0)
	r.new("p256")
	// The clock is wrong, so the credentials count as expired.
	r.get(ErrUnreachable, 3)
	r.get(ErrUnreachable, 3)
	if first.closed != 1 {
		t.Errorf("renewed: closed %d times", first.closed)
	}
}

func TestNewRotatingRefuses(t *testing.T) {
	r := newRotating(t, time.Now)
	with, without := r.cfg, r.cfg
	with.Signer = r.key
	bad := without
	bad.RoleARN = "x"
	for _, c := range []struct {
		name string
		cfg  Config
		id   *rotate.Identity
	}{{"no identity", without, nil}, {"signer and identity", with, r.identity}, {"a bad ARN", bad, r.identity}} {
		if _, err := NewRotating(c.cfg, c.id); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
	r.identity.Close()
	if _, err := r.Credentials(t.Context()); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := (Config{}).CheckSigner(nil); !errors.Is(err, ErrConfig) {
		t.Errorf("nil: %v", err)
	}
	if err := (Config{}).CheckSigner(r.key); err != nil {
		t.Errorf("without a clock: %v", err)
	}
}

func TestConfigNames(t *testing.T) {
	for _, c := range []struct {
		change       func(*Config)
		region, name string
	}{
		{func(*Config) {}, "us-east-1", "app"},
		{func(c *Config) { c.Region = "us-east-1" }, "us-east-1", "app"},
		{func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/app" }, "us-east-1", "app"},
		{func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/a:b/app" }, "us-east-1", "app"},
		{func(c *Config) { *c = inRegion("aws-cn", "cn-north-1") }, "cn-north-1", "app"},
		{func(c *Config) { c.Region = "eu-west-1" }, "", ""}, // not the trust anchor's region
		{func(c *Config) { *c = Config{} }, "", ""},
		{func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/" }, "", ""},
	} {
		cfg := validConfig()
		c.change(&cfg)
		if region, name := cfg.TrustAnchorRegion(), cfg.RoleName(); region != c.region || name != c.name {
			t.Errorf("%+v: region %q, name %q; want %q, %q", cfg, region, name, c.region, c.name)
		}
	}
}
