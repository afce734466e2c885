package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// An Identity names a key and the certificates that go with it by reference;
// the zero Ref is one that is not given. At least one of Key and Certificate is
// given; if one is missing, the other holds both, as a PKCS #12 file or a token
// does.
type Identity struct {
	Key           Ref
	Certificate   Ref // may hold intermediates too, in any order
	Intermediates Ref // more intermediates; optional
}

// ParseIdentity returns the Identity of two references as a person writes them;
// see [ParseRef]. An empty text is one that is not given. Errors are a
// [*RefError].
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
// caller closes the Signer, which has a chain. Every file is read once, also
// if it stands in several places.
//
// Errors are those of [Store.Open]; [signer.ErrNoCertificate] if no
// certificate is found, and [signer.ErrMismatch] if none is for the key.
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

	// Certificates come first: a device may need them to know its key.
	var certs, more []*x509.Certificate
	if certRef != keyRef {
		if certs, err = s.certificates(ctx, certRef, call); err != nil {
			return nil, err
		}
		call.Certificates = certs
	}
	if !id.Intermediates.IsZero() {
		if more, err = s.certificates(ctx, id.Intermediates, call); err != nil {
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
		certs = key.Chain()
	}
	if len(certs) == 0 {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", certRef, signer.ErrNoCertificate),
			"give the certificate's file with Identity.Certificate")
	}
	bound, err := signer.Bind(key, append(certs[:len(certs):len(certs)], more...))
	if errors.Is(err, signer.ErrMismatch) {
		return nil, signer.WithHint(fmt.Errorf("%s and %s: %w", keyRef, certRef, err),
			"give the key that the certificate was issued for, or the other certificate")
	}
	return bound, err
}
