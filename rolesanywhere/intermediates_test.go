package rolesanywhere

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// cross returns a certificate that issuer issued for the name and key of subject.
func cross(t *testing.T, issuer, subject *signertest.CA, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return issuer.Issue(t, subject.Key, func(c *x509.Certificate) {
		c.Subject, c.SubjectKeyId = subject.Cert.Subject, subject.Cert.SubjectKeyId
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		if change != nil {
			change(c)
		}
	})
}

// create binds the P-256 key to certs and creates a session with an emulator
// that trusts anchor and whose clock is ahead of the local clock.
func create(t *testing.T, anchor *signertest.CA, ahead time.Duration, certs ...*x509.Certificate) (requests int, log string, err error) {
	t.Helper()
	var n atomic.Int32
	cfg := startEmulator(t, anchor, func(c *emulator.Config) {
		c.Now = func() time.Time { return time.Now().Add(ahead) }
		c.Events = countSessions{&n}
	})
	var out bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
	if cfg.Signer, err = signer.Bind(signer.FromKey(signertest.Key(t, "p256")), certs, time.Now()); err != nil {
		t.Fatal(err)
	}
	client, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Credentials(t.Context())
	return int(n.Load()), out.String(), err
}

func TestEachAnchorOfCrossCertificates(t *testing.T) {
	one, two, three := signertest.NewCA(t, "one"), signertest.NewCA(t, "two"), signertest.NewCA(t, "three")
	ca := one.Intermediate(t, "ca")
	leaf := ca.Issue(t, signertest.Key(t, "p256"), nil)
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	for name, certs := range map[string][]*x509.Certificate{
		"two roots":                {cross(t, two, ca, nil), cross(t, three, ca, nil), ca.Cert},
		"a root that two certify":  {cross(t, two, one, nil), cross(t, three, one, nil), ca.Cert},
		"beside expired":           {cross(t, two, ca, expired), cross(t, two, ca, nil), cross(t, three, one, nil), cross(t, three, one, expired), ca.Cert},
		"roots in the bundle":      {one.Cert, cross(t, two, ca, nil), two.Cert, cross(t, three, ca, nil), three.Cert, ca.Cert},
		"roots that certify roots": {cross(t, two, one, nil), cross(t, one, two, nil), ca.Cert, cross(t, three, two, nil)},
	} {
		for _, anchor := range []*signertest.CA{one, two, three} {
			if _, _, err := create(t, anchor, 0, append(certs, leaf)...); err != nil {
				t.Errorf("%s, trust anchor %s: %v", name, anchor.Cert.Subject, err)
			}
		}
	}
	// A certificate that has expired does not stand in the way of a trust
	// anchor that needs none.
	if _, _, err := create(t, one, 0, leaf, ca.Cert, cross(t, two, one, expired)); err != nil {
		t.Errorf("expired certificate of the root: %v", err)
	}
}

// The trust anchor may be so close to the leaf that the first five intermediate
// certificates suffice.
func TestLongChain(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	var middle *signertest.CA
	for i := range 7 {
		if ca = ca.Intermediate(t, fmt.Sprint("CA ", i)); i == 1 {
			middle = &signertest.CA{Cert: ca.Cert, Key: ca.Key}
		}
	}
	certs := append(ca.Chain(), ca.Issue(t, signertest.Key(t, "p256"), nil))
	if _, _, err := create(t, middle, 0, certs...); err != nil {
		t.Errorf("trust anchor in the middle: %v", err)
	}
	_, _, err := create(t, ca, 0, certs...)
	if err == nil || !strings.Contains(signer.Hint(err), "closer to the leaf") {
		t.Errorf("root as trust anchor: error %v, hint %q", err, signer.Hint(err))
	}
}

// If the service does not trust the certificate, the hint names the reason that
// is visible in the certificates.
func TestUntrustedHint(t *testing.T) {
	root, other := signertest.NewCA(t, "root"), signertest.NewCA(t, "other")
	ca := root.Intermediate(t, "ca")
	key := signertest.Key(t, "p256")
	leaf := ca.Issue(t, key, nil)
	issued := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{leaf, cross(t, root, ca, change)}
	}
	for _, test := range []struct {
		name  string
		certs []*x509.Certificate
		hint  []string
	}{
		{"intermediate expired", issued(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), []string{`"CN=ca"`, "expired at", "renew"}},
		{"intermediate not yet valid", issued(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), []string{`"CN=ca"`, "not valid before"}},
		{"intermediate signed with SHA-1", issued(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), []string{`"CN=ca"`, "SHA-256"}},
		{"intermediate is no CA", issued(func(c *x509.Certificate) { c.IsCA = false }), []string{`"CN=ca"`, "not a CA certificate"}},
		{"intermediate may not sign", issued(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), []string{`"CN=ca"`, "keyCertSign"}},
		{"intermediate missing", []*x509.Certificate{leaf}, []string{`"CN=ca"`, "Identity.Intermediates"}},
		{"intermediates of another CA", []*x509.Certificate{leaf, other.Cert, other.Intermediate(t, "next").Cert}, []string{"other certificates (2)", `"CN=ca"`, "none of the other"}},
		{"intermediate of the same name", []*x509.Certificate{leaf, root.Intermediate(t, "ca").Cert}, []string{"other certificates (1)", `"CN=ca"`}},
		{"another trust anchor", []*x509.Certificate{other.Issue(t, key, nil)}, []string{`"CN=other"`, "trust anchor"}},
		{"another trust anchor, whose certificate is given", []*x509.Certificate{other.Issue(t, key, nil), other.Cert}, []string{`"CN=other"`, "trust anchor must contain"}},
	} {
		_, _, err := create(t, root, 0, test.certs...)
		var api *APIError
		if !errors.As(err, &api) {
			t.Errorf("%s: error %v, want one of the service", test.name, err)
			continue
		}
		for _, want := range test.hint {
			if !strings.Contains(signer.Hint(err), want) {
				t.Errorf("%s: hint %q lacks %q", test.name, signer.Hint(err), want)
			}
		}
	}
}

// Within the tolerance, the clock of the service decides whether a certificate is
// valid.
func TestNotYetValidByLocalClock(t *testing.T) {
	root := signertest.NewCA(t, "root")
	ca := root.Intermediate(t, "ca")
	key := signertest.Key(t, "p256")
	after := func(d time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore = time.Now().Add(d) }
	}
	issue := func(d time.Duration) []*x509.Certificate {
		return []*x509.Certificate{ca.Issue(t, key, after(d)), ca.Cert}
	}
	for _, test := range []struct {
		name        string
		certs       []*x509.Certificate
		ahead       time.Duration // of the service's clock
		ok, refused bool          // by the service; neither: no request
		hint        string
	}{
		{"leaf, service's clock ahead", issue(2 * time.Minute), 3 * time.Minute, true, false, ""},
		{"leaf in five minutes, service's clock ahead", issue(5*time.Minute - time.Second), 6 * time.Minute, true, false, ""},
		{"intermediate, service's clock ahead", []*x509.Certificate{ca.Issue(t, key, nil), cross(t, root, ca, after(2*time.Minute))}, 3 * time.Minute, true, false, ""},
		{"leaf, service's clock the same", issue(2 * time.Minute), 0, false, true, "the service's clock shows"},
		{"leaf in six minutes", issue(6 * time.Minute), 10 * time.Minute, false, false, "clock"},
	} {
		requests, log, err := create(t, root, test.ahead, test.certs...)
		var local *CertificateError
		var api *APIError
		if (err == nil) != test.ok || errors.As(err, &api) != test.refused || errors.As(err, &local) == (test.ok || test.refused) || (requests == 0) == (test.ok || test.refused) {
			t.Errorf("%s: error %v after %d requests", test.name, err, requests)
		}
		if !strings.Contains(signer.Hint(err), test.hint) {
			t.Errorf("%s: hint %q", test.name, signer.Hint(err))
		}
		if strings.Contains(log, "WARN") != (test.ok || test.refused) {
			t.Errorf("%s: log %q", test.name, log)
		}
	}
}

func TestUnsupportedKeyIsNamed(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	unknown := *ca.Issue(t, signertest.Key(t, "p256"), nil)
	unknown.PublicKey = nil
	for name, oid := range map[string][]byte{
		"Ed448": {6, 3, 0x2b, 0x65, 0x71}, "ML-DSA-65": {6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18}, "1.3.101.100": {6, 3, 0x2b, 0x65, 0x64},
	} {
		algorithm := append([]byte{0x30, byte(len(oid))}, oid...)
		c := unknown
		c.RawSubjectPublicKeyInfo = append([]byte{0x30, byte(len(algorithm) + 4)}, append(algorithm, 3, 2, 0, 1)...)
		if err := CheckChain([]*x509.Certificate{&c}, time.Now()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	leaf := ca.Issue(t, signertest.Key(t, "ed25519"), nil)
	if err := CheckChain([]*x509.Certificate{leaf}, time.Now()); err == nil || !strings.Contains(err.Error(), "Ed25519") {
		t.Errorf("Ed25519: %v", err)
	}
}
