package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// MaxCRL is the maximum size of a revocation list in PEM that IAM Roles
// Anywhere imports, in bytes.
//
// Source: IAM Roles Anywhere API Reference, ImportCrl.
const MaxCRL = 300_000

// A Revocation is one entry of a revocation list.
type Revocation struct {
	Serial *big.Int
	Time   time.Time
	Reason Reason
}

// A Reason is a CRLReason (RFC 5280, section 5.3.1).
type Reason int

// The reasons that a CA of this package gives. Others, such as
// certificateHold, are not offered.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	PrivilegeWithdrawn   Reason = 9
)

// Reasons maps the names in RFC 5280 to reasons. The caller owns the map.
func Reasons() map[string]Reason {
	return map[string]Reason{
		"unspecified": Unspecified, "keyCompromise": KeyCompromise, "affiliationChanged": AffiliationChanged,
		"superseded": Superseded, "cessationOfOperation": CessationOfOperation, "privilegeWithdrawn": PrivilegeWithdrawn,
	}
}

// CheckCRL returns an error if the issuer cannot sign revocation lists at the
// time now.
func (i Issuer) CheckCRL(now time.Time) error {
	if err := i.Check(now); err != nil {
		return err
	}
	switch c := i.Certificate; {
	case c.KeyUsage&x509.KeyUsageCRLSign == 0:
		return signer.WithHint(fmt.Errorf("the key usage of the CA certificate %q lacks cRLSign", c.Subject), "reissue it with keyUsage = keyCertSign, cRLSign")
	case len(c.SubjectKeyId) == 0:
		return fmt.Errorf("the CA certificate %q has no subject key identifier", c.Subject)
	}
	return nil
}

// NewCRL returns a revocation list in DER (RFC 5280, section 5). number must be
// larger than that of every earlier list of the issuer.
func NewCRL(rand io.Reader, issuer Issuer, number *big.Int, revoked []Revocation, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	if err := issuer.CheckCRL(thisUpdate); err != nil {
		return nil, err
	}
	switch {
	case number == nil || number.Sign() <= 0 || number.BitLen() > 159:
		return nil, errors.New("the CRL number is not a positive number of at most 20 octets")
	case !thisUpdate.Before(nextUpdate):
		return nil, errors.New("the next update of the revocation list would be before this one")
	}
	algorithm, err := signatureAlgorithm(issuer.Key)
	if err != nil {
		return nil, err
	}
	list := &x509.RevocationList{
		SignatureAlgorithm: algorithm, Number: number,
		ThisUpdate: thisUpdate.UTC().Truncate(time.Second), NextUpdate: nextUpdate.UTC().Truncate(time.Second),
	}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: r.Serial, RevocationTime: r.Time.UTC().Truncate(time.Second), ReasonCode: int(r.Reason),
		})
	}
	return x509.CreateRevocationList(rand, list, issuer.Certificate, issuer.Key)
}
