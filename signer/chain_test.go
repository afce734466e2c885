package signer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func names(chain []*x509.Certificate) (s []string) {
	for _, c := range chain {
		s = append(s, c.Subject.CommonName)
	}
	return s
}

func wantChain(t *testing.T, pub crypto.PublicKey, certs, want []*x509.Certificate) {
	t.Helper()
	got, err := signer.Chain(pub, certs, time.Now())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Chain of %q is %q, error %v; want %q", names(certs), names(got), err, names(want))
	}
}

func TestChainInAnyOrder(t *testing.T) {
	key := signertest.Key(t, "p256")
	root := signertest.NewCA(t, "root")
	outer := root.Intermediate(t, "outer")
	inner := outer.Intermediate(t, "inner")
	leaf := inner.Issue(t, key, nil)
	other := signertest.NewCA(t, "other")
	all := []*x509.Certificate{
		leaf, inner.Cert, outer.Cert, root.Cert,
		other.Cert, other.Issue(t, signertest.Key(t, "rsa2048"), nil), inner.Intermediate(t, "sibling").Cert,
		outer.Cert, leaf, // some files contain a certificate twice
	}
	want := []*x509.Certificate{leaf, inner.Cert, outer.Cert}
	for range 50 {
		certs := slices.Clone(all)
		rand.Shuffle(len(certs), func(i, j int) { certs[i], certs[j] = certs[j], certs[i] })
		wantChain(t, key.Public(), certs, want)
	}
	wantChain(t, key.Public(), []*x509.Certificate{outer.Cert, leaf}, []*x509.Certificate{leaf})
	wantChain(t, key.Public(), []*x509.Certificate{leaf}, []*x509.Certificate{leaf})
}

// A certificate that verifiers refuse is used only if there is no other, also if
// it ends later.
func TestChainPrefersFitCertificates(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "CA")
	good := ca.Issue(t, key, nil)
	for name, change := range map[string]func(*x509.Certificate){
		"a CA":                 func(c *x509.Certificate) { c.IsCA = true },
		"no digital signature": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement },
	} {
		later := ca.Issue(t, key, func(c *x509.Certificate) { change(c); c.NotAfter = good.NotAfter.Add(time.Hour) })
		for _, certs := range [][]*x509.Certificate{{good, later}, {later, good}} {
			if got, err := signer.Chain(key.Public(), certs, time.Now()); err != nil || got[0] != good {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
		wantChain(t, key.Public(), []*x509.Certificate{later}, []*x509.Certificate{later})
	}
	weak, old := *good, *good
	weak.SignatureAlgorithm, weak.NotAfter, weak.Raw = x509.SHA1WithRSA, good.NotAfter.Add(time.Hour), []byte("weak")
	old.Version, old.NotAfter, old.Raw = 1, good.NotAfter.Add(time.Hour), []byte("old")
	for _, bad := range []*x509.Certificate{&weak, &old} {
		if got, err := signer.Chain(key.Public(), []*x509.Certificate{bad, good}, time.Now()); err != nil || got[0] != good {
			t.Errorf("%s: %v, %v", bad.Raw, got, err)
		}
	}
}

// A service may accept a certificate that becomes valid soon, but none that has
// expired.
func TestChainPrefersSoonValid(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "CA")
	now := time.Now()
	within := func(from, to time.Duration) *x509.Certificate {
		return ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(to) })
	}
	expired, soon, later := within(-time.Hour, -30*time.Second), within(2*time.Minute, time.Hour), within(24*time.Hour, 48*time.Hour)
	for _, c := range []struct {
		name  string
		certs []*x509.Certificate
		want  *x509.Certificate
	}{
		{"just expired and soon valid", []*x509.Certificate{expired, soon}, soon},
		{"soon valid and just expired", []*x509.Certificate{soon, expired}, soon},
		{"just expired and valid tomorrow", []*x509.Certificate{later, expired}, expired},
	} {
		if got, err := signer.Chain(key.Public(), c.certs, now); err != nil || got[0] != c.want {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestChainErrors(t *testing.T) {
	key := signertest.Key(t, "p256")
	if _, err := signer.Chain(key.Public(), nil, time.Now()); !errors.Is(err, signer.ErrNoCertificate) {
		t.Errorf("no certificates: error %v, want ErrNoCertificate", err)
	}
	ca := signertest.NewCA(t, "root")
	for _, kind := range []string{"rsa2048", "p384", "ed25519"} {
		leaf := ca.Issue(t, signertest.Key(t, kind), nil)
		if _, err := signer.Chain(key.Public(), []*x509.Certificate{leaf, ca.Cert}, time.Now()); !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("%s: error %v, want ErrMismatch", kind, err)
		}
	}
	unknown := *ca.Issue(t, key, nil)
	unknown.PublicKey = nil // crypto/x509 leaves it nil for unknown algorithms
	if _, err := signer.Chain(key.Public(), []*x509.Certificate{&unknown}, time.Now()); !errors.Is(err, signer.ErrMismatch) {
		t.Errorf("unknown algorithm: error %v, want ErrMismatch", err)
	}
}

func TestChainUsesLastToExpire(t *testing.T) {
	key := signertest.Key(t, "p256")
	old, renewed := signertest.NewCA(t, "root").Intermediate(t, "old"), signertest.NewCA(t, "root").Intermediate(t, "new")
	until := func(d time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(d) }
	}
	a, b, c := old.Issue(t, key, until(48*time.Hour)), renewed.Issue(t, key, until(72*time.Hour)), old.Issue(t, key, until(time.Minute))
	for _, certs := range [][]*x509.Certificate{
		{a, b, c, old.Cert, renewed.Cert}, {b, c, a, old.Cert, renewed.Cert}, {c, a, renewed.Cert, old.Cert, b},
	} {
		wantChain(t, key.Public(), certs, []*x509.Certificate{b, renewed.Cert})
	}
}

// Two generations of a CA share one name and have different keys. Without an
// authority key identifier in the leaf, only its signature identifies the
// issuer.
func TestChainOfTwoGenerations(t *testing.T) {
	key := signertest.Key(t, "p256")
	root := signertest.NewCA(t, "root")
	first, second := root.Intermediate(t, "issuer"), root.Intermediate(t, "issuer")
	unlisted := root.Intermediate(t, "issuer")
	for _, keyIDs := range []bool{true, false} {
		issue := func(ca *signertest.CA) *x509.Certificate {
			cert := *ca.Cert
			if !keyIDs {
				cert.SubjectKeyId = nil
			}
			leaf := (&signertest.CA{Cert: &cert, Key: ca.Key}).Issue(t, key, nil)
			if keyIDs == (leaf.AuthorityKeyId == nil) {
				t.Fatalf("authority key identifier is %x; want it present: %t", leaf.AuthorityKeyId, keyIDs)
			}
			return leaf
		}
		for _, ca := range []*signertest.CA{first, second} {
			leaf := issue(ca)
			want := []*x509.Certificate{leaf, ca.Cert}
			wantChain(t, key.Public(), []*x509.Certificate{first.Cert, leaf, second.Cert}, want)
			wantChain(t, key.Public(), []*x509.Certificate{second.Cert, leaf, first.Cert}, want)
		}
		leaf := issue(unlisted)
		wantChain(t, key.Public(), []*x509.Certificate{first.Cert, leaf, second.Cert}, []*x509.Certificate{leaf})
		if keyIDs {
			wantChain(t, key.Public(), []*x509.Certificate{first.Cert, leaf}, []*x509.Certificate{leaf})
		}
	}
}

// The verifier checks whether an issuer is a CA. Chain only compares names.
func TestChainDoesNotVerify(t *testing.T) {
	key := signertest.Key(t, "p256")
	root := signertest.NewCA(t, "root")
	issuer := &signertest.CA{Key: signertest.NewKey(t, "p256")}
	issuer.Cert = root.Issue(t, issuer.Key, func(c *x509.Certificate) { c.Subject.CommonName = "no CA" })
	leaf := issuer.Issue(t, key, nil)
	if leaf.CheckSignatureFrom(issuer.Cert) == nil {
		t.Fatal("the issuer is a CA, want a certificate that is not")
	}
	wantChain(t, key.Public(), []*x509.Certificate{issuer.Cert, leaf}, []*x509.Certificate{leaf, issuer.Cert})
}

func TestChainKeepsSelfSignedLeaf(t *testing.T) {
	key := signertest.NewKey(t, "p256")
	ca := &signertest.CA{Cert: &x509.Certificate{}, Key: key}
	leaf := ca.Issue(t, key, func(c *x509.Certificate) { *ca.Cert = *c })
	if !bytes.Equal(leaf.RawSubject, leaf.RawIssuer) || leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) != nil {
		t.Fatal("the leaf is not self-signed")
	}
	certs := []*x509.Certificate{signertest.NewCA(t, "client").Cert, leaf, signertest.NewCA(t, "root").Intermediate(t, "client").Cert}
	wantChain(t, key.Public(), certs, []*x509.Certificate{leaf})
	wantChain(t, key.Public(), certs[1:], []*x509.Certificate{leaf})
}

// certify returns a certificate for the name and key of subject, issued by
// issuer.
func certify(t *testing.T, issuer, subject *signertest.CA) *x509.Certificate {
	t.Helper()
	return issuer.Issue(t, subject.Key, func(c *x509.Certificate) {
		c.Subject, c.SubjectKeyId = subject.Cert.Subject, subject.Cert.SubjectKeyId
		c.AuthorityKeyId = issuer.Cert.SubjectKeyId // crypto/x509 does not set it if the names are equal
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, subject.Cert.KeyUsage, nil
	})
}

// A CA that changes its key certifies the new key with the old one (RFC 4210,
// section 4.4). Issuer and subject of that certificate are equal, but it is not
// a root.
func TestChainKeepsKeyRollover(t *testing.T) {
	key := signertest.Key(t, "p256")
	old, renewed := signertest.NewCA(t, "root"), signertest.NewCA(t, "root")
	leaf, newWithOld := renewed.Issue(t, key, nil), certify(t, old, renewed)
	want := []*x509.Certificate{leaf, newWithOld}
	wantChain(t, key.Public(), []*x509.Certificate{old.Cert, leaf, newWithOld}, want)
	wantChain(t, key.Public(), []*x509.Certificate{old.Cert, leaf, newWithOld, renewed.Cert}, want)
	wantChain(t, key.Public(), []*x509.Certificate{renewed.Cert, newWithOld, leaf}, want)
}

// The verifier may trust only the root that cross-certified the issuer.
func TestChainUsesCrossCertificate(t *testing.T) {
	key := signertest.Key(t, "p256")
	young, established := signertest.NewCA(t, "young"), signertest.NewCA(t, "established")
	leaf, cross := young.Issue(t, key, nil), certify(t, established, young)
	want := []*x509.Certificate{leaf, cross}
	wantChain(t, key.Public(), []*x509.Certificate{leaf, young.Cert, cross, established.Cert}, want)
	wantChain(t, key.Public(), []*x509.Certificate{cross, young.Cert, established.Cert, leaf}, want)
}

// A leaf may have the same name as its issuer.
func TestChainWithSameName(t *testing.T) {
	key := signertest.Key(t, "p256")
	issuer := signertest.NewCA(t, "root").Intermediate(t, "client")
	leaf := issuer.Issue(t, key, func(c *x509.Certificate) { c.AuthorityKeyId = issuer.Cert.SubjectKeyId })
	wantChain(t, key.Public(), []*x509.Certificate{issuer.Cert, leaf}, []*x509.Certificate{leaf, issuer.Cert})
}

// A verifier that trusts a needs no certificate of a, so the one that a issued
// for b is of no use.
func TestChainOfLoop(t *testing.T) {
	key := signertest.Key(t, "p256")
	a, b := signertest.NewCA(t, "a"), signertest.NewCA(t, "b")
	leaf := a.Issue(t, key, nil)
	aByB, bByA := certify(t, b, a), certify(t, a, b)
	wantChain(t, key.Public(), []*x509.Certificate{bByA, aByB, leaf}, []*x509.Certificate{leaf, aByB})
	wantChain(t, key.Public(), []*x509.Certificate{aByB, bByA, a.Cert, leaf}, []*x509.Certificate{leaf, aByB})
	wantChain(t, key.Public(), []*x509.Certificate{bByA, leaf}, []*x509.Certificate{leaf})
}

func TestSamePublicKey(t *testing.T) {
	p256 := signertest.Key(t, "p256").Public().(*ecdsa.PublicKey)
	copied := *p256
	if !signer.SamePublicKey(p256, &copied) {
		t.Error("a key is not the same as its copy")
	}
	for _, other := range []crypto.PublicKey{nil, "key", signertest.NewKey(t, "p256").Public(), signertest.Key(t, "rsa2048").Public()} {
		if signer.SamePublicKey(p256, other) || signer.SamePublicKey(other, p256) {
			t.Errorf("P-256 key is the same as %s", signer.DescribeKey(other))
		}
	}
}

func TestChainPrefersIssuedCertificate(t *testing.T) {
	key := signertest.Key(t, "p256")
	placeholder := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "placeholder"},
		NotBefore:    time.Now(),
		NotAfter:     time.Now().AddDate(50, 0, 0),
	}
	der, err := x509.CreateCertificate(crand.Reader, placeholder, placeholder, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if placeholder, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	leaf := signertest.NewCA(t, "root").Issue(t, key, nil)
	wantChain(t, key.Public(), []*x509.Certificate{placeholder, leaf}, []*x509.Certificate{leaf})
	wantChain(t, key.Public(), []*x509.Certificate{leaf, placeholder}, []*x509.Certificate{leaf})
	wantChain(t, key.Public(), []*x509.Certificate{placeholder}, []*x509.Certificate{placeholder})
}
