package keystore

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/signer"
)

// SuccessorSuffix is appended to the name of a key file for the key that will take
// its place.
const SuccessorSuffix = ".next"

// keyRef returns the reference of the key.
func (id Identity) keyRef() Ref {
	if id.Key.IsZero() {
		return id.Certificate
	}
	return id.Key
}

// certificateFile returns the file of the certificates. inKey means that they are in
// the file or the device of the key.
func (id Identity) certificateFile() (path string, inKey bool) {
	if id.Certificate.IsZero() || id.Certificate == id.keyRef() {
		return "", true
	}
	if path, ok := id.Certificate.File(); ok {
		return path, false
	}
	return "", true
}

// GenerateSuccessor generates a key that is to take the place of the key of id,
// whose certificate is old: a key of the same type in the same device, or beside the
// file of the key. If a key that it generated before is there, it returns that one,
// so that it can be called again after an interruption. The old key is not changed.
// The caller closes the Key. See [Rekeyer] and [Store.Succeed].
//
// An error is a [*RefError] or a [*signer.Error]. It wraps [errors.ErrUnsupported] if
// no key can take the place of the old one, and [fs.ErrExist] if the file of the
// certificates contains something else.
func (s *Store) GenerateSuccessor(ctx context.Context, id Identity, old *x509.Certificate, opts Options) (Key, error) {
	const op = "generate the successor of"
	call := s.begin(opts)
	defer call.end()
	ref := id.keyRef()
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	key, err := s.generateSuccessor(ctx, b, id, old, call)
	return key, wrap(b, op, ref, err)
}

func (s *Store) generateSuccessor(ctx context.Context, b Backend, id Identity, certificate *x509.Certificate, call Call) (Key, error) {
	r, ok := b.(Rekeyer)
	if !ok {
		return nil, signer.WithHint(fmt.Errorf("a new key cannot take the place of this one: %w", errors.ErrUnsupported),
			"renew the certificate for the same key, or generate a new key and install its first certificate")
	}
	if err := s.checkPlace(id, certificate); err != nil {
		return nil, err
	}
	old := signer.PublicKeyOf(certificate)
	kind, ok := KeyTypeOf(old)
	if !ok {
		return nil, fmt.Errorf("%s: %w", signer.DescribeKey(old), errors.ErrUnsupported)
	}
	key, err := r.GenerateSuccessor(ctx, id.keyRef(), KeySpec{Type: kind}, old, call)
	if err != nil {
		return nil, err
	}
	if t, _ := KeyTypeOf(key.Public()); t != kind || signer.SamePublicKey(key.Public(), old) {
		return nil, errors.Join(signer.WithHint(fmt.Errorf("%s is not a new key of type %s", key.Ref(), kind), "remove it, or move it to another name"), key.Close())
	}
	return key, nil
}

// checkPlace returns an error if Succeed could not replace the certificate of id.
func (s *Store) checkPlace(id Identity, old *x509.Certificate) error {
	ref := id.keyRef()
	inDevice := len(s.usesOf(ref).Files) == 0 && id.Certificate.Scheme == ref.Scheme
	switch path, inKey := id.certificateFile(); {
	case !inKey:
		return certificateFile{path: path}.checkOnly(old)
	case id.Certificate.IsZero(), id.Certificate == ref, inDevice:
		return nil
	}
	return signer.WithHint(fmt.Errorf("the certificate %s is not in a file: %w", id.Certificate, errors.ErrUnsupported), "store the certificate in a file")
}

// CheckSuccessor returns an error if the file of a successor that exists is not one that
// a [Rekeyer] has written: a regular file that only its owner can access.
func CheckSuccessor(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return withoutPath(err)
	case !info.Mode().IsRegular():
		return signer.WithHint(fmt.Errorf("%s is not a regular file", path), "move it to another name")
	case worldAccessible(info.Mode()):
		return signer.WithHint(fmt.Errorf("%s can be accessed by other users", path), "move it to another name; a new key is then generated")
	}
	return nil
}

// HintSuccessor is the hint for a file of a successor that cannot be used.
const HintSuccessor = "if the new key of a renewal is not in this file, move the file to another name"

// checkOnly returns an error if the file contains anything but certificates of the keys
// of leaves and of their issuers.
func (f certificateFile) checkOnly(leaves ...*x509.Certificate) error {
	_, _, _, err := f.prepare(nil, leaves, false)
	return err
}

// Succeed puts the key that [Store.GenerateSuccessor] has returned with the reference
// successor in the place of the key of id, with the certificates chain, its own one
// first. From then on id names the new key. old is the certificate of the key of id. The
// caller has proven that the chain belongs to the new key.
//
// At each time, id names a key with its certificate, the old or the new one. If
// Succeed was interrupted, call it again. A file of the old key is replaced. In a
// device the old key stays, because other programs may use it, but its certificates are
// removed. The error wraps [fs.ErrExist] if id or successor names something else
// meanwhile, and then nothing is changed.
func (s *Store) Succeed(ctx context.Context, id Identity, old *x509.Certificate, successor Ref, chain []*x509.Certificate, opts Options) error {
	const op = "put a new key in the place of"
	now, err := s.OpenIdentity(ctx, id, opts)
	if err != nil {
		return err
	}
	current := now.Chain()[0]
	if err := now.Close(); err != nil {
		return err
	}
	call := s.begin(opts)
	defer call.end()
	b, err := s.backend(ctx, id.keyRef(), call)
	if err != nil {
		return err
	}
	done := current.Equal(chain[0])
	if !done && !current.Equal(old) {
		return wrap(b, op, id.keyRef(), signer.WithHint(fmt.Errorf("the certificate was replaced meanwhile: %w", fs.ErrExist), "renew the certificate that is in use now"))
	}
	isNext := false
	key, err := s.open(ctx, successor, call)
	switch {
	case err == nil:
		isNext = signer.SamePublicKey(key.Public(), signer.PublicKeyOf(chain[0]))
		err = key.Close()
	case done: // it was moved
		err = nil
	}
	if err == nil && !done && !isNext {
		err = signer.WithHint(fmt.Errorf("%s is not the key of the new certificate: %w", successor, fs.ErrExist), "renew again, and use only one program for that")
	}
	if err != nil {
		return wrap(b, op, id.keyRef(), err)
	}
	if err := s.succeed(ctx, b, id, old, successor, isNext, done, chain, opts); err != nil {
		return err
	}
	if now, err = s.OpenIdentity(ctx, id, opts); err != nil {
		return err
	}
	current = now.Chain()[0]
	if err := now.Close(); err != nil || current.Equal(chain[0]) {
		return err
	}
	return wrap(b, op, id.keyRef(), signer.WithHint(fmt.Errorf("the reference still names the old key: %w", signer.ErrAmbiguous), "remove the certificate of the old key with a tool for the token"))
}

// succeed replaces the key, unless it was moved before, and the certificates. done means
// that the certificates were written before, beside the old ones.
func (s *Store) succeed(ctx context.Context, b Backend, id Identity, old *x509.Certificate, successor Ref, isNext, done bool, chain []*x509.Certificate, opts Options) error {
	const op = "put a new key in the place of"
	next, place := s.usesOf(successor).Files, s.usesOf(id.keyRef()).Files
	path, inKey := id.certificateFile()
	if len(next) == 0 {
		_, err := s.Install(ctx, successor, Installation{Certificates: chain, File: path, Replace: true, Predecessor: old}, opts)
		return err
	}
	if len(next) != 1 || len(place) != 1 {
		return wrap(b, op, id.keyRef(), errors.ErrUnsupported)
	}
	move := successorFile{place[0], next[0]}
	var err error
	if inKey {
		if isNext {
			err = move.put(encodeCertificates(chain))
		}
		return wrap(b, op, id.keyRef(), err)
	}
	// The file has both certificates while the key is replaced.
	certs := certificateFile{path: path}
	if isNext {
		if !done {
			err = certs.add(chain, old)
		}
		if err == nil {
			err = move.put(nil)
		}
	}
	if err == nil {
		err = certs.write(chain, []*x509.Certificate{chain[0], old}, done)
	}
	return wrap(b, op, id.keyRef(), err)
}

// add appends certificates that the file does not have. old is the one of the old key.
func (f certificateFile) add(chain []*x509.Certificate, old *x509.Certificate) error {
	leaves := []*x509.Certificate{chain[0], old}
	if err := f.checkOnly(leaves...); err != nil {
		return err
	}
	data, _, _, err := f.read()
	if err != nil {
		return err
	}
	certs, err := x509.ParseCertificates(data) // DER
	if err != nil {
		certs = certificatesIn(data)
	}
	if slices.ContainsFunc(certs, chain[0].Equal) {
		return nil
	}
	return f.write(slices.Concat(certs, chain), leaves, false)
}

// A successorFile is the file of a key and that of the key which takes its place.
type successorFile struct{ path, next string }

// put replaces the file of the old key by that of the new one, followed by
// certificates in PEM.
func (f successorFile) put(certificates []byte) error {
	for _, name := range []string{f.path, f.next} {
		if err := fileowner.Check(name); err != nil {
			return err
		}
	}
	key, err := ReadFile(f.next, MaxInput)
	if err != nil {
		return fmt.Errorf("%s: %w", f.next, err)
	}
	text := slices.Concat(bytes.TrimRight(key, "\n"), []byte("\n"), certificates)
	clear(key)
	defer clear(text)
	old, target, info, err := certificateFile{path: f.path}.read()
	clear(old)
	if err == nil {
		err = writeFile(target, text, info)
	}
	if err == nil {
		err = withoutPath(os.Remove(f.next))
	}
	return err
}
