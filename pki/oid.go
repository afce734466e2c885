package pki

import "encoding/asn1"

// Object identifiers of extensions (RFC 5280, section 4.2).
var (
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// requestExtensions are the extensions that a request may mark as critical.
// The certificate gets its profile's values.
var requestExtensions = []asn1.ObjectIdentifier{oidSubjectAltName, oidBasicConstraints, oidKeyUsage, oidExtKeyUsage}
