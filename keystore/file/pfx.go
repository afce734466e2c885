package file

import (
	"context"
	"crypto/fips140"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	// maxPFXIterations bounds the sum of the iteration counts in a PKCS #12
	// file. OpenSSL writes 2048 for each key derivation, GnuTLS 600,000 for each
	// certificate, the key and the MAC.
	maxPFXIterations = 10_000_000
	// maxKeys bounds the number of keys in a file, because the check of a
	// key takes time.
	maxKeys = 32
)

const hintPFX = "show the contents with openssl pkcs12 -in FILE -info -noout; convert the file with openssl pkcs12 -in FILE -out FILE.converted.pem"

// hintPFXLegacy is for encryptions that OpenSSL 3 has in its legacy provider.
const hintPFXLegacy = "convert the file with openssl pkcs12 -legacy -in FILE -out FILE.converted.pem"

var (
	errPFXDamaged  = errors.New("PKCS #12 is damaged")
	errPFXTooMuch  = errors.New("PKCS #12 iteration counts exceed 10000000 in total") // maxPFXIterations
	errPFXPassword = errors.New("PKCS #12 is damaged, or its parts are encrypted with different passwords")
)

// Object identifiers of PKCS #12 (RFC 7292, sections 4.1 and 4.2) and of
// attributes (RFC 2985, section 5.5).
var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidEnvelopedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}
	oidEncryptedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidFriendlyName  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20}
	oidX509          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}
	oidKeyBag        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidShroudedKey   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidCertBag       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 3}
	oidSafeContents  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 6}
)

// A pfx is a PKCS #12 file whose parts are not decrypted yet, or the contents
// of one of its parts.
type pfx struct {
	budget int64   // iterations that the parts still to be found may have
	mac    *pfxMAC // nil: none
	signed []byte  // what the MAC protects
	safes  []ciphertext
	keys   []pfxKey
	certs  [][]byte // DER
}

// A pfxKey is a private key of a PKCS #12 file. Only one of der, encrypted and err
// is not nil.
type pfxKey struct {
	name      string // its friendly name, "" if it has none
	der       []byte // PKCS #8
	encrypted ciphertext
	err       error // it cannot be decrypted
}

// decodePFX decodes the private keys, in PKCS #8, and the certificates of a
// PKCS #12 file, of which it can have any number. It tries the empty password
// before it calls pw. Without withKeys it leaves out the keys. It fails if it can
// decrypt none of the keys. If the password is missing or wrong, it returns those
// keys that are not encrypted together with the error.
func decodePFX(ctx context.Context, der []byte, pw passwordFunc, withKeys bool) (keys []keyPart, certs [][]byte, err error) {
	p, err := readPFX(der, maxPFXIterations)
	if err != nil {
		return nil, nil, hintForPFX(err)
	}
	if withKeys {
		keys = p.bareKeys()
	}
	opened, err := p.openUnlessDone(ctx, nil, withKeys)
	unprotected := err == nil
	if errors.Is(err, errPasswordIncorrect) {
		passwords, perr := pw()
		if perr != nil {
			return keys, nil, perr
		}
		defer passwords.clear()
		for _, password := range passwords {
			if opened, err = p.openUnlessDone(ctx, password, withKeys); !errors.Is(err, errPasswordIncorrect) {
				break
			}
		}
	}
	switch {
	case errors.Is(err, errPasswordIncorrect):
		return keys, nil, errPasswordIncorrect
	case err != nil:
		return nil, nil, hintForPFX(err)
	}
	keys = nil
	for i, k := range opened.keys { // those of p are the first
		keys = append(keys, keyPart{k.der, k.name, k.err, unprotected || i < len(p.keys) && p.keys[i].der != nil})
	}
	return keys, opened.certs, nil
}

func hintForPFX(err error) error {
	if signer.Hint(err) != "" {
		return err
	}
	var scheme *schemeError
	switch {
	case fips140.Enforced() && errors.Is(err, errors.ErrUnsupported):
		return signer.WithHint(err, "store the key without encryption: openssl pkcs12 -legacy -in FILE -nodes -out FILE.converted.pem")
	case errors.As(err, &scheme):
		return signer.WithHint(fmt.Errorf("PKCS #12: %w", err), hintPFXLegacy)
	}
	return signer.WithHint(err, hintPFX)
}

// openUnlessDone abandons its goroutine when ctx ends. The goroutine ends after
// its key derivation, whose iterations are bounded. A time of its own would
// refuse good files on a slow or busy machine.
func (p *pfx) openUnlessDone(ctx context.Context, password passphrase, withKeys bool) (*pfx, error) {
	password = append(passphrase(nil), password...) // the caller clears its copy
	return await.Result(ctx, func() (*pfx, error) {
		defer clear(password)
		return p.open(ctx, password, withKeys)
	}, nil)
}

// open verifies the MAC and decrypts all parts. It does not change p.
func (p *pfx) open(ctx context.Context, password passphrase, withKeys bool) (*pfx, error) {
	out := &pfx{budget: p.budget, keys: append([]pfxKey(nil), p.keys...), certs: append([][]byte(nil), p.certs...)}
	if p.mac != nil {
		if err := p.mac.verify(ctx, password, p.signed); err != nil {
			return nil, err
		}
	}
	decrypt := func(c ciphertext) ([]byte, error) {
		plain, err := c.decrypt(ctx, password)
		if der, rest, derr := toDER(plain); err == nil && (derr != nil || len(rest) > 0 || der[0] != 0x30) {
			err = errPasswordIncorrect // 1 of 256 wrong passwords results in valid padding
		}
		if errors.Is(err, errPasswordIncorrect) && p.mac != nil {
			err = errPFXPassword
		}
		return plain, err
	}
	for _, safe := range p.safes {
		plain, err := decrypt(safe)
		if err != nil {
			return nil, err
		}
		if err := out.addBags(plain, 0); err != nil {
			return nil, err
		}
	}
	if !withKeys {
		out.keys = nil
	}
	return out, out.decryptKeys(ctx, len(password) == 0, decrypt)
}

// readPFX reads the parts that are not encrypted. More bytes can follow.
//
//	PFX ::= SEQUENCE { version INTEGER {v3(3)}, authSafe ContentInfo, macData MacData OPTIONAL }
func readPFX(data []byte, budget int64) (*pfx, error) {
	der, _, err := toDER(data)
	if err != nil {
		return nil, errPFXDamaged
	}
	p := &pfx{budget: budget}
	var seq cryptobyte.String
	var version int
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.ReadASN1Integer(&version) || version != 3 {
		return nil, errPFXDamaged
	}
	oid, content, ok := readContentInfo(&seq)
	switch {
	case !ok:
		return nil, errPFXDamaged
	case oid.Equal(oidSignedData):
		return nil, fmt.Errorf("PKCS #12 has a signature instead of a MAC: %w", errors.ErrUnsupported)
	case !oid.Equal(oidData) || !content.ReadASN1(&content, cbasn1.OCTET_STRING):
		return nil, errPFXDamaged
	}
	p.signed = content
	if !seq.Empty() {
		if p.mac, err = parseMAC(seq); err != nil {
			return nil, err
		}
		if err := p.spend(p.mac.work); err != nil {
			return nil, err
		}
	}
	return p, p.addSafes(content)
}

// addSafes reads an AuthenticatedSafe, a SEQUENCE OF ContentInfo.
func (p *pfx) addSafes(data []byte) error {
	der, _, err := toDER(data)
	in := cryptobyte.String(der)
	if err != nil || !in.ReadASN1(&in, cbasn1.SEQUENCE) {
		return errPFXDamaged
	}
	for !in.Empty() {
		oid, content, ok := readContentInfo(&in)
		switch {
		case !ok:
			return errPFXDamaged
		case oid.Equal(oidData):
			if !content.ReadASN1(&content, cbasn1.OCTET_STRING) {
				return errPFXDamaged
			}
			if err := p.addBags(content, 0); err != nil {
				return err
			}
		case oid.Equal(oidEncryptedData):
			c, err := p.readEncryptedData(content)
			if err != nil {
				return err
			}
			p.safes = append(p.safes, c)
		case oid.Equal(oidEnvelopedData):
			return fmt.Errorf("PKCS #12 is encrypted for a certificate, not with a password: %w", errors.ErrUnsupported)
		default:
			return errPFXDamaged
		}
	}
	return nil
}

// spend subtracts the work of a part that was found from the budget.
func (p *pfx) spend(work int64) error {
	if work > p.budget {
		return errPFXTooMuch
	}
	p.budget -= work
	return nil
}

// readContentInfo reads a ContentInfo (RFC 5652, section 3). The content is
// that of the explicit tag.
func readContentInfo(in *cryptobyte.String) (oid asn1.ObjectIdentifier, content cryptobyte.String, ok bool) {
	var seq cryptobyte.String
	ok = in.ReadASN1(&seq, cbasn1.SEQUENCE) && seq.ReadASN1ObjectIdentifier(&oid) &&
		seq.ReadASN1(&content, cbasn1.Tag(0).Constructed().ContextSpecific())
	return oid, content, ok
}

// readEncryptedData reads an EncryptedData (RFC 5652, sections 6.1 and 8).
func (p *pfx) readEncryptedData(in cryptobyte.String) (ciphertext, error) {
	var data, info, algorithm cryptobyte.String
	var version int
	var oid asn1.ObjectIdentifier
	if !in.ReadASN1(&data, cbasn1.SEQUENCE) || !data.ReadASN1Integer(&version) || !data.ReadASN1(&info, cbasn1.SEQUENCE) ||
		!info.ReadASN1ObjectIdentifier(&oid) || !info.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) {
		return nil, errPFXDamaged
	}
	var body cryptobyte.String
	tag := cbasn1.Tag(0).ContextSpecific()
	if parts := tag.Constructed(); info.PeekASN1Tag(parts) {
		// In BER the implicitly tagged OCTET STRING can consist of parts.
		joined, err := []byte(nil), error(nil)
		if info.ReadASN1(&body, parts) {
			joined, err = joinOctets(body)
		}
		if err != nil || joined == nil {
			return nil, errPFXDamaged
		}
		body = joined
	} else if !info.ReadASN1(&body, tag) {
		return nil, errPFXDamaged
	}
	return p.newCiphertext(algorithm, body)
}

func (p *pfx) newCiphertext(algorithm, data []byte) (ciphertext, error) {
	var id pkix.AlgorithmIdentifier
	if err := unmarshal(algorithm, &id); err != nil {
		return nil, errPFXDamaged
	}
	c, err := newCiphertext(id, data)
	if err != nil {
		return nil, err
	}
	return c, p.spend(c.work())
}
