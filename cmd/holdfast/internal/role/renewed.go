package role

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/program"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkRenewed makes the checks of a new certificate that package renew does not:
// Roles Anywhere accepts it, it leads to the same CA, and with ARNs it gets a
// session.
func (s Setup) checkRenewed(ctx context.Context, a front.App, old, renewed signer.Signer) error {
	chain := renewed.Chain()
	if err := rolesanywhere.CheckChain(chain, a.Now()); err != nil {
		return fmt.Errorf("%w: %w", renew.ErrUnfit, err)
	}
	was, is := top(old.Chain()), top(chain)
	if len(chain) == 1 && was != old.Chain()[0] && chain[0].CheckSignatureFrom(old.Chain()[1]) == nil {
		return signer.WithHint(fmt.Errorf("%w: it comes without the certificate of its issuer %q", renew.ErrUnfit, chain[0].Issuer), "the CA must send the certificates of the issuers, too")
	}
	if sameCA := bytes.Equal(was.RawIssuer, is.RawIssuer) && (len(was.AuthorityKeyId) == 0 || bytes.Equal(was.AuthorityKeyId, is.AuthorityKeyId)); !sameCA && !s.Renewal.AllowChange {
		reason := fmt.Sprintf("it leads to another CA: %q instead of %q", is.Issuer, was.Issuer)
		if bytes.Equal(was.RawIssuer, is.RawIssuer) {
			reason = fmt.Sprintf("it leads to another CA with the name %q", is.Issuer)
		}
		return signer.WithHint(fmt.Errorf("%w: %s", renew.ErrUnfit, reason),
			"if the trust anchor contains that CA, use Config.AllowChange once")
	}
	if s.Config.RoleARN == "" {
		return nil
	}
	config := s.Config
	config.Signer = renewed
	client, err := rolesanywhere.New(config)
	if err != nil {
		return err
	}
	_, err = client.Credentials(ctx)
	var refused *rolesanywhere.APIError
	if errors.As(err, &refused) && !errors.Is(err, rolesanywhere.ErrUnreachable) && refused.StatusCode < 500 && refused.StatusCode != 429 {
		return fmt.Errorf("%w: %w", renew.ErrUnfit, err)
	}
	return err
}

// top returns the last certificate of a chain that is not a root.
func top(chain []*x509.Certificate) *x509.Certificate {
	for i := len(chain) - 1; i > 0; i-- {
		if c := chain[i]; !bytes.Equal(c.RawSubject, c.RawIssuer) {
			return c
		}
	}
	return chain[0]
}

// install stores the certificates where the settings name the certificate, and with
// the reference of a new key puts that in the place of the old one.
func (s Setup) install(ctx context.Context, a front.App, key string, chain []*x509.Certificate) error {
	opts, err := s.Key.Options(a, s.Config.Logger)
	if err != nil {
		return err
	}
	if key != "" {
		return s.Key.Succeed(ctx, a, key, chain, opts)
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
	return p.Run(ctx, []string{
		"HOLDFAST_CERTIFICATE=" + s.Key.CertificateName(),
		"HOLDFAST_PRIVATE_KEY=" + s.Key.Name(),
		"HOLDFAST_SUBJECT=" + leaf.Subject.String(),
		"HOLDFAST_NOT_AFTER=" + leaf.NotAfter.UTC().Format(time.RFC3339),
		"HOLDFAST_ROLE=" + cmp.Or(s.Name, ""),
	})
}
