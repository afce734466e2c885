// Package vending contains the commands that provide credentials to other
// programs: credential-process with its cache command, serve, exec and update.
// Renewal is in package role, and the server of serve is in package daemon. Of
// Holdfast's packages, vending imports front, flags, role, daemon and the
// libraries.
package vending

import (
	"context"
	"crypto/x509"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/process"
)

type credentialProcessFlags struct {
	identity flags.Identity
	session  flags.Session
	assume   flags.Assume
	cache    cacheFlag
}

// CredentialProcess returns the command that prints credentials.
func CredentialProcess(a front.App) *cobra.Command {
	var f credentialProcessFlags
	cmd := &cobra.Command{
		Use:   "credential-process",
		Short: "Print credentials for an AWS credential_process",
		Long: `Creates a session with IAM Roles Anywhere and prints its credentials in the JSON
format that the AWS CLI and SDKs expect from a credential_process. Standard
output contains nothing else. Errors are printed to standard error, as one line
and a hint.

With --cache, all processes of the user share the credentials. Until their
renewal is due, no key is opened, and no PIN or touch is needed. The renewal is
due 20 minutes before they expire, or, if they are valid for less than an hour,
after two thirds of that time.

Exit codes: 0 success, 1 other error, 2 usage error, 3 key or file not found or
ambiguous, 4 PIN or password error, 5 device unavailable or not supported,
6 refused by AWS, 7 AWS unreachable.`,
		Example: `  holdfast credential-process --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"

  # use a key on a token, with one session for all processes:
  holdfast credential-process --cache --certificate cert.pem \
      --private-key 'pkcs11:token=prod;object=app' \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"

  # configure the AWS CLI and SDKs to run it for a profile:
  aws configure set profile.app.credential_process \
      "holdfast credential-process \
      --certificate $PWD/cert.pem --private-key $PWD/key.pem \
      --trust-anchor-arn $TRUST_ANCHOR_ARN \
      --profile-arn $PROFILE_ARN --role-arn $ROLE_ARN"
  aws sts get-caller-identity --profile app`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, a)
		},
	}
	f.identity.Add(cmd)
	f.session.Add(cmd)
	f.assume.Add(cmd)
	front.CredentialFlags.Define(cmd.Flags(), f.cache.add)
	return cmd
}

// run checks the flags before it opens the key, so that the user is not asked
// for a PIN if the command cannot succeed.
func (f *credentialProcessFlags) run(cmd *cobra.Command, a front.App) error {
	s := session{app: a}
	var err error
	if s.key, err = f.identity.Key(cmd); err != nil {
		return err
	}
	if err := s.key.Check(); err != nil {
		return err
	}
	if err := f.cache.check(); err != nil {
		return err
	}
	if s.config, err = f.session.Config(cmd, a); err != nil {
		return err
	}
	if err := s.config.Check(); err != nil {
		return err
	}
	if s.chain, err = f.assume.Chain(cmd, a); err != nil {
		return err
	}
	if err := s.chain.Check(s.config); err != nil {
		return err
	}
	if s.connection, err = f.session.Connection(a); err != nil {
		return err
	}
	if s.options, err = s.key.Options(a, s.config.Logger); err != nil {
		return err
	}
	s.options = s.options.Once()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	s.interrupt = cancel
	source := credentials.Source(sourceFunc(s.credentials))
	if f.cache != "" {
		cached, done, err := s.cached(ctx, f.cache)
		if err != nil {
			return err
		}
		defer done()
		if cached != nil {
			source = cached
		}
	}
	c, err := source.Credentials(ctx)
	if err != nil {
		return err
	}
	return process.Write(a.Stdout, c)
}

type sourceFunc func(context.Context) (credentials.Credentials, error)

func (f sourceFunc) Credentials(ctx context.Context) (credentials.Credentials, error) { return f(ctx) }

// A session contains the inputs for a session with IAM Roles Anywhere.
type session struct {
	app        front.App
	key        flags.Key
	options    keystore.Options
	config     rolesanywhere.Config // without Transport and Signer
	chain      flags.Chain
	connection flags.Connection
	interrupt  func() // cancels the command
}

func (s session) credentials(ctx context.Context) (credentials.Credentials, error) {
	c, _, err := s.create(ctx)
	return c, err
}

// create creates a session and returns its credentials and the time when the
// first certificate of the chain expires.
//
// It catches signals, so that devices are closed properly, and a terminal that does not
// show a password shows input again. For a key in a file without a password, signals end
// the process at once, as they do before: to catch them, the runtime starts threads, which
// take almost a millisecond and 40 page faults.
func (s session) create(ctx context.Context) (credentials.Credentials, time.Time, error) {
	var caught sync.Once
	release := func() {}
	catch := func() { caught.Do(func() { release = s.app.Catch(s.interrupt) }) }
	defer func() { // a prompt that is still shown begins no more to catch
		caught.Do(func() {})
		release()
	}()
	permit := s.options.Permit
	s.options.Permit = func(p keystore.Prompt) error {
		catch()
		if permit == nil {
			return nil
		}
		return permit(p)
	}
	ctx, cancel := await.Limit(ctx, s.config.Timeout)
	defer cancel()
	if !s.key.InFiles(ctx, s.app, s.options) {
		catch()
	}
	m, err := front.InterruptibleValue(ctx, s.key.Name(), func() (created, error) { return s.open(ctx) })
	return m.creds, m.until, err
}

// created is a session, and the time when the first certificate of the chain expires.
type created struct {
	creds credentials.Credentials
	until time.Time
}

// open opens the key and creates a session with it.
func (s session) open(ctx context.Context) (m created, err error) {
	config := s.config
	if config.Transport, err = s.connection.SingleUse().Transport(); err != nil {
		return m, err
	}
	key, err := s.key.OpenWith(ctx, s.app, s.options)
	if err != nil {
		return m, err
	}
	defer key.Close()
	config.Signer = key
	config.CertificateName = s.key.CertificateName()
	client, err := rolesanywhere.New(config)
	if err != nil {
		return m, err
	}
	source, err := s.chain.Source(config, client)
	if err != nil {
		return m, err
	}
	m.until = validUntil(key.Chain(), s.app.Now())
	m.creds, err = source.Credentials(ctx)
	return m, err
}

// validUntil returns the earliest expiry of the certificates in a chain. It
// ignores intermediate certificates that have expired, which are not sent.
func validUntil(chain []*x509.Certificate, now time.Time) (end time.Time) {
	for i, c := range chain {
		if i > 0 && now.After(c.NotAfter) {
			continue
		}
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// cached returns a source that opens neither the key nor a device if the cache
// has credentials. It returns nil if no cache is available. The caller calls
// done after the last use.
func (s session) cached(ctx context.Context, where cacheFlag) (_ *credentials.Shared, done func(), err error) {
	identity, err := s.key.Digest(ctx, s.app, s.options)
	if err != nil {
		return nil, nil, err
	}
	key, err := s.config.CacheKey(identity, s.connection.Trust(s.app))
	if err != nil {
		return nil, nil, err
	}
	if key, err = s.chain.CacheKey(s.config, key); err != nil {
		return nil, nil, err
	}
	return openShared(s.app, where, key, s.create, s.config.Logger)
}
