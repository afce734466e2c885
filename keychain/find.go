package keychain

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
)

// An identity is a certificate with a private key in a keychain.
type identity struct {
	label, token string
	ref          keystore.Ref
	cert         *x509.Certificate // nil: it cannot be parsed
	err          error             // why the identity cannot be used
	handle       native.Handle
}

// identities is the result of a search, without duplicates.
type identities struct {
	all    []identity
	failed []error // from scopes that could not be searched
	broken []error // from identities that could not be read; at most maxListed
}

// search searches all scopes. It fails if no scope can be searched.
func search(cfg Config, sys native.System) (found identities, err error) {
	scopes := []native.Scope{native.Files, native.DataProtection, native.Tokens}
	if cfg.Token != "" {
		scopes = []native.Scope{native.Tokens}
	}
	for _, scope := range scopes {
		some, err := sys.Identities(scope)
		if err != nil {
			found.failed = append(found.failed, fmt.Errorf("%s: %w", scope, asError(err)))
		}
		for _, n := range some {
			switch {
			case n.Err == nil:
				found.add(newIdentity(n))
			case len(found.broken) < maxListed:
				found.broken = append(found.broken, fmt.Errorf("identity %q in the %s: %w", n.Label, scope, asError(n.Err)))
			}
		}
	}
	if len(found.failed) == len(scopes) {
		return found, join(found.failed)
	}
	return found, nil
}

func newIdentity(n native.Identity) identity {
	id := identity{label: n.Label, token: n.Token, handle: n.Handle}
	var s selector.Selector
	if id.cert, id.err = x509.ParseCertificate(n.Certificate); id.err == nil {
		s, id.err = selector.For(id.cert), checkPublic(id.cert.PublicKey)
	} else {
		sum := sha256.Sum256(n.Certificate)
		s.SHA256 = sum[:]
	}
	id.ref = reference(id.label, id.token, s)
	return id
}

// add adds id, or releases it if it is a duplicate: the data-protection keychain
// also contains the tokens, and an item may be in several keychains.
func (f *identities) add(id identity) {
	if slices.ContainsFunc(f.all, func(other identity) bool { return other.ref == id.ref }) {
		id.handle.Release()
		return
	}
	f.all = append(f.all, id)
}

func (f *identities) release() {
	for _, id := range f.all {
		id.handle.Release()
	}
	f.all = nil
}

// choose returns the identity that cfg names.
func (f *identities) choose(cfg Config) (identity, error) {
	matches := f.matchNames(cfg)
	if len(matches) == 0 && len(f.all) > 0 {
		err := fmt.Errorf("%w %s", signer.ErrNotFound, reference(cfg.Label, cfg.Token, cfg.Selector))
		return identity{}, f.explain(signer.WithHint(err, "the keychains contain: "+refs(f.all)))
	}
	if some := matchCertificates(cfg, matches); len(some) > 0 {
		matches = some
	}
	candidates := make([]selector.Candidate, len(matches))
	for i, id := range matches {
		candidates[i] = selector.Candidate{Ref: id.ref, Certificate: id.cert, Err: id.err}
	}
	i, err := cfg.Selector.Select(candidates, cfg.now())
	if err != nil {
		return identity{}, f.explain(err)
	}
	f.log(cfg)
	return matches[i], nil
}

// matchNames returns the identities with the label and the token of cfg.
func (f *identities) matchNames(cfg Config) []identity {
	var some []identity
	for _, id := range f.all {
		if (cfg.Label == "" || cfg.Label == id.label) && (cfg.Token == "" || cfg.Token == id.token) {
			some = append(some, id)
		}
	}
	return some
}

// matchCertificates returns the identities that match cfg.Selector and have the
// public key of one of cfg.Certificates.
func matchCertificates(cfg Config, all []identity) []identity {
	var some []identity
	for _, id := range all {
		if id.cert != nil && cfg.Selector.Matches(id.cert, cfg.now()) && slices.ContainsFunc(cfg.Certificates, func(c *x509.Certificate) bool {
			return signer.SamePublicKey(c.PublicKey, id.cert.PublicKey)
		}) {
			some = append(some, id)
		}
	}
	return some
}

// explain adds the errors of f to err, the error of choose. If no identity was
// found, it may be in a place that could not be read, such as a locked keychain.
// The error from there then comes first, so that its hint is the hint of the
// whole.
func (f *identities) explain(err error) error {
	for _, unreadable := range slices.Concat(f.failed, f.broken) {
		if errors.Is(err, signer.ErrNotFound) && !ignorable(unreadable) {
			err = fmt.Errorf("%w; in other places: %w", unreadable, err)
		} else {
			err = fmt.Errorf("%w; cannot read %v", err, unreadable)
		}
	}
	return err
}

// ignorable reports whether the error of a scope can be ignored: most programs
// lack the entitlement for the data-protection keychain and have no items there.
func ignorable(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// maxListed bounds the number of identities in one message.
const maxListed = 8

func refs(all []identity) string {
	listed := make([]string, 0, maxListed)
	for _, id := range all[:min(len(all), maxListed)] {
		listed = append(listed, id.ref.String())
	}
	if more := len(all) - len(listed); more > 0 {
		listed = append(listed, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(listed, "  ")
}

// join joins errors on one line; errors.Join puts each on its own line.
func join(errs []error) error {
	var all error
	for _, err := range errs {
		if all == nil {
			all = err
		} else {
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// certificates returns the chain of the identity that cfg names.
func certificates(ctx context.Context, cfg Config, sys native.System) ([]*x509.Certificate, error) {
	return withContext(ctx, func() ([]*x509.Certificate, error) {
		found, err := search(cfg, sys)
		defer found.release()
		if err != nil {
			return nil, err
		}
		id, err := found.choose(cfg)
		if err != nil {
			return nil, err
		}
		return chainOf(id.cert, cfg, sys).Issued(), nil
	}, nil)
}

// chainOf returns leaf and its issuers in the keychains. It does not use the
// network. If a scope cannot be searched, it logs the error and continues.
func chainOf(leaf *x509.Certificate, cfg Config, sys native.System) signer.Certificates {
	certs := []*x509.Certificate{leaf}
	for _, scope := range []native.Scope{native.Files, native.DataProtection, native.Tokens} {
		some, err := sys.Certificates(scope)
		if err != nil {
			cfg.logger().Debug("cannot read the certificates in the "+scope.String(), "error", asError(err))
		}
		for _, der := range some {
			// Skip other certificates for the key, so that leaf stays the leaf.
			if c, err := x509.ParseCertificate(der); err == nil && !signer.SamePublicKey(c.PublicKey, leaf.PublicKey) {
				certs = append(certs, c)
			}
		}
	}
	selected, err := signer.SelectCertificates(leaf.PublicKey, certs, cfg.now())
	if err != nil { // the type of the public key has no Equal
		return signer.Certificates{Chain: certs[:1]}
	}
	selected.Others = nil // nobody gave them for this key
	return selected
}

// list returns the identities that match cfg. It can return entries together with
// an error.
func list(ctx context.Context, cfg Config, sys native.System) ([]keystore.Entry, error) {
	var unreadable []error // read only if the function has returned
	entries, err := withContext(ctx, func() (entries []keystore.Entry, err error) {
		found, err := search(cfg, sys)
		defer found.release()
		if err != nil {
			return nil, err
		}
		entries, unreadable = found.entries(cfg)
		return entries, nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return entries, join(unreadable)
}

// entries returns an entry for each identity that matches cfg. The errors say
// what could not be read.
func (f *identities) entries(cfg Config) (entries []keystore.Entry, unreadable []error) {
	for _, err := range f.failed {
		if ignorable(err) {
			cfg.logger().Debug("cannot read all keychains", "error", err)
		} else {
			unreadable = append(unreadable, err)
		}
	}
	unreadable = append(unreadable, f.broken...)
	for _, id := range f.matchNames(cfg) {
		switch {
		case id.cert == nil:
			unreadable = append(unreadable, fmt.Errorf("%s: %w", id.ref, id.err))
		case !cfg.Selector.Matches(id.cert, cfg.now()):
		case id.err != nil: // the key type is not supported
			entries = append(entries, keystore.Entry{Ref: id.ref, Kind: keystore.KindOf(id.cert), Certificate: id.cert})
		default:
			entries = append(entries, keystore.Entry{Ref: id.ref, Kind: keystore.KeyEntry, Public: id.cert.PublicKey, Certificate: id.cert})
		}
	}
	return entries, unreadable
}

// log logs the errors of a search that found the identity.
func (f *identities) log(cfg Config) {
	for _, err := range slices.Concat(f.failed, f.broken) {
		log := cfg.logger().Warn
		if ignorable(err) {
			log = cfg.logger().Debug
		}
		log("cannot read all keychains", "error", err)
	}
}
