package tpm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// pad encodes a digest for the RSA private key operation. The result has the
// length of the modulus.
func pad(pub *rsa.PublicKey, m signer.Mechanism, digest []byte) ([]byte, error) {
	if m.Padding == signer.PSS {
		salt := make([]byte, m.SaltLen)
		_, _ = rand.Read(salt) // never fails
		return padPSS(pub, m.Hash, digest, salt), nil
	}
	return padPKCS1(pub, m.Hash, digest)
}

// padPKCS1 implements EMSA-PKCS1-v1_5 (RFC 8017, section 9.2).
func padPKCS1(pub *rsa.PublicKey, hash crypto.Hash, digest []byte) ([]byte, error) {
	info := signer.DigestInfo(hash)
	if info == nil {
		return nil, fmt.Errorf("%v: %w", hash, errors.ErrUnsupported)
	}
	em := make([]byte, pub.Size())
	end := len(em) - len(info) - len(digest)
	if end < 11 {
		return nil, fmt.Errorf("%v: the key is too short: %w", hash, errors.ErrUnsupported)
	}
	em[1] = 1
	for i := 2; i < end-1; i++ {
		em[i] = 0xff
	}
	copy(em[end:], info)
	copy(em[end+len(info):], digest)
	return em, nil
}

// padPSS implements EMSA-PSS with MGF1 (RFC 8017, section 9.1.1).
// signer.MechanismFor has checked the length of the salt.
func padPSS(pub *rsa.PublicKey, hash crypto.Hash, digest, salt []byte) []byte {
	out := make([]byte, pub.Size())
	bits := pub.N.BitLen() - 1
	em := out[len(out)-(bits+7)/8:]
	db, h := em[:len(em)-hash.Size()-1], em[len(em)-hash.Size()-1:len(em)-1]

	w := hash.New()
	w.Write(make([]byte, 8))
	w.Write(digest)
	w.Write(salt)
	w.Sum(h[:0])

	db[len(db)-len(salt)-1] = 1
	copy(db[len(db)-len(salt):], salt)
	var mask []byte
	for i := uint32(0); len(mask) < len(db); i++ {
		w.Reset()
		w.Write(h)
		w.Write(binary.BigEndian.AppendUint32(nil, i))
		mask = w.Sum(mask)
	}
	for i := range db {
		db[i] ^= mask[i]
	}
	db[0] &= 0xff >> (8*len(em) - bits)
	em[len(em)-1] = 0xbc
	return out
}
