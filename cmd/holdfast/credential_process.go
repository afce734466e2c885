package main

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/process"
)

func (a app) credentialProcess() *cobra.Command {
	var id identityFlags
	var session sessionFlags
	var cache cacheFlag
	cmd := &cobra.Command{
		Use:   "credential-process",
		Short: "Print credentials for an AWS client's credential_process",
		Long: `Creates a session with IAM Roles Anywhere and prints its credentials as one
JSON document, as the AWS CLI and SDKs read it from a credential_process.
Nothing else is printed; errors go to standard error, as one line and a hint.

With --cache the credentials serve all processes that ask for the same ones.
Then nobody is asked for a PIN or a touch, and no key is opened, until new ones
are due: 20 minutes before their end, or after two thirds of their life.

Exit codes: 0 done, 1 other, 2 usage, 3 key or file not found or ambiguous,
4 PIN or password, 5 device unavailable or not supported, 6 refused by AWS,
7 AWS unreachable.`,
		Example: `  holdfast credential-process \
      --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN

  # one session for all processes, PIN and touch once an hour:
  holdfast credential-process --cache --certificate cert.pem \
      --private-key 'pkcs11:token=prod;object=app' …

  # in ~/.aws/config, the last on one line:
  [profile app]
  region = us-east-1
  credential_process = holdfast credential-process --certificate /app.p12 …`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runCredentialProcess(cmd, &id, &session, cache)
		},
	}
	id.add(cmd)
	session.add(cmd)
	cache.add(cmd.Flags())
	return cmd
}

// runCredentialProcess checks first what costs nothing, so that a person is
// not asked for a PIN in vain.
func (a app) runCredentialProcess(cmd *cobra.Command, id *identityFlags, session *sessionFlags, cache cacheFlag) error {
	if err := id.check(cmd); err != nil {
		return err
	}
	if err := cache.check(cmd); err != nil {
		return err
	}
	if err := session.resolve(cmd, a); err != nil {
		return err
	}
	if err := session.readBundle(a); err != nil {
		return err
	}
	opts, err := a.options(id, session.debug)
	if err != nil {
		return err
	}
	opts = opts.Once()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	create := func(ctx context.Context) (credentials.Credentials, time.Time, error) {
		defer a.catch(cancel)() // devices are not left as they are
		type made struct {
			creds credentials.Credentials
			until time.Time
		}
		m, err := getOrLeave(ctx, id.keyName(), func() (made, error) {
			creds, until, err := createSession(ctx, a, id, session, opts)
			return made{creds, until}, err
		})
		return m.creds, m.until, err
	}
	if cache == "" {
		return a.printCredentials(ctx, create)
	}
	return a.printCached(ctx, id, session, opts, cache, create)
}

// A createFunc makes credentials, good for as long as the certificate is.
type createFunc func(context.Context) (credentials.Credentials, time.Time, error)

func createSession(ctx context.Context, a app, id *identityFlags, session *sessionFlags, opts keystore.Options) (c credentials.Credentials, until time.Time, err error) {
	if err := session.transport(); err != nil {
		return c, until, err
	}
	s, err := id.open(ctx, a, opts)
	if err != nil {
		return c, until, err
	}
	defer s.Close()
	session.config.Signer = s
	session.config.CertificateName = id.certificateName()
	client, err := rolesanywhere.New(session.config)
	if err != nil {
		return c, until, err
	}
	c, err = client.Credentials(ctx)
	return c, validUntil(s.Chain()), err
}

// validUntil returns when the first certificate of a chain ends.
func validUntil(chain []*x509.Certificate) (end time.Time) {
	for _, c := range chain {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

func (a app) printCredentials(ctx context.Context, create createFunc) error {
	c, _, err := create(ctx)
	if err != nil {
		return err
	}
	return process.Write(a.stdout, c)
}

// printCached opens neither key nor device for what is in the cache.
func (a app) printCached(ctx context.Context, id *identityFlags, session *sessionFlags, opts keystore.Options, cache cacheFlag, create createFunc) error {
	refs, err := id.resolved(a.store())
	if err != nil {
		return err
	}
	identity, err := a.store().Digest(ctx, refs, opts)
	if err != nil {
		return err
	}
	key, err := session.config.CacheKey(identity, session.trust())
	if err != nil {
		return err
	}
	shared, done, err := a.shared(cache, key, create, session.config.Logger)
	if err != nil {
		return err
	}
	defer done()
	if shared == nil {
		return a.printCredentials(ctx, create)
	}
	c, err := shared.Credentials(ctx)
	if err != nil {
		return err
	}
	return process.Write(a.stdout, c)
}
