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

// A certStore is an open certificate store and its certificates.
type certStore struct {
	sys   system
	store storeHandle
	all   []candidate
}

type candidate struct {
	selector.Candidate
	handle certHandle
}

var errNoKey = errors.New("no associated private key")

const hintNoKey = "import the certificate together with its key, or link it to the key: certutil -user -repairstore MY SERIAL (without -user for the store of the machine)"

// readStore opens the store of cfg and reads its certificates. A certificate
// that cannot be parsed, or whose key cannot be used, is a candidate with an
// error.
func readStore(sys system, cfg Config) (*certStore, error) { return openCertStore(sys, cfg, false) }

// openCertStore is readStore, but can open the store for writing.
func openCertStore(sys system, cfg Config, write bool) (_ *certStore, err error) {
	store, err := sys.openStore(cfg.location(), cfg.store(), write)
	if err != nil {
		return nil, storeError(cfg, err)
	}
	s := &certStore{sys: sys, store: store}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	handles, err := sys.enumerate(store)
	for _, h := range handles { // also on error, so that close frees them
		s.all = append(s.all, candidate{s.describe(h, cfg), h})
	}
	if err != nil {
		return nil, fmt.Errorf("read store %s of the %s: %w", cfg.store(), cfg.location(), err)
	}
	return s, nil
}

func storeError(cfg Config, err error) error {
	err = fmt.Errorf("store %q of the %s: %w", cfg.store(), cfg.location(), err)
	if errors.Is(err, errFileNotFound) {
		return signer.WithHint(err, "list the stores of the user with certutil -user -enumstore, or the stores of the machine with certutil -enumstore; the default is MY")
	}
	return err
}

func (s *certStore) describe(h certHandle, cfg Config) (c selector.Candidate) {
	cert, err := x509.ParseCertificate(s.sys.der(h))
	if err != nil {
		c.Ref, c.Err = cfg.ref(""), fmt.Errorf("cannot be read: %w", err)
		return c
	}
	byCertificate := cfg
	byCertificate.Key, byCertificate.Provider = "", ""
	c.Certificate, c.Ref = cert, byCertificate.ref(selector.For(cert).String())
	if !s.sys.hasKey(h) {
		c.Err = signer.WithHint(errNoKey, hintNoKey)
	} else {
		c.Err = checkKeyType(cert)
	}
	return c
}

// choose returns the certificate that cfg selects.
func (s *certStore) choose(cfg Config) (candidate, error) {
	all := s.all
	if some := s.matchCertificates(cfg); len(some) > 0 {
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
		err = signer.WithHint(err, signer.Hint(err)+"; add location=machine to search the store of the machine")
	}
	return candidate{}, err
}

// matchCertificates returns the candidates that match cfg.Selector and have the
// public key of one of cfg.Certificates.
func (s *certStore) matchCertificates(cfg Config) (some []candidate) {
	for _, c := range s.all {
		if c.Certificate != nil && cfg.Selector.Matches(c.Certificate, cfg.now()) && slices.ContainsFunc(cfg.Certificates, func(known *x509.Certificate) bool {
			return signer.SamePublicKey(known.PublicKey, c.Certificate.PublicKey)
		}) {
			some = append(some, c)
		}
	}
	return some
}

// detach removes a certificate from s without freeing it. The caller owns it.
func (s *certStore) detach(h certHandle) {
	s.all = slices.DeleteFunc(s.all, func(c candidate) bool { return c.handle == h })
}

func (s *certStore) close() error {
	var errs []error
	for _, c := range s.all {
		errs = append(errs, s.sys.freeCertificate(c.handle))
	}
	return errors.Join(append(errs, s.sys.closeStore(s.store))...)
}

// chain returns the certificate of c and its issuers. If Windows does not find a
// path to a root, chain also uses the CA certificates in the same store and in
// the store CA.
func (s *certStore) chain(c candidate, cfg Config) signer.Certificates {
	certs := []*x509.Certificate{c.Certificate}
	ders, err := s.sys.issuers(c.handle, s.store, cfg.location())
	if err != nil {
		cfg.logger().Debug("cannot get issuer certificates from Windows", "error", err)
	}
	complete := false
	for _, der := range ders {
		// Skip other certificates for the same key, such as a renewal:
		// the leaf must stay the selected certificate.
		if cert, err := x509.ParseCertificate(der); err == nil && !signer.SamePublicKey(cert.PublicKey, c.Certificate.PublicKey) {
			certs = append(certs, cert)
			complete = bytes.Equal(cert.RawIssuer, cert.RawSubject)
		}
	}
	if err != nil || !complete {
		certs = append(certs, s.caCertificates()...)
		ca := cfg
		ca.Store = "CA"
		if more, err := readStore(s.sys, ca); err == nil {
			certs = append(certs, more.caCertificates()...)
			_ = more.close() // the store was only read
		}
	}
	selected, err := signer.SelectCertificates(c.Certificate.PublicKey, certs, cfg.now())
	if err != nil { // the type of the public key has no Equal
		return signer.Certificates{Chain: certs[:1]}
	}
	selected.Others = nil // nobody gave them for this key
	return selected
}

// caCertificates returns the CA certificates in the store.
func (s *certStore) caCertificates() (certs []*x509.Certificate) {
	for _, c := range s.all {
		if c.Certificate != nil && c.Certificate.IsCA {
			certs = append(certs, c.Certificate)
		}
	}
	return certs
}

// certificates implements [Backend.Certificates].
func certificates(ctx context.Context, sys system, cfg Config) ([]*x509.Certificate, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return bounded(ctx, func() ([]*x509.Certificate, error) { return certificatesNow(sys, cfg) }, nil)
}

// certificatesNow is certificates, but waits for Windows without a limit.
func certificatesNow(sys system, cfg Config) (_ []*x509.Certificate, err error) {
	if cfg.Key != "" {
		k, err := openNow(sys, cfg)
		if err != nil {
			return nil, err
		}
		return k.certs.Issued(), k.Close()
	}
	s, err := readStore(sys, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for i := range s.all {
		if s.all[i].Certificate != nil {
			s.all[i].Err = nil // no usable key is needed
		}
	}
	chosen, err := s.choose(cfg)
	if err != nil {
		return nil, err
	}
	return s.chain(chosen, cfg).Issued(), nil
}

// chainOfKey returns the certificates for pub from the store of cfg. They have no
// Chain if the store has no certificate for pub.
func chainOfKey(sys system, cfg Config, pub crypto.PublicKey) (found signer.Certificates, err error) {
	s, err := readStore(sys, cfg)
	if errors.Is(err, errFileNotFound) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var own []*x509.Certificate
	for _, c := range s.all {
		if c.Certificate != nil && signer.SamePublicKey(c.Certificate.PublicKey, pub) {
			own = append(own, c.Certificate)
		}
	}
	best, err := signer.Chain(pub, own, cfg.now())
	if err != nil {
		return found, nil
	}
	i := slices.IndexFunc(s.all, func(c candidate) bool { return c.Certificate == best[0] })
	return s.chain(s.all[i], cfg), nil
}
