package all

import (
	"crypto"
	"crypto/x509"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A pair is a key file with its certificate, and the CA.
type pair struct {
	id        keystore.Identity
	key, cert string // paths; cert is key if both are in one file
	old       crypto.PublicKey
	inUse     *x509.Certificate
	first     []byte // PEM of it and its issuer
	ca        *signertest.CA
}

func newPair(t *testing.T, inOneFile bool) pair {
	t.Helper()
	dir := t.TempDir()
	p := pair{key: filepath.Join(dir, "key.pem"), cert: filepath.Join(dir, "cert.pem"), ca: signertest.NewCA(t, "root").Intermediate(t, "issuer")}
	key := signertest.NewKey(t, "p256")
	p.old = key.Public()
	p.inUse = p.ca.Issue(t, key, nil)
	p.first = signertest.CertPEM(p.inUse, p.ca.Cert)
	text := string(signertest.KeyPEM(t, key))
	if inOneFile {
		p.cert = p.key
		text += string(p.first)
	} else {
		writeFile(t, p.cert, string(p.first), 0o644)
	}
	writeFile(t, p.key, text, 0o600)
	id, err := keystore.ParseIdentity(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.id = id
	return p
}

// publicKey opens the pair, which must always work.
func (p pair) publicKey(t *testing.T) crypto.PublicKey {
	t.Helper()
	s, err := New().OpenIdentity(t.Context(), p.id, keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := signer.Prove(t.Context(), s, s.Chain()[0].PublicKey); err != nil {
		t.Fatal(err)
	}
	return s.Public()
}

// The pair works in each state in which Succeed can be interrupted, and another
// Succeed completes it.
func TestInterruptedSucceed(t *testing.T) {
	type files struct{ key, cert, next bool } // which of them have changed; next: is removed
	for _, test := range []struct {
		name      string
		inOneFile bool
		state     files
		isNew     bool
	}{
		{"nothing was written", false, files{}, false},
		{"both certificates", false, files{cert: true}, false},
		{"both certificates and the new key", false, files{key: true, cert: true}, true},
		{"both certificates and the new key, moved", false, files{key: true, cert: true, next: true}, true},
		{"one file, nothing was written", true, files{}, false},
		{"one file with the new key", true, files{key: true}, true},
		{"one file with the new key, moved", true, files{key: true, next: true}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, s := newPair(t, test.inOneFile), New()
			next, err := s.GenerateSuccessor(t.Context(), p.id, p.inUse, keystore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			again, err := s.GenerateSuccessor(t.Context(), p.id, p.inUse, keystore.Options{})
			if err != nil || !signer.SamePublicKey(again.Public(), next.Public()) || again.Ref() != next.Ref() {
				t.Fatalf("the second call returns another key, %v", err)
			}
			chain := append([]*x509.Certificate{p.ca.Issue(t, next, nil)}, p.ca.Cert)
			text := signertest.CertPEM(chain...)
			key, err := os.ReadFile(p.key + keystore.SuccessorSuffix)
			if err != nil {
				t.Fatal(err)
			}
			if test.state.cert {
				writeFile(t, p.cert, string(p.first)+string(text), 0o644)
			}
			if test.inOneFile {
				key = slices.Concat(key, text)
			}
			if test.state.key {
				writeFile(t, p.key, string(key), 0o600)
			}
			if test.state.next {
				if err := os.Remove(p.key + keystore.SuccessorSuffix); err != nil {
					t.Fatal(err)
				}
			}
			if got := p.publicKey(t); signer.SamePublicKey(got, next.Public()) != test.isNew {
				t.Errorf("the new key is in use: %t", !test.isNew)
			}
			inUse := p.inUse
			if test.isNew {
				inUse = chain[0]
			}
			for range 2 {
				if err := s.Succeed(t.Context(), p.id, inUse, next.Ref(), chain, keystore.Options{}); err != nil {
					t.Fatal(err)
				}
				if !signer.SamePublicKey(p.publicKey(t), next.Public()) {
					t.Error("the old key is in use")
				}
			}
			data, err := os.ReadFile(p.cert)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(data), "BEGIN CERTIFICATE"); n != len(chain) {
				t.Errorf("%d certificates", n)
			}
			if entries, err := os.ReadDir(filepath.Dir(p.key)); err != nil || len(entries) > 2 {
				t.Errorf("%v, %v", entries, err)
			}
		})
	}
}

// A key that no new one can replace is refused before anything is written.
func TestNoSuccessor(t *testing.T) {
	for _, test := range []struct {
		name  string
		setUp func(t *testing.T, p *pair)
		err   error
		text  string
	}{
		{"a key in a variable", func(t *testing.T, p *pair) {
			data, err := os.ReadFile(p.key)
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("KEY", string(data))
			p.id.Key = keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "KEY"}
		}, errors.ErrUnsupported, "the key is not in a file"},
		{"a key in DER", func(t *testing.T, p *pair) {
			der, err := x509.MarshalPKCS8PrivateKey(signertest.NewKey(t, "p256"))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, p.key, string(der), 0o600)
		}, errors.ErrUnsupported, "not PEM"},
		{"two keys", func(t *testing.T, p *pair) {
			key := string(signertest.KeyPEM(t, signertest.NewKey(t, "p256")))
			writeFile(t, p.key, key+key, 0o600)
		}, errors.ErrUnsupported, "2 private keys"},
		{"a certificate in a variable", func(t *testing.T, p *pair) {
			p.id.Certificate = keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "CERT"}
		}, errors.ErrUnsupported, "not in a file"},
		{"a file of certificates with a key", func(t *testing.T, p *pair) {
			writeFile(t, p.cert, string(p.first)+string(signertest.KeyPEM(t, signertest.NewKey(t, "p256"))), 0o600)
		}, fs.ErrExist, "something other than certificates"},
		{"the successor is the same key", func(t *testing.T, p *pair) {
			data, err := os.ReadFile(p.key)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, p.key+keystore.SuccessorSuffix, string(data), 0o600)
		}, nil, "is not a new key"},
		{"the successor is of another type", func(t *testing.T, p *pair) {
			writeFile(t, p.key+keystore.SuccessorSuffix, string(signertest.KeyPEM(t, signertest.NewKey(t, "p384"))), 0o600)
		}, nil, "is not a new key"},
		{"the successor is damaged", func(t *testing.T, p *pair) {
			writeFile(t, p.key+keystore.SuccessorSuffix, "-----BEGIN PRIVATE KEY-----\n", 0o600)
		}, nil, "damaged"},
		{"a persistent key", func(t *testing.T, p *pair) {
			signertest.Require(t, "swtpm", "swtpm")
			p.id.Key = keystore.Ref{Scheme: "tpm", Rest: "handle=0x81010002;device=" + tpmtest.Start(t).Path}
		}, errors.ErrUnsupported, "not in a key file"},
		{"a key in the key store of the system", func(t *testing.T, p *pair) {
			p.id.Key = keystore.Ref{Scheme: "winstore", Rest: "store=MY"}
		}, errors.ErrUnsupported, "cannot take the place"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, false)
			test.setUp(t, &p)
			before, err := os.ReadDir(filepath.Dir(p.key))
			if err != nil {
				t.Fatal(err)
			}
			k, err := New().GenerateSuccessor(t.Context(), p.id, p.inUse, keystore.Options{LookupEnv: os.LookupEnv})
			switch {
			case err == nil:
				t.Error("a new key", k.Ref(), k.Close())
			case test.err != nil && !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.text) || signer.Hint(err) == "":
				t.Errorf("%v, hint %q", err, signer.Hint(err))
			}
			if after, err := os.ReadDir(filepath.Dir(p.key)); err != nil || len(after) != len(before) {
				t.Errorf("%v, %v", after, err)
			}
		})
	}
}

// Succeed changes nothing if the pair or the new key was replaced meanwhile, or if there
// are certificates of another key.
func TestSucceedAfterAChange(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(t *testing.T, p *pair)
		text   string
	}{
		{"another pair", func(t *testing.T, p *pair) {
			key := signertest.NewKey(t, "p256")
			writeFile(t, p.key, string(signertest.KeyPEM(t, key)), 0o600)
			writeFile(t, p.cert, string(signertest.CertPEM(p.ca.Issue(t, key, nil), p.ca.Cert)), 0o644)
		}, "replaced meanwhile"},
		{"another new key", func(t *testing.T, p *pair) {
			writeFile(t, p.key+keystore.SuccessorSuffix, string(signertest.KeyPEM(t, signertest.NewKey(t, "p256"))), 0o600)
		}, "is not the key of the new certificate"},
		{"the new key is lost", func(t *testing.T, p *pair) {
			if err := os.Remove(p.key + keystore.SuccessorSuffix); err != nil {
				t.Fatal(err)
			}
		}, "key.pem.next"},
		{"a certificate of another key", func(t *testing.T, p *pair) {
			writeFile(t, p.cert, string(p.first)+string(signertest.CertPEM(p.ca.Issue(t, signertest.NewKey(t, "p256"), nil))), 0o644)
		}, "contains more than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, s := newPair(t, false), New()
			next, err := s.GenerateSuccessor(t.Context(), p.id, p.inUse, keystore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			test.change(t, &p)
			before := contentsOf(t, filepath.Dir(p.key))
			err = s.Succeed(t.Context(), p.id, p.inUse, next.Ref(), []*x509.Certificate{p.ca.Issue(t, next, nil), p.ca.Cert}, keystore.Options{})
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Error(err)
			}
			if after := contentsOf(t, filepath.Dir(p.key)); !maps.Equal(before, after) {
				t.Errorf("%q, then %q", before, after)
			}
			p.publicKey(t)
		})
	}
}

func contentsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}
