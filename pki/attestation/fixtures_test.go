package attestation_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// generated are the attributes of a signing key that was generated in a TPM.
var generated = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true}

// newArea returns the public area of a key with the given public key, which mutate can
// change.
func newArea(tb testing.TB, pub crypto.PublicKey, mutate func(*tpm2.TPMTPublic)) []byte {
	tb.Helper()
	area := tpm2.TPMTPublic{NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: generated}
	none := tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		area.Type = tpm2.TPMAlgRSA
		area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Symmetric: none,
			Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull}, KeyBits: tpm2.TPMKeyBits(pub.N.BitLen())})
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: pub.N.Bytes()})
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			tb.Fatal(err)
		}
		n := len(point) / 2
		area.Type = tpm2.TPMAlgECC
		area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: none, Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull},
			CurveID: map[int]tpm2.TPMECCCurve{32: tpm2.TPMECCNistP256, 48: tpm2.TPMECCNistP384, 66: tpm2.TPMECCNistP521}[n], KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull}})
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1 : 1+n]}, Y: tpm2.TPM2BECCParameter{Buffer: point[1+n:]}})
	default:
		tb.Fatalf("a key of the type %T", pub)
	}
	if mutate != nil {
		mutate(&area)
	}
	return tpm2.Marshal(area)
}

func spkiOf(tb testing.TB, pub crypto.PublicKey) []byte {
	tb.Helper()
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return spki
}

// newParts returns the evidence for a P-256 key in a TPM with an endorsement key of
// the given kind, without a certificate.
func newParts(tb testing.TB, kind string) attestation.Parts {
	tb.Helper()
	return attestation.Parts{EndorsementKey: spkiOf(tb, signertest.Key(tb, kind).Public()), PublicArea: newArea(tb, appKey(tb), nil)}
}

// appKey is the public key of the key in the TPM.
func appKey(tb testing.TB) crypto.PublicKey { return signertest.Key(tb, "p256").Public() }

func newEvidence(tb testing.TB, p attestation.Parts) *attestation.Evidence {
	tb.Helper()
	e, err := attestation.New(p)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

var (
	oidEndorsement = asn1.ObjectIdentifier{2, 23, 133, 8, 1} // tcg-kp-EKCertificate
	oidSAN         = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// manufacturerName is a subjectAltName with the directoryName that the certificate of
// an endorsement key has (TCG EK Credential Profile, section 3.2.9).
func manufacturerName(tb testing.TB) pkix.Extension {
	tb.Helper()
	attribute := func(last int, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 23, 133, 2, last}, Value: value}
	}
	name, err := asn1.Marshal(pkix.RDNSequence{{attribute(1, "id:54455354")}, {attribute(2, "model")}, {attribute(3, "id:00010000")}})
	if err != nil {
		tb.Fatal(err)
	}
	directory := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}
	value, err := asn1.Marshal([]asn1.RawValue{directory})
	if err != nil {
		tb.Fatal(err)
	}
	return pkix.Extension{Id: oidSAN, Critical: true, Value: value}
}

// certify returns the certificate of an endorsement key as its maker issues it, which
// mutate can change.
func certify(tb testing.TB, ca *signertest.CA, key crypto.Signer, mutate func(*x509.Certificate)) []byte {
	tb.Helper()
	return ca.Issue(tb, key, func(c *x509.Certificate) {
		c.Subject = pkix.Name{} // as many makers leave it
		c.KeyUsage = x509.KeyUsageKeyEncipherment
		c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{oidEndorsement}
		c.ExtraExtensions = []pkix.Extension{manufacturerName(tb)}
		if mutate != nil {
			mutate(c)
		}
	}).Raw
}

// pcrStep and authStep are the commands of a policy as the TPM hashes them (TPM 2.0
// Library, part 3, sections 23.7 and 23.17): the code of the command, and its
// parameters.
func pcrStep(selection, digest []byte) []byte {
	return bytes.Join([][]byte{{0, 0, 1, 0x7f}, selection, digest}, nil)
}

var authStep = []byte{0, 0, 1, 0x6b}

// policyOf returns the digest of a policy with these steps.
func policyOf(hash crypto.Hash, steps ...[]byte) []byte {
	digest := make([]byte, hash.Size())
	for _, step := range steps {
		digest = sum(hash, digest, step)
	}
	return digest
}

func sum(hash crypto.Hash, parts ...[]byte) []byte {
	h := hash.New()
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

// selectionOf is the TPML_PCR_SELECTION of PCRs in one bank.
func selectionOf(alg tpm2.TPMAlgID, pcrs ...int) []byte {
	selection := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 1}, uint16(alg))
	bits := make([]byte, 3)
	for _, n := range pcrs {
		bits[n/8] |= 1 << (n % 8)
	}
	return append(append(selection, 3), bits...)
}

// pcr returns the value of a PCR, in bytes and in hexadecimal.
func pcr(size int, fill byte) ([]byte, string) {
	value := bytes.Repeat([]byte{fill}, size)
	return value, hex.EncodeToString(value)
}

func mustParsePolicy(tb testing.TB, text string) attestation.Policy {
	tb.Helper()
	p, err := attestation.ParsePolicy(text)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func wantHint(t *testing.T, err error) {
	t.Helper()
	if signer.Hint(err) == "" {
		t.Errorf("%v: there is no hint", err)
	}
}
