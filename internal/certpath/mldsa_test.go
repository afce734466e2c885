package certpath_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

type certificates []*x509.Certificate

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// readKey returns a key that OpenSSL wrote in the expanded form.
func readKey(t *testing.T, file string) *mldsa.ExpandedKey {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	var expanded []byte
	if _, err := asn1.Unmarshal(block.Bytes, &info); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(info.Key, &expanded); err != nil {
		t.Fatal(err)
	}
	key, err := mldsa.ParseExpanded(mldsa.ParametersFor(info.Algorithm.Algorithm), expanded)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// resigned returns signed, a certificate or a revocation list, with to instead of
// the algorithm from and with a new signature by key.
func resigned(t *testing.T, signed []byte, key *mldsa.ExpandedKey, from, to asn1.RawValue) []byte {
	t.Helper()
	var parts struct{ ToBeSigned, Algorithm, Signature asn1.RawValue }
	if _, err := asn1.Unmarshal(signed, &parts); err != nil {
		t.Fatal(err)
	}
	content := bytes.Replace(parts.ToBeSigned.Bytes, from.FullBytes, to.FullBytes, 1)
	toBeSigned, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.Sign(rand.Reader, toBeSigned, nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		ToBeSigned, Algorithm asn1.RawValue
		Signature             asn1.BitString
	}{asn1.RawValue{FullBytes: toBeSigned}, to, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// algorithm returns the AlgorithmIdentifier of a parameter set.
func algorithm(t *testing.T, arc int, parameters ...byte) asn1.RawValue {
	t.Helper()
	der, err := asn1.Marshal(pkix.AlgorithmIdentifier{
		Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, arc}, Parameters: asn1.RawValue{FullBytes: parameters},
	})
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{FullBytes: der}
}

func wantPath(t *testing.T, name string, leaf *x509.Certificate, roots, between certificates, want certificates) {
	t.Helper()
	paths, err := certpath.Verify(leaf, roots, between, time.Now())
	switch {
	case want == nil && err == nil:
		t.Errorf("%s: accepted", name)
	case want != nil && (err != nil || len(paths) != 1 || !slices.Equal(paths[0], want)):
		t.Errorf("%s: %d paths, error %v", name, len(paths), err)
	}
	if err != nil && len(paths) > 0 {
		t.Errorf("%s: an error, and %d paths", name, len(paths))
	}
}

// The certificates are made by OpenSSL.
func TestMLDSA(t *testing.T) {
	const set44, set65, set87 = "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"
	expanded := []string{"-provparam", "ml-dsa.output_formats=priv-only"}
	noIDs := []string{"-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none"}
	dir := t.TempDir()
	ca := func(issuer, name, algorithm string, args ...string) *x509.Certificate {
		return signertest.OpenSSLCA(t, dir, issuer, name, algorithm, args...)
	}
	end := func(issuer, name, algorithm string, args ...string) *x509.Certificate {
		return signertest.OpenSSLLeaf(t, dir, issuer, name, algorithm, args...)
	}
	root, between := ca("root", "root", set87), ca("root", "between", set65, expanded...)
	leaf := end("between", "leaf", set44)
	twin := ca("twin", "twin", set44, noIDs...)
	otherTwin := ca("other-twin", "other-twin", set44, append(noIDs, "-subj", "/CN=twin")...)
	ofTwin, ofOtherTwin := end("twin", "of-twin", set44, noIDs...), end("other-twin", "of-other-twin", "ec", noIDs...)

	t.Run("path", func(t *testing.T) {
		rsaRoot := ca("rsa-root", "rsa-root", "rsa:2048")
		mixed := ca("rsa-root", "mixed", set65)
		ecLeaf := end("mixed", "ec-leaf", "ec")
		ecRoot := ca("ec-root", "ec-root", "ec")
		ofEC := end("ec-root", "of-ec", set44)
		for _, test := range []struct {
			name           string
			leaf           *x509.Certificate
			roots, between certificates
			want           certificates
		}{
			{"three sets", leaf, certificates{root}, certificates{between}, certificates{leaf, between, root}},
			{"among others", leaf, certificates{twin, root}, certificates{otherTwin, mixed, between, ecLeaf}, certificates{leaf, between, root}},
			{"an intermediate as the anchor", leaf, certificates{between}, nil, certificates{leaf, between}},
			{"without the intermediate", leaf, certificates{root}, nil, nil},
			{"another root", leaf, certificates{twin}, certificates{between}, nil},
			{"below RSA", ecLeaf, certificates{rsaRoot}, certificates{mixed}, certificates{ecLeaf, mixed, rsaRoot}},
			{"below RSA, another intermediate", ecLeaf, certificates{rsaRoot}, certificates{between}, nil},
			{"below ECDSA", ofEC, certificates{ecRoot}, nil, certificates{ofEC, ecRoot}},
			{"self-signed", root, certificates{root}, nil, certificates{root}},

			{"same name", ofTwin, certificates{twin}, nil, certificates{ofTwin, twin}},
			{"same name, both", ofTwin, certificates{otherTwin, twin}, nil, certificates{ofTwin, twin}},
			{"same name, both, the other", ofOtherTwin, certificates{twin, otherTwin}, nil, certificates{ofOtherTwin, otherTwin}},
			{"same name, another key", ofTwin, certificates{otherTwin}, nil, nil},
			{"same name, another key, and the issuer is not trusted", ofTwin, certificates{otherTwin}, certificates{twin}, nil},
		} {
			wantPath(t, test.name, test.leaf, test.roots, test.between, test.want)
		}
		if _, err := certpath.Verify(leaf, certificates{root}, certificates{between}, time.Now().AddDate(0, 0, 2)); err == nil {
			t.Error("expired: accepted")
		}
		for _, c := range []*x509.Certificate{root, between, leaf, mixed, twin} {
			if !certpath.IsKnown(c) || c.PublicKey != nil && !mldsa.Of(c.PublicKey).Equal(mldsa.OfCertificate(c)) {
				t.Errorf("%v: the algorithm is not known, or the certificate was changed", c.Subject)
			}
		}
	})

	t.Run("signature", func(t *testing.T) {
		altered := bytes.Clone(leaf.Raw)
		altered[len(altered)-100] ^= 1
		shorter := resignedWith(t, leaf.Raw, func(signature []byte) []byte { return signature[1:] })
		longer := resignedWith(t, leaf.Raw, func(signature []byte) []byte { return append(signature, 0) })
		key := readKey(t, filepath.Join(dir, "between-key.pem"))
		same := algorithm(t, 18)
		for name, test := range map[string]struct {
			der []byte
			ok  bool
		}{
			"as it is":           {leaf.Raw, true},
			"signed again":       {resigned(t, leaf.Raw, key, same, same), true},
			"altered":            {altered, false},
			"shorter":            {shorter, false},
			"longer":             {longer, false},
			"as of 44":           {resigned(t, leaf.Raw, key, same, algorithm(t, 17)), false},
			"as of 87":           {resigned(t, leaf.Raw, key, same, algorithm(t, 19)), false},
			"with NULL":          {resigned(t, leaf.Raw, key, same, algorithm(t, 18, 5, 0)), false}, // RFC 9881, section 2
			"by another key":     {ofTwin.Raw, false},
			"by its own subject": {root.Raw, false},
		} {
			c := parse(t, test.der)
			if err := certpath.CheckSignature(c, between); (err == nil) != test.ok {
				t.Errorf("%s: CheckSignature: %v", name, err)
			}
			want := certificates{c, between, root}
			if !test.ok {
				want = nil
			}
			if !bytes.Equal(c.RawSubject, root.RawSubject) { // which is trusted
				wantPath(t, name, c, certificates{root}, certificates{between}, want)
			}
		}
		wantError := `certificate of "CN=leaf": the key of "CN=between" did not make its signature: x509: certificate signed by unknown authority`
		if _, err := certpath.Verify(parse(t, altered), certificates{root}, certificates{between}, time.Now()); err == nil || err.Error() != wantError {
			t.Errorf("altered: %v, want %s", err, wantError)
		}
		if err := certpath.CheckSignature(ofTwin, otherTwin); !errors.Is(err, certpath.ErrSignature) {
			t.Errorf("another key of the same set: %v", err)
		}
		if err := certpath.CheckSignature(leaf, signertest.NewCA(t, "between").Cert); !errors.Is(err, certpath.ErrSignature) {
			t.Errorf("an ECDSA key: %v", err)
		}
		if err := certpath.CheckSignature(ofOtherTwin, otherTwin); err != nil {
			t.Errorf("an ECDSA certificate: %v", err)
		}
	})

	// In the copies for crypto/x509, Ed25519 keys replace those of ML-DSA. A
	// certificate with an Ed25519 signature that names such a CA is not from it.
	t.Run("Ed25519", func(t *testing.T) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := func(like *x509.Certificate, isCA bool) *x509.Certificate {
			c := &x509.Certificate{
				SerialNumber: big.NewInt(1), RawSubject: like.RawSubject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
				BasicConstraintsValid: true, IsCA: isCA, KeyUsage: x509.KeyUsageDigitalSignature,
			}
			if isCA {
				c.KeyUsage = x509.KeyUsageCertSign
			}
			return c
		}
		issue := func(template *x509.Certificate, issuer *x509.Certificate) *x509.Certificate {
			parent := *issuer
			parent.PublicKey = nil // so that another key can sign in its name
			der, err := x509.CreateCertificate(rand.Reader, template, &parent, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			return parse(t, der)
		}
		forged := issue(template(leaf, false), between)
		forgedCA := issue(template(between, true), root)
		ofForgedCA := issue(template(leaf, false), forgedCA)
		selfSigned := issue(template(between, true), template(between, true))
		for _, c := range []*x509.Certificate{forged, forgedCA, ofForgedCA} {
			if c.SignatureAlgorithm != x509.PureEd25519 || !bytes.Equal(forgedCA.RawSubject, between.RawSubject) {
				t.Fatal(c.SignatureAlgorithm)
			}
		}
		wantPath(t, "leaf", forged, certificates{root}, certificates{between}, nil)
		wantPath(t, "leaf, and a CA of the same name", forged, certificates{root}, certificates{between, selfSigned}, nil)
		wantPath(t, "CA", ofForgedCA, certificates{root}, certificates{forgedCA}, nil)
		wantPath(t, "CA beside the right one", ofForgedCA, certificates{root}, certificates{forgedCA, between}, nil)
		wantPath(t, "a good leaf beside them", leaf, certificates{root}, certificates{forgedCA, selfSigned, between}, certificates{leaf, between, root})
		wantPath(t, "trusted", forged, certificates{selfSigned}, nil, certificates{forged, selfSigned})
		if err := certpath.CheckSignature(forged, between); err == nil {
			t.Error("CheckSignature accepts it")
		}
	})

	t.Run("constraints", func(t *testing.T) {
		constrained := ca("root", "constrained", set44, "-addext", "nameConstraints=critical,permitted;DNS:example.com,permitted;email:example.com")
		last := ca("root", "last", set44, "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0")
		belowLast := ca("last", "below-last", set44)
		noCA := end("root", "no-ca", set44)
		noSign := ca("root", "no-sign", set44, "-addext", "keyUsage=critical,cRLSign")
		expired := ca("root", "expired", set44, "-not_after", time.Now().UTC().Add(-time.Minute).Format("20060102150405Z"))
		for _, test := range []struct {
			leaf    *x509.Certificate
			between certificates
			ok      bool
		}{
			{end("constrained", "good-dns", set44, "-addext", "subjectAltName=DNS:a.example.com"), certificates{constrained}, true},
			{end("constrained", "bad-dns", set44, "-addext", "subjectAltName=DNS:a.example.org"), certificates{constrained}, false},
			{end("constrained", "good-email", set44, "-subj", "/CN=a/emailAddress=a@example.com"), certificates{constrained}, true},
			{end("constrained", "bad-email", set44, "-subj", "/CN=a/emailAddress=a@example.org"), certificates{constrained}, false},
			{end("last", "of-last", "ec"), certificates{last}, true},
			{end("below-last", "of-below-last", set44), certificates{belowLast, last}, false},
			{end("no-ca", "of-no-ca", set44), certificates{noCA}, false},
			{end("no-sign", "of-no-sign", set44), certificates{noSign}, false},
			{end("expired", "of-expired", set44), certificates{expired}, false},
		} {
			paths, err := certpath.Verify(test.leaf, certificates{root}, test.between, time.Now())
			if (err == nil) != test.ok || (len(paths) == 1) != test.ok {
				t.Errorf("%v below %v: %d paths, error %v", test.leaf.Subject, test.leaf.Issuer, len(paths), err)
			}
			for i := range test.between { // the signatures are not the reason
				c := append(certificates{test.leaf}, test.between...)[i]
				if err := certpath.CheckSignature(c, test.between[i]); err != nil {
					t.Errorf("%v: %v", c.Subject, err)
				}
			}
		}
	})

	t.Run("list", func(t *testing.T) {
		key := readKey(t, filepath.Join(dir, "between-key.pem"))
		block, _ := pem.Decode(signertest.OpenSSLCRL(t, dir, "between", leaf))
		altered := bytes.Clone(block.Bytes)
		altered[len(altered)-100] ^= 1
		same := algorithm(t, 18)
		for name, test := range map[string]struct {
			der    []byte
			issuer *x509.Certificate
			ok     bool
		}{
			"issuer":       {block.Bytes, between, true},
			"root":         {block.Bytes, root, false},
			"another":      {block.Bytes, ca("between", "other-65", set65), false},
			"ECDSA":        {block.Bytes, signertest.NewCA(t, "between").Cert, false},
			"altered":      {altered, between, false},
			"signed again": {resigned(t, block.Bytes, key, same, same), between, true},
			"as of 44":     {resigned(t, block.Bytes, key, same, algorithm(t, 17)), between, false},
			"as of 87":     {resigned(t, block.Bytes, key, same, algorithm(t, 19)), between, false},
			"with NULL":    {resigned(t, block.Bytes, key, same, algorithm(t, 18, 5, 0)), between, false},
		} {
			list, err := x509.ParseRevocationList(test.der)
			if err != nil {
				t.Fatal(err)
			}
			if err := certpath.CheckListSignature(list, test.issuer); (err == nil) != test.ok {
				t.Errorf("%s: %v", name, err)
			}
			if len(list.RevokedCertificateEntries) != 1 {
				t.Errorf("%s: %d entries", name, len(list.RevokedCertificateEntries))
			}
		}
		authority := signertest.NewCA(t, "between")
		list, err := x509.ParseRevocationList(authority.Revoke(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := certpath.CheckListSignature(list, between); err == nil {
			t.Error("an ECDSA signature counts as one of an ML-DSA key")
		}
		if err := certpath.CheckListSignature(list, authority.Cert); err != nil {
			t.Error(err)
		}
	})
}

// resignedWith returns a certificate with another signature.
func resignedWith(t *testing.T, der []byte, change func([]byte) []byte) []byte {
	t.Helper()
	var parts struct {
		ToBeSigned, Algorithm asn1.RawValue
		Signature             asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &parts); err != nil {
		t.Fatal(err)
	}
	parts.Signature.Bytes = change(bytes.Clone(parts.Signature.Bytes))
	parts.Signature.BitLength = 8 * len(parts.Signature.Bytes)
	der, err := asn1.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
