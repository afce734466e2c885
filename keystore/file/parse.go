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

// maxKey is the maximum size of a private key in DER, in bytes. An RSA key of
// 16384 bits has 10 KiB. The time to check a key grows with the cube of its
// size.
const maxKey = 16 << 10

// contents are the parts of a file, before they are decoded.
type contents struct {
	keys    [][]byte // DER
	certs   [][]byte // DER, each of one certificate or more
	pfx     []byte   // PKCS #12; the file has no other parts
	tpmKeys int      // number of keys of a TPM, which only that TPM can use
	bad     []error  // of the parts that cannot be used
}

// pemHandlers has a function for each supported type of PEM block (RFC 7468,
// and the older types of OpenSSL).
var pemHandlers = map[string]func(*contents, []byte){
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
	"TSS2 PRIVATE KEY":      func(c *contents, _ []byte) { c.tpmKeys++ },
}

// pemHints has the hints for PEM blocks that are not supported.
var pemHints = map[string]string{
	"CERTIFICATE REQUEST":     "this is a certificate request; use the certificate that the CA issued for it",
	"NEW CERTIFICATE REQUEST": "this is a certificate request; use the certificate that the CA issued for it",
	"TRUSTED CERTIFICATE":     "convert it with: openssl x509 -in FILE -out cert.pem",
	"PKCS7":                   "convert it with: openssl pkcs7 -in FILE -print_certs -out certs.pem",
	"CMS":                     "convert it with: openssl pkcs7 -in FILE -print_certs -out certs.pem",
	"OPENSSH PRIVATE KEY":     "convert a copy with: ssh-keygen -p -m PKCS8 -f COPY",
	"DSA PRIVATE KEY":         "use an RSA or ECDSA key",
}

func addCertificate(c *contents, der []byte) { c.certs = append(c.certs, der) }

func addKey(c *contents, der []byte) { c.keys = append(c.keys, der) }

// Hints of several errors.
const (
	hintPEM      = "PEM begins with a line like -----BEGIN PRIVATE KEY----- or -----BEGIN CERTIFICATE-----"
	hintDamaged  = "copy the file again, and check it with openssl pkey -in FILE -noout or openssl x509 -in FILE -noout"
	hintKeyTypes = "supported keys are RSA, ECDSA on P-256, P-384 and P-521, and Ed25519; show the type with openssl pkey -in FILE -noout -text_pub"
)

var pemBegin = []byte("-----BEGIN ")

// parse splits data into its parts. It does not decode them, which can be slow.
// Its error is about data as a whole; see also [contents.check].
func parse(data []byte) (*contents, error) {
	c := new(contents)
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // editors on Windows write it
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("is empty")
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return nil, signer.WithHint(errors.New("is UTF-16 text"), "save it as plain ASCII or UTF-8")
	case bytes.Contains(data, pemBegin):
		c.addPEM(data)
		return c, nil
	case data[0] == 0x30:
		return c, c.addDER(data)
	}
	return nil, signer.WithHint(errors.New("is neither PEM nor DER"), hintPEM)
}

// addPEM adds all blocks that it can read, so that List can show them.
func (c *contents) addPEM(data []byte) {
	n := 1
	for ; bytes.Contains(data, pemBegin); n++ {
		b, rest := pem.Decode(data)
		// Decode skips damaged blocks.
		skipped := bytes.Count(data[:len(data)-len(rest)], pemBegin) - 1
		if b == nil || len(b.Bytes) == 0 || skipped > 0 {
			c.bad = append(c.bad, signer.WithHint(fmt.Errorf("PEM block %d is damaged or truncated", n), hintDamaged))
		}
		if b == nil {
			return
		}
		n += max(skipped, 0)
		data = rest
		switch add, ok := pemHandlers[b.Type]; {
		case len(b.Bytes) == 0:
		case b.Headers["DEK-Info"] != "":
			c.bad = append(c.bad, signer.WithHint(
				fmt.Errorf("PEM block %q uses the legacy PEM encryption, which is too weak: %w", b.Type, errors.ErrUnsupported),
				"convert it with: openssl pkcs8 -topk8 -in FILE -out key.pem"))
		case !ok:
			c.bad = append(c.bad, signer.WithHint(fmt.Errorf("PEM block %q: %w", b.Type, errors.ErrUnsupported),
				cmp.Or(pemHints[b.Type], hintPEM)))
		default:
			add(c, b.Bytes)
		}
	}
	if c.pfx != nil && n > 2 {
		c.bad = append(c.bad, errors.New("contains PKCS #12 together with other PEM blocks"))
	}
}

// check returns an error if a part of the file cannot be used.
func (c *contents) check() error {
	switch {
	case len(c.bad) > 0:
		return c.bad[0]
	case c.tpmKeys > 0: // the Store passes such a file to the TPM backend
		return signer.WithHint(fmt.Errorf("PEM block %q: %w", "TSS2 PRIVATE KEY", errors.ErrUnsupported),
			"this is a TPM key, and this build has no TPM backend")
	}
	return nil
}

// identity decodes the only key and the certificates.
func (c *contents) identity(ctx context.Context, pw passwordFunc) (crypto.Signer, []*x509.Certificate, error) {
	if c.pfx != nil {
		key, certs, err := decodePFX(ctx, c.pfx, pw)
		if err != nil {
			return nil, nil, err
		}
		s, err := asSigner(key)
		return s, certs, err
	}
	switch len(c.keys) {
	case 0:
		return nil, nil, signer.WithHint(errNoKey, "give the private key's file with Identity.Key")
	case 1:
	default:
		return nil, nil, signer.WithHint(&fileError{fmt.Sprintf("contains %d private keys", len(c.keys)), signer.ErrAmbiguous},
			"store each key in its own file")
	}
	certs, err := c.certificates(ctx, pw)
	if err != nil {
		return nil, nil, err
	}
	key, err := parseKey(c.keys[0], pw)
	if err != nil {
		return nil, nil, err
	}
	s, err := asSigner(key)
	return s, certs, err
}

// certificates decodes all certificates. It calls pw only for PKCS #12.
func (c *contents) certificates(ctx context.Context, pw passwordFunc) ([]*x509.Certificate, error) {
	if c.pfx != nil {
		_, certs, err := decodePFX(ctx, c.pfx, pw)
		return certs, err
	}
	certs, bad := parseCertificates(c.certs)
	if len(bad) > 0 {
		return nil, bad[0]
	}
	return certs, nil
}

// parseCertificates returns the certificates that it can parse, and an error for
// each other part.
func parseCertificates(parts [][]byte) (certs []*x509.Certificate, bad []error) {
	for _, der := range parts {
		some, err := x509.ParseCertificates(der)
		if err != nil {
			bad = append(bad, signer.WithHint(fmt.Errorf("certificate: %w", err),
				"show the certificate with openssl x509 -in FILE -noout -text; its key must be RSA, or ECDSA on P-256, P-384 or P-521"))
		}
		certs = append(certs, some...)
	}
	return certs, bad
}

func parseKey(der []byte, pw passwordFunc) (any, error) {
	if len(der) > maxKey {
		return nil, fmt.Errorf("private key has %d bytes, but the limit is %d", len(der), maxKey)
	}
	i := slices.IndexFunc(keyFormats, func(f keyFormat) bool { return f.matches(der) })
	if i < 0 {
		return nil, signer.WithHint(errors.New("private key is damaged"), hintDamaged)
	}
	return keyFormats[i].parse(der, pw)
}

// unencrypted returns the parser of a format without a password. It hides the
// text of decode's errors, which contains names of functions and Go values.
func unencrypted[K any](decode func(der []byte) (K, error)) func([]byte, passwordFunc) (any, error) {
	return func(der []byte, _ passwordFunc) (any, error) {
		key, err := decode(der)
		if err != nil {
			return nil, signer.WithHint(&fileError{"private key is damaged or of an unsupported type", err}, hintKeyTypes)
		}
		return key, nil
	}
}

func parseEncryptedPKCS8(der []byte, pw passwordFunc) (any, error) {
	e, err := parsePBES2(der)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("encrypted private key: %w", err), "encrypt it again with: openssl pkcs8 -topk8 -in FILE -out key.pem")
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
		return nil, errPasswordIncorrect // 1 of 256 wrong passwords results in valid padding
	}
	return parsePKCS8(plain, nil)
}
