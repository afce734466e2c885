package pki

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxTag is the maximum length of the value of a session tag, in characters.
//
// Source: AWS STS API Reference, Tag.
const maxTag = 256

// maxIdentity is the maximum length of the source identity of a session, which is
// the common name, in characters.
//
// Source: AWS STS API Reference, AssumeRole.
const maxIdentity = 64

// CheckTags returns an error if IAM Roles Anywhere cannot make session tags of
// the names. It maps all attributes of the subject, with all values of one type
// joined by "/", and the first DNS name and URI. If one of them is not a valid
// value, it refuses the certificate.
//
// Source: IAM Roles Anywhere User Guide, "Attribute mapping".
func (n Names) CheckTags() error {
	if err := n.checkSubjectTags(); err != nil {
		return fmt.Errorf("subject: %w", err)
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

func (n Names) checkSubjectTags() error {
	values, err := n.joined()
	if err != nil {
		return err
	}
	for _, text := range values {
		if err := checkTag(text); err != nil {
			return err
		}
	}
	return nil
}

// joined returns the values of the subject by attribute type, joined by "/".
func (n Names) joined() (map[string]string, error) {
	subject, err := n.subject()
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	for _, set := range subject {
		for _, a := range set {
			text, ok := a.Value.(string)
			if !ok {
				return nil, fmt.Errorf("the value of %v is not text, so that IAM Roles Anywhere cannot make a session tag of it", a.Type)
			}
			if before, ok := values[a.Type.String()]; ok {
				text = before + "/" + text
			}
			values[a.Type.String()] = text
		}
	}
	return values, nil
}

// CheckClient returns an error if IAM Roles Anywhere would refuse each session
// with a certificate that has these names and an issuer with the subject issuer,
// in DER. It checks the rules about names; those about keys and usages are in the
// profile.
//
// Source: IAM Roles Anywhere User Guide, "Attribute mapping" and "Trust model".
func (n Names) CheckClient(issuer []byte) error {
	if err := n.CheckTags(); err != nil {
		return err
	}
	values, err := n.joined()
	if err != nil {
		return err
	}
	if name := values[oidCommonName]; utf8.RuneCountInString(name) > maxIdentity {
		return fmt.Errorf("subject: the common name is longer than %d characters, which is the limit of the source identity of a session", maxIdentity)
	}
	if err := (Names{Subject: issuer}).checkSubjectTags(); err != nil {
		return fmt.Errorf("subject of the CA: %w", err)
	}
	return nil
}

// CommonName returns the common name in the subject, several of them joined by "/",
// which is the source identity of sessions; "": none.
func (n Names) CommonName() string {
	values, err := n.joined()
	if err != nil {
		return ""
	}
	return values[oidCommonName]
}

const oidCommonName = "2.5.4.3"

// CheckAnchor returns an error if IAM Roles Anywhere does not accept
// certificates of a CA with the certificate c.
//
// Source: IAM Roles Anywhere User Guide, "Trust model".
func CheckAnchor(c *x509.Certificate) error {
	hint := "have the CA certificate made again; to make a new CA, run: holdfast ca init --help"
	switch pub := signer.PublicKeyOf(c).(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
	default:
		if mldsa.Of(pub) == nil {
			return signer.WithHint(fmt.Errorf("IAM Roles Anywhere does not support the %s key of the CA", signer.DescribeKeyOf(c)), hint)
		}
	}
	switch {
	case certpath.Weak(c.SignatureAlgorithm):
		return signer.WithHint(fmt.Errorf("IAM Roles Anywhere does not accept the signature of the CA certificate, %v", c.SignatureAlgorithm), hint)
	case c.KeyUsage&x509.KeyUsageCertSign == 0:
		return signer.WithHint(errors.New("the key usage of the CA certificate lacks keyCertSign, which IAM Roles Anywhere requires"), hint)
	}
	if err := NamesOf(c).checkSubjectTags(); err != nil {
		return signer.WithHint(fmt.Errorf("subject of the CA: %w", err), hint)
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

// checkRolesAnywhere returns an error if IAM Roles Anywhere would refuse the
// template. issuer is nil for a self-signed certificate.
//
// Source: IAM Roles Anywhere User Guide, "Signing process": RSA and EC keys.
func (t Template) checkRolesAnywhere(issuer *x509.Certificate) error {
	switch t.PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
	default:
		return signer.WithHint(fmt.Errorf("IAM Roles Anywhere does not support %s keys", signer.DescribeKey(t.PublicKey)), "use an RSA or ECDSA key")
	}
	if issuer == nil {
		return t.Names.CheckTags()
	}
	if err := CheckAnchor(issuer); err != nil {
		return err
	}
	if t.Profile.IsCA {
		return t.Names.CheckTags()
	}
	return t.Names.CheckClient(issuer.RawSubject)
}
