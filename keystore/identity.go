package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// An Identity names a key and its certificates by reference. The zero Ref means
// that a reference is not given. Key or Certificate must be given. If only one
// of them is, it names both, as for a PKCS #12 file or a token.
type Identity struct {
	Key           Ref
	Certificate   Ref // can also contain intermediates, in any order
	Intermediates Ref // more intermediates; optional
}

// ParseIdentity parses the references of an Identity; see [ParseRef]. An empty
// string means that the reference is not given. An error is a [*RefError].
func ParseIdentity(certificate, key string) (id Identity, err error) {
	for _, in := range []struct {
		ref  *Ref
		text string
	}{{&id.Key, key}, {&id.Certificate, certificate}} {
		if in.text == "" {
			continue
		}
		if *in.ref, err = ParseRef(in.text); err != nil {
			return Identity{}, err
		}
	}
	return id, nil
}

// OpenIdentity opens the key of id and binds it to its certificates. The
// caller closes the Signer, which always has a chain. Each file is read once,
// even if several references name it.
//
// An error is one of [Store.Open], wraps [signer.ErrNoCertificate] if there is
// no certificate, or wraps [signer.ErrMismatch] if no certificate is for the
// key. It wraps both if Key names both, and what it names has only certificates
// of other keys.
func (s *Store) OpenIdentity(ctx context.Context, id Identity, opts Options) (_ signer.Signer, err error) {
	call := s.begin(opts)
	defer call.end()
	keyRef, certRef := id.Key, id.Certificate
	switch {
	case keyRef.IsZero() && certRef.IsZero():
		return nil, errors.New("neither a key nor a certificate is given")
	case keyRef.IsZero():
		keyRef = certRef
	case certRef.IsZero():
		certRef = keyRef
	}

	// Read the certificates first: a device may need them to find the key.
	var certs, more []*x509.Certificate
	if certRef != keyRef {
		if certs, err = s.certificates(ctx, certRef, call); err != nil {
			return nil, err
		}
		call.Certificates = certs
	}
	if !id.Intermediates.IsZero() {
		more, err = s.certificates(ctx, id.Intermediates, call)
		if errors.Is(err, signer.ErrNoCertificate) && errors.Is(err, errors.ErrUnsupported) {
			// The path may not need them. If it does, the service says so.
			call.logger().Warn(fmt.Sprintf("intermediate certificates are not used: %v", err))
		} else if err != nil {
			return nil, err
		}
	}
	key, err := s.open(ctx, keyRef, call)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			key.Close()
		}
	}()
	if certRef == keyRef {
		certs = signer.CertificatesOf(key).All()
	}
	hint := "give the certificate's file with Identity.Certificate"
	if id.Key.IsZero() {
		hint = "this is a private key without its certificate: name it with Identity.Key, and the file of the certificate with Identity.Certificate"
	}
	if len(certs) == 0 {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", certRef, signer.ErrNoCertificate), hint)
	}
	bound, err := signer.Bind(key, slices.Concat(certs, more), opts.Time())
	switch {
	case errors.Is(err, signer.ErrMismatch) && certRef == keyRef && len(key.Chain()) == 0:
		return nil, signer.WithHint(fmt.Errorf("%s: %w: %w", certRef, signer.ErrNoCertificate, err), hint)
	case errors.Is(err, signer.ErrNoCertificate):
		return nil, fmt.Errorf("%s: %w", certRef, err)
	case errors.Is(err, signer.ErrMismatch):
		return nil, signer.WithHint(fmt.Errorf("%s and %s: %w", keyRef, certRef, err),
			"use the private key that the certificate was issued for, or another certificate")
	}
	return bound, err
}
