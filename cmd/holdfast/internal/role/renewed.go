package role

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/program"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkRenewed makes the checks of a new certificate that package renew does not:
// Roles Anywhere accepts it, it leads to the trust anchor, and with ARNs it gets a
// session. Without a trust anchor, its chain must name the same CA as before.
func (s Setup) checkRenewed(ctx context.Context, a front.App, anchor []*x509.Certificate, old, renewed signer.Signer) error {
	err := rolesanywhere.CheckChain(renewed.Chain(), a.Now())
	switch {
	case err != nil:
	case len(anchor) > 0:
		err = rolesanywhere.CheckTrust(signer.CertificatesOf(renewed), anchor, a.Now())
	case !s.Renewal.AllowChange:
		err = sameCA(signer.CertificatesOf(old), renewed.Chain())
	}
	was, is := old.Chain()[0], renewed.Chain()[0]
	if err == nil && !signer.SamePublicKey(signer.PublicKeyOf(was), signer.PublicKeyOf(is)) && !bytes.Equal(was.RawSubject, is.RawSubject) {
		err = signer.WithHint(fmt.Errorf("it is for a new key and for another subject, %q instead of %q", is.Subject, was.Subject), "renew with the same key when the subject changes")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", renew.ErrUnfit, err)
	}
	if s.Config.RoleARN == "" {
		return nil
	}
	switch err = s.session(ctx, renewed); {
	case err == nil:
		return nil
	case !refused(err):
		return signer.WithHint(fmt.Errorf("the new certificate is kept until AWS can be asked for a session with it: %w", err), signer.Hint(err))
	}
	// A refusal of both certificates says nothing about the new one. One that has
	// expired is refused anyway.
	if a.Now().After(was.NotAfter) || s.session(ctx, old) == nil {
		return fmt.Errorf("%w: %w", renew.ErrUnfit, err)
	}
	return signer.WithHint(fmt.Errorf("AWS refuses the session also with the certificate in use, so the new one is kept and checked again later: %w", err), signer.Hint(err))
}

// session creates a session with a key and its certificate.
func (s Setup) session(ctx context.Context, key signer.Signer) error {
	config := s.Config
	config.Signer = key
	client, err := rolesanywhere.New(config)
	if err == nil {
		_, err = client.Credentials(ctx)
	}
	return err
}

// refused reports whether AWS refused a session, and will do so again.
func refused(err error) bool {
	var answer *rolesanywhere.APIError
	return errors.As(err, &answer) && !errors.Is(err, rolesanywhere.ErrUnreachable) && answer.StatusCode < 500 && answer.StatusCode != 429
}

// sameCA returns an error if the new chain names another CA than the old one, or a CA of
// the old certificates has not signed it. It cannot verify the signature of a CA whose
// certificate it does not have.
func sameCA(before signer.Certificates, renewed []*x509.Certificate) error {
	old := before.Chain
	was, is := top(old), top(renewed)
	for _, c := range renewed {
		named := func(ca *x509.Certificate) bool {
			return bytes.Equal(c.RawIssuer, ca.RawSubject) && bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId)
		}
		signed := func(ca *x509.Certificate) bool { return named(ca) && certpath.CheckSignature(c, ca) == nil }
		if known := before.All(); slices.ContainsFunc(known, named) && !slices.ContainsFunc(known, signed) {
			return signer.WithHint(fmt.Errorf("the CA %q, whose certificate is stored with the one in use, has not signed it", c.Issuer), hintAnotherCA)
		}
	}
	switch {
	case len(renewed) == 1 && was != old[0] && certpath.CheckSignature(renewed[0], old[1]) == nil:
		return signer.WithHint(fmt.Errorf("it comes without the certificate of its issuer %q", renewed[0].Issuer), "the CA must send the certificates of the issuers, too")
	case !bytes.Equal(was.RawIssuer, is.RawIssuer):
		return signer.WithHint(fmt.Errorf("it leads to another CA: %q instead of %q", is.Issuer, was.Issuer), hintAnotherCA)
	case len(was.AuthorityKeyId) > 0 && !bytes.Equal(was.AuthorityKeyId, is.AuthorityKeyId):
		return signer.WithHint(fmt.Errorf("it leads to another CA with the name %q", is.Issuer), hintAnotherCA)
	}
	return nil
}

const hintAnotherCA = "if the trust anchor contains that CA, use Config.AllowChange once"

// top returns the last certificate of a chain that is not a root.
func top(chain []*x509.Certificate) *x509.Certificate {
	for i := len(chain) - 1; i > 0; i-- {
		if c := chain[i]; !bytes.Equal(c.RawSubject, c.RawIssuer) {
			return c
		}
	}
	return chain[0]
}

// newKey returns the key for a new certificate, or nil if the key stays: that of a
// renewal that was begun with a new key, also if the settings have changed since.
func (s Setup) newKey(ctx context.Context, a front.App, old signer.Signer, begun string) (key signer.Signer, name string, err error) {
	if begun == "" && !s.Renewal.Rekey {
		return nil, "", nil
	}
	opts, err := s.Key.Options(a, s.Config.Logger)
	if err != nil {
		return nil, "", err
	}
	if begun != "" {
		key, err = s.Key.OpenSuccessor(ctx, a, begun, opts)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, signer.ErrNotFound) {
			return key, begun, err
		}
		s.Config.Logger.Warn("the new key of the renewal that was begun is lost, so that another renewal begins; the CA may have issued a certificate for that key, and refuse another one", "key", begun)
	}
	if !s.Renewal.Rekey {
		return nil, "", nil
	}
	return s.Key.Successor(ctx, a, old, opts)
}

// install stores the certificates where the settings name the certificate, and with
// the reference of a new key puts that in the place of the old one.
func (s Setup) install(ctx context.Context, a front.App, old *x509.Certificate, key string, chain []*x509.Certificate) error {
	opts, err := s.Key.Options(a, s.Config.Logger)
	if err != nil {
		return err
	}
	if key != "" {
		return s.Key.Succeed(ctx, a, old, key, chain, opts)
	}
	done, err := s.Key.Install(ctx, a, chain, opts)
	if err != nil {
		return err
	}
	if c := done.Preferred; c != nil {
		return signer.WithHint(fmt.Errorf("the new certificate is in %s, but %s still contains the old one, which is used", done.Certificate, s.Key.CertificateName()),
			"use --certificate "+front.ShellQuote(done.Certificate.String()))
	}
	return nil
}

// deployTimeout is how long the command after a renewal may run.
const deployTimeout = 2 * time.Minute

// deploy tells this process and the user's program of a new certificate.
func (s Setup) deploy(ctx context.Context, a front.App, leaf *x509.Certificate, reload func(context.Context) error) error {
	if reload != nil {
		if err := reload(ctx); err != nil {
			return err
		}
	}
	if len(s.Renewal.DeployCommand) == 0 {
		return nil
	}
	p := program.Program{Args: s.Renewal.DeployCommand, Env: s.childEnv(a), Timeout: deployTimeout, Logger: s.Config.Logger}
	err := p.Run(ctx, []string{
		"HOLDFAST_CERTIFICATE=" + s.Key.CertificateName(),
		"HOLDFAST_PRIVATE_KEY=" + s.Key.Name(),
		"HOLDFAST_SUBJECT=" + leaf.Subject.String(),
		"HOLDFAST_NOT_AFTER=" + leaf.NotAfter.UTC().Format(time.RFC3339),
		"HOLDFAST_ROLE=" + s.Name,
	})
	if err != nil {
		return signer.WithHint(fmt.Errorf("deploy command: %w", err), cmp.Or(signer.Hint(err), "correct the program"))
	}
	return nil
}
