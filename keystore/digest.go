package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// Digest returns a name for what [Store.OpenIdentity] would open, without
// opening it: no PIN is asked for, and no device, and no file of a key beside
// its certificate, is touched. Another certificate has another digest, if it
// is in a file, a variable or standard input, which are read for it. What is
// in a device goes by its reference. So that standard input can be read again
// to open the identity, pass options that [Options.Once] returned to both.
//
// A certificate may stand among others, so the digest is also another for
// another reference to the key. A reference that holds a PIN is refused with
// a [*RefError]: digests are not secret, and PINs can be guessed.
func (s *Store) Digest(ctx context.Context, id Identity, opts Options) (string, error) {
	call := s.begin(opts)
	defer call.end()
	certificate, key := id.Certificate, id.Key
	if certificate.IsZero() || certificate == key {
		certificate, key = id.Key, Ref{}
	}
	what, err := s.distinguish(ctx, certificate, call, SchemeFile, SchemeEnv, SchemeStdin)
	if err != nil || key.IsZero() {
		return what, err
	}
	// A key's own file is not touched; the others have no name to go by.
	whose, err := s.distinguish(ctx, key, call, SchemeEnv, SchemeStdin)
	if err != nil {
		return "", err
	}
	return what + whose, nil
}

// distinguish returns the hash of what is behind a reference with one of the
// schemes, and of any other reference itself.
func (s *Store) distinguish(ctx context.Context, ref Ref, call Call, schemes ...string) (string, error) {
	if ref.holdsPIN() {
		return "", &RefError{ref.String(), signer.WithHint(errors.New("holds a PIN, which must not get into the name of a cache entry"),
			"put the PIN into a file, and name that with Options.PIN or the attribute pin-source")}
	}
	if _, ok := s.scheme[ref.Scheme]; !ok {
		return "", s.unknown(ref)
	}
	data := []byte(ref.Scheme + ":" + ref.Rest)
	if slices.Contains(schemes, ref.Scheme) {
		b, err := s.backend(ctx, ref, call) // whose name is in errors
		if err != nil {
			return "", err
		}
		if data, err = call.Read(ctx, ref); err != nil {
			return "", wrap(b, "open", ref, err)
		}
	} else if ref.Scheme == SchemeFile {
		path, err := filepath.Abs(ref.Rest)
		if err != nil {
			return "", wrap(s.scheme[ref.Scheme], "find", ref, err)
		}
		data = []byte(ref.Scheme + ":" + path)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
