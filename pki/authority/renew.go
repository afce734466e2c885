package authority

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// renewLock excludes other renewals, from the search for an earlier answer until
// the certificate is stored. The lock of writers is not held while a device signs.
const renewLock = "renew.lock"

// ErrRefused is wrapped by the errors about a renewal that the CA does not grant,
// however often it is requested.
var ErrRefused = errors.New("the renewal is refused")

// ErrForeign is wrapped, besides [ErrRefused], by the error about a request that another
// CA can grant.
var ErrForeign = errors.New("this CA did not issue the certificate that signed the request")

// A Renewal asks for a certificate with the names of one that the CA issued.
type Renewal struct {
	// Old is the certificate whose key signed the request for the renewal. The
	// caller has verified that signature.
	Old *x509.Certificate

	// Request has the key of the new certificate, which can be another one. The
	// caller has verified its signature, such as with [pki.ParseRequest].
	Request *x509.CertificateRequest

	// Transaction distinguishes requests that are equal in all bytes, as RSA
	// signatures make them; "": there is none.
	Transaction string

	// Profile returns the profile with a name.
	Profile func(name string) (pki.Profile, error)

	Lifetime              time.Duration // 0: that of the old certificate
	AllowExpired          time.Duration // how long the old certificate may have expired
	CRLDistributionPoints []string

	AttestedOnly bool // refuse certificates that were issued without evidence
}

// request returns what identifies the request: a repetition has the same.
func (r Renewal) request() string {
	return hashOf(append(slices.Clone(r.Request.Raw), r.Transaction...))
}

// FindRenewal returns the certificate that was issued for the same request before and
// has not expired. It is nil if [Authority.Renew] would issue one. The error wraps [ErrRefused] if
// the CA does not grant the renewal.
//
// The certificates that renew each other are a line. The CA refuses a certificate
// of another CA, one that is revoked or has expired, other names than those of the
// certificate, and every certificate of a line whose newest one is revoked or has
// another key: once the line has a new key, the previous key vouches for nothing but
// that key. As long as the key stays, each certificate of the line can be renewed, so
// that a machine that did not get its answer or could not use it can ask anew; but
// only the newest one can be renewed with another key. If a certificate was revoked
// because of a compromised key, no certificate is renewed that has this key or that
// came, over any number of renewals, from a request that it signed.
//
// A certificate that was issued with evidence that its key is in a TPM is renewed only
// with the same key, for which the evidence holds as long as the key exists.
//
// No line gets more than [MaxValid] valid certificates. After a restore that added
// certificates to the index, a certificate is refused if one of them has the same
// names, another key, and was not issued before it: it can have replaced it.
//
// Certificates whose signature was interrupted do not count, because nobody got
// them.
func (a *Authority) FindRenewal(r Renewal) (*x509.Certificate, error) {
	_, c, err := a.examine(r)
	return c, err
}

// Renew returns the certificate for a renewal: that of [Authority.FindRenewal], or a
// new one with the names and the profile of the old one. key is the key of the CA.
// ctx bounds the wait for other programs and the signature.
func (a *Authority) Renew(ctx context.Context, key signer.Signer, r Renewal) (*x509.Certificate, error) {
	a.mu.Lock()
	err := a.checkOwner()
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	lock, err := a.lockOn(ctx, renewLock)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	t, c, err := a.examine(r)
	if c != nil || err != nil {
		return c, err
	}
	return a.issue(ctx, key, t, event{Renews: serialText(r.Old.SerialNumber), Request: r.request()})
}

func refuse(err error) error { return fmt.Errorf("%w: %w", ErrRefused, err) }

// examine returns the certificate to issue, or the one that was issued for the same
// request.
func (a *Authority) examine(r Renewal) (t pki.Template, earlier *x509.Certificate, err error) {
	serial := serialText(r.Old.SerialNumber)
	unknown := refuse(signer.WithHint(fmt.Errorf("this CA did not issue the certificate that signed the request (serial number %.40s) with this folder", serial),
		"use the folder of the CA that issued it"))
	if !a.Issued(r.Old) {
		return t, nil, refuse(signer.WithHint(fmt.Errorf("%w (serial number %.40s of %.100q)", ErrForeign, serial, r.Old.Issuer.String()), "use the folder of the CA that issued it"))
	}
	if !isSerial(serial) {
		return t, nil, unknown
	}
	stored, err := a.checkFile(serial + ".pem")
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !stored.Equal(r.Old):
		return t, nil, unknown
	case err != nil:
		return t, nil, fmt.Errorf("%s: %w", a.certificatePath(serial), err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		return t, nil, err
	}
	entry := a.state.certificates[serial]
	if entry == nil {
		return t, nil, signer.WithHint(fmt.Errorf("%s: the index does not contain it", a.certificatePath(serial)), "examine the folder with: holdfast ca check")
	}
	if err := entry.check(stored); err != nil {
		return t, nil, fmt.Errorf("%s: %w", a.certificatePath(serial), err)
	}
	if err := a.state.checkOrigin(entry); err != nil {
		return t, nil, refuse(err)
	}
	key := hashOf(r.Request.RawSubjectPublicKeyInfo)
	if err := a.state.checkKey(key); err != nil {
		return t, nil, refuse(err)
	}
	if asked, has := pki.NamesOfRequest(r.Request), pki.NamesOf(stored); !asked.Equal(has) {
		return t, nil, refuse(signer.WithHint(fmt.Errorf("the request asks for other names than the certificate of %q has", has.SubjectText()),
			"make the request again with the names of the certificate"))
	}
	if r.AttestedOnly && entry.Evidence == "" {
		return t, nil, refuse(signer.WithHint(fmt.Errorf("the certificate of %q was issued without evidence that its key is in a TPM, and this CA requires it", entry.Subject),
			"make evidence of the key, and issue another certificate"))
	}
	if entry.Evidence != "" && key != entry.Key {
		return t, nil, refuse(signer.WithHint(fmt.Errorf("the certificate of %q was issued with evidence that its key is in a TPM, and the request has another key", entry.Subject),
			"renew it with the same key; for a new key, make new evidence and issue another certificate"))
	}
	if earlier, err := a.answered(entry, key, r.request()); earlier != nil || err != nil {
		return t, earlier, err
	}
	if err := a.checkBounds(entry, stored); err != nil {
		return t, nil, err
	}
	if end := stored.NotAfter.Add(r.AllowExpired); a.opts.now().After(end) {
		return t, nil, refuse(signer.WithHint(fmt.Errorf("the certificate of %q expired at %s", entry.Subject, stored.NotAfter.UTC().Format(time.RFC3339)),
			"Renewal.AllowExpired accepts certificates that expired recently"))
	}
	t, err = a.renewed(entry, stored, r)
	if err != nil {
		return t, nil, refuse(err)
	}
	return t, nil, nil
}

// checkOrigin returns an error if the certificate is revoked, or if it came, over any
// number of renewals, from a request that a compromised key signed.
func (x *state) checkOrigin(entry *Certificate) error {
	if !entry.Revoked.IsZero() {
		return fmt.Errorf("the certificate of %q was revoked at %s", entry.Subject, entry.Revoked.UTC().Format(time.RFC3339))
	}
	if err := x.checkKey(entry.Key); err != nil {
		return err
	}
	for c := x.certificates[entry.Renews]; c != nil; c = x.certificates[c.Renews] {
		if serial, ok := x.compromised[c.Key]; ok {
			return signer.WithHint(fmt.Errorf("the certificate of %q comes from a renewal that a compromised key signed: the serial number %s was revoked with the reason keyCompromise", entry.Subject, serial),
				hintNewKey)
		}
	}
	return nil
}

// answered returns the certificate that was issued for the same request, or nil. The
// error wraps [ErrRefused] if the line of entry cannot be renewed by it, or not with
// the key whose hash is key. The caller holds a.mu.
func (a *Authority) answered(entry *Certificate, key, request string) (*x509.Certificate, error) {
	var newest *Certificate
	for _, serial := range slices.Backward(a.state.serials) {
		c := a.state.certificates[serial]
		same := c.Renews == entry.Serial && c.Request == request && a.opts.now().Before(c.NotAfter)
		if c.Line != entry.Line || newest != nil && !same || !isRegular(a.certificatePath(serial)) {
			continue
		}
		if newest == nil {
			newest = c
		}
		switch {
		case same && !c.Revoked.IsZero():
			return nil, refuse(fmt.Errorf("the certificate for this request (serial number %s) was revoked at %s", serial, c.Revoked.UTC().Format(time.RFC3339)))
		case same:
			return a.checkFile(serial + ".pem")
		}
	}
	switch {
	case newest == nil: // the file of entry has just been removed
		return nil, fmt.Errorf("%s: %w", a.certificatePath(entry.Serial), fs.ErrNotExist)
	case newest.Key != entry.Key && newest.Key != key:
		return nil, refuse(fmt.Errorf("the certificate of %q is superseded: it was renewed with another key (serial number %s)", entry.Subject, newest.Serial))
	case !newest.Revoked.IsZero():
		return nil, refuse(fmt.Errorf("the renewed certificate of %q (serial number %s) was revoked at %s", entry.Subject, newest.Serial, newest.Revoked.UTC().Format(time.RFC3339)))
	case newest != entry && newest.Key != key: // a request that was given up must not take the line to a key that nobody uses
		return nil, refuse(signer.WithHint(fmt.Errorf("the certificate of %q was renewed since (serial number %s); only the newest one can be renewed with another key", entry.Subject, newest.Serial),
			"if the newest certificate is lost, renew this one with its own key first, and the new certificate with the other key then"))
	}
	return nil, nil
}

// renewed returns the certificate to issue. The caller holds a.mu.
func (a *Authority) renewed(entry *Certificate, stored *x509.Certificate, r Renewal) (t pki.Template, err error) {
	if entry.Profile == "" {
		return t, fmt.Errorf("the profile of the certificate of %q is unknown, because the CA did not issue it with this folder", entry.Subject)
	}
	if t.Profile, err = r.Profile(entry.Profile); err != nil {
		return t, err
	}
	if t.Profile.IsCA {
		return t, errors.New("the certificate of a CA is not renewed without a person")
	}
	lifetime := r.Lifetime
	if lifetime == 0 {
		lifetime = lifetimeOf(stored)
	}
	t.Names, t.PublicKey, t.CRLDistributionPoints = pki.NamesOf(stored), r.Request.PublicKey, r.CRLDistributionPoints
	t.NotBefore, t.NotAfter = pki.Validity(a.chain[0], a.opts.now(), lifetime)
	checked := t
	checked.Serial = big.NewInt(1) // the real one is made later
	return t, checked.Check(pki.Issuer{Certificate: a.chain[0], Above: a.chain[1:]})
}

// lifetimeOf returns the lifetime with which a certificate was issued.
func lifetimeOf(c *x509.Certificate) time.Duration {
	whole := c.NotAfter.Sub(c.NotBefore)
	if whole > pki.Backdating {
		return whole - pki.Backdating
	}
	return whole // the CA was younger than the backdating
}
