package attestation_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha512" // for SHA-384
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/holdfast-dev/holdfast/signer"
)

// activate is TPM2_ActivateCredential (TPM 2.0 Library, part 1, section 24; part 3,
// section 12.5) of a TPM with the private endorsement key ek and the key with the given
// public area. It is written from the standard, so that it does not share a mistake
// with the code that encrypts.
func activate(ek crypto.Signer, area, blob, secret []byte) ([]byte, error) {
	mismatch := func(what string) error { return fmt.Errorf("%s: %w", what, signer.ErrMismatch) }
	hash, aesBits := crypto.SHA256, 128
	if k, ok := ek.(*ecdsa.PrivateKey); ok && k.Params().BitSize == 384 {
		hash, aesBits = crypto.SHA384, 256
	}
	seed, ok := seedOf(ek, hash, secret)
	if !ok {
		return nil, mismatch("encrypted seed")
	}
	nameAlg := binary.BigEndian.Uint16(area[2:])
	name := append(bytes.Clone(area[2:4]), sum(map[uint16]crypto.Hash{0xb: crypto.SHA256, 0xc: crypto.SHA384, 0xd: crypto.SHA512}[nameAlg], area)...)

	integrity, encrypted, ok := sized(blob)
	if !ok {
		return nil, mismatch("credential")
	}
	mac := hmac.New(hash.New, kdfa(hash, seed, "INTEGRITY", nil, hash.Size()*8))
	mac.Write(encrypted)
	mac.Write(name)
	if !hmac.Equal(mac.Sum(nil), integrity) {
		return nil, mismatch("integrity")
	}
	block, err := aes.NewCipher(kdfa(hash, seed, "STORAGE", name, aesBits))
	if err != nil {
		return nil, err
	}
	credential, rest, ok := sized(cfb(block, encrypted))
	if !ok || len(rest) > 0 {
		return nil, errors.New("the credential has another size")
	}
	return credential, nil
}

// seedOf decrypts the seed: with OAEP (part 1, annex B.10.3), or with ECDH (annex
// C.6.1).
func seedOf(ek crypto.Signer, h crypto.Hash, secret []byte) ([]byte, bool) {
	const label = "IDENTITY\x00"
	switch ek := ek.(type) {
	case *rsa.PrivateKey:
		seed, err := rsa.DecryptOAEP(h.New(), nil, ek, secret, []byte(label))
		return seed, err == nil && len(seed) == h.Size()
	case *ecdsa.PrivateKey:
		x, rest, ok := sized(secret)
		y, rest, okY := sized(rest)
		size := (ek.Params().BitSize + 7) / 8
		if !ok || !okY || len(rest) > 0 || len(x) != size || len(y) != size {
			return nil, false
		}
		z, own, err := agree(ek, append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, false
		}
		// KDFe (section 11.4.10.3), whose result is one hash here.
		return sum(h, []byte{0, 0, 0, 1}, z, []byte(label), x, own[1:1+size]), true
	}
	return nil, false
}

// agree returns the secret that ek shares with a point, and the point of ek itself.
func agree(ek *ecdsa.PrivateKey, point []byte) (z, own []byte, err error) {
	peer, err := ecdsa.ParseUncompressedPublicKey(ek.Curve, point)
	if err != nil {
		return nil, nil, err
	}
	public, err := peer.ECDH()
	if err != nil {
		return nil, nil, err
	}
	private, err := ek.ECDH()
	if err != nil {
		return nil, nil, err
	}
	if z, err = private.ECDH(public); err != nil {
		return nil, nil, err
	}
	return z, private.PublicKey().Bytes(), nil
}

// kdfa is KDFa (part 1, section 11.4.10.2).
func kdfa(h crypto.Hash, key []byte, label string, context []byte, bits int) (out []byte) {
	for i := uint32(1); len(out) < bits/8; i++ {
		mac := hmac.New(func() hash.Hash { return h.New() }, key)
		mac.Write(binary.BigEndian.AppendUint32(nil, i))
		mac.Write([]byte(label + "\x00"))
		mac.Write(context)
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(bits)))
		out = mac.Sum(out)
	}
	return out[:bits/8]
}

// cfb decrypts in the mode CFB with an initialization vector of zeros.
func cfb(block cipher.Block, text []byte) []byte {
	out, previous := make([]byte, 0, len(text)), make([]byte, block.BlockSize())
	for len(text) > 0 {
		n := min(len(text), block.BlockSize())
		stream := make([]byte, block.BlockSize())
		block.Encrypt(stream, previous)
		for i := range n {
			out = append(out, stream[i]^text[i])
		}
		previous, text = text[:n:n], text[n:]
	}
	return out
}

// sized splits data after a TPM2B structure.
func sized(data []byte) (buffer, rest []byte, ok bool) {
	if len(data) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(data))
	if len(data)-2 < n {
		return nil, nil, false
	}
	return data[2 : 2+n], data[2+n:], true
}
