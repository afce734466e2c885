package pkcs11

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Install implements [keystore.Installer]. The certificate of the key gets the ID
// and the label of the key; the label of the other certificates is the common name
// of their subject. PKCS #11 has no transactions: Install creates the new objects,
// reads them back, and only then, with in.Replace, removes the other certificates of
// the key. It never removes certificates of issuers.
func (Backend) Install(ctx context.Context, ref keystore.Ref, in keystore.Installation, call keystore.Call) (keystore.Installed, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return keystore.Installed{}, err
	}
	return install(ctx, cfg, in, &loaded)
}

func install(ctx context.Context, cfg Config, in keystore.Installation, table *modules) (keystore.Installed, error) {
	return bounded(ctx, cfg.in(table), func() (keystore.Installed, error) { return installNow(ctx, cfg, in, table) }, nil)
}

// installNow is install, but waits for the module without a limit.
func installNow(ctx context.Context, cfg Config, in keystore.Installation, table *modules) (done keystore.Installed, err error) {
	if len(in.Certificates) == 0 {
		return done, signer.ErrNoCertificate
	}
	cfg.Certificates = in.Certificates
	err = withSession(ctx, cfg, table, func(t token, session uint, d *dialog) error {
		key, _, err := findKey(t, session, cfg.URI, in.Certificates, cfg.now())
		if err != nil {
			return err
		}
		i := installer{t, session, key}
		chain, err := in.Select(key.pub, cfg.now())
		if err != nil {
			return err
		}
		if err := i.prove(d, chain[0].PublicKey); err != nil {
			return err
		}
		if err := i.create(ctx, chain); err != nil {
			return err
		}
		present, objects, err := certificates(t.mod, session, URI{})
		if err != nil {
			return fmt.Errorf("read the certificates back: %w", err)
		}
		for _, c := range chain {
			if !slices.ContainsFunc(present, c.Equal) {
				return signer.WithHint(fmt.Errorf("certificate %s: the token does not return it after it was written", quote(c.Subject.String())),
					"check that the token has space, or store the certificates in a file with Installation.File")
			}
		}
		var removed []*x509.Certificate
		if in.Replace {
			if removed, err = i.removeOthers(ctx, chain[0], in.Predecessor, present, objects); err != nil {
				return err
			}
			present = slices.DeleteFunc(present, func(c *x509.Certificate) bool { return slices.Contains(removed, c) })
		}
		done = in.Report(key.pub, chain, present, removed, cfg.now())
		u := object{class: ckoCertificate, label: key.label, id: key.id}.uri(t).toUse(cfg.URI)
		done.Certificate = keystore.Ref{Scheme: "pkcs11", Rest: u.String()[len("pkcs11:"):]}
		return nil
	})
	return done, err
}

// An installer stores the certificates of a key in a session.
type installer struct {
	t       token
	session uint
	key     keyObject
}

// prove verifies a signature of the key with pub, the key of a certificate.
func (i installer) prove(d *dialog, pub crypto.PublicKey) error {
	digest, request := proofFor(pub)
	op, err := operationFor(pub, request, slices.Clone(digest))
	if err != nil {
		return err
	}
	var authenticate func() error
	if i.key.alwaysAuthenticate {
		authenticate = func() error { return d.loginForSignature(i.t, i.session) }
	}
	sig, err := i.t.mod.sign(i.session, i.key.handle, op.mechanism, op.input, authenticate)
	if err == nil {
		sig, err = op.finish(sig)
	}
	switch {
	case err != nil:
		return fmt.Errorf("sign with the key: %w", err)
	case !signer.Verifies(pub, request, digest, sig):
		return signer.WithHint(fmt.Errorf("%w: its public key does not verify the signature", signer.ErrMismatch),
			"use the reference of the key that the certificate was issued for")
	}
	return nil
}

// create creates the certificates that the token does not have. That of the key
// is the last one, so that it is never without its issuers.
func (i installer) create(ctx context.Context, chain []*x509.Certificate) error {
	present, _, err := certificates(i.t.mod, i.session, URI{})
	if err != nil {
		return err
	}
	for n, c := range slices.Backward(chain) {
		if slices.ContainsFunc(present, c.Equal) {
			continue
		}
		if ctx.Err() != nil { // nobody waits any more
			return context.Cause(ctx)
		}
		label, id := c.Subject.CommonName, c.SubjectKeyId
		if n == 0 {
			label, id = i.key.label, i.key.id
		}
		if err := i.createOne(c, label, id); err != nil {
			return explainWrite(fmt.Errorf("certificate %s: %w", quote(c.Subject.String()), err))
		}
	}
	return nil
}

func (i installer) createOne(c *x509.Certificate, label string, id []byte) error {
	serial, err := asn1.Marshal(c.SerialNumber)
	if err != nil {
		return err
	}
	_, err = i.t.mod.createObject(i.session, []attribute{
		{ckaClass, uint(ckoCertificate)}, {ckaCertificateType, uint(ckcX509)}, {ckaToken, true}, {ckaPrivate, false},
		{ckaLabel, label}, {ckaID, id}, {ckaSubject, c.RawSubject}, {ckaIssuer, c.RawIssuer},
		{ckaSerialNumber, serial}, {ckaValue, c.Raw},
	})
	return err
}

// removeOthers removes the other certificates of the key and those of its predecessor,
// except attestation certificates.
func (i installer) removeOthers(ctx context.Context, leaf *x509.Certificate, predecessor *x509.Certificate, present []*x509.Certificate, objects []object) (removed []*x509.Certificate, err error) {
	for n, c := range present {
		isOther := signer.SamePublicKey(c.PublicKey, i.key.pub) || predecessor != nil && signer.SamePublicKey(c.PublicKey, predecessor.PublicKey)
		if !isOther || c.Equal(leaf) || signer.IsAttestation(c) {
			continue
		}
		if ctx.Err() != nil { // nobody waits any more
			return removed, context.Cause(ctx)
		}
		if err := i.t.mod.destroyObject(i.session, objects[n].handle); err != nil {
			return removed, signer.WithHint(
				fmt.Errorf("the new certificate is installed, but the one with the serial number %x cannot be removed: %w", c.SerialNumber.Bytes(), err),
				"remove it with a tool for the token")
		}
		removed = append(removed, c)
	}
	return removed, nil
}

// writeHints has the hints for errors of C_CreateObject.
var writeHints = []struct {
	code Error
	hint string
}{
	{ckrDeviceMemory, "the token is full: remove objects that are not needed with a tool for the token, or store the certificates in a file with Installation.File"},
	{ckrTokenWriteProtected, "store the certificates in a file with Installation.File"},
	{ckrUserNotLoggedIn, "this token lets only its administrator write certificates: use a tool of the vendor, such as ykman piv certificates import, or store them in a file with Installation.File"},
	{ckrGeneralError, "check that the token has space and that this user may write to it, or store the certificates in a file with Installation.File"},
	{ckrFunctionNotSupported, "store the certificates in a file with Installation.File"},
}

func explainWrite(err error) error {
	for _, h := range writeHints {
		if errors.Is(err, h.code) {
			return signer.WithHint(err, h.hint)
		}
	}
	return err
}
