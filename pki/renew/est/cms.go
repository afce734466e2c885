package est

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

var (
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
)

// maxCertificates bounds the certificates in a message. A CA that changes its key
// has four for itself (RFC 7030, section 4.1.3).
const maxCertificates = 32

// A contentInfo is that of RFC 5652, section 3.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

// A signedData is that of RFC 5652, section 5.1, without signatures.
type signedData struct {
	Version      int
	Digests      asn1.RawValue `asn1:"set"`
	Content      encapsulated
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue `asn1:"optional,tag:1"`
	Signers      asn1.RawValue `asn1:"set"`
}

type encapsulated struct {
	Type asn1.ObjectIdentifier
}

// parseCertsOnly returns the certificates of a certs-only message (RFC 8551,
// section 3.8) in DER.
func parseCertsOnly(der []byte) ([]*x509.Certificate, error) {
	if len(der) > 1 && der[1] == 0x80 {
		return nil, errors.New("the certificates are in BER instead of DER")
	}
	var info contentInfo
	if err := unmarshal(der, &info); err != nil {
		return nil, err
	}
	var data signedData
	if !info.Type.Equal(oidSignedData) {
		return nil, errNoCertsOnly
	}
	if err := unmarshal(info.Content.Bytes, &data); err != nil {
		return nil, err
	}
	// Version 3 is for certificates of other types (RFC 5652, section 5.1).
	if data.Version != 1 || !data.Content.Type.Equal(oidData) || !isSet(data.Digests) || !isSet(data.Signers) || len(data.Signers.Bytes) > 0 {
		return nil, errNoCertsOnly
	}
	return parseCertificates(data.Certificates.Bytes)
}

var errNoCertsOnly = errors.New("the answer is not a certs-only CMS message")

// unmarshal decodes der, after which nothing may follow.
func unmarshal(der []byte, value any) error {
	if rest, err := asn1.Unmarshal(der, value); err != nil || len(rest) > 0 {
		return errNoCertsOnly
	}
	return nil
}

func isSet(v asn1.RawValue) bool {
	return v.Class == asn1.ClassUniversal && v.Tag == asn1.TagSet && v.IsCompound
}

func parseCertificates(der []byte) (certs []*x509.Certificate, err error) {
	for len(der) > 0 {
		var raw asn1.RawValue
		if der, err = asn1.Unmarshal(der, &raw); err != nil {
			return nil, errNoCertsOnly
		}
		cert, err := x509.ParseCertificate(raw.FullBytes)
		if err != nil {
			return nil, errors.New("the answer contains a certificate that is damaged")
		}
		if certs = append(certs, cert); len(certs) > maxCertificates {
			return nil, fmt.Errorf("the answer contains more than %d certificates", maxCertificates)
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("the answer contains no certificate")
	}
	return certs, nil
}
