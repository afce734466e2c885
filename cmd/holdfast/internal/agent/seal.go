package agent

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
)

// sealTimeout limits each use of the device that seals the key.
const sealTimeout = 30 * time.Second

const keySize = 32 // bytes, for AES-256

// openSeal returns the cipher whose key is sealed under a reference, such as
// tpm:path=FILE. It makes and seals a key if there is none. A TPM seals at most 128
// bytes, less than a session has.
func openSeal(ctx context.Context, a front.App, reference string) (cipher.AEAD, error) {
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return nil, err
	}
	opts := a.Options(a.Logger(false))
	read, err := a.Store.PINSource(ref, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sealTimeout)
	defer cancel()
	text, err := front.InterruptibleValue(ctx, ref.String(), func() ([]byte, error) {
		return read(ctx, keystore.Prompt{What: "key of the state file", Ref: ref})
	})
	if errors.Is(err, fs.ErrNotExist) {
		// A source of a secret is a text without line breaks, so the key is one, too.
		key := make([]byte, keySize)
		_, _ = rand.Read(key) // it never fails
		text = hex.AppendEncode(nil, key)
		err = front.Interruptible(ctx, ref.String(), func() error { return a.Store.Seal(ctx, ref, text, opts) })
		clear(key)
	}
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := hex.DecodeString(string(text))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("%s: the sealed secret is not a key that holdfast agent has made", ref)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
