package keystore

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// An Installation says which certificates are stored for a key.
type Installation struct {
	// Certificates contain the certificate of the key and its issuers, in
	// any order. They are borrowed.
	Certificates []*x509.Certificate

	// File is the file to which the certificates are written. "" stores
	// them where the backend keeps certificates, or else in a file beside
	// the file of the key: see [Store.Install].
	File string

	// Replace removes the other certificates of the key from a device after
	// the new one was stored and read back. In a file it permits to replace
	// certificates of another key.
	Replace bool

	// Predecessor is a certificate of the key in whose place the new key is
	// put; nil: none. With Replace, the certificates of that key are removed
	// from a device, too. A file may contain its certificates and their
	// issuers, but then none of other keys.
	Predecessor *x509.Certificate
}

// Installed reports what Install has stored.
type Installed struct {
	Chain       []*x509.Certificate // the certificate of the key, and its issuers
	Certificate Ref                 // names the certificate
	Kept        []*x509.Certificate // other certificates of the key in the same device
	Removed     []*x509.Certificate // certificates of the key that were removed

	// Preferred is the certificate in Kept that Open selects instead of the
	// new one, by the rule of [signer.SelectCertificates]; nil: none. If
	// Certificate names another file than the key, Open selects it where
	// certificates are read from the reference of the key.
	Preferred *x509.Certificate
}

// leaves returns the certificates that can be the one of the key: those that are
// not of CAs, or else all.
func (in Installation) leaves() []*x509.Certificate {
	isCA := func(c *x509.Certificate) bool { return c.IsCA }
	if leaves := slices.DeleteFunc(slices.Clone(in.Certificates), isCA); len(leaves) > 0 {
		return leaves
	}
	return in.Certificates
}

// inFile returns the certificates whose keys may have certificates in a file that is
// replaced, and whether those of any other key may be replaced.
func (in Installation) inFile(leaves []*x509.Certificate) (replaced []*x509.Certificate, replaceAny bool) {
	if in.Predecessor == nil {
		return leaves, in.Replace
	}
	return append(leaves[:len(leaves):len(leaves)], in.Predecessor), false
}

// check returns an error for certificates that Select refuses for every key, so
// that no PIN is asked for or used.
func (in Installation) check(now time.Time) error {
	leaves := in.leaves()
	if len(leaves) == 0 {
		return signer.ErrNoCertificate
	}
	for _, c := range leaves {
		if !now.After(c.NotAfter) {
			return nil
		}
	}
	return errExpired(leaves[0])
}

// checkBegun returns an error if none of the certificates is valid yet, so that it must
// not take the place of another one. Clocks may differ by some minutes.
func (in Installation) checkBegun(now time.Time) error {
	leaves := in.leaves()
	for _, c := range leaves {
		if c.NotBefore.Before(now.Add(clockSkew)) {
			return nil
		}
	}
	c := leaves[0]
	return signer.WithHint(fmt.Errorf("certificate %q is not valid before %s and does not replace another one", c.Subject, c.NotBefore.UTC().Format(time.RFC3339)),
		"install it when it is valid, or store it elsewhere with Installation.File")
}

// clockSkew is how far the clocks of the CA and of this machine may differ.
const clockSkew = 5 * time.Minute

func errExpired(c *x509.Certificate) error {
	return signer.WithHint(fmt.Errorf("certificate %q expired at %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339)),
		"have the CA issue a new certificate, and check the clock of this machine")
}

// Select returns the certificate for pub and those of its issuers, as they are to
// be stored. The error wraps [signer.ErrNoCertificate] or [signer.ErrMismatch].
// An expired certificate is refused.
func (in Installation) Select(pub crypto.PublicKey, now time.Time) ([]*x509.Certificate, error) {
	found, err := signer.SelectCertificates(pub, in.Certificates, now)
	switch {
	case errors.Is(err, signer.ErrMismatch):
		return nil, signer.WithHint(err, "give the certificate that the CA issued for this key, or the key of this certificate")
	case err != nil:
		return nil, err
	}
	if leaf := found.Chain[0]; now.After(leaf.NotAfter) {
		return nil, errExpired(leaf)
	}
	return found.Issued(), nil
}

// Report returns the result of an installation in a device, in which present are
// the certificates after it.
func (in Installation) Report(pub crypto.PublicKey, chain, present, removed []*x509.Certificate, now time.Time) Installed {
	r := Installed{Chain: chain, Removed: removed}
	for _, c := range present {
		if signer.SamePublicKey(signer.PublicKeyOf(c), pub) && !c.Equal(chain[0]) && !signer.IsAttestation(c) {
			r.Kept = append(r.Kept, c)
		}
	}
	if taken, err := signer.Chain(pub, present, now); err == nil && !taken[0].Equal(chain[0]) {
		r.Preferred = taken[0]
	}
	return r
}

// Install stores the certificates in for the key that ref names. Before it writes
// anything, it opens the key and verifies a signature of it with the certificate.
// Before it uses a PIN, it checks what needs none.
//
// An [Installer] stores the certificates in its device. For any other key, and if
// in.File is set, they are written to a file, which is replaced atomically. Without
// in.File this is the file of the key itself if it contains certificates as PEM, and
// else the file with the same name and the extension .crt.
//
// An error is a [*RefError] or a [*signer.Error]. It wraps [signer.ErrMismatch] if
// the certificates are for another key, [errors.ErrUnsupported] if there is no
// place for them, and [fs.ErrExist] if the file contains something else.
func (s *Store) Install(ctx context.Context, ref Ref, in Installation, opts Options) (Installed, error) {
	const op = "install certificates for"
	call := s.begin(opts)
	defer call.end()
	call.Certificates = in.Certificates
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return Installed{}, err
	}
	i, ok := b.(Installer)
	inDevice := ok && in.File == ""
	var file certificateFile
	if !inDevice {
		file, err = s.certificateFile(ctx, b, ref, in, call)
	}
	if err == nil {
		err = in.check(opts.Time())
	}
	if err == nil && !inDevice {
		leaves, replaceAny := in.inFile(in.leaves())
		_, _, _, err = file.prepare(in.Certificates, leaves, replaceAny)
	}
	if err == nil && (inDevice && in.Replace || !inDevice && file.replaces()) {
		err = in.checkBegun(opts.Time())
	}
	if c, ok := b.(CertificateChecker); ok && err == nil {
		err = c.CheckCertificates(ctx, ref, in.Certificates, call)
	}
	if err != nil {
		return Installed{}, wrap(b, op, ref, err)
	}
	if inDevice {
		done, err := i.Install(ctx, ref, in, call)
		return done, wrap(b, op, ref, err)
	}
	done, err := s.installFile(ctx, ref, in, file, call)
	return done, wrap(b, op, ref, err)
}

// CheckInstall returns an error if [Store.Install] could not put certificates in the
// place of in.Certificates, which belong to the key that ref names: there is no place for
// them, or it contains something else. It opens no device and uses no PIN.
func (s *Store) CheckInstall(ctx context.Context, ref Ref, in Installation, opts Options) error {
	const op = "install certificates for"
	call := s.begin(opts)
	defer call.end()
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return err
	}
	if _, ok := b.(Installer); ok && in.File == "" {
		return nil
	}
	file, err := s.certificateFile(ctx, b, ref, in, call)
	if err == nil {
		leaves, replaceAny := in.inFile(in.leaves())
		_, _, _, err = file.prepare(in.Certificates, leaves, replaceAny)
	}
	if err == nil && in.File == "" && !file.ofKey {
		err = signer.WithHint(fmt.Errorf("the certificates in this file cannot be replaced: %w", errors.ErrUnsupported), "store the certificate in a file of its own with Installation.File, and name that with Identity.Certificate")
	}
	return wrap(b, op, ref, err)
}

// installFile opens the key and writes the certificates to the file.
func (s *Store) installFile(ctx context.Context, ref Ref, in Installation, file certificateFile, call Call) (Installed, error) {
	key, err := s.open(ctx, ref, call)
	if err != nil {
		return Installed{}, err
	}
	pub, now := key.Public(), call.Time()
	chain, err := in.Select(pub, now)
	if err == nil {
		err = signer.Prove(ctx, key, signer.PublicKeyOf(chain[0]))
	}
	if err = errors.Join(err, key.Close()); err == nil {
		leaves, replaceAny := in.inFile(chain[:1])
		err = file.write(chain, leaves, replaceAny)
	}
	if err != nil {
		return Installed{}, err
	}
	if file.ofKey {
		return Installed{Chain: chain, Certificate: ref}, nil
	}
	// A file such as a PKCS #12 keeps its own certificate of the key.
	var present []*x509.Certificate
	if len(s.usesOf(ref).Files) > 0 {
		present, _ = s.certificates(ctx, ref, call) // the installation is complete
	}
	done := in.Report(pub, chain, present, nil, now)
	done.Certificate = Ref{SchemeFile, file.path}
	return done, nil
}

// certificateFile returns the file for the certificates of a key.
func (s *Store) certificateFile(ctx context.Context, b Backend, ref Ref, in Installation, call Call) (f certificateFile, err error) {
	var ofKey string
	if files := s.usesOf(ref).Files; len(files) == 1 {
		ofKey = files[0]
	}
	if f.path = in.File; f.path == "" {
		if ofKey == "" {
			return f, signer.WithHint(fmt.Errorf("there is no place for certificates beside the key: %w", errors.ErrUnsupported), hintForFile(b))
		}
		data, err := call.Read(ctx, Ref{SchemeFile, ofKey})
		if err != nil {
			return f, err
		}
		f.path = ofKey
		if !hasCertificate(data) {
			f.path = cmp.Or(strings.TrimSuffix(ofKey, filepath.Ext(ofKey)), ofKey) + ".crt"
		}
	}
	f.ofKey = ofKey != "" && sameFile(f.path, ofKey)
	if f.path == ofKey && !f.ofKey { // a pipe
		return f, signer.WithHint(fmt.Errorf("%s is not a file that can be replaced: %w", ofKey, errors.ErrUnsupported), hintForFile(b))
	}
	return f, nil
}

func hintForFile(b Backend) string {
	const hint = "write the certificates to a file with Installation.File"
	if a, ok := b.(Adviser); ok {
		return hint + "; or " + a.Advice()
	}
	return hint
}
