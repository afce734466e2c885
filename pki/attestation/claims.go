package attestation

import (
	"crypto"
	"crypto/x509"
)

// Claims are what a PKCS #11 token says about the origin of a key. Nothing proves
// them, so a CA does not accept them.
type Claims struct {
	Device     string // the token
	Key        crypto.PublicKey
	Attributes map[string]bool // such as CKA_LOCAL
}

type claimsFile struct {
	header
	Device     string          `json:"token"`
	Key        []byte          `json:"public_key"` // SubjectPublicKeyInfo
	Attributes map[string]bool `json:"claimed_by_the_token"`
}

// Marshal returns the file.
func (c Claims) Marshal() ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(c.Key)
	if err != nil {
		return nil, err
	}
	return marshal(claimsFile{header{claimsType, Version}, c.Device, spki, c.Attributes})
}
