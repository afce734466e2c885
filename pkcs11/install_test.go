package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func only(certs ...*x509.Certificate) keystore.Installation {
	return keystore.Installation{Certificates: certs}
}

// installed returns the certificates on a token.
func installed(t *testing.T, token *fakeToken) (all []*x509.Certificate) {
	t.Helper()
	for _, o := range token.objects {
		if !bytes.Equal(o.values[ckaClass], ulongBytes(ckoCertificate)) {
			continue
		}
		c, err := x509.ParseCertificate(o.values[ckaValue])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// placeholder returns a self-signed certificate as some devices store it.
func placeholder(t *testing.T) *x509.Certificate {
	t.Helper()
	key := signertest.Key(t, "p256")
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(50, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// Without Replace, Install removes nothing, and reports which certificate Open
// uses, regardless of the order of objects on the token. With Replace, it removes
// the other certificates of the key.
func TestInstall(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	valid := func(from, to time.Duration) *x509.Certificate {
		now := time.Now()
		return ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(to) })
	}
	leaf := valid(-time.Hour, 48*time.Hour)
	foreign, attestation := issue(t, signertest.NewKey(t, "p256")), signertest.Attestation(t, key)
	for _, test := range []struct {
		name     string
		before   []*x509.Certificate
		shadowed bool // Open would use the one from before
		others   int  // certificates of the key in before
	}{
		{"none", nil, false, 0},
		{"the same certificate", []*x509.Certificate{leaf}, false, 0},
		{"one that expires earlier", []*x509.Certificate{valid(-2*time.Hour, 24*time.Hour)}, false, 1},
		{"two that expire earlier", []*x509.Certificate{valid(-2*time.Hour, time.Hour), valid(-3*time.Hour, 24*time.Hour)}, false, 2},
		{"a placeholder", []*x509.Certificate{placeholder(t)}, false, 1},
		{"one of another key", []*x509.Certificate{foreign}, false, 0},
		{"an attestation certificate", []*x509.Certificate{attestation}, false, 0},
		{"one that expires later", []*x509.Certificate{valid(-2*time.Hour, 72*time.Hour)}, true, 1},
		{"one that expires at the same time", []*x509.Certificate{valid(-2*time.Hour, 48*time.Hour)}, false, 1},
		{"one that was issued later and expires at the same time", []*x509.Certificate{valid(-time.Minute, 48*time.Hour)}, true, 1},
	} {
		for n := range 4 {
			public, replace := n&1 != 0, n&2 != 0
			t.Run(fmt.Sprintf("%s, public key %t, replace %t", test.name, public, replace), func(t *testing.T) {
				token := newFakeToken("hsm")
				if public {
					token.addKey(key, "key", "\x01")
				} else {
					token.addPrivate(key, "key", "\x01")
				}
				for _, c := range test.before {
					id := "\x01"
					if !signer.SamePublicKey(c.PublicKey, key.Public()) {
						id = "\x02"
					}
					token.addCertificate(c.Raw, "key", id)
				}
				b := newFixture(t, token)
				p := person{pin: fakePIN}
				cfg := b.configOf(t, "pkcs11:object=key", &p)
				in := only(append(ca.Chain(), leaf)...)
				in.Replace = replace
				done, err := install(t.Context(), cfg, in, b.table)
				if err != nil {
					t.Fatal(err)
				}
				kept, removed := test.others, 0
				if replace {
					kept, removed = 0, test.others
				}
				if len(done.Kept) != kept || len(done.Removed) != removed || (done.Preferred != nil) != (test.shadowed && !replace) ||
					len(done.Chain) != 2 || !done.Chain[0].Equal(leaf) {
					t.Errorf("%+v", done)
				}
				after := installed(t, token)
				for _, c := range test.before {
					gone := !slices.ContainsFunc(after, c.Equal)
					if gone != slices.ContainsFunc(done.Removed, c.Equal) {
						t.Errorf("removed: %t", gone)
					}
				}
				if done.Preferred == nil {
					b.wantChain(t, cfg, token, leaf, ca.Cert)
				} else {
					b.wantChain(t, cfg, token, done.Preferred, ca.Cert)
				}
				// A second time, nothing is written.
				if _, err := install(t.Context(), cfg, in, b.table); err != nil {
					t.Error(err)
				}
				if n := len(installed(t, token)); n != len(after) {
					t.Errorf("%d certificates, and %d the second time", len(after), n)
				}
			})
		}
	}
}

// wantChain opens the key with the objects in both orders.
func (b *fixture) wantChain(t *testing.T, cfg Config, token *fakeToken, want ...*x509.Certificate) {
	t.Helper()
	for range 2 {
		slices.Reverse(token.objects)
		k, err := open(t.Context(), cfg, b.table)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(k.Chain(), want, (*x509.Certificate).Equal) {
			t.Errorf("wrong chain of %d certificates", len(k.Chain()))
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An attestation certificate is never the identity, even if the token has no other
// certificate of the key.
func TestAttestationIsNoIdentity(t *testing.T) {
	key := signertest.Key(t, "p256")
	token := newFakeToken("hsm")
	token.addPrivate(key, "key", "\x01")
	token.addCertificate(signertest.Attestation(t, key).Raw, "attestation", "\x01")
	b := newFixture(t, token)
	p := person{pin: fakePIN}
	k, err := open(t.Context(), b.configOf(t, "pkcs11:object=key", &p), b.table)
	if err != nil {
		t.Fatal(err)
	}
	if k.Chain() != nil {
		t.Errorf("the chain begins with %s", k.Chain()[0].Subject)
	}
	if _, err := signer.Bind(k, k.Certificates().All(), time.Now()); !errors.Is(err, signer.ErrNoCertificate) || signer.Hint(err) == "" {
		t.Errorf("error %v", err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	entries, err := list(t.Context(), b.configOf(t, "pkcs11:", &p), b.table)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[keystore.EntryKind]int)
	for _, e := range entries {
		kinds[e.Kind]++
	}
	if kinds[keystore.AttestationEntry] != 1 || kinds[keystore.CertificateEntry] != 0 || kinds[keystore.KeyEntry] != 1 {
		t.Errorf("%v", kinds)
	}
}

// Nothing is written if the key does not belong to the certificate. A fault
// anywhere leaves the old or the new certificate, and the next Install succeeds.
func TestInstallFaults(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	old, leaf := ca.Issue(t, key, nil), ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-time.Hour) })
	for _, test := range []struct {
		call    string
		nth     int // 0: each
		code    Error
		written int // new certificates on the token
		hint    bool
	}{
		{"openSession", 0, ckrTokenWriteProtected, 0, false},
		{"sign", 0, ckrKeyFunctionNotPermit, 0, true},
		{"sign2", 0, ckrFunctionFailed, 0, false},
		{"createObject", 1, ckrDeviceMemory, 0, true},
		{"createObject", 2, ckrDeviceMemory, 1, true}, // the intermediate
		{"createObject", 1, ckrTokenWriteProtected, 0, true},
		{"createObject", 1, ckrUserNotLoggedIn, 0, true},
		{"createObject", 1, ckrGeneralError, 0, true},
		{"destroyObject", 1, ckrFunctionFailed, 2, true},
	} {
		t.Run(fmt.Sprintf("%s %d %v", test.call, test.nth, test.code), func(t *testing.T) {
			token := newFakeToken("hsm")
			token.addKey(key, "key", "\x01")
			token.addCertificate(old.Raw, "key", "\x01")
			b := newFixture(t, token)
			n := 0
			b.before = func(call string, _ int, _ []byte) Error {
				if call != test.call {
					return 0
				}
				if n++; test.nth == 0 || n == test.nth {
					return test.code
				}
				return 0
			}
			p := person{pin: fakePIN}
			cfg := b.configOf(t, "pkcs11:object=key", &p)
			in := only(append(ca.Chain(), leaf)...)
			in.Replace = true
			_, err := install(t.Context(), cfg, in, b.table)
			if !errors.Is(err, test.code) || test.hint && signer.Hint(err) == "" {
				t.Errorf("error %v, hint %q", err, signer.Hint(err))
			}
			after := installed(t, token)
			if !slices.ContainsFunc(after, old.Equal) || len(after) != 1+test.written {
				t.Errorf("%d certificates", len(after))
			}
			b.before = nil
			if _, err := install(t.Context(), cfg, in, b.table); err != nil {
				t.Fatal(err)
			}
			b.wantChain(t, cfg, token, leaf, ca.Cert)
		})
	}
	token := newFakeToken("hsm")
	token.addKey(key, "key", "\x01")
	b := newFixture(t, token)
	p := person{pin: fakePIN}
	cfg := b.configOf(t, "pkcs11:object=key", &p)
	expired := ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for name, test := range map[string]struct {
		in   keystore.Installation
		want error
	}{
		"another key":     {only(issue(t, signertest.NewKey(t, "p256"))), signer.ErrMismatch},
		"no certificates": {only(), signer.ErrNoCertificate},
		"an attestation":  {only(signertest.Attestation(t, key)), signer.ErrNoCertificate},
		"expired":         {only(expired), nil},
	} {
		if _, err := install(t.Context(), cfg, test.in, b.table); err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if n := len(installed(t, token)); n != 0 {
		t.Errorf("%d certificates were written", n)
	}
}

// The public key object of the token can belong to another key: then only the
// signature shows that the certificate is not for the private key.
func TestInstallProves(t *testing.T) {
	claimed, real := signertest.Key(t, "p256"), signertest.NewKey(t, "p256")
	for _, always := range []bool{false, true} {
		token := newFakeToken("hsm")
		token.addKey(claimed, "key", "\x01").key = real
		for _, o := range token.objects {
			if o.private && always {
				o.values[ckaAlwaysAuthenticate] = []byte{1}
			}
		}
		b := newFixture(t, token)
		p := person{pin: fakePIN}
		cfg := b.configOf(t, "pkcs11:object=key", &p)
		if _, err := install(t.Context(), cfg, only(issue(t, claimed)), b.table); !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("error %v", err)
		}
		if n := len(installed(t, token)); n != 0 {
			t.Errorf("%d certificates were written", n)
		}
		for _, o := range token.objects {
			if o.private {
				o.key = claimed
			}
		}
		if _, err := install(t.Context(), cfg, only(issue(t, claimed)), b.table); err != nil {
			t.Errorf("always authenticate %t: %v", always, err)
		}
	}
}

// A certificate of another key is recognized without a login, unless the key cannot
// be known without it.
func TestCheckCertificates(t *testing.T) {
	key, other := signertest.Key(t, "p256"), signertest.NewKey(t, "p256")
	token := newFakeToken("hsm")
	token.addKey(key, "key", "\x01")
	token.addKey(key, "two", "\x02")
	token.addKey(other, "two", "\x03")
	token.addPrivate(key, "private", "\x04")
	b := newFixture(t, token)
	p := person{pin: "wrong"}
	for _, test := range []struct {
		uri  string
		of   crypto.Signer
		want error
	}{
		{"pkcs11:object=key", key, nil},
		{"pkcs11:object=key", other, signer.ErrMismatch},
		{"pkcs11:id=%01", other, signer.ErrMismatch},
		{"pkcs11:object=two", signertest.NewKey(t, "p256"), nil},
		{"pkcs11:object=private", other, nil},
		{"pkcs11:token=hsm", other, nil},
		{"pkcs11:token=none;object=key", other, nil}, // Install reports it
	} {
		err := checkCertificates(t.Context(), b.configOf(t, test.uri, &p), only(issue(t, test.of)).Certificates, b.table)
		if !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", test.uri, err, test.want)
		}
	}
	if logins, signatures := p.takePrompts(t); logins+signatures > 0 {
		t.Errorf("%d prompts", logins+signatures)
	}
}
