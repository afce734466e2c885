package file

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// identity decodes the key and the certificates. If there are several keys, it
// takes the one that wanted, or else a certificate in the file, is for.
func (c *contents) identity(ctx context.Context, pw passwordFunc, wanted []*x509.Certificate) (crypto.Signer, []*x509.Certificate, error) {
	keys, parts := c.keys, c.certs
	if c.pfx != nil {
		var err error
		if keys, parts, err = decodePFX(ctx, c.pfx, pw, true); err != nil {
			return nil, nil, err
		}
	}
	if len(keys) == 0 {
		return nil, nil, signer.WithHint(errNoKey, "give the private key's file with Identity.Key")
	}
	certs, err := c.parseCertificates(parts)
	if err != nil && len(wanted) == 0 {
		return nil, nil, err
	}
	if len(keys) == 1 {
		key, err := parseKey(ctx, keys[0].der, pw)
		return key, certs, err
	}
	key, err := choose(ctx, keys, pw, wanted, certs)
	return key, certs, err
}

// certificates decodes all certificates. It calls pw only for PKCS #12.
func (c *contents) certificates(ctx context.Context, pw passwordFunc) ([]*x509.Certificate, error) {
	parts := c.certs
	if c.pfx != nil {
		var err error
		if _, parts, err = decodePFX(ctx, c.pfx, pw, false); err != nil {
			return nil, err
		}
	}
	return c.parseCertificates(parts)
}

// choose returns the key that one of the wanted certificates is for. If there
// are none, certs are the certificates in the file.
func choose(ctx context.Context, parts []keyPart, pw passwordFunc, wanted, certs []*x509.Certificate) (crypto.Signer, error) {
	if len(parts) > maxKeys || workOf(parts) > maxIterations {
		return nil, ambiguous(fmt.Sprintf("contains %d private keys", len(parts)))
	}
	pw, forget := remember(pw)
	defer forget()
	var matching []crypto.Signer
	var list []string
	for _, part := range parts {
		key, err := parseKey(ctx, part.der, pw)
		switch {
		case errors.Is(err, signer.ErrPINRequired), errors.Is(err, signer.ErrPINIncorrect), ctx.Err() != nil:
			return nil, err
		case err != nil:
			list = append(list, fmt.Sprintf("%q (%v)", part.name, err))
			continue
		}
		list = append(list, fmt.Sprintf("%q (%s, SHA-256 of the public key %s)", part.name, signer.DescribeKey(key.Public()), fingerprint(key.Public())))
		isFor := func(cert *x509.Certificate) bool { return signer.SamePublicKey(cert.PublicKey, key.Public()) }
		same := func(other crypto.Signer) bool { return signer.SamePublicKey(other.Public(), key.Public()) }
		if len(wanted) > 0 && slices.ContainsFunc(wanted, isFor) && !slices.ContainsFunc(matching, same) ||
			len(wanted) == 0 && slices.ContainsFunc(certs, isFor) {
			matching = append(matching, key)
		}
	}
	all := fmt.Sprintf("%d private keys: %s", len(parts), strings.Join(list, ", "))
	switch {
	case len(matching) == 1:
		return matching[0], nil
	case len(matching) == 0 && len(wanted) > 0:
		return nil, fmt.Errorf("%w: it is for none of the %s", signer.ErrMismatch, all)
	}
	return nil, ambiguous("contains " + all)
}

func ambiguous(text string) error {
	return signer.WithHint(&fileError{text, signer.ErrAmbiguous},
		"choose the key by giving its certificate's file with Identity.Certificate, or store each key in its own file")
}

// workOf returns the iterations that the encrypted keys need together.
func workOf(parts []keyPart) (sum int64) {
	for _, part := range parts {
		if der, _, err := toDER(part.der); err == nil {
			if e, err := parsePBES2(der); err == nil {
				sum += e.cost
			}
		}
	}
	return sum
}

// remember returns a passwordFunc that calls pw once, and a function that clears
// the passwords.
func remember(pw passwordFunc) (again passwordFunc, forget func()) {
	var known passwords
	return func() (passwords, error) {
		if known == nil {
			var err error
			if known, err = pw(); err != nil {
				return nil, err
			}
		}
		copies := make(passwords, len(known))
		for i, p := range known {
			copies[i] = slices.Clone(p)
		}
		return copies, nil
	}, func() { known.clear() }
}

// fingerprint returns the SHA-256 hash of a SubjectPublicKeyInfo.
func fingerprint(pub crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%x", sha256.Sum256(der))
}
