package certpath

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/algorithm"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// ErrSignature means that another key made a signature.
var ErrSignature = errors.New("the signature does not verify")

var errNotCA = errors.New("the issuer is not a CA that may sign certificates")

// CheckSignature returns nil if the key of issuer made the signature of c, also with
// ML-DSA. It checks nothing else.
func CheckSignature(c, issuer *x509.Certificate) error {
	if s, ok := mldsa.SignatureOf(c); ok {
		return by(s, issuer)
	}
	return issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
}

// CheckSignatureFrom is the method of [x509.Certificate] with this name, and knows
// ML-DSA.
func CheckSignatureFrom(c, parent *x509.Certificate) error {
	s, ok := mldsa.SignatureOf(c)
	switch {
	case !ok:
		return c.CheckSignatureFrom(parent)
	case !parent.BasicConstraintsValid || !parent.IsCA, parent.KeyUsage != 0 && parent.KeyUsage&x509.KeyUsageCertSign == 0:
		return errNotCA
	}
	return by(s, parent)
}

// CheckListSignature is [CheckSignature] for a revocation list.
func CheckListSignature(list *x509.RevocationList, issuer *x509.Certificate) error {
	if list.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		if s, ok := mldsa.ParseSigned(list.Raw); ok {
			return by(s, issuer)
		}
	}
	return issuer.CheckSignature(list.SignatureAlgorithm, list.RawTBSRevocationList, list.Signature)
}

func by(s mldsa.Signed, issuer *x509.Certificate) error {
	if !s.By(mldsa.OfCertificate(issuer)) {
		return ErrSignature
	}
	return nil
}

// IsKnown reports whether [CheckSignature] knows the algorithm of the signature of
// c.
func IsKnown(c *x509.Certificate) bool {
	_, ok := mldsa.SignatureOf(c)
	return ok || c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm
}

// SignatureName returns the name of the algorithm that signed c.
func SignatureName(c *x509.Certificate) string {
	return algorithm.OfSignature(c.SignatureAlgorithm, c.Raw)
}

// Verify returns the paths from leaf to one of roots, leaf first, that are valid
// at the time now for any extended key usage. It accepts what Verify of crypto/x509
// and [Check] accept, and ML-DSA. There is at least one path if the error is nil.
// The caller limits the number of certificates.
func Verify(leaf *x509.Certificate, roots, between []*x509.Certificate, now time.Time) (valid [][]*x509.Certificate, err error) {
	certs := slices.Concat([]*x509.Certificate{leaf}, roots, between)
	copies, forged := verifiable(certs, len(roots))
	rootPool, pool := x509.NewCertPool(), x509.NewCertPool()
	for i, c := range copies[1:] {
		if i < len(roots) {
			rootPool.AddCert(c)
		} else {
			pool.AddCert(c)
		}
	}
	paths, err := copies[0].Verify(x509.VerifyOptions{
		Roots: rootPool, Intermediates: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	for _, path := range paths {
		for i, c := range path {
			path[i] = certs[slices.IndexFunc(certs, c.Equal)]
		}
		if violation := Check(path); violation == nil {
			valid = append(valid, path)
		} else if err == nil {
			err = violation
		}
	}
	if len(valid) > 0 {
		return valid, nil
	}
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) && forged != nil { // the reason of crypto/x509 is one of the copies
		err = fmt.Errorf("certificate of %q: the key of %q did not make its signature: %w", forged.Subject, forged.Issuer, x509.UnknownAuthorityError{Cert: leaf})
	}
	return nil, err
}

// verifiable returns [Relaxed] copies whose signatures crypto/x509 can verify.
// Before Go 1.27, it does not know ML-DSA. In the copies, a new Ed25519 key
// replaces each ML-DSA key, and its signature replaces each signature that the
// ML-DSA key made. Nobody else has these keys. The signatures of the roots, which
// follow the leaf, do not matter. forged is the first certificate with an ML-DSA
// signature that none of its named issuers made, or nil.
func verifiable(certs []*x509.Certificate, roots int) (copies []*x509.Certificate, forged *x509.Certificate) {
	copies = make([]*x509.Certificate, len(certs))
	substitutes := make(map[string]ed25519.PrivateKey) // by SubjectPublicKeyInfo
	for i, c := range certs {
		copies[i] = Relaxed(c)
		if c.PublicKey != nil || mldsa.OfCertificate(c) == nil {
			continue
		}
		key, ok := substitutes[string(c.RawSubjectPublicKeyInfo)]
		if !ok {
			_, key, _ = ed25519.GenerateKey(rand.Reader) // never fails
			substitutes[string(c.RawSubjectPublicKeyInfo)] = key
		}
		copies[i].PublicKey, copies[i].PublicKeyAlgorithm = key.Public(), x509.Ed25519
	}
	for i, c := range certs {
		signature, ok := mldsa.SignatureOf(c)
		if !ok || 0 < i && i <= roots {
			continue
		}
		named := false
		for _, issuer := range certs {
			if !bytes.Equal(issuer.RawSubject, c.RawIssuer) {
				continue
			}
			named = true
			if key, ok := substitutes[string(issuer.RawSubjectPublicKeyInfo)]; ok && signature.By(mldsa.OfCertificate(issuer)) {
				copies[i].SignatureAlgorithm = x509.PureEd25519
				copies[i].Signature = ed25519.Sign(key, c.RawTBSCertificate)
				break
			}
		}
		if named && forged == nil && copies[i].SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
			forged = c
		}
	}
	return copies, forged
}
