package signer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// pathNow is the time of the tests of paths.
var pathNow = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

// sent is the number of intermediate certificates that a request can contain.
const sent = 5

// An authority is a name with a key.
type authority struct {
	name string
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return authority{name, key}
}

var serial int64

func (a authority) create(t testing.TB, template *x509.Certificate, pub any) *x509.Certificate {
	t.Helper()
	serial++
	template.SerialNumber = big.NewInt(serial)
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: a.name}, SubjectKeyId: []byte(a.name)}
	der, err := x509.CreateCertificate(crand.Reader, template, parent, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certify returns a CA certificate for subject.
func (a authority) certify(t testing.TB, subject authority, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: subject.name}, SubjectKeyId: []byte(subject.name),
		NotBefore: pathNow.AddDate(-1, 0, 0), NotAfter: pathNow.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	return a.create(t, template, subject.key.Public())
}

func (a authority) root(t testing.TB) *x509.Certificate { return a.certify(t, a, nil) }

// client returns a certificate for the P-256 key of signertest.
func (a authority) client(t testing.TB) *x509.Certificate {
	t.Helper()
	return a.create(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, DNSNames: []string{"client.example"},
		NotBefore: pathNow.AddDate(0, 0, -1), NotAfter: pathNow.AddDate(0, 0, 1),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, signertest.Key(t, "p256").Public())
}

// wrongs are changes of an issuer's certificate that a verifier refuses. Each
// bad certificate expires after the good ones, if it is not expired.
var wrongs = map[string]func(*x509.Certificate){
	"expired": func(c *x509.Certificate) { c.NotAfter = pathNow.Add(-time.Minute) },
	"not yet valid": func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = pathNow.Add(time.Minute), pathNow.AddDate(2, 0, 0)
	},
	"no CA": func(c *x509.Certificate) { c.IsCA, c.NotAfter = false, pathNow.AddDate(2, 0, 0) },
	"no basic constraints": func(c *x509.Certificate) {
		c.BasicConstraintsValid, c.IsCA, c.NotAfter = false, false, pathNow.AddDate(2, 0, 0)
	},
	"key usage": func(c *x509.Certificate) {
		c.KeyUsage, c.NotAfter = x509.KeyUsageDigitalSignature, pathNow.AddDate(2, 0, 0)
	},
	"extended key usage": func(c *x509.Certificate) {
		c.ExtKeyUsage, c.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, pathNow.AddDate(2, 0, 0)
	},
	"path length": func(c *x509.Certificate) {
		c.MaxPathLen, c.MaxPathLenZero, c.NotAfter = 0, true, pathNow.AddDate(2, 0, 0)
	},
	"name not permitted": func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains, c.NotAfter = true, []string{"other.example"}, pathNow.AddDate(2, 0, 0)
	},
	"name excluded": func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.ExcludedDNSDomains, c.NotAfter = true, []string{"example"}, pathNow.AddDate(2, 0, 0)
	},
	"directory name not permitted": func(c *x509.Certificate) {
		c.ExtraExtensions, c.NotAfter = []pkix.Extension{onlyOther}, pathNow.AddDate(2, 0, 0)
	},
	"weak signature": func(c *x509.Certificate) {
		c.SignatureAlgorithm, c.NotAfter = x509.ECDSAWithSHA1, pathNow.AddDate(2, 0, 0)
	},
	"unknown critical extension": func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 99}, Critical: true, Value: []byte{5, 0}}}
		c.NotAfter = pathNow.AddDate(2, 0, 0)
	},
}

// onlyOther permits only directory names that begin with CN=other.
var onlyOther = pkix.Extension{Id: []int{2, 5, 29, 30}, Critical: true, Value: []byte{
	0x30, 0x18, 0xa0, 0x16, 0x30, 0x14, 0xa4, 0x12, 0x30, 0x10, 0x31, 0x0e, 0x30, 0x0c, 6, 3, 0x55, 4, 3, 0x0c, 5, 'o', 't', 'h', 'e', 'r',
}}

// broken returns c with another signature, in which a bit is wrong.
func broken(t testing.TB, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	der := slices.Clone(c.Raw)
	der[len(der)-1] ^= 1
	b, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verify is the verifier of crypto/x509. It trusts roots.
func verify(leaf *x509.Certificate, intermediates []*x509.Certificate, usage x509.ExtKeyUsage, roots ...*x509.Certificate) error {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: pathNow, KeyUsages: []x509.ExtKeyUsage{usage},
	}
	for _, c := range roots {
		opts.Roots.AddCert(c)
	}
	for _, c := range intermediates {
		opts.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(opts)
	return err
}

// valid returns the first certificates that are valid, as a client sends them.
func valid(certs []*x509.Certificate) (some []*x509.Certificate) {
	for _, c := range certs {
		if !pathNow.Before(c.NotBefore) && !pathNow.After(c.NotAfter) && len(some) < sent {
			some = append(some, c)
		}
	}
	return some
}

func ids(certs []*x509.Certificate) (s string) {
	for _, c := range certs {
		s += c.SerialNumber.String() + " "
	}
	return s + ";"
}

func permutations(certs []*x509.Certificate, yield func([]*x509.Certificate)) {
	var permute func(int)
	permute = func(n int) {
		if n == len(certs) {
			yield(certs)
			return
		}
		for i := n; i < len(certs); i++ {
			certs[n], certs[i] = certs[i], certs[n]
			permute(n + 1)
			certs[n], certs[i] = certs[i], certs[n]
		}
	}
	permute(0)
}

// checkPaths checks in every order of certs that the chain verifies with the
// root: the path alone, and with the alternatives.
func checkPaths(t *testing.T, root *x509.Certificate, certs ...*x509.Certificate) {
	t.Helper()
	seen := make(map[string]bool)
	permutations(certs, func(order []*x509.Certificate) {
		got, err := signer.SelectCertificates(signertest.Key(t, "p256").Public(), order, pathNow)
		if err != nil {
			t.Fatal(err)
		}
		id := ids(got.Chain) + ids(got.Alternatives)
		if seen[id] {
			return
		}
		seen[id] = true
		if err := verify(got.Chain[0], got.Chain[1:], x509.ExtKeyUsageClientAuth, root); err != nil {
			t.Errorf("%q: the chain %q does not verify: %v", names(order), names(got.Chain), err)
		}
		if err := verify(got.Chain[0], valid(got.Issued()[1:]), x509.ExtKeyUsageClientAuth, root); err != nil {
			t.Errorf("%q: the certificates %q do not verify: %v", names(order), names(got.Issued()), err)
		}
		if n := len(got.All()); n != len(certs) {
			t.Errorf("%q: %d certificates remain of %d", names(order), n, len(certs))
		}
	})
}

// A bad certificate of an issuer is beside a good one: of the leaf's issuer or
// of the one above, of the same issuer or of another.
func TestPathBesideBadIssuer(t *testing.T) {
	root, other := newAuthority(t, "root"), newAuthority(t, "other")
	outer, inner := newAuthority(t, "outer"), newAuthority(t, "inner")
	leaf, rootCert := inner.client(t), root.root(t)
	goodOuter, goodInner := root.certify(t, outer, nil), outer.certify(t, inner, nil)
	for name, wrong := range wrongs {
		t.Run(name, func(t *testing.T) {
			badOuter := root.certify(t, outer, wrong)
			checkPaths(t, rootCert, leaf, goodInner, goodOuter, badOuter)
			checkPaths(t, rootCert, leaf, goodInner, goodOuter, badOuter, rootCert)
			if name == "path length" {
				return // the leaf's issuer may have the length 0
			}
			badInner := outer.certify(t, inner, wrong)
			checkPaths(t, rootCert, leaf, goodInner, badInner, goodOuter)
			checkPaths(t, rootCert, leaf, goodInner, badInner, goodOuter, badOuter)
			badByOther := other.certify(t, inner, wrong)
			checkPaths(t, rootCert, leaf, goodInner, badByOther, goodOuter, other.root(t))
		})
	}
	t.Run("broken signature", func(t *testing.T) {
		checkPaths(t, rootCert, leaf, goodInner, broken(t, outer.certify(t, inner, nil)), goodOuter)
		checkPaths(t, rootCert, leaf, goodInner, goodOuter, broken(t, root.certify(t, outer, nil)), rootCert)
	})
	t.Run("same name, another key", func(t *testing.T) {
		checkPaths(t, rootCert, leaf, goodInner, goodOuter, root.certify(t, newAuthority(t, "inner"), nil), other.certify(t, newAuthority(t, "outer"), nil))
	})
	t.Run("the only good path is the long one", func(t *testing.T) {
		short := root.certify(t, inner, wrongs["expired"])
		checkPaths(t, rootCert, leaf, short, goodInner, goodOuter)
		dead := other.certify(t, inner, nil) // whose issuer has only an expired certificate
		checkPaths(t, rootCert, leaf, dead, root.certify(t, other, wrongs["expired"]), goodInner, goodOuter)
	})
}

// The trust anchor is unknown, so the certificates serve several.
func TestCrossCertificatesForEachAnchor(t *testing.T) {
	a, b, c := newAuthority(t, "a"), newAuthority(t, "b"), newAuthority(t, "c")
	ca := newAuthority(t, "ca")
	leaf := ca.client(t)
	for name, bundle := range map[string][]*x509.Certificate{
		"three roots":                 {leaf, a.certify(t, ca, nil), b.certify(t, ca, nil), c.certify(t, ca, nil)},
		"roots that certify another":  {leaf, a.certify(t, ca, nil), b.certify(t, a, nil), c.certify(t, a, nil)},
		"a chain of roots":            {leaf, a.certify(t, ca, nil), b.certify(t, a, nil), c.certify(t, b, nil)},
		"a circle of two":             {leaf, a.certify(t, ca, nil), b.certify(t, a, nil), a.certify(t, b, nil), c.certify(t, b, nil)},
		"a circle of three":           {leaf, a.certify(t, ca, nil), b.certify(t, a, nil), c.certify(t, b, nil), a.certify(t, c, nil)},
		"a circle through the issuer": {leaf, a.certify(t, ca, nil), ca.certify(t, a, nil), b.certify(t, ca, nil), c.certify(t, b, nil)},
		"a bridge":                    {leaf, a.certify(t, ca, nil), b.certify(t, a, nil), c.certify(t, b, nil), b.certify(t, c, nil)},
		"renewed":                     {leaf, a.certify(t, ca, wrongs["expired"]), a.certify(t, ca, nil), b.certify(t, ca, nil), c.certify(t, b, nil)},
	} {
		for _, withRoots := range []bool{false, true} {
			certs := bundle
			if withRoots && len(bundle) < 5 {
				certs = append(slices.Clone(bundle), a.root(t))
			}
			seen := make(map[string]bool)
			permutations(certs, func(order []*x509.Certificate) {
				got, err := signer.SelectCertificates(leaf.PublicKey, order, pathNow)
				if err != nil {
					t.Fatal(err)
				}
				id := ids(got.Issued())
				if seen[id] {
					return
				}
				seen[id] = true
				for _, anchor := range []authority{a, b, c} {
					if err := verify(leaf, valid(got.Issued()[1:]), x509.ExtKeyUsageClientAuth, anchor.root(t)); err != nil {
						t.Errorf("%s: %q does not verify with the root of %s: %v", name, names(got.Issued()), anchor.name, err)
					}
				}
			})
		}
	}
}

// Whenever a verifier finds a path in the bundle, it finds one among the
// certificates that a request can contain.
func TestPathsOfRandomBundles(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var all []authority
	for i := range 5 {
		all = append(all, newAuthority(t, fmt.Sprint("CA ", i)))
	}
	var changes []func(*x509.Certificate)
	for _, name := range []string{"expired", "not yet valid", "no CA", "key usage", "extended key usage", "path length", "name excluded"} {
		changes = append(changes, wrongs[name])
	}
	verified, crowded := 0, 0
	for range 150 {
		certs := []*x509.Certificate{all[0].client(t)}
		for range 3 + random.IntN(6) {
			issuer, subject := all[random.IntN(len(all))], all[random.IntN(len(all))]
			var change func(*x509.Certificate)
			if random.IntN(2) == 0 {
				change = changes[random.IntN(len(changes))]
			}
			certs = append(certs, issuer.certify(t, subject, change))
		}
		leaf := certs[0]
		random.Shuffle(len(certs), func(i, j int) { certs[i], certs[j] = certs[j], certs[i] })
		got, err := signer.SelectCertificates(leaf.PublicKey, certs, pathNow)
		if err != nil {
			t.Fatal(err)
		}
		issued := got.Issued()[1:]
		if len(valid(issued)) == sent && len(issued) > sent {
			crowded++
			continue // not every path fits
		}
		for _, anchor := range all {
			for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageAny, x509.ExtKeyUsageClientAuth} {
				root := anchor.root(t)
				if verify(leaf, certs, usage, root) != nil {
					continue
				}
				verified++
				if err := verify(leaf, valid(issued), usage, root); err != nil {
					t.Errorf("seed %d: of %q, %q does not verify with the root of %s: %v", seed, names(certs), names(issued), anchor.name, err)
				}
			}
		}
	}
	t.Logf("%d paths verified, %d bundles had more than %d certificates to send", verified, crowded, sent)
	if verified < 50 || crowded > 75 {
		t.Errorf("seed %d: %d paths verified, %d bundles skipped", seed, verified, crowded)
	}
}

func TestPathSearchIsBounded(t *testing.T) {
	ca, root := newAuthority(t, "ca"), newAuthority(t, "root")
	leaf := ca.client(t)
	good := root.certify(t, ca, nil)
	many := func(issue func(int) *x509.Certificate) []*x509.Certificate {
		certs := []*x509.Certificate{leaf}
		for i := range 1000 {
			certs = append(certs, issue(i))
		}
		return append(certs, good)
	}
	var web []authority
	for i := range 32 {
		web = append(web, newAuthority(t, fmt.Sprint("web ", i)))
	}
	impostors := []authority{newAuthority(t, "ca"), newAuthority(t, "ca"), newAuthority(t, "ca")}
	for name, certs := range map[string][]*x509.Certificate{
		"one name and key":          many(func(int) *x509.Certificate { return root.certify(t, ca, nil) }),
		"one name, other keys":      many(func(i int) *x509.Certificate { return root.certify(t, impostors[i%3], nil) }),
		"one name, a thousand keys": many(func(int) *x509.Certificate { return root.certify(t, newAuthority(t, "ca"), nil) }),
		"one name for all":          many(func(int) *x509.Certificate { return ca.certify(t, newAuthority(t, "ca"), nil) }),
		"all certify all":           many(func(i int) *x509.Certificate { return web[i/32].certify(t, web[i%32], nil) }),
		"all certify the issuer": many(func(i int) *x509.Certificate {
			if i < 32 {
				return web[i].certify(t, ca, nil)
			}
			return web[i/32].certify(t, web[i%32], nil)
		}),
	} {
		if n := signer.Checks(leaf, certs, pathNow); n > signer.MaxChecks {
			t.Errorf("%s: verified %d signatures, want at most %d", name, n, signer.MaxChecks)
		}
		chain, err := signer.Chain(leaf.PublicKey, certs, pathNow)
		if err != nil || len(chain) < 2 && name != "one name, a thousand keys" && name != "one name for all" {
			t.Errorf("%s: chain %q, error %v", name, names(chain), err)
		}
	}
}

// Of two valid certificates for a key, the one whose issuers are valid is used,
// although the other one expires later.
func TestLeafWithValidIssuers(t *testing.T) {
	root, old, renewed := newAuthority(t, "root"), newAuthority(t, "old"), newAuthority(t, "new")
	longer := func(c *x509.Certificate) { c.NotAfter = pathNow.AddDate(0, 0, 2) }
	key := signertest.Key(t, "p256").Public()
	leaf := func(ca authority, change func(*x509.Certificate)) *x509.Certificate {
		return ca.certify(t, authority{"client", signertest.Key(t, "p256").(*ecdsa.PrivateKey)}, func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage, c.NotAfter = false, x509.KeyUsageDigitalSignature, pathNow.AddDate(0, 0, 1)
			if change != nil {
				change(c)
			}
		})
	}
	short, long := leaf(old, nil), leaf(renewed, longer)
	good := root.certify(t, old, nil)
	for name, bad := range map[string]*x509.Certificate{
		"expired":       root.certify(t, renewed, wrongs["expired"]),
		"not yet valid": root.certify(t, renewed, wrongs["not yet valid"]),
		"no CA":         root.certify(t, renewed, wrongs["no CA"]),
	} {
		permutations([]*x509.Certificate{short, long, good, bad}, func(order []*x509.Certificate) {
			if got, err := signer.Chain(key, order, pathNow); err != nil || !slices.Equal(got, []*x509.Certificate{short, good}) {
				t.Errorf("%s: chain %q, error %v", name, names(got), err)
			}
		})
	}
	// If the issuer is unknown, it may be the trust anchor.
	if got, err := signer.Chain(key, []*x509.Certificate{short, good, long}, pathNow); err != nil || !slices.Equal(got, []*x509.Certificate{long}) {
		t.Errorf("issuer unknown: chain %q, error %v", names(got), err)
	}
}

// A TLS server expects a path, without certificates of other paths.
func TestTLSCertificateHasOnlyThePath(t *testing.T) {
	a, b, ca := newAuthority(t, "a"), newAuthority(t, "b"), newAuthority(t, "ca")
	certs := []*x509.Certificate{ca.client(t), a.certify(t, ca, nil), b.certify(t, ca, nil)}
	s, err := signer.Bind(signer.FromKey(signertest.Key(t, "p256")), certs, pathNow)
	if err != nil {
		t.Fatal(err)
	}
	tls, err := signer.TLSCertificate(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(tls.Certificate) != 2 || len(signer.CertificatesOf(s).Issued()) != 3 {
		t.Errorf("%d certificates for TLS of %d", len(tls.Certificate), len(signer.CertificatesOf(s).Issued()))
	}
}

// Paths of CAs whose algorithm nobody here knows, such as SLH-DSA, are built by
// names and key identifiers.
func TestPathOfUnknownAlgorithm(t *testing.T) {
	root, outer, inner, other := newAuthority(t, "root"), newAuthority(t, "outer"), newAuthority(t, "inner"), newAuthority(t, "other")
	certs := []*x509.Certificate{
		inner.client(t), outer.certify(t, inner, nil), root.certify(t, outer, nil), outer.certify(t, inner, wrongs["expired"]), other.certify(t, outer, nil),
	}
	for _, c := range certs {
		c.SignatureAlgorithm = x509.UnknownSignatureAlgorithm
		if c.IsCA {
			c.PublicKey = nil
		}
	}
	leaf := certs[0]
	permutations(certs, func(order []*x509.Certificate) {
		got, err := signer.SelectCertificates(leaf.PublicKey, order, pathNow)
		if err != nil || len(got.Chain) != 3 || len(valid(got.Issued()[1:])) != 3 || len(valid(got.Chain)) != 3 {
			t.Errorf("chain %q, alternatives %q, error %v", names(got.Chain), names(got.Alternatives), err)
		}
	})
}
