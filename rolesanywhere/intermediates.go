package rolesanywhere

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
)

// usable returns the certificates of a key that the service may need at the time
// now: the leaf, the likeliest path, and the issuers of other paths, because the
// trust anchor is unknown. It leaves out those that the service would refuse.
func usable(certs signer.Certificates, now time.Time) []*x509.Certificate {
	all := certs.Issued()
	return slices.Concat(all[:1], slices.DeleteFunc(all[1:], func(c *x509.Certificate) bool { return issuerProblem(c, now) != nil }))
}

// fitting returns the certificates that fit into a request.
func fitting(all []*x509.Certificate) []*x509.Certificate {
	return all[:min(len(all), 1+sigv4x509.MaxChain)]
}

// A problem is why the service would refuse the certificate of an issuer.
type problem struct{ what, hint string }

// of returns the problem of a certificate as an error. name describes it.
func (p *problem) of(name string) error {
	return signer.WithHint(fmt.Errorf("%s %s", name, p.what), p.hint)
}

// issuerProblem returns why the service would refuse c as an intermediate
// certificate at the time now, or nil.
func issuerProblem(c *x509.Certificate, now time.Time) *problem {
	switch {
	case c.NotBefore.Sub(now) > clockTolerance:
		return &problem{"is not valid before " + c.NotBefore.UTC().Format(time.RFC3339), "wait, or correct the clock"}
	case now.After(c.NotAfter):
		return &problem{"expired at " + c.NotAfter.UTC().Format(time.RFC3339), "renew it"}
	case certpath.Weak(c.SignatureAlgorithm):
		return &problem{fmt.Sprintf("is signed with %v", c.SignatureAlgorithm), "reissue it with SHA-256 or stronger"}
	case unknownSignature(c) != "":
		return &problem{fmt.Sprintf("is signed with %s, which is not supported", unknownSignature(c)), hintSupportedCA}
	case !keySupported(c):
		return &problem{fmt.Sprintf("has an unsupported key: %s", signer.DescribeKeyOf(c)), hintSupportedCA}
	case !c.BasicConstraintsValid || !c.IsCA:
		return &problem{"is not a CA certificate", "give the certificate of the CA"}
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return &problem{"lacks the key usage keyCertSign", "make the certificate again with this key usage"}
	}
	return nil
}

// untrusted returns the hint for a response that the service does not trust the
// certificate. now is the time of the clock with the given name.
func untrusted(certs signer.Certificates, now time.Time, clock string) string {
	leaf := certs.Chain[0]
	if err := checkValidity(leaf, now, clock); err != nil {
		return err.Error()
	}
	for _, c := range certs.Chain[1:] {
		if p := issuerProblem(c, now); p != nil {
			return fmt.Sprintf("the intermediate certificate %s %s: %s", subject(c), p.what, p.hint)
		}
	}
	switch n := len(usable(certs, now)) - 1; {
	case n > sigv4x509.MaxChain && len(certs.Chain)-1 <= sigv4x509.MaxChain:
		return fmt.Sprintf("%d certificates of issuers were given, and Roles Anywhere accepts at most %d: give only those that lead to the trust anchor",
			n, sigv4x509.MaxChain)
	case n > sigv4x509.MaxChain:
		return fmt.Sprintf("there are %d intermediate certificates, and Roles Anywhere accepts at most %d: use an intermediate CA closer to the leaf as the trust anchor",
			n, sigv4x509.MaxChain)
	}
	top := certs.Chain[len(certs.Chain)-1]
	if n := len(certs.Others); len(certs.Chain) == 1 && n > 0 && !slices.ContainsFunc(certs.Others, func(c *x509.Certificate) bool {
		return certpath.CheckSignature(leaf, c) == nil
	}) {
		return fmt.Sprintf("none of the other certificates (%d) is that of %s, which issued the certificate: add it with Identity.Intermediates or in the file of Identity.Certificate, unless it is the trust anchor",
			n, issuer(leaf))
	}
	if bytes.Equal(top.RawIssuer, top.RawSubject) {
		if len(certs.Chain) == 1 {
			return fmt.Sprintf("the certificate %s is self-signed: use one that a CA issued, with this CA as the trust anchor", subject(top))
		}
		return fmt.Sprintf("the trust anchor must contain the CA %s%s, or one below it that is in the chain", subject(top), withKeyID(top.SubjectKeyId))
	}
	return fmt.Sprintf("the trust anchor must contain the CA %s%s, which issued %s; if it contains a CA above that one, give the certificates in between with Identity.Intermediates or in the file of Identity.Certificate",
		issuer(top), withKeyID(top.AuthorityKeyId), subject(top))
}

func issuer(c *x509.Certificate) string { return fmt.Sprintf("%q", clip(c.Issuer.String())) }
