package pki

import (
	"crypto/x509"
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
}

const day = 24 * time.Hour

// The profiles of certificates that a small CA needs.
//
// Source of Client: IAM Roles Anywhere User Guide, "The IAM Roles Anywhere trust
// model": a leaf needs the key usage digitalSignature and must not be a CA.
var (
	Root = Profile{Name: "root", IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, Lifetime: 3650 * day}
	Intermediate = Profile{Name: "intermediate", IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, Lifetime: 1825 * day}
	Client = Profile{Name: "client",
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, Lifetime: 90 * day}
	Server = Profile{Name: "server",
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, Lifetime: 90 * day}
)
