package pki

import (
	"crypto/x509"
	"errors"
	"time"
)

// A Profile says what a certificate contains besides its names and its key.
type Profile struct {
	Name string

	IsCA bool
	// PathLength is the number of intermediate CA certificates that may
	// follow this one in a path, for a CA (RFC 5280, section 4.2.1.9).
	// A negative number means that there is no limit.
	PathLength int

	KeyUsage    x509.KeyUsage
	ExtKeyUsage []x509.ExtKeyUsage

	Lifetime time.Duration // of a certificate whose end is not given

	// RolesAnywhere adds the rules of IAM Roles Anywhere for keys and names
	// to those of RFC 5280.
	RolesAnywhere bool
}

const day = 24 * time.Hour

// The profiles of certificates that a small CA needs.
//
// Source of Client: IAM Roles Anywhere User Guide, "The IAM Roles Anywhere trust
// model": a leaf needs the key usage digitalSignature and must not be a CA. The
// attributes of its subject and of its issuer become session tags.
var (
	Root = Profile{Name: "root", IsCA: true, RolesAnywhere: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, Lifetime: 3650 * day}
	Intermediate = Profile{Name: "intermediate", IsCA: true, RolesAnywhere: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, Lifetime: 1825 * day}
	Client = Profile{Name: "client", RolesAnywhere: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, Lifetime: 90 * day}
	Server = Profile{Name: "server",
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, Lifetime: 90 * day}
)

// Profiles returns the profiles that a CA can issue certificates with.
func Profiles() []Profile { return []Profile{Client, Server, Intermediate} }

// KeyUsages maps the names of RFC 5280, section 4.2.1.3, to key usages. The
// caller owns the map.
func KeyUsages() map[string]x509.KeyUsage {
	return map[string]x509.KeyUsage{
		"digitalSignature": x509.KeyUsageDigitalSignature, "nonRepudiation": x509.KeyUsageContentCommitment,
		"keyEncipherment": x509.KeyUsageKeyEncipherment, "dataEncipherment": x509.KeyUsageDataEncipherment,
		"keyAgreement": x509.KeyUsageKeyAgreement, "keyCertSign": x509.KeyUsageCertSign, "cRLSign": x509.KeyUsageCRLSign,
		"encipherOnly": x509.KeyUsageEncipherOnly, "decipherOnly": x509.KeyUsageDecipherOnly,
	}
}

// ExtKeyUsages maps the names of RFC 5280, section 4.2.1.12, to extended key
// usages. The caller owns the map.
func ExtKeyUsages() map[string]x509.ExtKeyUsage {
	return map[string]x509.ExtKeyUsage{
		"serverAuth": x509.ExtKeyUsageServerAuth, "clientAuth": x509.ExtKeyUsageClientAuth, "codeSigning": x509.ExtKeyUsageCodeSigning,
		"emailProtection": x509.ExtKeyUsageEmailProtection, "timeStamping": x509.ExtKeyUsageTimeStamping, "OCSPSigning": x509.ExtKeyUsageOCSPSigning,
	}
}

// Check returns an error if the profile contradicts RFC 5280, or IAM Roles
// Anywhere if it is for that service.
func (p Profile) Check() error {
	signs := p.KeyUsage & (x509.KeyUsageCertSign | x509.KeyUsageCRLSign)
	switch {
	case p.Lifetime <= 0:
		return errors.New("the lifetime is not positive")
	case p.IsCA && p.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("the key usage of a CA lacks keyCertSign")
	case !p.IsCA && signs != 0:
		return errors.New("only a CA can have the key usages keyCertSign and cRLSign")
	case p.KeyUsage == 0:
		return errors.New("there is no key usage")
	case p.RolesAnywhere && !p.IsCA && p.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("IAM Roles Anywhere needs the key usage digitalSignature")
	}
	return nil
}
