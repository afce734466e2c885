package issuing

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/signer"
)

// renewalFlags are the flags of ca issue for renewals.
type renewalFlags struct {
	file         string
	folder       string
	allowExpired string
}

func (f *renewalFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.file, "renew", "", "`file` of a request for renewal (CMS), - for standard input")
	fs.StringVar(&f.folder, "renew-folder", "", "`folder` with requests for renewal: answer all new ones")
	fs.StringVar(&f.allowExpired, "allow-expired", "", "also renew certificates that expired within this `duration`, such as 7d")
}

func (f *renewalFlags) given() bool { return f.file != "" || f.folder != "" || f.allowExpired != "" }

// refused returns the error for a request that the CA refuses. Its exit code is the
// one with which a program tells this to the package pki/renew/program.
func refused(err error) error {
	if signer.Hint(err) == "" {
		err = signer.WithHint(err, "issue a certificate with: holdfast ca issue --csr; docs/ca.md describes which requests are refused")
	}
	return &front.CodeError{Code: front.ExitUsage, Err: err}
}

func isRefusal(err error) bool {
	return errors.Is(err, authority.ErrRefused) || errors.Is(err, cms.ErrMessage) || errors.Is(err, pki.ErrRequest)
}

// check refuses flags that have no meaning for a renewal.
func (f *issueFlags) checkRenewal() error {
	other := ""
	for name, given := range map[string]bool{"--csr": f.csr != "", "--profile": f.profile != "", "--accept-csr-names": f.acceptNames, "--attestation": f.attestation.file() != "", "the flags for names": f.names.given()} {
		if given {
			other = name
		}
	}
	switch {
	case f.renewal.file == "" && f.renewal.folder == "":
		return signer.WithHint(front.Usagef("--allow-expired is only for renewals"), "give the request with --renew or --renew-folder")
	case f.renewal.file != "" && f.renewal.folder != "":
		return signer.WithHint(front.Usagef("--renew cannot be used with --renew-folder"), "give only one of them")
	case other != "":
		return signer.WithHint(front.Usagef("a renewal cannot be used with %s", other), "names and profile are those of the certificate that is renewed")
	case f.renewal.folder != "" && f.out.Given():
		return signer.WithHint(front.Usagef("--renew-folder cannot be used with --out"), "the certificates are written to the folder")
	}
	return nil
}

// renew answers one request, or those in a folder.
func (f *issueFlags) renew(ctx context.Context, a front.App) error {
	if err := f.checkRenewal(); err != nil {
		return err
	}
	if err := f.out.Check(a); err != nil {
		return err
	}
	if err := f.out.CheckOutside(f.dir); err != nil {
		return err
	}
	ca, settings, err := f.issuer(ctx, a)
	if err != nil {
		return err
	}
	terms, err := f.terms(settings)
	if err != nil {
		return err
	}
	if f.renewal.folder != "" {
		return f.renewFolder(ctx, a, ca, settings, terms)
	}
	ref, data, err := readInput(ctx, a, f.renewal.file)
	if err != nil {
		return err
	}
	r, c, err := f.find(ca, terms, data)
	if err == nil {
		err = f.out.CheckFor(front.Object{Key: r.Request.RawSubjectPublicKeyInfo, Name: r.Old.RawSubject})
	}
	if err == nil && c == nil {
		err = f.key.with(ctx, a, settings, f.dir, func(ctx context.Context, key signer.Signer) error {
			c, err = ca.Renew(ctx, key, r)
			return err
		})
	}
	switch {
	case isRefusal(err):
		return refused(inInput(ref, err))
	case err != nil:
		return err
	}
	entry, err := ca.Find(serialOf(c))
	if err != nil {
		return err
	}
	return stored(f.print(a, c, pki.Profile{Name: entry.Profile}, chainPEM(c, ca.Chain()), false), "the certificate was issued; run the command again, or print it with: "+f.command("show", "--serial", serialOf(c)))
}

// terms returns what is the same for all renewals.
func (f *issueFlags) terms(c config) (t authority.Renewal, err error) {
	t.CRLDistributionPoints, t.AttestedOnly = c.CRLURLs, c.AttestedOnly
	if len(f.crlURLs) > 0 {
		t.CRLDistributionPoints = f.crlURLs
		if err := checkURLs(f.crlURLs); err != nil {
			return t, &front.UsageError{Err: err}
		}
	}
	for _, d := range []struct {
		name, text string
		to         *time.Duration
	}{{"--lifetime", f.lifetime, &t.Lifetime}, {"--allow-expired", f.renewal.allowExpired, &t.AllowExpired}} {
		if d.text == "" {
			continue
		}
		if *d.to, err = front.ParseLifetime(d.name, d.text); err != nil {
			return t, err
		}
	}
	t.Profile = func(name string) (pki.Profile, error) { return findProfile(c.profiles, name) }
	return t, nil
}

// find reads a request. The certificate is nil if one is to be issued.
func (f *issueFlags) find(ca *authority.Authority, terms authority.Renewal, data []byte) (r authority.Renewal, c *x509.Certificate, err error) {
	m, err := cms.Parse(data)
	if err != nil {
		hint := "make the request again, such as with holdfast csr --renew"
		if _, err := pki.ParseRequest(data); err == nil { // --signed is easily forgotten
			hint = "the request must be signed: renew with --signed (signed = true in the configuration), or make it with holdfast csr --renew"
		}
		return r, nil, signer.WithHint(err, hint)
	}
	r = terms
	r.Old, r.Transaction = m.Signer, m.Transaction
	if r.Request, err = pki.ParseRequest(m.Content); err != nil {
		return r, nil, err
	}
	c, err = ca.FindRenewal(r)
	return r, c, err
}
