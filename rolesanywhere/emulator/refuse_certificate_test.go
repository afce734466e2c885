package emulator

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"time"
)

func TestRefusedLeaf(t *testing.T) {
	w := newTestEnv(t, Config{})
	rsaRoot := newRSARoot(t)
	w.start(t, Config{TrustAnchors: []TrustAnchor{{Certificates: append(w.ca.pem(), rsaRoot.pem()...)}}})

	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	after := func(change func(*x509.Certificate)) *x509.Certificate {
		template := leafTemplate("client")
		change(template)
		return w.ca.certify(t, template, w.client.key.Public())
	}
	sha1 := leafTemplate("client")
	sha1.SignatureAlgorithm = x509.SHA1WithRSA

	for _, tt := range []struct {
		name    string
		leaf    *x509.Certificate
		message string
	}{
		{"CA", after(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }), msgInsufficient},
		{"no key usage", after(func(c *x509.Certificate) { c.KeyUsage = 0 }), msgInsufficient},
		{"other key usage", after(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), msgInsufficient},
		{"empty subject", after(func(c *x509.Certificate) { c.Subject, c.DNSNames = pkix.Name{}, []string{"x.example"} }), msgInsufficient},
		{"version 1", w.ca.version1(t, leafTemplate("client"), w.client.key.Public()), msgInsufficient},
		{"SHA-1", rsaRoot.certify(t, sha1, w.client.key.Public()), msgInsufficient},
		{"MD5", withMD5(t, rsaRoot.certify(t, leafTemplate("client"), w.client.key.Public())), msgInsufficient},
		{"Ed25519", w.ca.certify(t, leafTemplate("client"), edKey.Public()), msgInsufficient},
		{"expired", after(func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) }),
			fmt.Sprintf(msgExpired, "2031-02-03T04:05:05Z")},
		{"not yet valid", after(func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Second) }),
			fmt.Sprintf(msgNotYetValid, "2031-02-03T04:05:07Z")},
		{"unknown critical extension", after(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 99}, Critical: true, Value: []byte{5, 0}}}
		}), msgUntrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := call{chain: []*x509.Certificate{tt.leaf}, key: w.client.key}
			if _, ok := tt.leaf.PublicKey.(ed25519.PublicKey); ok {
				// Sign refuses such a key, so replace the
				// certificate after signing.
				c.chain = nil
				c.after = func(r *http.Request) {
					r.Header.Set("X-Amz-X509", base64.StdEncoding.EncodeToString(tt.leaf.Raw))
				}
			}
			checkRefused(t, w.do(t, c), http.StatusForbidden, codeAccessDenied, tt.message)
		})
	}
	ok := after(func(c *x509.Certificate) { c.BasicConstraintsValid = true }) // CA:FALSE
	w.do(t, call{chain: []*x509.Certificate{ok}}).session(t)
}

// The time to verify a signature grows with the square of the key size. The
// client chooses this size, even for an intermediate. With this key it would
// take minutes.
func TestHugeRSAKeys(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 2_000_000)
	huge := &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 1<<31 - 1}
	ca := newRoot(t, caTemplate("Root"))
	a := &anchor{Certificates: string(ca.pem())}
	err := a.parse()
	if err != nil {
		t.Fatal(err)
	}
	var refused *refusal
	_, err = a.verify(ca.certify(t, leafTemplate("client"), huge), nil, nil, testNow)
	if !errors.As(err, &refused) || refused.message != msgInsufficient {
		t.Errorf("leaf: %v", err)
	}

	issuer := ca.certify(t, caTemplate("Intermediate"), huge)
	standIn := certKey{key: rsaKey()}
	template := caTemplate("Intermediate")
	template.SubjectKeyId = issuer.SubjectKeyId
	standIn.cert = certify(t, template, template, rsaKey().Public(), standIn.key)
	start := time.Now()
	_, err = a.verify(standIn.issue(t, leafTemplate("client")).cert, []*x509.Certificate{issuer}, nil, testNow)
	if !errors.As(err, &refused) || refused.message != msgUntrusted {
		t.Errorf("intermediate: %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("refusing an intermediate took %v", d)
	}
}

// withMD5 changes the signature algorithm in a certificate, which invalidates
// the signature. The object identifiers have the same length.
func withMD5(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	oid := func(last int) []byte {
		b, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, last})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	changed := parse(t, bytes.ReplaceAll(c.Raw, oid(11), oid(4)))
	if changed.SignatureAlgorithm != x509.MD5WithRSA {
		t.Fatalf("signature algorithm is %v", changed.SignatureAlgorithm)
	}
	return changed
}

func TestRefusedChain(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.client.key = ecKey(t, elliptic.P256())
	rsaRoot := newRSARoot(t)
	w.start(t, Config{TrustAnchors: []TrustAnchor{{Certificates: append(w.ca.pem(), rsaRoot.pem()...)}}})

	leafOf := func(ca certKey) *x509.Certificate {
		return ca.certify(t, leafTemplate("client"), w.client.key.Public())
	}
	under := func(ca certKey, change func(*x509.Certificate)) []*x509.Certificate {
		template := caTemplate("Intermediate")
		change(template)
		i := ca.issue(t, template)
		return []*x509.Certificate{leafOf(i), i.cert}
	}
	other := newRoot(t, caTemplate("Other"))
	sameName := newRoot(t, caTemplate("Root"))
	missing := w.ca.issue(t, caTemplate("Intermediate"))
	lookalike := caTemplate("Intermediate")
	lookalike.SubjectKeyId = missing.cert.SubjectKeyId
	impostor := newRoot(t, lookalike)
	short := caTemplate("Short")
	short.MaxPathLenZero = true
	shortCA := w.ca.issue(t, short)
	below := shortCA.issue(t, caTemplate("Below"))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edCA := certKey{w.ca.certify(t, caTemplate("Ed25519"), edKey.Public()), edKey}
	belowEd := edCA.issue(t, caTemplate("Below Ed25519"))

	for _, tt := range []struct {
		name  string
		chain []*x509.Certificate
	}{
		{"other CA", []*x509.Certificate{leafOf(other)}},
		{"other CA, root sent", []*x509.Certificate{leafOf(other), other.cert}},
		{"other CA of the same name", []*x509.Certificate{leafOf(sameName), sameName.cert}},
		{"missing intermediate", []*x509.Certificate{leafOf(missing)}},
		{"intermediate's name with another key", []*x509.Certificate{leafOf(impostor), missing.cert}},
		{"expired intermediate", under(w.ca, func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) })},
		{"intermediate is not a CA", under(w.ca, func(c *x509.Certificate) { c.IsCA = false })},
		{"intermediate may not sign", under(w.ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })},
		{"SHA-1 intermediate", under(rsaRoot, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })},
		{"Ed25519 intermediate", []*x509.Certificate{leafOf(belowEd), belowEd.cert, edCA.cert}},
		{"path too long", []*x509.Certificate{leafOf(below), below.cert, shortCA.cert}},
		{"a client's certificate as issuer", func() []*x509.Certificate {
			client := w.ca.issue(t, leafTemplate("other client"))
			return []*x509.Certificate{leafOf(client), client.cert}
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkRefused(t, w.do(t, call{chain: tt.chain}), http.StatusForbidden, codeAccessDenied, msgUntrusted)
		})
	}
	w.do(t, call{chain: []*x509.Certificate{leafOf(shortCA), shortCA.cert}}).session(t)
	// An unnecessary certificate is ignored.
	w.do(t, call{chain: []*x509.Certificate{leafOf(w.ca), edCA.cert, other.cert}}).session(t)
}

func TestIssuerTagRefused(t *testing.T) {
	w := &testEnv{ca: newRoot(t, caTemplate("A & B"))}
	w.client = w.ca.issue(t, leafTemplate("client"))
	w.start(t, Config{})
	checkRefused(t, w.do(t, call{}), http.StatusForbidden, codeAccessDenied, "Unable to assume role for "+testRole+
		". Some attributes failed to be mapped into session tags. Issuer: [ CN ]; Subject: [  ]; SAN: [  ]")
}
