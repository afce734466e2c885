package file

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxPFXIterations bounds all key derivations of a PKCS #12 file together.
// OpenSSL writes 2048 each.
const maxPFXIterations = 5_000_000

// maxPFXDepth bounds how deep checkPFX looks; an honest file has 14 levels.
const maxPFXDepth = 32

const rewritePFX = "openssl pkcs12 -in FILE -info -noout shows what it holds; openssl pkcs12 -in FILE -out all.pem converts it"

// pfxPatience is how long the decoder is waited for. It obeys counts, and tries
// keys of any size, that only the password brings to light.
const pfxPatience = 20 * time.Second

var errPFXTooDear = fmt.Errorf("PKCS #12 takes more than %v to decode", pfxPatience)

// decodePFX returns the key and all certificates of a PKCS #12 file. The empty
// password is tried before one is asked for.
func decodePFX(ctx context.Context, der []byte, pw passwordFunc) (any, []*x509.Certificate, error) {
	budget := int64(maxPFXIterations)
	if err := checkPFX(der, &budget, 0, false); err != nil {
		return nil, nil, signer.WithHint(err, rewritePFX)
	}
	key, certs, err := decodeChain(ctx, der, "")
	if errors.Is(err, pkcs12.ErrIncorrectPassword) || errors.Is(err, pkcs12.ErrDecryption) {
		p, perr := pw()
		if perr != nil {
			return nil, nil, perr
		}
		key, certs, err = decodeChain(ctx, der, string(p))
		clear(p)
	}
	var notImplemented pkcs12.NotImplementedError
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return nil, nil, errPasswordIncorrect
	case errors.As(err, &notImplemented):
		return nil, nil, signer.WithHint(fmt.Errorf("PKCS #12: %w: %w", notImplemented, errors.ErrUnsupported), rewritePFX)
	case errors.Is(err, errPFXTooDear), ctx.Err() != nil:
		return nil, nil, signer.WithHint(err, rewritePFX)
	case err != nil: // its text dumps values of Go
		return nil, nil, signer.WithHint(&fileError{"PKCS #12 is damaged, lacks the key or its certificate, or is of a kind that is not supported", err}, rewritePFX)
	}
	return key, certs, nil
}

// decodeChain leaves its goroutine behind if it gives up, because the decoder
// cannot be interrupted.
func decodeChain(ctx context.Context, der []byte, password string) (any, []*x509.Certificate, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pfxPatience, errPFXTooDear)
	defer cancel()
	type chain struct {
		key   any
		certs []*x509.Certificate
	}
	decoded, err := await.Result(ctx, func() (chain, error) {
		key, leaf, others, err := pkcs12.DecodeChain(der, password)
		return chain{key, append([]*x509.Certificate{leaf}, others...)}, err
	}, nil)
	return decoded.key, decoded.certs, err
}

// checkPFX adds up the iteration counts that can be seen without decrypting
// anything, before the decoder obeys them. In PKCS #12 a count is an INTEGER
// right after a salt, which is an OCTET STRING: in MacData, pkcs-12PbeParams
// (RFC 7292, section 4 and appendix C) and PBKDF2-params (RFC 8018,
// appendix A.2). PBMAC1 leaves that in MacData unused, which may then be 0.
//
// The decoder takes more than that. So a salt is all that has the tag number of
// OCTET STRING, and a sequence inside of any primitive type is looked through;
// inOctets says that der is such a one, and so perhaps no DER at all.
func checkPFX(der cryptobyte.String, budget *int64, depth int, inOctets bool) error {
	const number, constructed = 0x1f, 0x20 // parts of a tag (X.690, section 8.1.2)
	if depth > maxPFXDepth {
		return errors.New("PKCS #12 is nested too deeply")
	}
	var previous asn1.Tag
	for !der.Empty() {
		var element, body cryptobyte.String
		var tag asn1.Tag
		if !der.ReadAnyASN1Element(&element, &tag) {
			if inOctets {
				return nil
			}
			return errors.New("PKCS #12 is not DER")
		}
		if tag == asn1.INTEGER && previous&number == asn1.OCTET_STRING {
			var count int64
			if !element.ReadASN1Integer(&count) || count < 0 || count > *budget {
				return fmt.Errorf("PKCS #12 key derivation has an iteration count that is not from 0 to %d", maxPFXIterations)
			}
			*budget -= count
		} else if octets := tag&constructed == 0; element.ReadAnyASN1(&body, &tag) && (!octets || isSequence(body)) {
			if err := checkPFX(body, budget, depth+1, inOctets || octets); err != nil {
				return err
			}
		}
		previous = tag
	}
	return nil
}

func isSequence(body cryptobyte.String) bool { return body.SkipASN1(asn1.SEQUENCE) && body.Empty() }
