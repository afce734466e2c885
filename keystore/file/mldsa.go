package file

import (
	"bytes"
	"crypto"
	"errors"
	"io"

	"filippo.io/mldsa"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	expanded "github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

// parseMLDSA parses the privateKey of PKCS #8 for an ML-DSA key (RFC 9881, section
// 6): a seed, an expanded key, or both.
func parseMLDSA(set *expanded.Parameters, parameters, data []byte) (crypto.Signer, error) {
	if err := inFIPSMode(set.Name); err != nil {
		return nil, signer.WithHint(err, "use an RSA or ECDSA key")
	}
	seed, long, ok := mldsaParts(set, data)
	if !ok || len(parameters) > 0 || seed != nil && len(seed) != mldsa.PrivateKeySize {
		return nil, damagedMLDSA("")
	}
	library := libraryParameters(set)
	if seed == nil {
		return parseExpandedMLDSA(set, library, long)
	}
	private, err := mldsa.NewPrivateKey(library, seed)
	if err != nil {
		return nil, damagedMLDSA("")
	}
	key := seedKey{private}
	if long == nil {
		return key, nil
	}
	other, err := parseExpandedMLDSA(set, library, long)
	if err != nil {
		return nil, err
	}
	// Deterministic signatures depend on all secret numbers.
	a, errA := key.Sign(nil, nil, crypto.Hash(0))
	b, errB := other.Sign(nil, nil, crypto.Hash(0))
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		return nil, damagedMLDSA(": its seed and its expanded form do not belong together")
	}
	return key, nil
}

// mldsaParts returns the seed and the expanded key in data. One of them may be nil.
// Drafts of RFC 9881 had them without a tag, or the public key after the expanded key;
// OpenSSL reads these as bare-seed, bare-priv and oqskeypair.
func mldsaParts(set *expanded.Parameters, data []byte) (seed, long []byte, ok bool) {
	size := set.ExpandedSize()
	switch len(data) {
	case mldsa.PrivateKeySize:
		return data, nil, true
	case size:
		return nil, data, true
	}
	der, rest, err := toDER(data)
	in := cryptobyte.String(der)
	var value cryptobyte.String
	var tag cbasn1.Tag
	if err != nil || len(rest) > 0 || !in.ReadAnyASN1(&value, &tag) || !in.Empty() {
		return nil, nil, false
	}
	switch tag {
	case cbasn1.Tag(0).ContextSpecific():
		return value, nil, true
	case cbasn1.OCTET_STRING:
		return nil, value, true
	case cbasn1.SEQUENCE:
		var first, second cryptobyte.String
		ok = value.ReadASN1(&first, cbasn1.OCTET_STRING) && value.ReadASN1(&second, cbasn1.OCTET_STRING) && value.Empty()
		return first, second, ok
	}
	return nil, nil, false
}

func damagedMLDSA(why string) error {
	return signer.WithHint(errors.New("private key is damaged"+why),
		"copy the file again, and check it with OpenSSL 3.5 or later: openssl pkey -in FILE -noout")
}

// libraryParameters returns the parameter set of the same name.
func libraryParameters(set *expanded.Parameters) (p mldsa.Parameters) {
	for _, p = range []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()} {
		if p.String() == set.Name {
			break
		}
	}
	return p
}

// A seedKey makes hedged signatures, or deterministic ones without a source of
// random data (FIPS 204, section 3.4).
type seedKey struct{ *mldsa.PrivateKey }

func (k seedKey) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if rand == nil {
		return k.SignDeterministic(message, opts)
	}
	return k.PrivateKey.Sign(rand, message, opts)
}

// An expandedKey has the public key in the same type as a seedKey.
type expandedKey struct {
	*expanded.ExpandedKey
	public *mldsa.PublicKey
}

func (k expandedKey) Public() crypto.PublicKey { return k.public }

func parseExpandedMLDSA(set *expanded.Parameters, library mldsa.Parameters, encoded []byte) (crypto.Signer, error) {
	var appended []byte // the public key, in a draft of RFC 9881
	if size := set.ExpandedSize(); len(encoded) == size+set.PublicKeySize() {
		encoded, appended = encoded[:size], encoded[size:]
	}
	key, err := expanded.ParseExpanded(set, encoded)
	if errors.Is(err, expanded.ErrSize) {
		return nil, damagedMLDSA("")
	}
	if err != nil || appended != nil && !bytes.Equal(appended, key.PublicKey().Bytes()) {
		return nil, damagedMLDSA(": its parts contradict each other")
	}
	public, err := mldsa.NewPublicKey(library, key.PublicKey().Bytes())
	if err != nil {
		return nil, damagedMLDSA("")
	}
	return expandedKey{key, public}, nil
}
