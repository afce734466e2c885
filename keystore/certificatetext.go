package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

func encodeCertificates(chain []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer does not fail
	}
	return b.Bytes()
}

func isCertificateLabel(label string) bool {
	return label == "CERTIFICATE" || label == "X509 CERTIFICATE" || label == "TRUSTED CERTIFICATE"
}

// certificatesIn returns the certificates in PEM data that can be parsed.
func certificatesIn(data []byte) (certs []*x509.Certificate) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && isCertificateLabel(block.Type) {
			certs = append(certs, c)
		}
	}
	return certs
}

func hasCertificate(data []byte) bool {
	return slices.ContainsFunc(pemBlocks(data), func(b pemBlock) bool { return isCertificateLabel(b.label) })
}

func otherContents() error {
	return notReplaced("contains something other than certificates and is not replaced", "choose another file with Installation.File")
}

func otherKey() error {
	return notReplaced("contains no certificate for the key of the new certificate and is not replaced",
		"check that the new certificate is for this key; to keep the file, choose another one with Installation.File; to replace it, use Installation.Replace")
}

func more() error {
	return notReplaced("contains more than the certificate of the key and its issuers, and is not replaced",
		"choose another file with Installation.File, or replace it with Installation.Replace")
}

func notReplaced(text, hint string) error {
	return signer.WithHint(fmt.Errorf("%s: %w", text, fs.ErrExist), hint)
}

// mayReplace refuses to replace a file that contains anything but certificates
// and comments, such as text between them. Without replace, it also refuses
// certificates other than those for the key of one of leaves and their issuers.
func mayReplace(data []byte, leaves []*x509.Certificate, replace bool) error {
	var old []*x509.Certificate
	text := bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.Contains(text, []byte(pemBegin)) {
		for text = withoutComments(text); len(text) > 0; text = withoutComments(text) {
			block, after := pem.Decode(text)
			if block == nil || !isCertificateLabel(block.Type) || !bytes.HasPrefix(text, []byte(pemBegin)) ||
				bytes.Count(text[:len(text)-len(after)], []byte(pemBegin)) > 1 {
				return otherContents()
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return otherContents()
			}
			old = append(old, c)
			text = after
		}
	} else if len(bytes.TrimSpace(data)) > 0 {
		var err error
		if old, err = x509.ParseCertificates(data); err != nil {
			return otherContents()
		}
	}
	switch theirs := belonging(old, leaves); {
	case replace || len(old) == 0:
		return nil
	case !slices.ContainsFunc(old, func(c *x509.Certificate) bool { return isForOneOf(c, leaves) }):
		return otherKey()
	case len(theirs) < len(old):
		return more()
	}
	return nil
}

// isForOneOf reports whether c is for the key of one of leaves.
func isForOneOf(c *x509.Certificate, leaves []*x509.Certificate) bool {
	return slices.ContainsFunc(leaves, func(leaf *x509.Certificate) bool {
		return signer.SamePublicKey(signer.PublicKeyOf(c), signer.PublicKeyOf(leaf))
	})
}

// belonging returns those of certs that are for the key of one of leaves, and those
// that issued one of these or of leaves, directly or indirectly.
func belonging(certs, leaves []*x509.Certificate) (found []*x509.Certificate) {
	issued := slices.Clone(leaves)
	rest := slices.Clone(certs)
	for more := true; more; {
		more = false
		rest = slices.DeleteFunc(rest, func(c *x509.Certificate) bool {
			if !isForOneOf(c, leaves) && !slices.ContainsFunc(issued, func(below *x509.Certificate) bool { return bytes.Equal(below.RawIssuer, c.RawSubject) }) {
				return false
			}
			found, issued, more = append(found, c), append(issued, c), true
			return true
		})
	}
	return found
}

// withoutComments removes white space and lines that begin with # from the
// beginning of text.
func withoutComments(text []byte) []byte {
	for text = bytes.TrimSpace(text); bytes.HasPrefix(text, []byte("#")); text = bytes.TrimSpace(text) {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text
}

// replaceCertificates returns PEM data with the certificates for the key of
// chain[0] and their issuers replaced by chain, in the place of the first of them,
// or else at the end. All other blocks and all text remain.
func replaceCertificates(data []byte, chain []*x509.Certificate) ([]byte, error) {
	text := encodeCertificates(chain)
	refused := func(reason string) ([]byte, error) {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", reason, errors.ErrUnsupported), "write the certificates to another file with Installation.File")
	}
	var out bytes.Buffer
	keys, placed := 0, false
	all := certificatesIn(data)
	old := belonging(all, chain[:1])
	rest := data
	for bytes.Contains(rest, []byte(pemBegin)) {
		block, after := pem.Decode(rest)
		segment := rest[:len(rest)-len(after)]
		if block == nil || bytes.Count(segment, []byte(pemBegin)) > 1 {
			return refused("contains a damaged PEM block, so that its certificates cannot be replaced")
		}
		rest = after
		switch {
		case !isCertificateLabel(block.Type):
			if strings.HasSuffix(block.Type, "PRIVATE KEY") {
				keys++
			}
			out.Write(segment)
			continue
		case isPrivateKey(block.Bytes):
			return refused("contains a private key that is labeled as a certificate, so that its certificates cannot be replaced")
		case !slices.ContainsFunc(all, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, block.Bytes) }):
			return refused("contains a damaged certificate")
		}
		if !slices.ContainsFunc(old, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, block.Bytes) }) {
			out.Write(segment)
			continue
		}
		out.Write(segment[:bytes.Index(segment, []byte(pemBegin))])
		if !placed {
			out.Write(text)
			placed = true
		}
	}
	switch {
	case keys == 0:
		return refused("is not PEM, so that certificates cannot be added to it")
	case keys > 1:
		return refused(fmt.Sprintf("contains %d private keys, whose certificates may be needed", keys))
	}
	out.Write(rest)
	if !placed {
		if b := out.Bytes(); b[len(b)-1] != '\n' {
			out.WriteByte('\n')
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}
