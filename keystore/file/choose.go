package file

import (
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// identity decodes the key and the certificates. If there are several keys, it
// takes the one that wanted, or else a certificate in the file, is for. The other
// parts may then be damaged.
func (c *contents) identity(ctx context.Context, pw passwordFunc, wanted []*x509.Certificate) (crypto.Signer, []*x509.Certificate, error) {
	damage := c.check()
	if damage != nil && len(c.keys) == 0 {
		return nil, nil, damage
	}
	keys, parts := c.keys, c.certs
	if c.pfx != nil {
		if damage != nil {
			return nil, nil, damage
		}
		var err error
		if keys, parts, err = decodePFX(ctx, c.pfx, pw, true); err != nil {
			return nil, nil, err
		}
	}
	if len(keys) == 0 {
		if c.hasPublic && len(parts) == 0 {
			return nil, nil, signer.WithHint(errPublicKey, "give the file of the private key, of which this is the public half")
		}
		return nil, nil, signer.WithHint(errNoKey, "give the private key's file with Identity.Key")
	}
	certs, err := c.parseCertificates(parts)
	if err != nil && len(wanted) == 0 {
		return nil, nil, cmp.Or(damage, err)
	}
	candidates := wanted
	if len(wanted) == 0 {
		candidates = certs
	}
	if damage != nil && (c.tpmKeys > 0 || len(candidates) == 0) {
		return nil, nil, damage
	}
	var key crypto.Signer
	if len(keys) == 1 {
		key, err = keys[0].open(ctx, pw)
	} else {
		key, err = c.choose(ctx, keys, pw, candidates, len(wanted) > 0)
	}
	switch {
	case damage != nil && (err != nil && !isLocked(err) || err == nil && !isForAny(candidates, key)):
		return nil, nil, damage
	case err != nil:
		return nil, nil, err
	}
	c.ignored = append(c.ignored, slices.Concat(c.bad, c.otherKeys)...)
	return key, certs, nil
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

// choose returns the key that one of the certificates is for, and adds the keys
// that it cannot open to the parts that are not used. A key that needs no password
// comes first: the password is asked for only if a certificate remains that may be
// for another key.
func (c *contents) choose(ctx context.Context, parts []keyPart, pw passwordFunc, certs []*x509.Certificate, wanted bool) (crypto.Signer, error) {
	if len(parts) > maxKeys || workOf(parts) > maxIterations {
		return nil, ambiguous(fmt.Sprintf("contains %d private keys", len(parts)))
	}
	pw, forget := remember(pw)
	defer forget()
	var matching, opened []crypto.Signer
	var unopened []error
	var locked error
	texts := make([]string, len(parts))
	try := func(i int) error {
		name := parts[i].describe(i)
		key, err := parts[i].open(ctx, pw)
		if err != nil {
			texts[i] = fmt.Sprintf("%s (%v)", name, err)
			unopened = append(unopened, fmt.Errorf("%s: %w", name, err))
			if locked == nil && isLocked(err) {
				locked = err
			}
			return ctx.Err()
		}
		texts[i] = fmt.Sprintf("%s (%s, SHA-256 of the public key %s)", name, signer.DescribeKey(key.Public()), fingerprint(key.Public()))
		same := func(other crypto.Signer) bool { return signer.SamePublicKey(other.Public(), key.Public()) }
		if isForAny(certs, key) && !(wanted && slices.ContainsFunc(matching, same)) {
			matching = append(matching, key)
		}
		opened = append(opened, key)
		return nil
	}
	for _, encrypted := range []bool{false, true} {
		if encrypted && len(matching) > 0 && !slices.ContainsFunc(certs, func(cert *x509.Certificate) bool {
			return !cert.IsCA && !slices.ContainsFunc(opened, func(key crypto.Signer) bool { return signer.SamePublicKey(signer.PublicKeyOf(cert), key.Public()) })
		}) {
			break
		}
		for i, part := range parts {
			if part.encrypted() != encrypted {
				continue
			}
			if err := try(i); err != nil {
				return nil, err
			}
		}
	}
	all := fmt.Sprintf("%d private keys: %s", len(parts), strings.Join(texts, ", "))
	switch {
	case len(matching) == 1:
		c.ignored = append(c.ignored, unopened...)
		return matching[0], nil
	case len(matching) == 0 && locked != nil:
		return nil, locked
	case len(matching) == 0 && wanted:
		return nil, signer.WithHint(fmt.Errorf("%w: it is for none of the %s", signer.ErrMismatch, all),
			"give the certificate of one of these keys with Identity.Certificate")
	}
	return nil, ambiguous("contains " + all)
}

// open decodes the key.
func (k keyPart) open(ctx context.Context, pw passwordFunc) (crypto.Signer, error) {
	if k.err != nil {
		return nil, k.err
	}
	return parseKey(ctx, k.der, pw)
}

// describe returns the friendly name of the i-th key of a file, or its position.
func (k keyPart) describe(i int) string {
	if k.name != "" {
		return strconv.Quote(k.name)
	}
	return fmt.Sprintf("key %d", i+1)
}

func isForAny(certs []*x509.Certificate, key crypto.Signer) bool {
	return slices.ContainsFunc(certs, func(cert *x509.Certificate) bool { return signer.SamePublicKey(signer.PublicKeyOf(cert), key.Public()) })
}

// isLocked reports whether the error of a key is about its password.
func isLocked(err error) bool {
	return errors.Is(err, signer.ErrPINRequired) || errors.Is(err, signer.ErrPINIncorrect)
}

func ambiguous(text string) error {
	return signer.WithHint(&fileError{text, &signer.ErrAmbiguous},
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

// remember returns a passwordFunc that calls pw once, even if it fails, and a function that clears
// the passwords.
func remember(pw passwordFunc) (again passwordFunc, forget func()) {
	var known passwords
	var err error
	return func() (passwords, error) {
		if known == nil && err == nil {
			known, err = pw()
		}
		if err != nil {
			return nil, err
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
	der, err := signer.MarshalPublicKey(pub)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%x", sha256.Sum256(der))
}
