package file

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Helpers that build files with invalid or unusual contents.

var (
	oidAES128  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES256  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	oidPRF1    = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7} // hmacWithSHA1
	oidUnknown = asn1.ObjectIdentifier{1, 2, 3, 4}
)

// seq is marshalled as a SEQUENCE of its elements.
type seq []any

func der(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An encrypted is an EncryptedPrivateKeyInfo (RFC 5958, section 3).
type encrypted struct {
	scheme, kdf, cipher asn1.ObjectIdentifier
	kdfParams, iv       any
	data                []byte
}

func (e encrypted) algorithm() seq {
	return seq{e.scheme, seq{seq{e.kdf, e.kdfParams}, seq{e.cipher, e.iv}}}
}

func (e encrypted) der(t testing.TB) []byte { return der(t, seq{e.algorithm(), e.data}) }

// encrypt encrypts plain with a key from PBKDF2 with one iteration.
func encrypt(t testing.TB, plain []byte, password string) encrypted {
	t.Helper()
	salt := []byte("salt")
	key, err := pbkdf2.Key(sha1.New, password, salt, 1, 16)
	if err != nil {
		t.Fatal(err)
	}
	return encryptWith(t, plain, key, oidPBKDF2, seq{salt, 1})
}

// encryptWith encrypts plain with AES-128 and key. It stores kdf and kdfParams,
// which must describe the derivation of the key.
func encryptWith(t testing.TB, plain, key []byte, kdf asn1.ObjectIdentifier, kdfParams any) encrypted {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, aes.BlockSize)
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	data := slices.Concat(plain, bytes.Repeat([]byte{byte(pad)}, pad))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	return encrypted{oidPBES2, kdf, oidAES128, kdfParams, iv, data}
}

// keyDER returns a key of the given kind in PKCS #8.
func keyDER(t testing.TB, kind string) []byte {
	t.Helper()
	block, _ := pem.Decode(signertest.KeyPEM(t, signertest.Key(t, kind)))
	return block.Bytes
}

// open opens data with the password "x".
func open(ctx context.Context, data []byte) (signer.Signer, error) {
	return keystore.New(Backend{}).Open(ctx, keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "X"}, keystore.Options{
		LookupEnv: func(string) (string, bool) { return string(data), true },
		PIN:       func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("x"), nil },
	})
}

// promptly runs f, and fails the test if it does not return within a minute.
func promptly(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("did not return within a minute")
	}
}
