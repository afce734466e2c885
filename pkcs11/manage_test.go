package pkcs11

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// configOf returns a Config for the module of b. p enters the PIN.
func (b *fixture) configOf(t *testing.T, uri string, p *person) Config {
	t.Helper()
	u, err := ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	return Config{URI: u, Module: b.path, PIN: p.ask}
}

// Generate opens the new key without another prompt, unless the token allows
// only one session.
func TestGeneratePromptsOnce(t *testing.T) {
	for limit, prompts := range map[int]int{0: 1, 2: 1, 1: 2} {
		token := newFakeToken("hsm")
		token.limit = limit
		b := newFixture(t, token)
		p := person{pin: fakePIN}
		k, err := generate(t.Context(), b.configOf(t, "pkcs11:object=new", &p), keyGenerators[keystore.P256], b.table)
		if err != nil {
			t.Fatal(err)
		}
		if logins, _ := p.takePrompts(t); logins != prompts {
			t.Errorf("limit of %d sessions: %d prompts, want %d", limit, logins, prompts)
		}
		if n := b.openSessions(); n != 1 {
			t.Errorf("%d sessions are open, want only the session of the key", n)
		}
		if err := signOnce(k); err != nil {
			t.Error(err)
		}
		if err := k.Close(); err != nil || !b.finalized {
			t.Errorf("finalized: %t; error %v", b.finalized, err)
		}
	}
}

// After an error, no session and no module is open.
func TestGenerateErrors(t *testing.T) {
	for name, test := range map[string]struct {
		call string
		want error
	}{
		"token":               {"slots", ckrFunctionFailed},
		"login":               {"login", ckrFunctionFailed},
		"key pair":            {"generateKeyPair", ckrFunctionFailed},
		"opening the key":     {"slotInfo", ckrFunctionFailed},
		"closing the session": {"closeSession", ckrFunctionFailed},
		"existing name":       {"", fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			token := newCard(t)
			b := newFixture(t, token)
			p := person{pin: fakePIN}
			uri := "pkcs11:object=new"
			if test.call == "" {
				uri = "pkcs11:object=key"
			} else {
				b.fail(test.call, ckrFunctionFailed)
			}
			k, err := generate(t.Context(), b.configOf(t, uri, &p), keyGenerators[keystore.P256], b.table)
			if !errors.Is(err, test.want) || k != nil {
				t.Errorf("%v, error %v, want %v", k, err, test.want)
			}
			left := 0
			if test.call == "closeSession" {
				left = 1
			}
			if !b.finalized || b.opened-b.closed != left || len(b.table.byPath) != 0 {
				t.Errorf("finalized: %t; %d sessions opened, %d closed", b.finalized, b.opened, b.closed)
			}
		})
	}
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

// Install removes nothing. Either Open uses the new certificate, regardless of
// the order of objects on the token, or Install writes nothing.
func TestInstallKeepsOlderCertificates(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	valid := func(from, to time.Duration) *x509.Certificate {
		now := time.Now()
		return ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(to) })
	}
	placeholder := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(50, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, placeholder, placeholder, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if placeholder, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	leaf := valid(-time.Hour, 48*time.Hour)
	for _, test := range []struct {
		name    string
		before  []*x509.Certificate
		refused bool
	}{
		{"none", nil, false},
		{"the same certificate", []*x509.Certificate{leaf}, false},
		{"one that expires earlier", []*x509.Certificate{valid(-2*time.Hour, 24*time.Hour)}, false},
		{"two that expire earlier", []*x509.Certificate{valid(-2*time.Hour, time.Hour), valid(-3*time.Hour, 24*time.Hour)}, false},
		{"a placeholder", []*x509.Certificate{placeholder}, false},
		{"one of another key", []*x509.Certificate{issue(t, signertest.NewKey(t, "p256"))}, false},
		{"one that expires later", []*x509.Certificate{valid(-2*time.Hour, 72*time.Hour)}, true},
		{"one that expires at the same time", []*x509.Certificate{valid(-2*time.Hour, 48*time.Hour)}, true},
	} {
		for _, public := range []bool{true, false} {
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
			err := installChain(t.Context(), cfg, append([]*x509.Certificate{leaf}, ca.Chain()...), b.table)
			if errors.Is(err, fs.ErrExist) != test.refused || (err != nil) != test.refused || test.refused && signer.Hint(err) == "" {
				t.Errorf("%s: error %v", test.name, err)
			}
			after := installed(t, token)
			for _, c := range test.before {
				if !slices.ContainsFunc(after, c.Equal) {
					t.Errorf("%s: a certificate was removed", test.name)
				}
			}
			if test.refused {
				if len(after) != len(test.before) {
					t.Errorf("%s: %d certificates", test.name, len(after))
				}
				continue
			}
			for range 2 {
				slices.Reverse(token.objects)
				k, err := open(t.Context(), cfg, b.table)
				if err != nil {
					t.Fatal(err)
				}
				if chain := k.Chain(); len(chain) != 2 || !chain[0].Equal(leaf) || !chain[1].Equal(ca.Cert) {
					t.Errorf("%s: wrong chain of %d certificates", test.name, len(chain))
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
			// A second time, nothing is written.
			if err := installChain(t.Context(), cfg, append([]*x509.Certificate{leaf}, ca.Chain()...), b.table); err != nil {
				t.Error(err)
			}
			if n := len(installed(t, token)); n != len(after) {
				t.Errorf("%s: %d certificates, and %d the second time", test.name, len(after), n)
			}
		}
	}
}
