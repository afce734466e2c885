package issuing

import (
	"cmp"
	"crypto/x509"
	"slices"
)

// holderOf returns the subject of a certificate as it is printed.
func holderOf(c *x509.Certificate) string { return cmp.Or(c.Subject.String(), "(no subject)") }

// otherCA returns the certificate of the trust anchor that signed a CRL but is in
// none of the paths, as while a root is replaced; nil: none.
func (v *verification) otherCA(list *x509.RevocationList) *x509.Certificate {
	used := slices.Concat(v.paths...)
	for _, c := range v.anchor {
		if !slices.ContainsFunc(used, c.Equal) && list.CheckSignatureFrom(c) == nil {
			return c
		}
	}
	return nil
}
