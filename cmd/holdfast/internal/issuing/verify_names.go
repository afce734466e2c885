package issuing

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkMapping returns an error if the names in a certificate cannot become the
// session tags and the source identity of a session.
func checkMapping(leaf *x509.Certificate) error {
	_, bad := trustpolicy.SessionTags(leaf)
	for _, part := range []struct {
		field, prefix string
		names         pki.Names
	}{
		{trustpolicy.Subject, "", pki.NamesOf(leaf)},
		{trustpolicy.Issuer, "of its issuer, the ", pki.Names{Subject: leaf.RawIssuer}},
		{trustpolicy.SAN, "", pki.NamesOf(leaf)},
	} {
		if len(bad[part.field]) == 0 {
			continue
		}
		err := part.names.CheckTags()
		if err == nil {
			err = fmt.Errorf("%s of %s cannot be a session tag of IAM Roles Anywhere", strings.Join(bad[part.field], ", "), part.field)
		}
		return signer.WithHint(fmt.Errorf("certificate %q: %s%w", leaf.Subject, part.prefix, err),
			"have a CA issue it with other names; session tags allow letters, digits, spaces and _.:/=+-@, and 256 characters")
	}
	if n := utf8.RuneCountInString(trustpolicy.SourceIdentity(leaf)); n > trustpolicy.MaxIdentity {
		return signer.WithHint(fmt.Errorf("certificate %q: the common name has %d characters, and the source identity of a session at most %d", leaf.Subject, n, trustpolicy.MaxIdentity),
			"have the CA issue it with a shorter common name")
	}
	return nil
}

// holderOf returns the subject of a certificate as it is printed.
func holderOf(c *x509.Certificate) string { return cmp.Or(c.Subject.String(), "(no subject)") }

// otherCA returns the certificate of the trust anchor that signed a CRL but is in
// none of the paths, as while a root is replaced; nil: none.
func (v *verification) otherCA(list *x509.RevocationList) *x509.Certificate {
	used := slices.Concat(v.paths...)
	for _, c := range v.anchor {
		if !slices.ContainsFunc(used, c.Equal) && bytes.Equal(list.RawIssuer, c.RawSubject) && certpath.CheckListSignature(list, c) == nil {
			return c
		}
	}
	return nil
}
