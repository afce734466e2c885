package attestation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// Parts are the contents of an evidence file.
type Parts struct {
	EndorsementKey         []byte   `json:"endorsement_key"`                   // SubjectPublicKeyInfo
	EndorsementCertificate []byte   `json:"endorsement_certificate,omitempty"` // DER; nil: the maker issued none
	EndorsementIssuers     [][]byte `json:"endorsement_issuers,omitempty"`     // DER; certificates of CAs between it and a root
	PublicArea             []byte   `json:"public_area"`                       // TPMT_PUBLIC of the key
	Policy                 []Step   `json:"policy,omitempty"`                  // of the key
}

// A Step is a command of the policy that authorizes the use of a key. Either PCRs
// is set, for TPM2_PolicyPCR, or AuthValue, for the password of the key.
type Step struct {
	PCRs      string `json:"pcrs,omitempty"`   // such as sha256:0,7
	Digest    []byte `json:"digest,omitempty"` // of the values of the PCRs
	AuthValue bool   `json:"auth_value,omitempty"`
}

type evidenceFile struct {
	header
	Parts
}

// Evidence describes a key in a TPM. [Parse] and [New] make it. It is immutable and
// safe for concurrent use.
type Evidence struct {
	data        []byte
	parts       Parts
	area        tpm2.TPMTPublic
	key         crypto.PublicKey
	endorsement crypto.PublicKey
	certificate *x509.Certificate // nil: none
	issuers     []*x509.Certificate
}

// maxIssuers bounds the certificates of CAs in a file.
const maxIssuers = 8

// New returns the evidence with the given parts. The error wraps [ErrMalformed].
func New(p Parts) (*Evidence, error) {
	data, err := marshal(evidenceFile{header{evidenceType, Version}, p})
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Parse parses an evidence file. The error wraps [ErrMalformed], [ErrVersion] or
// [ErrClaims].
func Parse(data []byte) (*Evidence, error) {
	var file evidenceFile
	if err := parse(data, evidenceType, &file); err != nil {
		return nil, err
	}
	e := &Evidence{data: data, parts: file.Parts}
	if err := e.read(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return e, nil
}

// read parses the parts.
func (e *Evidence) read() (err error) {
	if e.endorsement, err = x509.ParsePKIXPublicKey(e.parts.EndorsementKey); err != nil {
		return errors.New("the endorsement key is not a SubjectPublicKeyInfo")
	}
	area, err := unmarshal[tpm2.TPMTPublic](e.parts.PublicArea)
	if err != nil {
		return fmt.Errorf("the public area of the key %w", err)
	}
	e.area = *area
	if e.key, err = publicKey(e.area); err != nil {
		return fmt.Errorf("the public area of the key: %w", err)
	}
	if der := e.parts.EndorsementCertificate; len(der) > 0 {
		if e.certificate, err = x509.ParseCertificate(der); err != nil {
			return errors.New("the certificate of the endorsement key is not an X.509 certificate")
		}
		if !signer.SamePublicKey(e.certificate.PublicKey, e.endorsement) {
			return errors.New("the certificate of the endorsement key is for another key")
		}
	}
	if len(e.parts.EndorsementIssuers) > maxIssuers {
		return fmt.Errorf("it contains more than %d certificates of CAs", maxIssuers)
	}
	for _, der := range e.parts.EndorsementIssuers {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return errors.New("the certificate of a CA is not an X.509 certificate")
		}
		e.issuers = append(e.issuers, c)
	}
	return e.checkSteps()
}

// publicKey returns the public key in a public area, as crypto/x509 accepts it.
func publicKey(area tpm2.TPMTPublic) (crypto.PublicKey, error) {
	pub, err := tpm2.Pub(area)
	if err != nil {
		return nil, err
	}
	if k, ok := pub.(*rsa.PublicKey); ok && (k.N.BitLen() < 1024 || k.N.BitLen() > 4096 || k.N.Bit(0) == 0 || k.E < 3 || k.E > 1<<31-1) {
		return nil, errors.New("it contains an invalid RSA key")
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, errors.New("it contains a point that is not on its curve")
	}
	return x509.ParsePKIXPublicKey(spki)
}

// Marshal returns the file. The caller must not change it.
func (e *Evidence) Marshal() []byte { return e.data }

// Digest returns the SHA-256 hash of the file, in hexadecimal.
func (e *Evidence) Digest() string {
	sum := sha256.Sum256(e.data)
	return hex.EncodeToString(sum[:])
}

// Key returns the public key of the key in the TPM.
func (e *Evidence) Key() crypto.PublicKey { return e.key }

// Policy returns the policy of the key, in the words of the evidence.
func (e *Evidence) Policy() []Step { return e.parts.Policy }

// Certificate returns the certificate of the endorsement key; nil: there is none.
func (e *Evidence) Certificate() *x509.Certificate { return e.certificate }

// EndorsementHash returns the SHA-256 hash of the SubjectPublicKeyInfo of the
// endorsement key, in hexadecimal. It identifies the TPM.
func (e *Evidence) EndorsementHash() string {
	sum := sha256.Sum256(e.parts.EndorsementKey)
	return hex.EncodeToString(sum[:])
}

// An endorsementType has the parameters with which every endorsement key on a curve
// protects credentials (TCG EK Credential Profile for TPM Family 2.0, annex B). They
// do not come from the evidence, so that nobody can weaken them.
type endorsementType struct {
	nameAlg tpm2.TPMAlgID
	aesBits tpm2.TPMKeyBits
	curve   tpm2.TPMECCCurve
}

// endorsementArea returns the public area of the endorsement key, as far as it
// matters for encryption.
func (e *Evidence) endorsementArea() (tpm2.TPMTPublic, error) {
	unsupported := signer.WithHint(fmt.Errorf("endorsement key %s: %w; it can be RSA-2048, P-256 or P-384", signer.DescribeKey(e.endorsement), errors.ErrUnsupported),
		"make the evidence with another endorsement key of the TPM, such as that of the type p256")
	switch pub := e.endorsement.(type) {
	case *rsa.PublicKey:
		if pub.N.BitLen() != 2048 || pub.E != 65537 || pub.N.Bit(0) == 0 {
			return tpm2.TPMTPublic{}, unsupported
		}
		return tpm2.TPMTPublic{
			Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Symmetric: symmetric(128), KeyBits: 2048}),
			Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: pub.N.Bytes()}),
		}, nil
	case *ecdsa.PublicKey:
		t, ok := map[elliptic.Curve]endorsementType{
			elliptic.P256(): {tpm2.TPMAlgSHA256, 128, tpm2.TPMECCNistP256},
			elliptic.P384(): {tpm2.TPMAlgSHA384, 256, tpm2.TPMECCNistP384},
		}[pub.Curve]
		point, err := pub.Bytes()
		if !ok || err != nil {
			return tpm2.TPMTPublic{}, unsupported
		}
		n := len(point) / 2 // after the octet 4 (SEC 1, section 2.3.3)
		return tpm2.TPMTPublic{
			Type: tpm2.TPMAlgECC, NameAlg: t.nameAlg,
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: symmetric(t.aesBits), CurveID: t.curve}),
			Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
				X: tpm2.TPM2BECCParameter{Buffer: point[1 : 1+n]}, Y: tpm2.TPM2BECCParameter{Buffer: point[1+n:]},
			}),
		}, nil
	}
	return tpm2.TPMTPublic{}, unsupported
}

func symmetric(bits tpm2.TPMKeyBits) tpm2.TPMTSymDefObject {
	return tpm2.TPMTSymDefObject{
		Algorithm: tpm2.TPMAlgAES,
		KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, bits),
		Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
	}
}
