package tpm

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/signer"
)

// pemType is the PEM type of TPM key files (draft-bottomley-tpm2-keys-00,
// section 3). oldPEMType is that of a structure from before the draft.
const (
	pemType    = "TSS2 PRIVATE KEY"
	oldPEMType = "TSS2 KEY BLOB"
)

var (
	oidLoadable   = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}
	oidImportable = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 4}
	oidSealed     = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 5}
)

// A keyFile is a TPMKey structure.
type keyFile struct {
	kind      asn1.ObjectIdentifier
	emptyAuth bool
	policy    []policyStep
	secret    []byte // TPM2B_ENCRYPTED_SECRET of an importable key
	signed    bool   // the file has an authPolicy, a signed policy
	rsaParent bool
	parent    Handle
	public    []byte // TPM2B_PUBLIC
	private   []byte // TPM2B_PRIVATE
}

// A policyStep is a TPMPolicy structure: a policy command and its parameters.
type policyStep struct {
	command    tpm2.TPMCC
	parameters []byte
}

// maxPolicySteps limits the length of a policy. Supported policies have at most
// two different commands.
const maxPolicySteps = 16

var errMalformed = errors.New("malformed TSS2 PRIVATE KEY")

const hintDamaged = "copy the file again from the machine where the key was made; it is damaged"

func malformed(what string) error {
	return signer.WithHint(fmt.Errorf("%w: %s", errMalformed, what), hintDamaged)
}

var pemBegin = []byte("-----BEGIN ")

// blocks returns the PEM blocks in data. It returns an error if any block is
// damaged.
func blocks(data []byte) ([]*pem.Block, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // byte order mark of editors on Windows
	var all []*pem.Block
	for bytes.Contains(data, pemBegin) {
		b, rest := pem.Decode(data)
		// Decode skips damaged blocks.
		if b == nil || bytes.Count(data[:len(data)-len(rest)], pemBegin) > 1 {
			return nil, signer.WithHint(fmt.Errorf("PEM block %d is damaged or incomplete", len(all)+1), hintDamaged)
		}
		all, data = append(all, b), rest
	}
	return all, nil
}

// parseKeyPEM parses the TSS2 PRIVATE KEY block in data. data must not contain
// another private key.
func parseKeyPEM(data []byte) (*keyFile, error) {
	all, err := blocks(data)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(b *pem.Block) bool { return !strings.HasSuffix(b.Type, "PRIVATE KEY") && b.Type != oldPEMType })
	switch {
	case len(all) > 1:
		return nil, signer.WithHint(fmt.Errorf("contains %d private keys: %w", len(all), signer.ErrAmbiguous), "put each key into a separate file")
	case len(all) == 1 && all[0].Type == oldPEMType:
		return nil, signer.WithHint(fmt.Errorf("is a %s, the format of old versions of openssl_tpm2_engine: %w", oldPEMType, errors.ErrUnsupported),
			"make a new key; current versions of openssl_tpm2_engine and of the tpm2 provider of OpenSSL write the PEM type TSS2 PRIVATE KEY")
	case len(all) == 0 || all[0].Type != pemType:
		return nil, signer.WithHint(fmt.Errorf("contains no TSS2 PRIVATE KEY: %w", signer.ErrNotFound), "use a TPM key file, which contains the line -----BEGIN TSS2 PRIVATE KEY-----")
	}
	return parseKey(all[0].Bytes)
}

// certificates returns the certificates in data, in the same order.
func certificates(data []byte) ([]*x509.Certificate, error) {
	all, err := blocks(data)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, b := range all {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// parseKey parses a TPMKey structure. It is lenient for files of other
// programs: as in BER, any nonzero byte is a BOOLEAN with the value true; tags
// may be implicit; and unknown optional fields are ignored.
func parseKey(data []byte) (*keyFile, error) {
	var f keyFile
	input := cryptobyte.String(data)
	var s cryptobyte.String
	switch {
	case !input.ReadASN1(&s, der.SEQUENCE):
		return nil, malformed("is not a SEQUENCE, or is cut off")
	case !input.Empty():
		return nil, malformed(fmt.Sprintf("has %d bytes after the key", len(input)))
	case !s.ReadASN1ObjectIdentifier(&f.kind):
		return nil, malformed("type is missing")
	}
	if err := f.parseOptions(&s); err != nil {
		return nil, err
	}
	if !readHandle(&s, &f.parent) {
		return nil, malformed("parent is missing or invalid")
	}
	if !s.ReadASN1Bytes(&f.public, der.OCTET_STRING) || !s.ReadASN1Bytes(&f.private, der.OCTET_STRING) {
		return nil, malformed("public or private part is missing or invalid")
	}
	if !s.Empty() {
		return nil, malformed(fmt.Sprintf("has an unknown field with the tag 0x%02x after the private part", s[0]))
	}
	return &f, nil
}

// The class of a tag is in the first two bits (X.690, section 8.1.2.2).
const classMask, classContext = 0xc0, 0x80

// parseOptions parses the optional fields. DER requires them in ascending order
// (X.690, section 8.9); parseOptions accepts any order.
func (f *keyFile) parseOptions(s *cryptobyte.String) error {
	var had uint32
	for len(*s) > 0 && (*s)[0]&classMask == classContext {
		n := (*s)[0] & 0x1f
		var v cryptobyte.String
		var tag der.Tag
		if !s.ReadAnyASN1(&v, &tag) || had&(1<<n) != 0 || !f.parseOption(n, v, tag != contextTag(n)) {
			return malformed(fmt.Sprintf("field [%d] is invalid", n))
		}
		had |= 1 << n
	}
	return nil
}

func contextTag(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }

// parseOption parses the optional field with tag n. A primitive tag is implicit:
// v is then the contents of the field, without another tag.
func (f *keyFile) parseOption(n uint8, v cryptobyte.String, primitive bool) bool {
	switch {
	case n == 0:
		return readBool(&v, &f.emptyAuth, primitive)
	case n == 1:
		return !primitive && f.readPolicy(&v)
	case n == 2 && primitive:
		f.secret = v
	case n == 2:
		return v.ReadASN1Bytes(&f.secret, der.OCTET_STRING) && v.Empty()
	case n == 3:
		f.signed = true
	case n == 5:
		return readBool(&v, &f.rsaParent, primitive)
	}
	return true
}

// readHandle reads a handle, which is a number of 32 bits without a sign. Some
// programs write it as a negative number of 32 bits, or extend the sign of that
// to 64 bits.
func readHandle(s *cryptobyte.String, h *Handle) bool {
	var n big.Int
	if !s.ReadASN1Integer(&n) || !n.IsInt64() && !n.IsUint64() {
		return false
	}
	v := n.Uint64()
	if n.Sign() < 0 {
		v = uint64(n.Int64())
	}
	if v > math.MaxUint32 && v < 1<<64-1<<31 {
		return false
	}
	*h = Handle(uint32(v))
	if *h == 0 { // as tpm2-tss-engine reads and writes it
		*h = OwnerHierarchy
	}
	return true
}

func readBool(s *cryptobyte.String, b *bool, implicit bool) bool {
	v := *s
	if !implicit && (!s.ReadASN1(&v, der.BOOLEAN) || !s.Empty()) || len(v) != 1 {
		return false
	}
	*b = v[0] != 0
	return true
}

// readPolicy reads a SEQUENCE OF TPMPolicy. With an implicit tag, s begins with
// the first TPMPolicy, which begins with its field [0].
func (f *keyFile) readPolicy(s *cryptobyte.String) bool {
	steps, all := *s, *s
	if !s.ReadASN1(&steps, der.SEQUENCE) {
		return false
	}
	if steps.PeekASN1Tag(contextTag(0)) {
		steps = all
	} else if !s.Empty() {
		return false
	}
	for !steps.Empty() {
		var step, code, parameters cryptobyte.String
		var p policyStep
		var command uint32
		if !steps.ReadASN1(&step, der.SEQUENCE) ||
			!step.ReadASN1(&code, contextTag(0)) || !code.ReadASN1Integer(&command) ||
			!step.ReadASN1(&parameters, contextTag(1)) || !parameters.ReadASN1Bytes(&p.parameters, der.OCTET_STRING) ||
			!code.Empty() || !parameters.Empty() || !step.Empty() || len(f.policy) == maxPolicySteps {
			return false
		}
		p.command = tpm2.TPMCC(command)
		f.policy = append(f.policy, p)
	}
	return true
}

// marshal returns f as PEM. It writes emptyAuth even if it is false: contrary
// to the draft, the OpenSSL provider assumes true if the field is absent
// (tested with tpm2-openssl 1.1.1).
func (f *keyFile) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(f.kind)
		b.AddASN1(contextTag(0), func(b *cryptobyte.Builder) { b.AddASN1Boolean(f.emptyAuth) })
		if len(f.policy) > 0 {
			b.AddASN1(contextTag(1), func(b *cryptobyte.Builder) {
				b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
					for _, p := range f.policy {
						b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1(contextTag(0), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(p.command)) })
							b.AddASN1(contextTag(1), func(b *cryptobyte.Builder) { b.AddASN1OctetString(p.parameters) })
						})
					}
				})
			})
		}
		b.AddASN1Int64(int64(f.parent))
		b.AddASN1OctetString(f.public)
		b.AddASN1OctetString(f.private)
	})
	data, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: data}), nil
}

var errStructure = errors.New("is incomplete or not a valid TPM structure")

// unmarshal parses a TPM structure. There must be no data after it.
func unmarshal[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](data []byte) (*T, error) {
	v, err := tpm2.Unmarshal[T, P](data)
	if err != nil || !bytes.Equal(tpm2.Marshal(*v), data) {
		return nil, errStructure
	}
	return v, nil
}
