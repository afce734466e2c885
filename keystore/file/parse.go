package file

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxKey bounds the DER of a private key, in bytes: RSA with 16384 bits has
// 10 KiB, and the cost of checking a key grows with the cube of its size.
const maxKey = 16 << 10

// contents are the parts of a file, not yet decoded.
type contents struct {
	keys  [][]byte // DER
	certs []byte   // concatenated DER
	pfx   []byte   // a PKCS #12 file has no other parts
}

// pemBlock says what to do with a PEM block of a type (RFC 7468; the older
// types are OpenSSL's).
var pemBlock = map[string]func(*contents, []byte){
	"CERTIFICATE":           addCertificate,
	"X509 CERTIFICATE":      addCertificate,
	"PRIVATE KEY":           addKey,
	"RSA PRIVATE KEY":       addKey,
	"EC PRIVATE KEY":        addKey,
	"ENCRYPTED PRIVATE KEY": addKey,
	"PKCS12":                func(c *contents, der []byte) { c.pfx = der },
	"EC PARAMETERS":         func(*contents, []byte) {}, // repeated inside the key
	"PUBLIC KEY":            func(*contents, []byte) {}, // repeated inside the key
	"X509 CRL":              func(*contents, []byte) {},
}

// pemHint says the way out for PEM blocks that belong to something else.
var pemHint = map[string]string{
	"CERTIFICATE REQUEST":     "this is the request; use the certificate that the CA made from it",
	"NEW CERTIFICATE REQUEST": "this is the request; use the certificate that the CA made from it",
	"TRUSTED CERTIFICATE":     "convert it with: openssl x509 -in FILE -out cert.pem",
	"PKCS7":                   "convert it with: openssl pkcs7 -in FILE -print_certs -out certs.pem",
	"CMS":                     "convert it with: openssl pkcs7 -in FILE -print_certs -out certs.pem",
	"OPENSSH PRIVATE KEY":     "convert a copy with: ssh-keygen -p -m PKCS8 -f COPY",
	"DSA PRIVATE KEY":         "use an RSA or ECDSA key",
	"TSS2 PRIVATE KEY":        "this is a TPM key; this build has no TPM backend",
}

func addCertificate(c *contents, der []byte) { c.certs = append(c.certs, der...) }

func addKey(c *contents, der []byte) { c.keys = append(c.keys, der) }

// Hints that serve in several places.
const (
	pemBegins = "PEM begins with a line like -----BEGIN PRIVATE KEY----- or -----BEGIN CERTIFICATE-----"
	copyAgain = "copy it again; openssl pkey -in FILE -noout and openssl x509 -in FILE -noout tell whether it is whole"
	keyTypes  = "Holdfast takes keys for RSA, for ECDSA on P-256, P-384 and P-521, and for Ed25519; openssl pkey -in FILE -noout -text_pub shows which it is"
)

var pemBegin = []byte("-----BEGIN ")

// parse takes data apart without any expensive step.
func parse(data []byte) (*contents, error) {
	c := new(contents)
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as editors on Windows write it
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("is empty")
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return nil, signer.WithHint(errors.New("is UTF-16 text"), "save it as plain ASCII or UTF-8")
	case bytes.Contains(data, pemBegin):
		return c, c.addPEM(data)
	case data[0] == 0x30:
		return c, c.addDER(data)
	}
	return nil, signer.WithHint(errors.New("is neither PEM nor DER"),
		pemBegins)
}

func (c *contents) addPEM(data []byte) error {
	n := 1
	for ; bytes.Contains(data, pemBegin); n++ {
		b, rest := pem.Decode(data)
		// Decode passes over blocks that are damaged.
		if b == nil || len(b.Bytes) == 0 || bytes.Count(data[:len(data)-len(rest)], pemBegin) > 1 {
			return signer.WithHint(fmt.Errorf("PEM block %d is damaged or cut off", n), copyAgain)
		}
		data = rest
		if b.Headers["DEK-Info"] != "" {
			return signer.WithHint(
				fmt.Errorf("PEM block %q has the encryption of OpenSSL before 1.0, which is too weak: %w", b.Type, errors.ErrUnsupported),
				"convert it with: openssl pkcs8 -topk8 -in FILE -out key.pem")
		}
		add, ok := pemBlock[b.Type]
		if !ok {
			return signer.WithHint(fmt.Errorf("PEM block %q: %w", b.Type, errors.ErrUnsupported),
				cmp.Or(pemHint[b.Type], pemBegins))
		}
		add(c, b.Bytes)
	}
	if c.pfx != nil && n > 2 {
		return errors.New("has PKCS #12 beside other PEM blocks")
	}
	return nil
}

// identity returns the one key and the certificates.
func (c *contents) identity(ctx context.Context, pw passwordFunc) (crypto.Signer, []*x509.Certificate, error) {
	if c.pfx != nil {
		key, certs, err := decodePFX(ctx, c.pfx, pw)
		if err != nil {
			return nil, nil, err
		}
		s, err := usable(key)
		return s, certs, err
	}
	switch len(c.keys) {
	case 0:
		return nil, nil, signer.WithHint(errNoKey, "give the private key's file with Identity.Key")
	case 1:
	default:
		return nil, nil, signer.WithHint(&fileError{fmt.Sprintf("holds %d private keys", len(c.keys)), signer.ErrAmbiguous},
			"put each key into a file of its own")
	}
	certs, err := parseCertificates(c.certs)
	if err != nil {
		return nil, nil, err
	}
	key, err := parseKey(c.keys[0], pw)
	if err != nil {
		return nil, nil, err
	}
	s, err := usable(key)
	return s, certs, err
}

// certificates returns all certificates; only PKCS #12 needs a password for that.
func (c *contents) certificates(ctx context.Context, pw passwordFunc) ([]*x509.Certificate, error) {
	if c.pfx != nil {
		_, certs, err := decodePFX(ctx, c.pfx, pw)
		return certs, err
	}
	return parseCertificates(c.certs)
}

func parseCertificates(der []byte) ([]*x509.Certificate, error) {
	certs, err := x509.ParseCertificates(der)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("certificate: %w", err),
			"openssl x509 -in FILE -noout -text shows what it is; its key must be for RSA, or for ECDSA on P-256, P-384 or P-521")
	}
	return certs, nil
}

func parseKey(der []byte, pw passwordFunc) (any, error) {
	if len(der) > maxKey {
		return nil, fmt.Errorf("private key has %d bytes, the limit is %d", len(der), maxKey)
	}
	i := slices.IndexFunc(keyForms, func(f keyForm) bool { return f.matches(der) })
	if i < 0 {
		return nil, signer.WithHint(errors.New("private key is damaged"), copyAgain)
	}
	return keyForms[i].parse(der, pw)
}

// plain makes the parser of a form without a password. It keeps the text of
// decode's errors, which names functions and dumps values of Go, to itself.
func plain[K any](decode func(der []byte) (K, error)) func([]byte, passwordFunc) (any, error) {
	return func(der []byte, _ passwordFunc) (any, error) {
		key, err := decode(der)
		if err != nil {
			return nil, signer.WithHint(&fileError{"private key is damaged or of a kind that is not supported", err}, keyTypes)
		}
		return key, nil
	}
}

func parseEncryptedPKCS8(der []byte, pw passwordFunc) (any, error) {
	e, err := parsePBES2(der)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("encrypted private key: %w", err), "encrypt it anew with: openssl pkcs8 -topk8 -in FILE -out key.pem")
	}
	p, err := pw()
	if err != nil {
		return nil, err
	}
	defer clear(p)
	plain, err := e.decrypt(p)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if !isPKCS8(plain) {
		return nil, errPasswordIncorrect // it leaves good padding in one of 256 cases
	}
	return parsePKCS8(plain, nil)
}
