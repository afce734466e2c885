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

// An identity is one that was found.
type identity struct {
	label, token string
	ref          keystore.Ref
	cert         *x509.Certificate // nil if it cannot be read
	err          error             // why it cannot be used
	handle       native.Handle
}

// identities are what the scopes hold, each once.
type identities struct {
	all    []identity
	failed []error // scopes that did not answer
	broken []error // identities that macOS could not read, at most maxListed
}

// search asks each scope. It fails if none answers.
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
				found.broken = append(found.broken, fmt.Errorf("an identity %q in the %s: %w", n.Label, scope, asError(n.Err)))
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

// add releases id if it is there already: the data-protection keychain shows
// the tokens, too, and an item may be in several keychains.
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

// choose returns the one identity that cfg names.
func (f *identities) choose(cfg Config) (identity, error) {
	named := f.named(cfg)
	if len(named) == 0 && len(f.all) > 0 {
		err := fmt.Errorf("%w %s", signer.ErrNotFound, reference(cfg.Label, cfg.Token, cfg.Selector))
		return identity{}, f.explain(signer.WithHint(err, "there are: "+refs(f.all)))
	}
	if some := withKeyOf(cfg, named); len(some) > 0 {
		named = some
	}
	candidates := make([]selector.Candidate, len(named))
	for i, id := range named {
		candidates[i] = selector.Candidate{Ref: id.ref, Certificate: id.cert, Err: id.err}
	}
	i, err := cfg.Selector.Select(candidates, cfg.now())
	if err != nil {
		return identity{}, f.explain(err)
	}
	f.log(cfg)
	return named[i], nil
}

// named returns the identities that have cfg's label and token.
func (f *identities) named(cfg Config) []identity {
	var some []identity
	for _, id := range f.all {
		if (cfg.Label == "" || cfg.Label == id.label) && (cfg.Token == "" || cfg.Token == id.token) {
			some = append(some, id)
		}
	}
	return some
}

// withKeyOf returns those that cfg's Selector takes and whose key is that of one
// of cfg's certificates.
func withKeyOf(cfg Config, all []identity) []identity {
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

// explain adds to the error of a choice what was not read. What is missing may
// be there, so a locked keychain decides what to do next.
func (f *identities) explain(err error) error {
	for _, unread := range slices.Concat(f.failed, f.broken) {
		if errors.Is(err, signer.ErrNotFound) && !optional(unread) {
			err = fmt.Errorf("%w; elsewhere: %w", unread, err)
		} else {
			err = fmt.Errorf("%w; not searched: %v", err, unread)
		}
	}
	return err
}

// optional reports whether a scope may fail unnoticed: most programs lack the
// entitlements for the data-protection keychain and have nothing there.
func optional(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// maxListed bounds what one message lists.
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

// join puts errors on one line; errors.Join takes one for each.
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

// certificates returns the chain of the one identity that cfg names.
func certificates(ctx context.Context, cfg Config, sys native.System) ([]*x509.Certificate, error) {
	return answer(ctx, func() ([]*x509.Certificate, error) {
		found, err := search(cfg, sys)
		defer found.release()
		if err != nil {
			return nil, err
		}
		id, err := found.choose(cfg)
		if err != nil {
			return nil, err
		}
		return chainOf(id.cert, cfg, sys), nil
	}, nil)
}

// chainOf returns leaf and its issuers, as far as the keychains have them. It
// asks no network, and makes do with what it finds.
func chainOf(leaf *x509.Certificate, cfg Config, sys native.System) []*x509.Certificate {
	certs := []*x509.Certificate{leaf}
	for _, scope := range []native.Scope{native.Files, native.DataProtection, native.Tokens} {
		some, err := sys.Certificates(scope)
		if err != nil {
			cfg.logger().Debug("no issuers from the "+scope.String(), "error", asError(err))
		}
		for _, der := range some {
			// Another certificate of the key would be taken for the chosen one.
			if c, err := x509.ParseCertificate(der); err == nil && !signer.SamePublicKey(c.PublicKey, leaf.PublicKey) {
				certs = append(certs, c)
			}
		}
	}
	chain, err := signer.Chain(leaf.PublicKey, certs)
	if err != nil {
		return []*x509.Certificate{leaf}
	}
	return chain
}

// list returns the identities that cfg selects, also beside an error.
func list(ctx context.Context, cfg Config, sys native.System) ([]keystore.Entry, error) {
	var unread []error // written before answer returns without an error
	entries, err := answer(ctx, func() (entries []keystore.Entry, err error) {
		found, err := search(cfg, sys)
		defer found.release()
		if err != nil {
			return nil, err
		}
		entries, unread = found.entries(cfg)
		return entries, nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return entries, join(unread)
}

// entries returns what cfg selects, and why there may be more.
func (f *identities) entries(cfg Config) (entries []keystore.Entry, unread []error) {
	for _, err := range f.failed {
		if optional(err) {
			cfg.logger().Debug("not searched", "error", err)
		} else {
			unread = append(unread, err)
		}
	}
	unread = append(unread, f.broken...)
	for _, id := range f.named(cfg) {
		switch {
		case id.cert == nil:
			unread = append(unread, fmt.Errorf("%s: %w", id.ref, id.err))
		case !cfg.Selector.Matches(id.cert, cfg.now()):
		case id.err != nil: // a key of a type that nothing here signs with
			entries = append(entries, keystore.Entry{Ref: id.ref, Kind: keystore.CertificateEntry, Certificate: id.cert})
		default:
			entries = append(entries, keystore.Entry{Ref: id.ref, Kind: keystore.KeyEntry, Public: id.cert.PublicKey, Certificate: id.cert})
		}
	}
	return entries, unread
}

// log tells what was not read, where that did not matter.
func (f *identities) log(cfg Config) {
	for _, err := range slices.Concat(f.failed, f.broken) {
		tell := cfg.logger().Warn
		if optional(err) {
			tell = cfg.logger().Debug
		}
		tell("not searched", "error", err)
	}
}
