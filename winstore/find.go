package winstore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
)

// A found store is open, with all its certificates.
type found struct {
	sys   system
	store storeHandle
	all   []candidate
}

type candidate struct {
	selector.Candidate
	handle certHandle
}

var errNoKey = signer.WithHint(errors.New("it has no private key here"),
	"import it together with its key, or link the two: certutil -repairstore MY SERIAL")

// find opens the store of cfg and reads it. A certificate that cannot be read,
// or whose key is of no use, does not disturb the others.
func find(sys system, cfg Config) (_ *found, err error) {
	store, err := sys.openStore(cfg.location(), cfg.store(), false)
	if err != nil {
		return nil, storeError(cfg, err)
	}
	f := &found{sys: sys, store: store}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	handles, err := sys.enumerate(store)
	for _, h := range handles { // also if it failed half-way, to free them
		f.all = append(f.all, candidate{f.describe(h, cfg), h})
	}
	if err != nil {
		return nil, fmt.Errorf("read store %s of the %s: %w", cfg.store(), cfg.location(), err)
	}
	return f, nil
}

func storeError(cfg Config, err error) error {
	err = fmt.Errorf("store %q of the %s: %w", cfg.store(), cfg.location(), err)
	if errors.Is(err, errFileNotFound) {
		return signer.WithHint(err, "certutil -enumstore lists the stores of the machine, certutil -user -enumstore the user's; the usual one is MY")
	}
	return err
}

func (f *found) describe(h certHandle, cfg Config) (c selector.Candidate) {
	cert, err := x509.ParseCertificate(f.sys.der(h))
	if err != nil {
		c.Ref, c.Err = cfg.ref(""), fmt.Errorf("it cannot be read: %w", err)
		return c
	}
	one := cfg
	one.Key, one.Provider = "", ""
	c.Certificate, c.Ref = cert, one.ref(selector.For(cert).String())
	if !f.sys.hasKey(h) {
		c.Err = errNoKey
	} else {
		c.Err = checkType(cert)
	}
	return c
}

// choose applies the Selector.
func (f *found) choose(cfg Config) (candidate, error) {
	all := f.all
	if some := f.withKeyOf(cfg); len(some) > 0 {
		all = some
	}
	candidates := make([]selector.Candidate, len(all))
	for i, c := range all {
		candidates[i] = c.Candidate
	}
	i, err := cfg.Selector.Select(candidates, cfg.now())
	if err == nil {
		return all[i], nil
	}
	err = fmt.Errorf("store %s of the %s: %w", cfg.store(), cfg.location(), err)
	if cfg.Location == "" && errors.Is(err, signer.ErrNotFound) {
		err = signer.WithHint(err, "location=machine looks in the machine's store; in the user's "+signer.Hint(err))
	}
	return candidate{}, err
}

// withKeyOf returns those that cfg's Selector takes and whose key is that of one
// of cfg's certificates.
func (f *found) withKeyOf(cfg Config) (some []candidate) {
	for _, c := range f.all {
		if c.Certificate != nil && cfg.Selector.Matches(c.Certificate, cfg.now()) && slices.ContainsFunc(cfg.Certificates, func(known *x509.Certificate) bool {
			return signer.SamePublicKey(known.PublicKey, c.Certificate.PublicKey)
		}) {
			some = append(some, c)
		}
	}
	return some
}

// release leaves a certificate to the caller.
func (f *found) release(h certHandle) {
	f.all = slices.DeleteFunc(f.all, func(c candidate) bool { return c.handle == h })
}

func (f *found) close() error {
	var errs []error
	for _, c := range f.all {
		errs = append(errs, f.sys.freeCertificate(c.handle))
	}
	return errors.Join(append(errs, f.sys.closeStore(f.store))...)
}

// chain returns the certificate and its issuers. If Windows does not find its
// way to a root, the CAs of the same store and of the store CA may lead further.
func (f *found) chain(c candidate, cfg Config) []*x509.Certificate {
	certs := []*x509.Certificate{c.Certificate}
	ders, err := f.sys.issuers(c.handle, f.store, cfg.location())
	if err != nil {
		cfg.logger().Debug("no issuers from Windows", "error", err)
	}
	whole := false
	for _, der := range ders {
		// The leaf may have been renewed with the same key: it stays the chosen one.
		if cert, err := x509.ParseCertificate(der); err == nil && !signer.SamePublicKey(cert.PublicKey, c.Certificate.PublicKey) {
			certs = append(certs, cert)
			whole = bytes.Equal(cert.RawIssuer, cert.RawSubject)
		}
	}
	if err != nil || !whole {
		certs = append(certs, f.authorities()...)
		ca := cfg
		ca.Store = "CA"
		if more, err := find(f.sys, ca); err == nil {
			certs = append(certs, more.authorities()...)
			_ = more.close() // nothing depends on it
		}
	}
	chain, err := signer.Chain(c.Certificate.PublicKey, certs)
	if err != nil {
		return certs[:1]
	}
	return chain
}

// authorities are the certificates of CAs.
func (f *found) authorities() (certs []*x509.Certificate) {
	for _, c := range f.all {
		if c.Certificate != nil && c.Certificate.IsCA {
			certs = append(certs, c.Certificate)
		}
	}
	return certs
}

// certificates returns what [Backend.Certificates] does.
func certificates(ctx context.Context, sys system, cfg Config) (_ []*x509.Certificate, err error) {
	if err := errors.Join(ctx.Err(), cfg.check()); err != nil {
		return nil, err
	}
	if cfg.Key != "" {
		k, err := open(ctx, sys, cfg)
		if err != nil {
			return nil, err
		}
		return k.chain, k.Close()
	}
	f, err := find(sys, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	for i := range f.all {
		if f.all[i].Certificate != nil {
			f.all[i].Err = nil // the key may be elsewhere
		}
	}
	chosen, err := f.choose(cfg)
	if err != nil {
		return nil, err
	}
	return f.chain(chosen, cfg), nil
}

// chainOfKey looks in the store of cfg for certificates of a key; nil if there
// are none.
func chainOfKey(sys system, cfg Config, pub crypto.PublicKey) (_ []*x509.Certificate, err error) {
	f, err := find(sys, cfg)
	if errors.Is(err, errFileNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	var own []*x509.Certificate
	for _, c := range f.all {
		if c.Certificate != nil && signer.SamePublicKey(c.Certificate.PublicKey, pub) {
			own = append(own, c.Certificate)
		}
	}
	best, err := signer.Chain(pub, own)
	if err != nil {
		return nil, nil
	}
	i := slices.IndexFunc(f.all, func(c candidate) bool { return c.Certificate == best[0] })
	return f.chain(f.all[i], cfg), nil
}
