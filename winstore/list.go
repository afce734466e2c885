package winstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/keystore"
)

// List implements [keystore.Lister]: the certificates in the store, with the
// key type of those that have a key. Without a location it lists both the
// user's store and the machine's, as far as they can be read; a selector
// narrows it.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	sys, err := newSystem()
	if err != nil {
		return nil, err
	}
	return list(ctx, sys, cfg)
}

func list(ctx context.Context, sys system, cfg Config) (entries []keystore.Entry, err error) {
	if cfg.Key != "" {
		return nil, &keystore.RefError{Ref: cfg.ref("").String(), Err: errors.New("names one key; there is nothing to list below it")}
	}
	locations := []Location{cfg.Location}
	if cfg.Location == "" {
		locations = []Location{Machine, User}
	}
	var errs []error // one of each location
	var links []link
	for _, l := range locations {
		if err := ctx.Err(); err != nil {
			return entries, errors.Join(append(errs, err)...)
		}
		cfg.Location = l
		some, err := listStore(sys, cfg, &links)
		entries = append(entries, some...)
		errs = append(errs, err)
	}
	absent := func(err error) bool { return errors.Is(err, errFileNotFound) }
	if slices.ContainsFunc(errs, func(err error) bool { return !absent(err) }) {
		errs = slices.DeleteFunc(errs, absent) // a store need not be in both
	}
	return entries, errors.Join(errs...)
}

// A link is a certificate with the place of its key. The user's view of a store
// may show what is in the machine's, which is listed there.
type link struct {
	cert []byte
	info keyInfo
}

func listStore(sys system, cfg Config, seen *[]link) (entries []keystore.Entry, err error) {
	f, err := find(sys, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	var unread []error
	for _, c := range f.all {
		if c.Certificate == nil {
			unread = append(unread, fmt.Errorf("a certificate in store %s of the %s: %w", cfg.store(), cfg.location(), c.Err))
			continue
		}
		if !cfg.Selector.Matches(c.Certificate, cfg.now()) {
			continue
		}
		info, _ := sys.keyInfo(c.handle) // else the zero one
		if l := (link{c.Certificate.Raw, info}); !remember(seen, l) {
			continue
		}
		e := keystore.Entry{Ref: c.Ref, Kind: keystore.CertificateEntry, Certificate: c.Certificate}
		if c.Err == nil {
			e.Kind, e.Public = keystore.KeyEntry, c.Certificate.PublicKey
		}
		entries = append(entries, e)
	}
	return entries, errors.Join(unread...)
}

// remember reports whether l is new.
func remember(seen *[]link, l link) bool {
	for _, s := range *seen {
		if s.info == l.info && bytes.Equal(s.cert, l.cert) {
			return false
		}
	}
	*seen = append(*seen, l)
	return true
}
