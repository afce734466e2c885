package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxTag is the maximum length of the value of a session tag, in characters.
//
// Source: AWS STS API Reference, Tag.
const maxTag = 256

// CheckTags returns an error if IAM Roles Anywhere cannot make session tags of
// the names. It maps all attributes of the subject, with the values of a
// multi-valued RDN joined by "/", and the first DNS name and URI. If one of them
// is not a valid value, it refuses the certificate.
//
// Source: IAM Roles Anywhere User Guide, "Attribute mapping".
func (n Names) CheckTags() error {
	subject, err := n.subject()
	if err != nil {
		return err
	}
	for _, set := range subject {
		for _, a := range set {
			text, ok := a.Value.(string)
			if !ok {
				return fmt.Errorf("subject: the value of %v is not text, so that IAM Roles Anywhere cannot make a session tag of it", a.Type)
			}
			if err := checkTag(text); err != nil {
				return fmt.Errorf("subject: %w", err)
			}
		}
	}
	for _, first := range [][]string{n.DNSNames, n.uriTexts()} {
		if len(first) > 0 {
			if err := checkTag(first[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n Names) uriTexts() (texts []string) {
	for _, u := range n.URIs {
		texts = append(texts, u.String())
	}
	return texts
}

// checkTag checks the pattern of the value of a session tag.
func checkTag(s string) error {
	bad := strings.IndexFunc(s, func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r)
	})
	switch {
	case bad >= 0:
		r, _ := utf8.DecodeRuneInString(s[bad:])
		return signer.WithHint(fmt.Errorf("%q contains %q, which a session tag of IAM Roles Anywhere cannot contain", s, r),
			"use letters, digits, spaces and the characters _.:/=+-@")
	case utf8.RuneCountInString(s) > maxTag:
		return fmt.Errorf("%.32q… is longer than the %d characters of a session tag of IAM Roles Anywhere", s, maxTag)
	}
	return nil
}

// checkRolesAnywhere returns an error if IAM Roles Anywhere would refuse a
// certificate with the names and the key.
//
// Source: IAM Roles Anywhere User Guide, "Signing process": RSA and EC keys.
func checkRolesAnywhere(n Names, pub crypto.PublicKey) error {
	switch pub.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
	default:
		return signer.WithHint(fmt.Errorf("IAM Roles Anywhere does not support %s keys", signer.DescribeKey(pub)), "use an RSA or ECDSA key")
	}
	return n.CheckTags()
}
