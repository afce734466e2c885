package file

import (
	"bytes"
	"cmp"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxKey is the maximum size of a private key in DER, in bytes. An RSA key of
// 16384 bits has 10 KiB. The time to check a key grows with the cube of its
// size.
const maxKey = 16 << 10

// contents are the parts of a file, before they are decoded.
type contents struct {
	keys      []keyPart
	certs     [][]byte // DER, each of one certificate or more
	pfx       []byte   // PKCS #12; the file has no other parts
	isBase64  bool     // the file is base64 of what is here
	tpmKeys   int      // number of keys of a TPM, which only that TPM can use
	bad       []error  // of damaged parts: only a key with its certificate is used without them
	otherKeys []error  // of private keys in other formats: likewise, but certificates are used
	ignored   []error  // of parts without which the file is used
	hasPublic bool     // there is a public key
}

// A keyPart is a private key in DER or BER.
type keyPart struct {
	der  []byte
	name string // its friendly name in PKCS #12
	err  error  // PKCS #12 contains the key, but it cannot be decrypted
	bare bool   // PKCS #12 contains the key without encryption, or with the empty password
}

// pemHandlers has a function for each supported type of PEM block (RFC 7468,
// and the older types of OpenSSL).
var pemHandlers = lookup.Table[string, func(*contents, []byte)]{
	{"CERTIFICATE", addCertificate},
	{"X509 CERTIFICATE", addCertificate},
	{"PRIVATE KEY", addKey},
	{"RSA PRIVATE KEY", addKey},
	{"EC PRIVATE KEY", addKey},
	{"ENCRYPTED PRIVATE KEY", addKey},
	{"PKCS12", func(c *contents, der []byte) { c.pfx = der }},
	{"EC PARAMETERS", ignore}, // repeated inside the key
	{"DSA PARAMETERS", ignore},
	{"DH PARAMETERS", ignore}, // for servers
	{"X9.42 DH PARAMETERS", ignore},
	{"PUBLIC KEY", addPublic},
	{"RSA PUBLIC KEY", addPublic},
	{"X509 CRL", ignore},
	{"DSA PRIVATE KEY", func(c *contents, _ []byte) { c.otherKeys = append(c.otherKeys, unsupportedKey("DSA")) }},
	{"TSS2 PRIVATE KEY", func(c *contents, _ []byte) { c.tpmKeys++ }},
}

// pemHints has the hints for PEM blocks that are not supported.
var pemHints = lookup.Table[string, string]{
	{"CERTIFICATE REQUEST", "this is a certificate request; use the certificate that the CA issued for it"},
	{"NEW CERTIFICATE REQUEST", "this is a certificate request; use the certificate that the CA issued for it"},
	{"TRUSTED CERTIFICATE", "convert it with: openssl x509 -in FILE -out FILE.converted.pem"},
	{"PKCS7", "convert it with: openssl pkcs7 -in FILE -print_certs -out FILE.converted.pem"},
	{"PKCS #7 SIGNED DATA", "convert it with: openssl pkcs7 -in FILE -print_certs -out FILE.converted.pem"},
	{"CMS", "convert it with: openssl pkcs7 -in FILE -print_certs -out FILE.converted.pem"},
	{"OPENSSH PRIVATE KEY", "convert a copy with: cp FILE FILE.converted.pem && ssh-keygen -p -m PKCS8 -f FILE.converted.pem"},
}

// legacyCiphers are the starts of the names of ciphers in the legacy PEM encryption
// that OpenSSL 3 has in its legacy provider.
var legacyCiphers = []string{"DES-CBC", "DES-CFB", "DES-OFB", "DES-ECB", "RC2-", "SEED-", "BF-", "CAST5-", "IDEA-"}

func addCertificate(c *contents, der []byte) { c.certs = append(c.certs, der) }

func addKey(c *contents, der []byte) { c.keys = append(c.keys, keyPart{der: der}) }

// addPublic ignores a public key, which is repeated inside the private key.
func addPublic(c *contents, _ []byte) { c.hasPublic = true }

func ignore(*contents, []byte) {}

// Hints of several errors.
const (
	hintPEM      = "PEM begins with a line like -----BEGIN PRIVATE KEY----- or -----BEGIN CERTIFICATE-----"
	hintDamaged  = "copy the file again, and check it with openssl pkey -in FILE -noout or openssl x509 -in FILE -noout"
	hintNewRSA   = "make a new key: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out FILE.new.pem"
	hintKeyTypes = "supported keys are RSA, ECDSA on P-256, P-384 and P-521, ML-DSA, and Ed25519, which IAM Roles Anywhere does not accept"
)

var pemBegin = []byte("-----BEGIN ")

// parse splits data into its parts. It does not decode them, which can be slow. The
// result is never nil.
// Its error is about data as a whole; see also [contents.check].
func parse(data []byte) (*contents, error) {
	c := new(contents)
	data, isBase64, err := unwrap(data)
	c.isBase64 = isBase64
	if err != nil {
		return c, err
	}
	if bytes.Contains(data, pemBegin) {
		c.addPEM(data)
		return c, nil
	}
	return c, c.addDER(data)
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
		if len(b.Bytes) > 0 {
			c.addBlock(b)
		}
	}
	if c.pfx != nil && n > 2 {
		c.bad = append(c.bad, errors.New("contains PKCS #12 together with other PEM blocks"))
	}
}

// addBlock adds a PEM block. Some programs write any file as a CERTIFICATE, so its
// structure decides.
func (c *contents) addBlock(b *pem.Block) {
	add, ok := pemHandlers.Find(b.Type)
	isKeyType, isCertificateType := strings.HasSuffix(b.Type, "PRIVATE KEY"), strings.HasSuffix(b.Type, "CERTIFICATE")
	der, rest, err := toDER(b.Bytes)
	if err != nil {
		der = nil
	}
	unknown := func() error {
		return signer.WithHint(unsupported("PEM block %q is not supported", b.Type), cmp.Or(pemHints.Get(b.Type), hintPEM))
	}
	switch cipher := b.Headers["DEK-Info"]; {
	case cipher != "":
		hint := "convert it with: openssl pkcs8 -topk8 -in FILE -out FILE.converted.pem"
		if slices.ContainsFunc(legacyCiphers, func(start string) bool { return strings.HasPrefix(cipher, start) }) {
			hint = "convert it with: openssl pkcs8 -topk8 -in FILE -out FILE.converted.pem -provider legacy -provider default"
		}
		c.otherKeys = append(c.otherKeys, signer.WithHint(unsupported("PEM block %q uses the legacy PEM encryption, which is too weak", b.Type), hint))
	case b.Type == "OPENSSH PRIVATE KEY" && !isConvertible(b.Bytes):
		c.otherKeys = append(c.otherKeys, signer.WithHint(unsupported("OpenSSH private key is for %q, which is not supported", openSSHType(b.Bytes)),
			"OpenSSH converts only RSA and ECDSA keys to PKCS #8; make another key, as with openssl genpkey -algorithm ed25519 -out new-key.pem, or add this one to an ssh-agent and use sshagent:"))
	case isPFX(der):
		c.addPFX(b.Bytes, rest)
	case ok && isCertificateType && isContentInfo(der):
		c.ignored = append(c.ignored, signer.WithHint(unsupported("PEM block %q contains PKCS #7, which is not supported", b.Type), pemHints.Get("PKCS7")))
	case ok && isCertificateType && isKey(der):
		addKey(c, b.Bytes)
	case ok && isKeyType && isSigned(der):
		addCertificate(c, b.Bytes)
	case !ok && isKeyType:
		c.otherKeys = append(c.otherKeys, unknown())
	case !ok:
		c.ignored = append(c.ignored, unknown())
	default:
		add(c, b.Bytes)
	}
}

// check returns an error if a part of the file cannot be used. For the certificates
// alone, private keys in other formats do not matter.
func (c *contents) check() error {
	switch {
	case len(c.bad) > 0:
		return c.bad[0]
	case len(c.otherKeys) > 0:
		return c.otherKeys[0]
	case c.tpmKeys > 0: // the Store passes such a file to the TPM backend
		return signer.WithHint(unsupported("PEM block %q is not supported", "TSS2 PRIVATE KEY"),
			"this is a TPM key, and this build has no TPM backend")
	}
	if len(c.keys) == 0 && len(c.certs) == 0 && c.pfx == nil && len(c.ignored) > 0 {
		return c.ignored[0]
	}
	return nil
}
