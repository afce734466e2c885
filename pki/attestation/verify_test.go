package attestation_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// reasons are the errors of Verify.
var reasons = []error{attestation.ErrOrigin, attestation.ErrMovable, attestation.ErrUntrustedTPM, attestation.ErrPolicy, errors.ErrUnsupported}

// wantReason checks that err is nil if want is, and otherwise wraps want alone, has a
// hint, and contains a text.
func wantReason(t *testing.T, name string, err, want error, text string) {
	t.Helper()
	if want == nil {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	for _, reason := range reasons {
		if errors.Is(err, reason) != errors.Is(want, reason) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want a text with %q", name, err, text)
	}
	if !errors.Is(want, errors.ErrUnsupported) {
		wantHint(t, err)
	}
}

// TestAttributes has all combinations of the three attributes that say where the key
// comes from, and what else makes a key unfit.
func TestAttributes(t *testing.T) {
	ek := signertest.Key(t, "p256")
	verify := func(name string, mutate func(*tpm2.TPMTPublic), want error, text string) {
		t.Helper()
		p := attestation.Parts{EndorsementKey: spkiOf(t, ek.Public()), PublicArea: newArea(t, appKey(t), mutate)}
		e := newEvidence(t, p)
		wantReason(t, name, e.CheckKey(), want, text)
		wantReason(t, name, e.Verify(attestation.Trust{Endorsements: []string{e.EndorsementHash()}}), want, text)
		// The key is examined first, so that nobody allows the TPM in vain.
		if err := e.Verify(attestation.Trust{}); want != nil {
			wantReason(t, name+", unknown TPM", err, want, text)
		}
	}
	for _, test := range []struct {
		fixedTPM, fixedParent, origin bool
		want                          error
		text                          string
	}{
		{true, true, true, nil, ""},
		{true, true, false, attestation.ErrOrigin, "sensitiveDataOrigin"},
		{true, false, true, attestation.ErrMovable, "fixedParent"},
		{true, false, false, attestation.ErrOrigin, "sensitiveDataOrigin"},
		{false, true, true, attestation.ErrMovable, "fixedTPM"},
		{false, true, false, attestation.ErrOrigin, "sensitiveDataOrigin"},
		{false, false, true, attestation.ErrMovable, "fixedTPM and fixedParent"},
		{false, false, false, attestation.ErrOrigin, "software key"},
	} {
		verify(fmt.Sprintf("fixedTPM %v, fixedParent %v, sensitiveDataOrigin %v", test.fixedTPM, test.fixedParent, test.origin), func(a *tpm2.TPMTPublic) {
			o := &a.ObjectAttributes
			o.FixedTPM, o.FixedParent, o.SensitiveDataOrigin = test.fixedTPM, test.fixedParent, test.origin
		}, test.want, test.text)
	}
	for _, test := range []struct {
		name   string
		mutate func(*tpm2.TPMTPublic)
		want   error
		text   string
	}{
		{"SHA-384 name", func(a *tpm2.TPMTPublic) { a.NameAlg = tpm2.TPMAlgSHA384 }, nil, ""},
		{"SHA-512 name", func(a *tpm2.TPMTPublic) { a.NameAlg = tpm2.TPMAlgSHA512 }, nil, ""},
		{"SHA-1 name", func(a *tpm2.TPMTPublic) { a.NameAlg = tpm2.TPMAlgSHA1 }, errors.ErrUnsupported, "SHA-256"},
		{"SHA3-256 name", func(a *tpm2.TPMTPublic) { a.NameAlg = tpm2.TPMAlgSHA3256 }, errors.ErrUnsupported, "SHA-256"},
		{"no name", func(a *tpm2.TPMTPublic) { a.NameAlg = tpm2.TPMAlgNull }, errors.ErrUnsupported, "SHA-256"},
		{"adminWithPolicy", func(a *tpm2.TPMTPublic) { a.ObjectAttributes.AdminWithPolicy = true }, errors.ErrUnsupported, "adminWithPolicy"},
		{"adminWithPolicy of an imported key", func(a *tpm2.TPMTPublic) {
			a.ObjectAttributes.AdminWithPolicy, a.ObjectAttributes.SensitiveDataOrigin = true, false
		}, attestation.ErrOrigin, "sensitiveDataOrigin"},
		{"noDA", func(a *tpm2.TPMTPublic) { a.ObjectAttributes.NoDA = true }, nil, ""},
		{"decrypt", func(a *tpm2.TPMTPublic) { a.ObjectAttributes.Decrypt = true }, nil, ""},
	} {
		verify(test.name, test.mutate, test.want, test.text)
	}
}

// TestEndorsementTypes has the types of endorsement keys, which the CA encrypts for.
func TestEndorsementTypes(t *testing.T) {
	rsaKey, _ := signertest.Key(t, "rsa2048").Public().(*rsa.PublicKey)
	for _, test := range []struct {
		name string
		pub  crypto.PublicKey
		want error
	}{
		{"RSA-2048", rsaKey, nil},
		{"P-256", signertest.Key(t, "p256").Public(), nil},
		{"P-384", signertest.Key(t, "p384").Public(), nil},
		{"RSA-3072", signertest.Key(t, "rsa3072").Public(), errors.ErrUnsupported},
		{"RSA-4096", signertest.Key(t, "rsa4096").Public(), errors.ErrUnsupported},
		{"P-521", signertest.Key(t, "p521").Public(), errors.ErrUnsupported},
		{"Ed25519", signertest.Key(t, "ed25519").Public(), errors.ErrUnsupported},
		{"RSA-2048 with the exponent 3", &rsa.PublicKey{N: rsaKey.N, E: 3}, errors.ErrUnsupported},
	} {
		p := newParts(t, "p256")
		p.EndorsementKey = spkiOf(t, test.pub)
		e := newEvidence(t, p)
		text, _, _ := strings.Cut(test.name, " ")
		wantReason(t, test.name, e.Verify(attestation.Trust{Endorsements: []string{e.EndorsementHash()}}), test.want, text)
		_, err := e.Wrap(zeros{})
		wantReason(t, test.name, err, test.want, text)
	}
}

// zeros is a source of randomness.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestTrust has what makes a TPM one that the CA trusts.
func TestTrust(t *testing.T) {
	now := time.Now()
	maker, other := signertest.NewCA(t, "maker"), signertest.NewCA(t, "other maker")
	series := maker.Intermediate(t, "series")
	line := series.Intermediate(t, "line")
	ek := signertest.Key(t, "rsa2048")
	plain := func(ca *signertest.CA, issuers ...*signertest.CA) attestation.Parts {
		p := newParts(t, "rsa2048")
		p.EndorsementCertificate = certify(t, ca, ek, nil)
		for _, issuer := range issuers {
			p.EndorsementIssuers = append(p.EndorsementIssuers, issuer.Cert.Raw)
		}
		return p
	}
	changed := func(mutate func(*x509.Certificate)) attestation.Parts {
		p := newParts(t, "rsa2048")
		p.EndorsementCertificate = certify(t, maker, ek, mutate)
		return p
	}
	// limited returns evidence with the certificate of a CA that mutate changed.
	limited := func(mutate func(*x509.Certificate)) (attestation.Parts, *signertest.CA) {
		cert := maker.Issue(t, other.Key, func(c *x509.Certificate) {
			c.Subject.CommonName, c.IsCA, c.KeyUsage, c.ExtKeyUsage = "limited", true, x509.KeyUsageCertSign, nil
			mutate(c)
		})
		ca := &signertest.CA{Cert: cert, Key: other.Key}
		return plain(ca, ca), ca
	}
	below := func(mutate func(*x509.Certificate)) attestation.Parts { p, _ := limited(mutate); return p }
	hash := newEvidence(t, newParts(t, "rsa2048")).EndorsementHash()
	roots := func(all ...*signertest.CA) attestation.Trust {
		trust := attestation.Trust{Now: now}
		for _, ca := range all {
			trust.Roots = append(trust.Roots, ca.Cert)
		}
		return trust
	}
	clients, clientCA := limited(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	untrusted := attestation.ErrUntrustedTPM
	for _, test := range []struct {
		name  string
		parts attestation.Parts
		trust attestation.Trust
		want  error
		text  string
	}{
		{"nothing is trusted", plain(maker), attestation.Trust{}, untrusted, "not among those allowed"},
		{"the hash is allowed", newParts(t, "rsa2048"), attestation.Trust{Endorsements: []string{hash}}, nil, ""},
		{"one of two hashes", newParts(t, "rsa2048"), attestation.Trust{Endorsements: []string{strings.Repeat("0", 64), hash}}, nil, ""},
		{"another hash", newParts(t, "rsa2048"), attestation.Trust{Endorsements: []string{strings.Repeat("0", 64)}}, untrusted, hash},
		{"half of the hash", newParts(t, "rsa2048"), attestation.Trust{Endorsements: []string{hash[:32], ""}}, untrusted, hash},
		{"the hash and other roots", plain(maker), attestation.Trust{Endorsements: []string{hash}, Roots: roots(other).Roots}, nil, ""},
		{"another hash and the root", plain(maker), attestation.Trust{Endorsements: []string{strings.Repeat("0", 64)}, Roots: roots(maker).Roots, Now: now}, nil, ""},
		{"another key with the certificate of an allowed one", func() attestation.Parts {
			p := newParts(t, "p384")
			p.EndorsementCertificate = certify(t, other, signertest.Key(t, "p384"), nil)
			return p
		}(), attestation.Trust{Endorsements: []string{hash}}, untrusted, "not among those allowed"},

		{"root", plain(maker), roots(maker), nil, ""},
		{"one of two roots", plain(maker), roots(other, maker), nil, ""},
		{"another root", plain(maker), roots(other), untrusted, `"CN=maker"`},
		{"another root with the same name", plain(maker), roots(signertest.NewCA(t, "maker")), untrusted, `"CN=maker"`},
		{"no certificate", newParts(t, "rsa2048"), roots(maker), untrusted, "contains no certificate"},
		{"only issuers", func() attestation.Parts {
			p := newParts(t, "rsa2048")
			p.EndorsementIssuers = [][]byte{maker.Cert.Raw}
			return p
		}(), roots(maker), untrusted, "contains no certificate"},

		{"intermediate in the evidence", plain(series, series), roots(maker), nil, ""},
		{"two intermediates in the evidence", plain(line, series, line), roots(maker), nil, ""},
		{"intermediate is trusted", plain(series), roots(series), nil, ""},
		{"intermediate is trusted, and in the evidence", plain(series, series), roots(series), nil, ""},
		{"root and intermediate are trusted", plain(series), roots(maker, series), nil, ""},
		{"intermediate is missing", plain(series), roots(maker), untrusted, `"CN=series"`},
		{"one of two intermediates is missing", plain(line, line), roots(maker), untrusted, ""},
		{"root only in the evidence", plain(series, series, maker), roots(other), untrusted, `"CN=series"`},
		{"a certificate that is no CA in the evidence", func() attestation.Parts {
			leaf := &signertest.CA{Cert: maker.Issue(t, other.Key, func(c *x509.Certificate) { c.Subject.CommonName = "leaf" }), Key: other.Key}
			return plain(leaf, leaf)
		}(), roots(maker), untrusted, ""},

		{"intermediate for another purpose", below(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), roots(maker), untrusted, "limited to other purposes"},
		{"intermediate for attestation keys", below(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}} }), roots(maker), untrusted, "limited to other purposes"},
		{"intermediate for another purpose is trusted", clients, roots(clientCA), nil, ""},
		{"intermediate for another purpose is trusted, besides its root", clients, roots(maker, clientCA), nil, ""},
		{"intermediate for endorsement keys", below(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}, oidEndorsement}
		}), roots(maker), nil, ""},
		{"intermediate for all purposes", below(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), roots(maker), nil, ""},

		{"expired", changed(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), roots(maker), untrusted, "expired"},
		{"not yet valid", changed(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }), roots(maker), untrusted, "not yet valid"},
		{"the root expired", plain(maker), attestation.Trust{Roots: roots(maker).Roots, Now: now.AddDate(20, 0, 0)}, untrusted, "expired"},
		{"expired, but allowed", changed(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), attestation.Trust{Endorsements: []string{hash}, Roots: roots(maker).Roots, Now: now}, nil, ""},
		{"valid at another time", changed(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), attestation.Trust{Roots: roots(maker).Roots, Now: now.Add(-2 * time.Minute)}, nil, ""},
		{"no usage", changed(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), roots(maker), untrusted, "2.23.133.8.1"},
		{"another usage", changed(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 2}}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), roots(maker), untrusted, "2.23.133.8.1"},
		{"any usage", changed(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}), roots(maker), untrusted, "2.23.133.8.1"},
		{"one usage more", changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), roots(maker), nil, ""},
		{"a CA", changed(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }), roots(maker), untrusted, "not that of an endorsement key"},

		{"name that is not critical", changed(func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = false }), roots(maker), nil, ""},
		{"no name", changed(func(c *x509.Certificate) { c.ExtraExtensions, c.Subject.CommonName = nil, "TPM" }), roots(maker), nil, ""},
		{"unknown extension", changed(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: []byte{5, 0}})
		}), roots(maker), nil, ""},
		{"unknown critical extension", changed(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
		}), roots(maker), untrusted, "critical"},
		{"unknown critical extension and no name", changed(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), roots(maker), untrusted, "critical"},
	} {
		e := newEvidence(t, test.parts)
		wantReason(t, test.name, e.Verify(test.trust), test.want, test.text)
		// Verify changes neither the evidence nor the trust.
		wantReason(t, test.name+" again", e.Verify(test.trust), test.want, test.text)
	}
	for _, kind := range []string{"p256", "p384"} {
		p := newParts(t, kind)
		p.EndorsementCertificate = certify(t, series, signertest.Key(t, kind), nil)
		p.EndorsementIssuers = [][]byte{series.Cert.Raw}
		wantReason(t, kind, newEvidence(t, p).Verify(roots(maker)), nil, "")
	}
	e := newEvidence(t, plain(maker))
	if extensions := e.Certificate().UnhandledCriticalExtensions; len(extensions) != 1 || !extensions[0].Equal(oidSAN) {
		t.Errorf("the certificate has the critical extensions %v", extensions)
	}
}
