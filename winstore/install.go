package winstore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
)

// Install implements [keystore.Installer]. It adds the certificates of the issuers
// to the store CA of the same location, unless they are already there, then adds
// the certificate of the key to the store of the reference and links it to the key.
// With in.Replace it removes the other certificates of the key from that store, but
// never a key.
func (Backend) Install(ctx context.Context, ref keystore.Ref, in keystore.Installation, call keystore.Call) (keystore.Installed, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return keystore.Installed{}, err
	}
	sys, err := newSystem()
	if err != nil {
		return keystore.Installed{}, err
	}
	return install(ctx, sys, cfg, in)
}

func install(ctx context.Context, sys system, cfg Config, in keystore.Installation) (keystore.Installed, error) {
	if len(in.Certificates) == 0 {
		return keystore.Installed{}, signer.ErrNoCertificate
	}
	if err := cfg.check(); err != nil {
		return keystore.Installed{}, err
	}
	return bounded(ctx, func() (keystore.Installed, error) { return installNow(ctx, sys, cfg, in) }, nil)
}

// installNow is install, but waits for Windows without a limit.
func installNow(ctx context.Context, sys system, cfg Config, in keystore.Installation) (done keystore.Installed, err error) {
	k, err := openNow(sys, cfg)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	chain, err := in.Select(k.pub, cfg.now())
	if err == nil {
		err = signer.Prove(ctx, k, chain[0].PublicKey)
	}
	if err != nil {
		return done, err
	}
	info := keyInfo{container: cfg.Key, provider: cfg.provider(), flags: cfg.machineFlag()}
	if cfg.Key == "" {
		if info, err = sys.keyInfo(k.cert); err != nil {
			return done, fmt.Errorf("read the key provider information: %w", err)
		}
	}
	if ctx.Err() != nil { // nobody waits any more
		return done, context.Cause(ctx)
	}
	// The issuers first: the certificate of the key is never without them.
	if err := addTo(sys, cfg.location(), "CA", chain[1:], nil); err != nil {
		return done, err
	}
	if err := addTo(sys, cfg.location(), cfg.store(), chain[:1], &info); err != nil {
		return done, err
	}
	present, removed, err := settle(sys, cfg, info, chain[0], in.Replace)
	if err != nil {
		return done, err
	}
	done = in.Report(k.pub, chain, present, removed, cfg.now())
	done.Certificate = cfg.ref("")
	if cfg.Key == "" {
		// The certificate itself: a selector can match several.
		done.Certificate, done.Preferred = cfg.ref(selector.For(chain[0]).String()), nil
	}
	return done, nil
}

// settle checks that the store has the certificate leaf, and with replace removes
// the others that are linked to the same key: a store of the user also shows the
// certificates of the machine. It returns the certificates of the store.
func settle(sys system, cfg Config, key keyInfo, leaf *x509.Certificate, replace bool) (present, removed []*x509.Certificate, err error) {
	s, err := openCertStore(sys, cfg, replace)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	isLeaf := func(c candidate) bool { return c.Certificate != nil && c.Certificate.Equal(leaf) }
	if !slices.ContainsFunc(s.all, isLeaf) {
		return nil, nil, fmt.Errorf("store %s of the %s: it does not return the certificate after it was added", cfg.store(), cfg.location())
	}
	for _, c := range slices.Clone(s.all) {
		linked, _ := sys.keyInfo(c.handle) // zero without a key
		switch {
		case c.Certificate == nil:
		case !replace || isLeaf(c) || linked != key || !signer.SamePublicKey(c.Certificate.PublicKey, leaf.PublicKey) || signer.IsAttestation(c.Certificate):
			present = append(present, c.Certificate)
		default:
			s.detach(c.handle) // deleting frees it
			if err := sys.deleteCertificate(c.handle); err != nil {
				return nil, nil, signer.WithHint(
					fmt.Errorf("the new certificate is installed, but the one with the serial number %x cannot be removed: %w", c.Certificate.SerialNumber, err),
					"remove it in the certificate manager of Windows, certmgr.msc for the user and certlm.msc for the machine")
			}
			removed = append(removed, c.Certificate)
		}
	}
	return present, removed, nil
}

func addTo(sys system, l Location, name string, certs []*x509.Certificate, info *keyInfo) (err error) {
	if len(certs) == 0 {
		return nil
	}
	store, err := sys.openStore(l, name, true)
	if err != nil {
		return storeError(Config{Location: l, Store: name}, err)
	}
	defer func() { err = errors.Join(err, sys.closeStore(store)) }()
	for _, cert := range certs {
		if err := sys.addCertificate(store, cert.Raw, info); err != nil {
			return fmt.Errorf("add the certificate to store %s of the %s: %w", name, l, err)
		}
	}
	return nil
}
