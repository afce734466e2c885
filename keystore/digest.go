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

// Digest returns a name for the identity that [Store.OpenIdentity] would open,
// without opening it. It asks for no PIN and opens no device. If the
// certificate is in a file, a variable or standard input, Digest reads it, so
// that different certificates have different digests. It does not read a
// separate key file. Keys and certificates in devices are identified by their
// references. If standard input is part of id, pass the same options from
// [Options.Once] to Digest and to OpenIdentity.
//
// The certificate can be one of several in its file, so the digest also depends
// on the reference to the key. Digest refuses a reference that contains a PIN
// with a [*RefError], because digests are not secret and PINs can be guessed.
func (s *Store) Digest(ctx context.Context, id Identity, opts Options) (string, error) {
	call := s.begin(opts)
	defer call.end()
	certificate, key := id.Certificate, id.Key
	if certificate.IsZero() || certificate == key {
		certificate, key = id.Key, Ref{}
	}
	certificateDigest, err := s.digest(ctx, certificate, call, SchemeFile, SchemeEnv, SchemeStdin)
	if err != nil || key.IsZero() {
		return certificateDigest, err
	}
	// A path identifies the file of a key. A variable and standard input
	// have no such name.
	keyDigest, err := s.digest(ctx, key, call, SchemeEnv, SchemeStdin)
	if err != nil {
		return "", err
	}
	return certificateDigest + keyDigest, nil
}

// digest hashes the bytes behind ref if it has one of readSchemes, and
// otherwise ref itself.
func (s *Store) digest(ctx context.Context, ref Ref, call Call, readSchemes ...string) (string, error) {
	if ref.hasPINValue() {
		return "", &RefError{ref.String(), signer.WithHint(errors.New("contains a PIN, which must not become part of a cache entry's name"),
			"put the PIN into a file, and name that with Options.PIN or the attribute pin-source")}
	}
	if s.find(ref.Scheme) == nil {
		return "", s.unknownScheme(ref)
	}
	data := []byte(ref.Scheme + ":" + ref.Rest)
	if slices.Contains(readSchemes, ref.Scheme) {
		b, err := s.backend(ctx, ref, call) // errors name it
		if err != nil {
			return "", err
		}
		if data, err = call.Read(ctx, ref); err != nil {
			return "", wrap(b, "open", ref, err)
		}
	} else if ref.Scheme == SchemeFile {
		path, err := filepath.Abs(ref.Rest)
		if err != nil {
			return "", wrap(s.find(ref.Scheme), "resolve", ref, err)
		}
		data = []byte(ref.Scheme + ":" + path)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
