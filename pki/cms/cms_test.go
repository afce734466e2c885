package cms

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const content = "a certificate request"

var at = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// newSigner returns a key with its certificate and that of an intermediate CA.
func newSigner(tb testing.TB, key crypto.Signer) *signertest.Fake {
	ca := signertest.NewCA(tb, "Root").Intermediate(tb, "CA")
	return &signertest.Fake{Key: key, Certificates: append([]*x509.Certificate{ca.Issue(tb, key, nil)}, ca.Chain()...)}
}

// message returns a good message in DER.
func message(tb testing.TB, key signer.Signer) []byte {
	tb.Helper()
	text, err := Sign(tb.Context(), key, []byte(content), "0a-7F", at)
	if err != nil {
		tb.Fatal(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CMS" || len(rest) > 0 {
		tb.Fatalf("%s", text)
	}
	return block.Bytes
}

func TestSignAndParse(t *testing.T) {
	for _, kind := range signertest.KeyKinds() {
		t.Run(kind, func(t *testing.T) {
			key := newSigner(t, signertest.Key(t, kind))
			want(t, message(t, key), key.Chain())
		})
	}
	t.Run("only PSS", func(t *testing.T) {
		key := &signertest.LimitedFake{Fake: *newSigner(t, signertest.Key(t, "rsa2048")), Schemes: []tls.SignatureScheme{tls.PSSWithSHA256}}
		want(t, message(t, key), key.Chain())
	})
	t.Run("no digests", func(t *testing.T) {
		for _, kind := range signertest.KeyKinds() {
			key := &signertest.MessageFake{Fake: *newSigner(t, signertest.Key(t, kind))}
			want(t, message(t, key), key.Chain())
		}
	})
	if _, err := Sign(t.Context(), signer.FromKey(signertest.Key(t, "p256")), []byte(content), "", at); !errors.Is(err, signer.ErrNoCertificate) {
		t.Error(err)
	}
	key := newSigner(t, signertest.Key(t, "p256"))
	for _, transaction := range []string{"a b", "a_b", "ä", strings.Repeat("a", 65)} {
		if _, err := Sign(t.Context(), key, []byte(content), transaction, at); err == nil || !strings.Contains(err.Error(), "transaction identifier") {
			t.Errorf("%q: %v", transaction, err)
		}
	}
	if key.Signs() != 0 {
		t.Error("a signature was made")
	}
}

func want(t *testing.T, der []byte, chain []*x509.Certificate) {
	t.Helper()
	m, err := Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Content) != content || !m.Signer.Equal(chain[0]) || len(m.Certificates) != len(chain) || !m.Time.Equal(at) || m.Transaction != "0a-7F" {
		t.Errorf("%q by %v at %v, %d certificates", m.Content, m.Signer.Subject, m.Time, len(m.Certificates))
	}
}

// resign replaces the signature, so that only what was changed is wrong.
func resign(t *testing.T, key crypto.Signer, info *signerInfo) {
	t.Helper()
	signed, err := signedBytes(info.Attributes)
	if err != nil {
		t.Fatal(err)
	}
	if info.Signature, err = key.Sign(nil, digest(crypto.SHA256, signed), crypto.SHA256); err != nil {
		t.Fatal(err)
	}
}

func der(t *testing.T, v any) asn1.RawValue {
	t.Helper()
	data, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{FullBytes: data}
}

// Each message is refused, for the reason that is given.
func TestRefused(t *testing.T) {
	key := signertest.Key(t, "p256")
	good := newSigner(t, key)
	other := newSigner(t, signertest.NewKey(t, "p256"))
	attributeOf := func(s *signerInfo, id asn1.ObjectIdentifier) *attribute {
		for i := range s.Attributes {
			if s.Attributes[i].Type.Equal(id) {
				return &s.Attributes[i]
			}
		}
		t.Fatalf("no attribute %v", id)
		return nil
	}
	for _, c := range []struct {
		name, reason string
		signs        bool // after the change
		change       func(d *signedData, s *signerInfo)
	}{
		{"the content was swapped", "content was changed", false, func(d *signedData, s *signerInfo) { d.Content.Content = []byte("another request") }},
		{"another digest", "signature is wrong", false, func(d *signedData, s *signerInfo) {
			d.Content.Content = []byte("another request")
			attributeOf(s, oidMessageDigest).Values[0] = der(t, digest(crypto.SHA256, d.Content.Content))
		}},
		{"another time", "signature is wrong", false, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidSigningTime).Values[0] = der(t, at.Add(time.Hour))
		}},
		{"the signature of another key", "signature is wrong", false, func(d *signedData, s *signerInfo) { resign(t, other.Key, s) }},
		{"an empty signature", "signature is wrong", false, func(d *signedData, s *signerInfo) { s.Signature = nil }},
		{"two signatures", "2 signatures", false, func(d *signedData, s *signerInfo) { d.Signers = append(d.Signers, d.Signers[0]) }},
		{"no signature", "0 signatures", false, func(d *signedData, s *signerInfo) { d.Signers = nil }},
		{"two digests", "not one", false, func(d *signedData, s *signerInfo) {
			d.DigestAlgorithms = append(d.DigestAlgorithms, pkix.AlgorithmIdentifier{Algorithm: sha2(2)})
		}},
		{"a digest that is not the signature's", "different digest", false, func(d *signedData, s *signerInfo) { d.DigestAlgorithms[0].Algorithm = sha2(2) }},
		{"SHA-1", "is not SHA-256", false, func(d *signedData, s *signerInfo) {
			s.DigestAlgorithm.Algorithm = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
		}},
		{"a digest with parameters", "is not SHA-256", false, func(d *signedData, s *signerInfo) { s.DigestAlgorithm.Parameters = der(t, 1) }},
		{"ECDSA with SHA-1", "is not one of a key", false, func(d *signedData, s *signerInfo) {
			s.SignatureAlgorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
		}},
		{"ECDSA with another hash", "is not one of a key", false, func(d *signedData, s *signerInfo) { s.SignatureAlgorithm.Algorithm = digests[1].ecdsa }},
		{"RSA with a key that is not", "is not one of a key", false, func(d *signedData, s *signerInfo) {
			s.SignatureAlgorithm = pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
		}},
		{"the digest is missing", "lack the digest", true, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidMessageDigest).Type = asn1.ObjectIdentifier{1, 2, 3}
		}},
		{"the content type is missing", "name the type", true, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidContentType).Type = asn1.ObjectIdentifier{1, 2, 3}
		}},
		{"another signed content type", "name the type", true, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidContentType).Values[0] = der(t, oidSignedData)
		}},
		{"another content type", "type of its content", false, func(d *signedData, s *signerInfo) { d.Content.Type = oidSignedData }},
		{"an attribute twice", "not one value", true, func(d *signedData, s *signerInfo) {
			s.Attributes = append(s.Attributes, *attributeOf(s, oidMessageDigest))
		}},
		{"an attribute with two values", "not one value", true, func(d *signedData, s *signerInfo) {
			a := attributeOf(s, oidMessageDigest)
			a.Values = append(a.Values, der(t, digest(crypto.SHA256, nil)))
		}},
		{"an attribute without a value", "not one value", true, func(d *signedData, s *signerInfo) { attributeOf(s, oidMessageDigest).Values = nil }},
		{"a signing time that is none", "signing time is damaged", true, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidSigningTime).Values[0] = der(t, "now")
		}},
		{"a transaction that is none", "transaction identifier is damaged", true, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidTransaction).Values[0] = der(t, 5)
		}},
		{"a transaction with a space", "transaction identifier is damaged", true, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidTransaction).Values[0] = der(t, "a b")
		}},
		{"a transaction in another type", "transaction identifier is damaged", true, func(d *signedData, s *signerInfo) {
			attributeOf(s, oidTransaction).Values[0] = asn1.RawValue{FullBytes: []byte{asn1.TagUTF8String, 1, 'a'}}
		}},
		{"many attributes", "signed attributes", true, func(d *signedData, s *signerInfo) {
			for i := range maxAttributes {
				s.Attributes = append(s.Attributes, attribute{asn1.ObjectIdentifier{1, 2, 3, i}, []asn1.RawValue{der(t, i)}})
			}
		}},
		{"the certificate of another key with the same name", "signature is wrong", false, func(d *signedData, s *signerInfo) {
			d.Certificates = []asn1.RawValue{{FullBytes: other.Chain()[0].Raw}}
			s.Name = signerName{asn1.RawValue{FullBytes: other.Chain()[0].RawIssuer}, other.Chain()[0].SerialNumber}
		}},
		{"no certificate", "lacks the certificate", false, func(d *signedData, s *signerInfo) { d.Certificates = nil }},
		{"another serial number", "lacks the certificate", false, func(d *signedData, s *signerInfo) { s.Name.Serial = big.NewInt(5) }},
		{"the certificate twice", "two certificates", false, func(d *signedData, s *signerInfo) { d.Certificates = append(d.Certificates, d.Certificates...) }},
		{"a damaged certificate", "is damaged", false, func(d *signedData, s *signerInfo) { d.Certificates = append(d.Certificates, der(t, 5)) }},
		{"many certificates", "certificates", false, func(d *signedData, s *signerInfo) {
			for range maxCertificates {
				d.Certificates = append(d.Certificates, d.Certificates[0])
			}
		}},
		{"another version", "version", false, func(d *signedData, s *signerInfo) { d.Version = 3 }},
		{"another version of the signature", "version", false, func(d *signedData, s *signerInfo) { s.Version = 3 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var info contentInfo
			if !exactly(message(t, good), &info) {
				t.Fatal("the message is not as expected")
			}
			s := &info.Data.Signers[0]
			c.change(&info.Data, s)
			if c.signs {
				resign(t, key, s)
			}
			if c.name != "no signature" && len(info.Data.Signers) == 1 {
				info.Data.Signers[0] = *s
			}
			_, err := Parse(der(t, info).FullBytes)
			if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%v; want %q", err, c.reason)
			}
		})
	}
}

// Each input is refused by its encoding alone.
func TestRefusedEncoding(t *testing.T) {
	good := message(t, newSigner(t, signertest.Key(t, "p256")))
	text := func(label string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}) }
	for name, c := range map[string]struct {
		data   []byte
		reason string
	}{
		"nothing":                   {nil, "it is empty"},
		"space":                     {[]byte(" \n"), "it is empty"},
		"garbage":                   {[]byte("garbage"), "damaged"},
		"huge":                      {make([]byte, MaxSize+1), "more than 128 KiB"},
		"cut":                       {good[:len(good)-1], "damaged"},
		"something behind it":       {append(bytes.Clone(good), 0), "not SignedData in DER with"},
		"two blocks":                {append(text("CMS", good), text("CMS", good)...), "behind its PEM block"},
		"another label":             {text("CERTIFICATE REQUEST", good), `a PEM block "CERTIFICATE REQUEST"`},
		"a damaged block":           {[]byte("-----BEGIN CMS-----\n!\n-----END CMS-----\n"), "PEM block is damaged"},
		"an indefinite length":      {append(append([]byte{0x30, 0x80}, good[4:]...), 0, 0), "damaged"},
		"a length that is too long": {append([]byte{0x30, 0x83, 0, good[2], good[3]}, good[4:]...), "damaged"},
		"a certificate":             {newSigner(t, signertest.Key(t, "p256")).Chain()[0].Raw, "damaged"},
	} {
		if _, err := Parse(c.data); !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v; want %q", name, err, c.reason)
		}
	}
	if _, err := Parse(text("PKCS7", good)); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, kind := range []string{"p256", "rsa2048", "ed25519"} {
		f.Add(message(f, newSigner(f, signertest.Key(f, kind))))
	}
	f.Add(message(f, &signertest.LimitedFake{Fake: *newSigner(f, signertest.Key(f, "rsa2048")), Schemes: []tls.SignatureScheme{tls.PSSWithSHA256}}))
	f.Add([]byte("-----BEGIN CMS-----\nMAA=\n-----END CMS-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		switch {
		case err != nil && !errors.Is(err, ErrMessage):
			t.Fatal(err)
		case err == nil && string(m.Content) != content: // no key here signs anything else
			t.Fatalf("content %q", m.Content)
		}
	})
}
