package tpm

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/signer"
)

// pemType is the PEM type of TPM key files (draft-bottomley-tpm2-keys-00,
// section 3).
const pemType = "TSS2 PRIVATE KEY"

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
	all = slices.DeleteFunc(all, func(b *pem.Block) bool { return !strings.HasSuffix(b.Type, "PRIVATE KEY") })
	switch {
	case len(all) > 1:
		return nil, signer.WithHint(fmt.Errorf("contains %d private keys: %w", len(all), signer.ErrAmbiguous), "put each key into a separate file")
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
// programs: as in BER, any nonzero byte is a BOOLEAN with the value true, and
// unknown optional fields are ignored.
func parseKey(data []byte) (*keyFile, error) {
	var f keyFile
	input := cryptobyte.String(data)
	var s cryptobyte.String
	if !input.ReadASN1(&s, der.SEQUENCE) || !input.Empty() {
		return nil, malformed("is not a SEQUENCE")
	}
	if !s.ReadASN1ObjectIdentifier(&f.kind) {
		return nil, malformed("type is missing")
	}
	var had uint32
	for s.PeekASN1Tag(contextTag(tagNumber(s))) {
		tag := tagNumber(s)
		var v cryptobyte.String
		if !s.ReadASN1(&v, contextTag(tag)) || had&(1<<tag) != 0 || !f.parseOption(tag, v) {
			return nil, malformed(fmt.Sprintf("field [%d] is invalid", tag))
		}
		had |= 1 << tag
	}
	var parent uint32
	if !s.ReadASN1Integer(&parent) {
		return nil, malformed("parent is missing or invalid")
	}
	f.parent = Handle(parent)
	if !s.ReadASN1Bytes(&f.public, der.OCTET_STRING) || !s.ReadASN1Bytes(&f.private, der.OCTET_STRING) || !s.Empty() {
		return nil, malformed("public or private part is missing or invalid")
	}
	return &f, nil
}

func contextTag(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }

// tagNumber returns the number of the tag at the beginning of s.
func tagNumber(s cryptobyte.String) uint8 {
	if len(s) == 0 {
		return 0
	}
	return s[0] & 0x1f
}

// parseOption parses the optional field with tag n. DER requires the fields in
// ascending order (X.690, section 8.9); parseKey accepts any order.
func (f *keyFile) parseOption(n uint8, v cryptobyte.String) bool {
	switch n {
	case 0:
		return readBool(&v, &f.emptyAuth) && v.Empty()
	case 1:
		return f.readPolicy(&v) && v.Empty()
	case 2:
		return v.ReadASN1Bytes(&f.secret, der.OCTET_STRING) && v.Empty()
	case 3:
		f.signed = true
	case 5:
		return readBool(&v, &f.rsaParent) && v.Empty()
	}
	return true
}

func readBool(s *cryptobyte.String, b *bool) bool {
	var v cryptobyte.String
	if !s.ReadASN1(&v, der.BOOLEAN) || len(v) != 1 {
		return false
	}
	*b = v[0] != 0
	return true
}

func (f *keyFile) readPolicy(s *cryptobyte.String) bool {
	var steps cryptobyte.String
	if !s.ReadASN1(&steps, der.SEQUENCE) {
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
