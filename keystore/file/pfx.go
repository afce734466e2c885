package file

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxPFXIterations bounds all key derivations of a PKCS #12 file together.
// OpenSSL writes 2048 each.
const maxPFXIterations = 5_000_000

// maxPFXDepth bounds how deep checkPFX looks; an honest file has 14 levels.
const maxPFXDepth = 32

// decodePFX returns the key and all certificates of a PKCS #12 file. The empty
// password is tried before one is asked for.
func decodePFX(der []byte, pw passwordFunc) (any, []*x509.Certificate, error) {
	if bytes.HasPrefix(der, []byte{0x30, 0x80}) {
		return nil, nil, signer.WithHint(fmt.Errorf("PKCS #12 in BER with indefinite lengths: %w", errors.ErrUnsupported),
			"rewrite it with: openssl pkcs12 -in FILE -out all.pem, then openssl pkcs12 -export -in all.pem -out new.p12")
	}
	budget := int64(maxPFXIterations)
	if err := checkPFX(der, &budget, 0); err != nil {
		return nil, nil, err
	}
	key, leaf, others, err := pkcs12.DecodeChain(der, "")
	if errors.Is(err, pkcs12.ErrIncorrectPassword) || errors.Is(err, pkcs12.ErrDecryption) {
		p, perr := pw()
		if perr != nil {
			return nil, nil, perr
		}
		key, leaf, others, err = pkcs12.DecodeChain(der, string(p))
		clear(p)
	}
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return nil, nil, errPasswordIncorrect
	case err != nil:
		return nil, nil, err
	}
	return key, append([]*x509.Certificate{leaf}, others...), nil
}

// checkPFX adds up the iteration counts that can be seen without decrypting
// anything, before the decoder obeys them. In PKCS #12 a count is an INTEGER
// right after a salt, which is an OCTET STRING: in MacData, pkcs-12PbeParams
// (RFC 7292, section 4 and appendix C) and PBKDF2-params (RFC 8018,
// appendix A.2).
func checkPFX(der cryptobyte.String, budget *int64, depth int) error {
	if depth > maxPFXDepth {
		return errors.New("PKCS #12 is nested too deeply")
	}
	var previous asn1.Tag
	for !der.Empty() {
		var element, body cryptobyte.String
		var tag asn1.Tag
		if !der.ReadAnyASN1Element(&element, &tag) {
			return nil // not DER: the content of some OCTET STRING, or for the decoder to refuse
		}
		if tag == asn1.INTEGER && previous == asn1.OCTET_STRING {
			var count int64
			if !element.ReadASN1Integer(&count) || count < 1 || count > *budget {
				return fmt.Errorf("PKCS #12 key derivation has an iteration count that is not from 1 to %d", maxPFXIterations)
			}
			*budget -= count
		} else if element.ReadAnyASN1(&body, &tag) && (tag == asn1.OCTET_STRING || tag&0x20 != 0) {
			if err := checkPFX(body, budget, depth+1); err != nil {
				return err
			}
		}
		previous = tag
	}
	return nil
}
