package cms

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// ErrMessage is wrapped by the errors of [Parse].
var ErrMessage = errors.New("invalid CMS message")

// Limits of a message.
const (
	MaxSize         = 128 << 10 // in bytes, also in PEM
	maxCertificates = 16
	maxAttributes   = 16
	maxTransaction  = 64   // bytes
	maxRSA          = 8192 // bits; larger keys cost too much time
)

// A Message is a message whose signature was verified.
type Message struct {
	Content []byte

	// Signer is the certificate of the key that signed the content. Who issued
	// it is not verified.
	Signer *x509.Certificate

	// Certificates are all certificates of the message, with Signer, in the
	// order of the message.
	Certificates []*x509.Certificate

	// Time is when the message was signed, according to the signer; zero:
	// unknown.
	Time time.Time

	// Transaction identifies the transaction of which the message is a part (RFC
	// 8894, section 3.2.1.1); "": unknown.
	Transaction string
}

// Parse reads a message in PEM or DER and verifies its signature with the
// certificate in the message. All errors wrap [ErrMessage].
func Parse(data []byte) (*Message, error) {
	m, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return m, nil
}

func parse(data []byte) (*Message, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has more than %d KiB", MaxSize>>10)
	}
	der, err := derOf(data)
	if err != nil {
		return nil, err
	}
	var info contentInfo
	if !exactly(der, &info) {
		return nil, explain(der)
	}
	d := info.Data
	switch {
	case !info.Type.Equal(oidSignedData):
		return nil, fmt.Errorf("its type is %v, not SignedData", info.Type)
	case !d.Content.Type.Equal(oidData):
		return nil, fmt.Errorf("the type of its content is %v, not data", d.Content.Type)
	case len(d.Signers) != 1 || len(d.DigestAlgorithms) != 1:
		return nil, fmt.Errorf("it has %d signatures, not one", len(d.Signers))
	case d.Version != version || d.Signers[0].Version != version:
		return nil, errors.New("its version is not supported")
	}
	hash, err := digestOf(d.Signers[0].DigestAlgorithm)
	if err != nil {
		return nil, err
	}
	if h, err := digestOf(d.DigestAlgorithms[0]); err != nil || h != hash {
		return nil, errors.New("it names different digest algorithms")
	}
	m := &Message{Content: d.Content.Content}
	if err := m.addCertificates(d.Certificates, d.Signers[0].Name); err != nil {
		return nil, err
	}
	if err := m.readAttributes(d.Signers[0].Attributes, digest(hash, m.Content)); err != nil {
		return nil, err
	}
	return m, verify(m.Signer, hash, d.Signers[0])
}

// derOf returns the DER of a message in PEM or DER.
func derOf(data []byte) ([]byte, error) {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("it is empty")
	case !bytes.Contains(data, []byte("-----BEGIN")):
		return data, nil
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("its PEM block is damaged")
	case block.Type != pemType && block.Type != "PKCS7": // OpenSSL reads both
		return nil, fmt.Errorf("it is a PEM block %.50q, not %s", block.Type, pemType)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is something behind its PEM block")
	}
	return block.Bytes, nil
}

// explain returns the error for a message that has not the form that Sign writes.
func explain(der []byte) error {
	var outer struct {
		Type asn1.ObjectIdentifier
		Data struct {
			Version int
			Digests asn1.RawValue
			Content struct {
				Type    asn1.ObjectIdentifier
				Content asn1.RawValue `asn1:"optional,explicit,tag:0"`
			}
			Rest asn1.RawValue
		} `asn1:"explicit,tag:0"`
	}
	_, err := asn1.Unmarshal(der, &outer)
	switch {
	case err != nil:
		return errors.New("it is damaged, or is not SignedData in DER")
	case len(outer.Data.Content.Content.FullBytes) == 0:
		return errors.New("it does not include the content that it signs")
	}
	return errors.New("it is not SignedData in DER with certificates, one kind of signer name, and signed attributes")
}

// addCertificates parses the certificates, and finds that of the signer.
func (m *Message) addCertificates(list []asn1.RawValue, name signerName) error {
	if len(list) > maxCertificates {
		return fmt.Errorf("it has more than %d certificates", maxCertificates)
	}
	for _, v := range list {
		c, err := x509.ParseCertificate(v.FullBytes)
		if err != nil {
			return errors.New("it has a certificate that is damaged")
		}
		m.Certificates = append(m.Certificates, c)
		if !bytes.Equal(c.RawIssuer, name.Issuer.FullBytes) || c.SerialNumber.Cmp(name.Serial) != 0 {
			continue
		}
		if m.Signer != nil {
			return errors.New("it has two certificates with the issuer and serial number of the signer")
		}
		m.Signer = c
	}
	if m.Signer == nil {
		return errors.New("it lacks the certificate of the signer")
	}
	return nil
}

// readAttributes checks the attributes that RFC 5652, section 11, requires, and reads
// the signing time and the transaction. Other attributes have no meaning here.
func (m *Message) readAttributes(list []attribute, digest []byte) error {
	if len(list) > maxAttributes {
		return fmt.Errorf("it has more than %d signed attributes", maxAttributes)
	}
	values := make(map[string][]byte, len(list))
	for _, a := range list {
		id := a.Type.String()
		if _, ok := values[id]; ok || len(a.Values) != 1 {
			return fmt.Errorf("its signed attribute %v has not one value", a.Type)
		}
		values[id] = a.Values[0].FullBytes
	}
	var contentType asn1.ObjectIdentifier
	var messageDigest []byte
	switch {
	case !exactly(values[oidContentType.String()], &contentType) || !contentType.Equal(oidData):
		return errors.New("its signed attributes do not name the type of the content")
	case !exactly(values[oidMessageDigest.String()], &messageDigest):
		return errors.New("its signed attributes lack the digest of the content")
	case subtle.ConstantTimeCompare(messageDigest, digest) != 1:
		return errors.New("its content was changed after it was signed")
	}
	if value, ok := values[oidSigningTime.String()]; ok && !exactly(value, &m.Time) {
		return errors.New("its signing time is damaged")
	}
	if value, ok := values[oidTransaction.String()]; ok && (!exactly(value, &m.Transaction) || !isTransaction(m.Transaction)) {
		return errors.New("its transaction identifier is damaged")
	}
	return nil
}

// isTransaction reports whether s can identify a transaction. Each such text is a
// PrintableString.
func isTransaction(s string) bool {
	return s != "" && len(s) <= maxTransaction && strings.IndexFunc(s, func(r rune) bool {
		return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && r != '-'
	}) < 0
}

// verify verifies the signature over the attributes.
func verify(c *x509.Certificate, hash crypto.Hash, info signerInfo) error {
	if pub, ok := c.PublicKey.(*rsa.PublicKey); ok && pub.N.BitLen() > maxRSA {
		return fmt.Errorf("the key of the signer has more than %d bits", maxRSA)
	}
	mechanism, err := mechanismOf(c.PublicKey, hash, info.SignatureAlgorithm)
	if err != nil {
		return err
	}
	signed, err := signedBytes(info.Attributes)
	if err != nil {
		return err
	}
	if mechanism.Hash != 0 {
		signed = digest(mechanism.Hash, signed)
	}
	if !signer.Verifies(c.PublicKey, mechanism, signed, info.Signature) {
		return errors.New("its signature is wrong")
	}
	return nil
}
