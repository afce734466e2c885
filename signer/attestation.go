package signer

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
)

// oidYubiKeyFirmware is the extension with the firmware version in the
// attestation certificates of YubiKeys (Yubico PIV attestation,
// 1.3.6.1.4.1.41482.3.3).
var oidYubiKeyFirmware = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 3}

// IsAttestation reports whether c is an attestation certificate of a YubiKey. It
// says that the key was made in the device. It has the public key of the key and
// a later expiry than other certificates, and the module of the device shows it
// beside them, but no service accepts it as the certificate of the key.
func IsAttestation(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidYubiKeyFirmware) })
}

func onlyAttested() error {
	return WithHint(fmt.Errorf("%w except an attestation certificate of a YubiKey, which no service accepts", ErrNoCertificate),
		"have a CA issue a certificate for the key, and store it with the command holdfast install")
}
