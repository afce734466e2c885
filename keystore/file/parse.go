package file

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxKey bounds the DER of a private key, in bytes: RSA with 16384 bits has
// 10 KiB, and the cost of checking a key grows with the cube of its size.
const maxKey = 16 << 10

// contents are the parts of a file, not yet decoded.
type contents struct {
	keys  []encodedKey
	certs []byte // concatenated DER
	pfx   []byte // a PKCS #12 file has no other parts
}

type encodedKey struct {
	der   []byte
	parse func(der []byte, pw passwordFunc) (any, error)
}

// pemBlock says what to do with a PEM block of a type (RFC 7468; the older
// types are OpenSSL's).
var pemBlock = map[string]func(*contents, []byte){
	"CERTIFICATE":           addCertificate,
	"X509 CERTIFICATE":      addCertificate,
	"PRIVATE KEY":           addKey(parsePKCS8),
	"RSA PRIVATE KEY":       addKey(parsePKCS1),
	"EC PRIVATE KEY":        addKey(parseSEC1),
	"ENCRYPTED PRIVATE KEY": addKey(parseEncryptedPKCS8),
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

func addKey(parse func([]byte, passwordFunc) (any, error)) func(*contents, []byte) {
	return func(c *contents, der []byte) { c.keys = append(c.keys, encodedKey{der, parse}) }
}

// parse takes data apart without any expensive step.
func parse(data []byte) (*contents, error) {
	c := new(contents)
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("is empty")
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return nil, signer.WithHint(errors.New("is UTF-16 text"), "save it as plain ASCII or UTF-8")
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return c, c.addPEM(data)
	case data[0] == 0x30:
		return c, c.addDER(data)
	}
	return nil, signer.WithHint(errors.New("is neither PEM nor DER"),
		"PEM begins with a line like -----BEGIN PRIVATE KEY-----")
}

func (c *contents) addPEM(data []byte) error {
	count := 0
	for rest := data; ; count++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Headers["DEK-Info"] != "" {
			return signer.WithHint(
				fmt.Errorf("PEM block %q has the encryption of OpenSSL before 1.0, which is too weak: %w", b.Type, errors.ErrUnsupported),
				"convert it with: openssl pkcs8 -topk8 -in FILE -out key.pem")
		}
		add, ok := pemBlock[b.Type]
		if !ok {
			return signer.WithHint(fmt.Errorf("PEM block %q: %w", b.Type, errors.ErrUnsupported), pemHint[b.Type])
		}
		add(c, b.Bytes)
	}
	if begun := bytes.Count(data, []byte("-----BEGIN ")); begun > count {
		return fmt.Errorf("PEM block %d of %d is damaged or cut off", count+1, begun)
	}
	if c.pfx != nil && (len(c.keys) > 0 || len(c.certs) > 0) {
		return errors.New("has PKCS #12 beside other PEM blocks")
	}
	return nil
}

// addDER finds out by structure what a DER file is.
func (c *contents) addDER(der []byte) error {
	for _, form := range derForms {
		if form.matches(der) {
			form.add(c, der)
			return nil
		}
	}
	return errors.New("is DER, but neither a key nor a certificate nor PKCS #12")
}

// identity returns the one key and the certificates.
func (c *contents) identity(pw passwordFunc) (crypto.Signer, []*x509.Certificate, error) {
	if c.pfx != nil {
		key, certs, err := decodePFX(c.pfx, pw)
		if err != nil {
			return nil, nil, err
		}
		s, err := usable(key)
		return s, certs, err
	}
	switch len(c.keys) {
	case 0:
		return nil, nil, signer.WithHint(fmt.Errorf("holds no private key: %w", signer.ErrNotFound), "name the key's file as well")
	case 1:
	default:
		return nil, nil, fmt.Errorf("holds %d private keys: %w", len(c.keys), signer.ErrAmbiguous)
	}
	certs, err := x509.ParseCertificates(c.certs)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	k := c.keys[0]
	if len(k.der) > maxKey {
		return nil, nil, fmt.Errorf("private key has %d bytes, the limit is %d", len(k.der), maxKey)
	}
	key, err := k.parse(k.der, pw)
	if err != nil {
		return nil, nil, err
	}
	s, err := usable(key)
	return s, certs, err
}

// certificates returns all certificates; only PKCS #12 needs a password for that.
func (c *contents) certificates(pw passwordFunc) ([]*x509.Certificate, error) {
	if c.pfx != nil {
		_, certs, err := decodePFX(c.pfx, pw)
		return certs, err
	}
	certs, err := x509.ParseCertificates(c.certs)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return certs, nil
}

func parsePKCS8(der []byte, _ passwordFunc) (any, error) { return x509.ParsePKCS8PrivateKey(der) }
func parsePKCS1(der []byte, _ passwordFunc) (any, error) { return x509.ParsePKCS1PrivateKey(der) }
func parseSEC1(der []byte, _ passwordFunc) (any, error)  { return x509.ParseECPrivateKey(der) }

func parseEncryptedPKCS8(der []byte, pw passwordFunc) (any, error) {
	e, err := parsePBES2(der)
	if err != nil {
		return nil, err
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
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		// A wrong password leaves good padding in one of 256 cases.
		return nil, errPasswordIncorrect
	}
	return key, nil
}
