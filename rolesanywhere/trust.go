package rolesanywhere

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxAnchorCertificates is the service's quota of certificates in a trust anchor.
const maxAnchorCertificates = 2

// CheckTrust returns an error if a trust anchor with the certificates anchor would
// not trust the certificates of a key at the time now. It considers only those
// that a [Client] sends. It does not check revocation, nor the rules of
// [CheckChain].
func CheckTrust(certs signer.Certificates, anchor []*x509.Certificate, now time.Time) error {
	_, err := TrustPaths(certs, anchor, now)
	return err
}

// TrustPaths is [CheckTrust], but returns the paths from the certificate of the key
// to the trust anchor, leaf first. There is at least one if the error is nil.
func TrustPaths(certs signer.Certificates, anchor []*x509.Certificate, now time.Time) (trusted [][]*x509.Certificate, err error) {
	if len(certs.Chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	if n := len(anchor); n == 0 || n > maxAnchorCertificates {
		return nil, signer.WithHint(fmt.Errorf("the trust anchor has %d certificates; Roles Anywhere allows 1 to %d", n, maxAnchorCertificates),
			"give only the certificates that the trust anchor contains")
	}
	for _, c := range anchor {
		if err := checkAnchor(c, now); err != nil {
			return nil, err
		}
	}
	sent := fitting(usable(certs, now))
	leaf := *sent[0]
	leaf.NotBefore, leaf.NotAfter = now, now // Problems judges it
	trusted, err = certpath.Verify(&leaf, anchor, sent[1:], now)
	if err != nil {
		return nil, explainTrust(certs, anchor, now, err)
	}
	for _, path := range trusted {
		path[0] = sent[0]
	}
	return trusted, nil
}

// misled returns an error if the issuer of top only has the printed name of c, a
// certificate of the trust anchor. named means that their names are the same.
func misled(top, c *x509.Certificate, named bool) error {
	signature := certpath.CheckSignature(top, c)
	switch {
	case !named && subject(c) != issuer(top):
		return nil
	case certpath.Weak(top.SignatureAlgorithm):
		return signer.WithHint(fmt.Errorf("the certificate %s is signed with %v", subject(top), top.SignatureAlgorithm), "have the CA reissue it with SHA-256 or stronger")
	case signature != nil:
		return signer.WithHint(fmt.Errorf("the CA that issued %s is named %s, like the CA of the trust anchor, but has another key", subject(top), subject(c)),
			fmt.Sprintf("put the CA certificate%s into the trust anchor, or have the CA%s issue a new certificate", withKeyID(top.AuthorityKeyId), withKeyID(c.SubjectKeyId)))
	case !named:
		return signer.WithHint(fmt.Errorf("the certificate %s was issued by %s, but with another encoding of this name than in the trust anchor", subject(top), issuer(top)),
			"put the certificate of the CA that issued it into the trust anchor")
	}
	return nil
}

// withKeyID returns text for a key identifier, as OpenSSL prints it.
func withKeyID(id []byte) string {
	if len(id) == 0 {
		return ""
	}
	return fmt.Sprintf(" with the key identifier %s", clip(strings.ReplaceAll(fmt.Sprintf("% X", id), " ", ":")))
}

// UnusedIssuers returns, for each certificate of an issuer that a [Client] does not
// send at the time now, the reason. The trust anchor decides whether it is needed.
func UnusedIssuers(certs signer.Certificates, now time.Time) (reasons []error) {
	for i, c := range certs.Issued() {
		if i == 0 {
			continue
		}
		if p := issuerProblem(c, now); p != nil {
			reasons = append(reasons, p.of("the intermediate certificate "+subject(c)))
		}
	}
	if all := usable(certs, now); len(all) > len(fitting(all)) {
		reasons = append(reasons, signer.WithHint(fmt.Errorf("there are %d certificates of issuers, and Roles Anywhere accepts at most %d", len(all)-1, sigv4x509.MaxChain),
			"give only those that lead to the trust anchor"))
	}
	return reasons
}

// checkAnchor checks the rules for the certificate of a trust anchor.
func checkAnchor(c *x509.Certificate, now time.Time) error {
	p := issuerProblem(c, now)
	if p == nil && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		p = &problem{"lacks the key usage keyCertSign", "make the certificate again with this key usage"}
	}
	if p == nil {
		return nil
	}
	if now.After(c.NotAfter) {
		p.hint = "replace the CA certificate in the trust anchor"
	}
	return p.of(fmt.Sprintf("the certificate %s of the trust anchor", subject(c)))
}

// explainTrust returns the likeliest reason why no path leads to the trust
// anchor. err is the error of the verification.
func explainTrust(certs signer.Certificates, anchor []*x509.Certificate, now time.Time, err error) error {
	top := certs.Chain[len(certs.Chain)-1]
	var names []string
	leads := false
	for _, c := range anchor {
		names = append(names, subject(c))
		named := bytes.Equal(c.RawSubject, top.RawIssuer)
		if err := misled(top, c, named); err != nil {
			return err
		}
		leads = leads || named
	}
	for _, c := range certs.Chain[1:] {
		if p := issuerProblem(c, now); p != nil {
			return p.of("the intermediate certificate " + subject(c))
		}
	}
	for i, c := range certs.Chain[1:] {
		if err := certpath.CheckSignature(certs.Chain[i], c); err != nil {
			return signer.WithHint(fmt.Errorf("the certificate %s cannot be verified with the key of %s: %w", subject(certs.Chain[i]), subject(c), err),
				"have the CA issue it again, signed with SHA-256 or stronger, or with ML-DSA")
		}
	}
	if leads { // there is a path, but a rule forbids it
		var unknown x509.UnknownAuthorityError
		if !errors.As(err, &unknown) {
			return signer.WithHint(fmt.Errorf("the certificates do not lead to the trust anchor: %w", err), "use certificates that obey the constraints of their issuers")
		}
	}
	return signer.WithHint(fmt.Errorf("the certificate %s was issued by %s, but the trust anchor contains %s", subject(top), issuer(top), strings.Join(names, " and ")),
		untrusted(certs, now, "local"))
}
