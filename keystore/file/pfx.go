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

// maxPFXIterations bounds the sum of the iteration counts in a PKCS #12 file.
// OpenSSL writes 2048 for each key derivation.
const maxPFXIterations = 5_000_000

// maxPFXDepth bounds the recursion of checkPFX. Valid files have 14 levels.
const maxPFXDepth = 32

const hintPFX = "show the contents with openssl pkcs12 -in FILE -info -noout; convert the file with openssl pkcs12 -in FILE -out all.pem"

// pfxTimeout bounds the time of the decoder. The encrypted parts, which
// checkPFX does not see, can contain large iteration counts and large keys.
const pfxTimeout = 20 * time.Second

var errPFXTimeout = fmt.Errorf("PKCS #12 takes longer than %v to decode", pfxTimeout)

// decodePFX decodes the key and all certificates of a PKCS #12 file. It tries
// the empty password before it calls pw.
func decodePFX(ctx context.Context, der []byte, pw passwordFunc) (any, []*x509.Certificate, error) {
	budget := int64(maxPFXIterations)
	if err := checkPFX(der, &budget, 0, false); err != nil {
		return nil, nil, signer.WithHint(err, hintPFX)
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
		return nil, nil, signer.WithHint(fmt.Errorf("PKCS #12: %w: %w", notImplemented, errors.ErrUnsupported), hintPFX)
	case errors.Is(err, errPFXTimeout), ctx.Err() != nil:
		return nil, nil, signer.WithHint(err, hintPFX)
	case err != nil: // its text contains Go values
		return nil, nil, signer.WithHint(&fileError{"PKCS #12 is damaged, lacks the key or the certificate, or has an unsupported format", err}, hintPFX)
	}
	return key, certs, nil
}

// decodeChain abandons its goroutine at the timeout, because the decoder cannot
// be interrupted.
func decodeChain(ctx context.Context, der []byte, password string) (any, []*x509.Certificate, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pfxTimeout, errPFXTimeout)
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

// checkPFX adds up the iteration counts that are not encrypted, before the
// decoder uses them. In PKCS #12, a count is an INTEGER right after a salt,
// which is an OCTET STRING: in MacData, pkcs-12PbeParams (RFC 7292, section 4
// and appendix C) and PBKDF2-params (RFC 8018, appendix A.2). With PBMAC1, the
// count in MacData is not used and can be 0.
//
// The decoder also accepts other types. So checkPFX treats every element with
// the tag number of OCTET STRING as a salt, and searches a sequence inside of
// any primitive type. inOctets means that der is the content of a primitive
// type, which need not be DER.
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
				return fmt.Errorf("PKCS #12 iteration counts are negative or exceed %d in total", maxPFXIterations)
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
