package file

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// GenerateSuccessor implements [keystore.Rekeyer] for PEM files with one key. The new
// file is encrypted if the old one is, with the password that call.PIN returns.
func (b Backend) GenerateSuccessor(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, old crypto.PublicKey, call keystore.Call) (keystore.Key, error) {
	path, ok := ref.File()
	if !ok {
		return nil, signer.WithHint(fmt.Errorf("the key is not in a file: %w", errors.ErrUnsupported), "store the key in a PEM file")
	}
	data, err := call.Read(ctx, ref)
	if err != nil {
		return nil, err
	}
	encrypted, err := onlyKey(data)
	if err != nil {
		return nil, err
	}
	if call.PIN = call.PIN.Required(); !encrypted {
		call.PIN = nil
	}
	next := keystore.Ref{Scheme: keystore.SchemeFile, Rest: path + keystore.SuccessorSuffix}
	key, err := b.Generate(ctx, next, spec, call)
	if !errors.Is(err, fs.ErrExist) {
		return key, err
	}
	call.Certificates = nil // those of the old key
	s, err := b.openSuccessor(ctx, next, encrypted, call)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", next, err), cmp.Or(signer.Hint(err), keystore.HintSuccessor))
	}
	c, ok := s.(signer.ContextSigner)
	if !ok {
		return nil, errors.Join(errors.New("a key in memory does not sign with a context"), s.Close())
	}
	return newKey{c, next}, nil
}

// openSuccessor opens a successor that exists, which must be encrypted like the old key.
func (b Backend) openSuccessor(ctx context.Context, next keystore.Ref, encrypted bool, call keystore.Call) (signer.Signer, error) {
	if err := keystore.CheckSuccessor(next.Rest); err != nil {
		return nil, err
	}
	data, err := call.Read(ctx, next)
	if err != nil {
		return nil, err
	}
	if isEncrypted, err := onlyKey(data); err != nil {
		return nil, signer.WithHint(err, keystore.HintSuccessor)
	} else if isEncrypted != encrypted {
		return nil, errors.New("it is not protected like the old key")
	}
	return b.Open(ctx, next, call)
}

// onlyKey reports whether the one private key in PEM data is encrypted.
func onlyKey(data []byte) (encrypted bool, err error) {
	keys := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			keys++
			encrypted = strings.HasPrefix(block.Type, "ENCRYPTED ") || block.Headers["DEK-Info"] != ""
		}
		clear(block.Bytes)
	}
	switch {
	case keys == 0 && !bytes.Contains(data, pemBegin):
		return false, signer.WithHint(fmt.Errorf("the file is not PEM: %w", errors.ErrUnsupported), "store the key in a PEM file")
	case keys != 1:
		return false, signer.WithHint(fmt.Errorf("the file has %d private keys: %w", keys, errors.ErrUnsupported), "store the key in a PEM file of its own")
	}
	return encrypted, nil
}
