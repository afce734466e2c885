package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

const hintAgain = "make the request again, such as with holdfast csr"

// ErrRequest is wrapped by the errors of [ParseRequest].
var ErrRequest = errors.New("invalid certificate request")

// maxRequest is the maximum size of a request, in bytes. One with an RSA key of
// 4096 bits and a hundred names has 6 KiB.
const maxRequest = 64 << 10

// NewRequest returns a certificate request (PKCS #10, RFC 2986) in DER for the
// key, with the names. The signature is the key's proof of possession.
func NewRequest(rand io.Reader, key signer.Signer, names Names) ([]byte, error) {
	return newRequest(rand, key, names, nil)
}

// NewRenewalRequest is [NewRequest] with the names of a certificate, which has
// them for another key or will be renewed. The DER of the subject and of the
// alternative names, also of types that [Names] does not have, is that of the
// certificate, because a CA may compare it (RFC 7030, section 4.2.2).
func NewRenewalRequest(rand io.Reader, key signer.Signer, cert *x509.Certificate) ([]byte, error) {
	var names []pkix.Extension
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			names = append(names, e)
		}
	}
	return newRequest(rand, key, Names{Subject: cert.RawSubject}, names)
}

// NewCARequest is [NewRequest] for an intermediate CA. The request asks for the
// extensions that the certificate of a CA needs, because software other than
// this package may take them from the request.
func NewCARequest(rand io.Reader, key signer.Signer, names Names) ([]byte, error) {
	// The DER of BasicConstraints and KeyUsage (RFC 5280, sections 4.2.1.9 and
	// 4.2.1.3): a CA with the path length 0; keyCertSign and cRLSign.
	return newRequest(rand, key, names, []pkix.Extension{
		{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00}},
		{Id: oidKeyUsage, Critical: true, Value: []byte{0x03, 0x02, 0x01, 0x06}},
	})
}

func newRequest(rand io.Reader, key signer.Signer, names Names, extensions []pkix.Extension) ([]byte, error) {
	if err := names.checkForm(); err != nil {
		return nil, err
	}
	if err := CheckMLDSA(key.Public()); err != nil {
		return nil, err
	}
	algorithm, err := signatureAlgorithm(key)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand, &x509.CertificateRequest{
		SignatureAlgorithm: algorithm,
		RawSubject:         names.rawSubject(),
		DNSNames:           names.DNSNames,
		URIs:               names.URIs,
		IPAddresses:        names.ips(),
		EmailAddresses:     names.EmailAddresses,
		ExtraExtensions:    extensions,
	}, key)
}

// rawSubject returns the subject, which is an empty sequence if there is none.
func (n Names) rawSubject() []byte {
	if len(n.Subject) == 0 {
		return []byte{0x30, 0}
	}
	return n.Subject
}

func (n Names) ips() (ips []net.IP) {
	for _, a := range n.IPAddresses {
		ips = append(ips, a.AsSlice())
	}
	return ips
}

// ParseRequest parses a certificate request in PEM or DER and verifies its
// signature, so that the requester has the private key. The key must be one
// that Check of a certificate accepts. All errors wrap [ErrRequest].
//
// The names in a request are only a wish. Use [NamesOfRequest] only if the
// requester may have every name.
func ParseRequest(data []byte) (*x509.CertificateRequest, error) {
	r, err := parseRequest(data)
	switch {
	case errors.As(err, new(validRequest)):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return r, nil
}

// A validRequest is the error for a request that other software would accept. It wraps
// ErrRequest, but its text does not say that the request is invalid.
type validRequest struct{ error }

func (e validRequest) Unwrap() []error { return []error{ErrRequest, e.error} }

func parseRequest(data []byte) (*x509.CertificateRequest, error) {
	if len(data) > maxRequest {
		return nil, fmt.Errorf("it has more than %d KiB", maxRequest>>10)
	}
	der, err := requestDER(data)
	if err != nil {
		return nil, err
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, signer.WithHint(errors.New("it is damaged"), hintAgain)
	}
	if key := mldsa.ParsePKIX(r.RawSubjectPublicKeyInfo); key != nil {
		return nil, signer.WithHint(validRequest{CheckMLDSA(key)}, "let the CA issue the certificate with other software, such as OpenSSL 3.5 or later: "+
			`openssl req -config "" -x509 -in FILE.csr -CA CA.pem -CAkey CA-KEY.pem -days 30 -addext keyUsage=critical,digitalSignature -out FILE.pem`)
	}
	if err := checkKey(r.PublicKey); err != nil {
		return nil, err
	}
	var insecure x509.InsecureAlgorithmError
	if err := r.CheckSignature(); errors.As(err, &insecure) {
		return nil, signer.WithHint(fmt.Errorf("its signature algorithm (%v) is not secure", r.SignatureAlgorithm), "make the request again with SHA-256")
	} else if err != nil {
		return nil, signer.WithHint(fmt.Errorf("its signature (%v) is not one of its key", r.SignatureAlgorithm),
			"make the request again with the key that it is for")
	}
	for _, e := range r.Extensions {
		if e.Critical && !slices.ContainsFunc(requestExtensions, e.Id.Equal) {
			return nil, fmt.Errorf("it asks for the critical extension %v, which is not supported", e.Id)
		}
	}
	return r, nil
}

// requestDER returns the only request in data.
func requestDER(data []byte) ([]byte, error) {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, signer.WithHint(errors.New("the file is empty"), hintAgain)
	case !bytes.Contains(data, []byte("-----BEGIN")):
		return data, nil
	}
	var der []byte
	other := ""
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			if der != nil {
				return nil, errors.New("the file contains more than one request")
			}
			der = block.Bytes
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			return nil, signer.WithHint(errors.New("the file contains a private key"),
				"give the certificate request, not the private key")
		default:
			other = block.Type
		}
	}
	switch {
	case der != nil:
		return der, nil
	case other != "":
		return nil, signer.WithHint(fmt.Errorf("the file contains a PEM block %.50q, not a CERTIFICATE REQUEST", other), "give the file that holdfast csr printed")
	}
	return nil, signer.WithHint(errors.New("the PEM block in the file is damaged"), hintAgain)
}

// checkKey returns an error for a key that a certificate of this package must
// not have.
func checkKey(pub crypto.PublicKey) error {
	if err := CheckMLDSA(pub); err != nil {
		return err
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < minRSA || n > maxRSA {
			return signer.WithHint(fmt.Errorf("an RSA key of %d bits is not supported", n), fmt.Sprintf("use one of %d to %d bits", minRSA, maxRSA))
		}
		return nil
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, pub.Curve) {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("keys of the type %s are not supported: %w", signer.DescribeKey(pub), errors.ErrUnsupported)
}

// CheckMLDSA returns an error for an ML-DSA key: before Go 1.27, crypto/x509 makes
// neither requests nor certificates for such keys. The error wraps
// [errors.ErrUnsupported].
func CheckMLDSA(pub crypto.PublicKey) error {
	key := mldsa.Of(pub)
	if key == nil {
		return nil
	}
	return signer.WithHint(fmt.Errorf("this version of Holdfast makes no certificate requests and no certificates for %s keys: %w", key.Name, errors.ErrUnsupported),
		"make the request with OpenSSL 3.5 or later: openssl req -new -key FILE -subj /CN=NAME -out FILE.csr")
}

// The limits of RSA keys in bits. Larger ones cost the verifier too much time.
const (
	minRSA = 2048
	maxRSA = 8192
)

// signatureAlgorithm returns the algorithm for certificates, requests and
// revocation lists that key signs.
func signatureAlgorithm(key signer.Signer) (x509.SignatureAlgorithm, error) {
	can := func(tls.SignatureScheme) bool { return true }
	if l, ok := key.(signer.SchemeLimiter); ok {
		schemes := l.SignatureSchemes()
		can = func(s tls.SignatureScheme) bool { return slices.Contains(schemes, s) }
	}
	for _, a := range algorithms {
		if a.fits(key.Public()) && can(a.scheme) {
			return a.algorithm, nil
		}
	}
	return 0, fmt.Errorf("the key (%s) makes no signatures for certificates: %w", signer.DescribeKey(key.Public()), errors.ErrUnsupported)
}

// algorithms are the signature algorithms, the most compatible one of each type
// of key first. IAM Roles Anywhere requires SHA-256 or stronger.
var algorithms = []struct {
	fits      func(crypto.PublicKey) bool
	scheme    tls.SignatureScheme
	algorithm x509.SignatureAlgorithm
}{
	{isRSA, tls.PKCS1WithSHA256, x509.SHA256WithRSA},
	{isRSA, tls.PSSWithSHA256, x509.SHA256WithRSAPSS},
	{isP256, tls.ECDSAWithP256AndSHA256, x509.ECDSAWithSHA256},
	{isP384, tls.ECDSAWithP384AndSHA384, x509.ECDSAWithSHA384},
	{isP521, tls.ECDSAWithP521AndSHA512, x509.ECDSAWithSHA512},
	{isEd25519, tls.Ed25519, x509.PureEd25519},
}

func isRSA(pub crypto.PublicKey) bool     { _, ok := pub.(*rsa.PublicKey); return ok }
func isEd25519(pub crypto.PublicKey) bool { _, ok := pub.(ed25519.PublicKey); return ok }

func isP256(pub crypto.PublicKey) bool { return isOnCurve(pub, elliptic.P256()) }
func isP384(pub crypto.PublicKey) bool { return isOnCurve(pub, elliptic.P384()) }
func isP521(pub crypto.PublicKey) bool { return isOnCurve(pub, elliptic.P521()) }

func isOnCurve(pub crypto.PublicKey, c elliptic.Curve) bool {
	k, ok := pub.(*ecdsa.PublicKey)
	return ok && k.Curve == c
}
