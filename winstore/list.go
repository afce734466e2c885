package winstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/keystore"
)

// List implements [keystore.Lister]. It lists the certificates in the store that
// match the selector, with the public key if the certificate has a private key.
// Without a location, it lists the stores of the machine and of the user. If one
// of them exists but cannot be read, it lists the other and returns an error.
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
		return nil, &keystore.RefError{Ref: cfg.ref("").String(), Err: errors.New(`attribute "key" names a single key, which cannot be listed`)}
	}
	locations := []Location{cfg.Location}
	if cfg.Location == "" {
		locations = []Location{Machine, User}
	}
	return bounded(ctx, func() ([]keystore.Entry, error) { return listNow(ctx, sys, cfg, locations) }, nil)
}

// listNow is list, but waits for Windows without a limit.
func listNow(ctx context.Context, sys system, cfg Config, locations []Location) (entries []keystore.Entry, err error) {
	var errs []error // one for each location, or nil
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
	missing := func(err error) bool { return errors.Is(err, errFileNotFound) }
	if slices.ContainsFunc(errs, func(err error) bool { return !missing(err) }) {
		errs = slices.DeleteFunc(errs, missing) // a store need not exist in both locations
	}
	return entries, errors.Join(errs...)
}

// A link is a certificate and its key provider information. It detects
// certificates that were listed already, since a store of the user may also show
// the certificates of the machine.
type link struct {
	cert []byte
	info keyInfo
}

func listStore(sys system, cfg Config, seen *[]link) (entries []keystore.Entry, err error) {
	s, err := readStore(sys, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var unreadable []error
	for _, c := range s.all {
		if c.Certificate == nil {
			unreadable = append(unreadable, fmt.Errorf("a certificate in store %s of the %s: %w", cfg.store(), cfg.location(), c.Err))
			continue
		}
		if !cfg.Selector.Matches(c.Certificate, cfg.now()) {
			continue
		}
		info, _ := sys.keyInfo(c.handle) // zero without a key
		if l := (link{c.Certificate.Raw, info}); !addNew(seen, l) {
			continue
		}
		e := keystore.Entry{Ref: c.Ref, Kind: keystore.KindOf(c.Certificate), Certificate: c.Certificate}
		if c.Err == nil && e.Kind != keystore.AttestationEntry {
			e.Kind, e.Public = keystore.KeyEntry, c.Certificate.PublicKey
		}
		entries = append(entries, e)
	}
	return entries, errors.Join(unreadable...)
}

// addNew adds l to seen and reports whether it is new.
func addNew(seen *[]link, l link) bool {
	for _, s := range *seen {
		if s.info == l.info && bytes.Equal(s.cert, l.cert) {
			return false
		}
	}
	*seen = append(*seen, l)
	return true
}
