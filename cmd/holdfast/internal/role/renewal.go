package role

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/environ"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
	"github.com/holdfast-dev/holdfast/pki/renew/program"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// ways are the ways of getting a certificate, by their names in settings, sorted.
var ways = []struct {
	name string
	open func(Setup, front.App) (renew.Way, error)
}{
	{"command", commandWay},
	{"est", estWay},
	{"folder", folderWay},
	{"private-ca", privateWay},
	{"step-ca", stepWay},
	{"vault", vaultWay},
}

// Ways returns the names of the ways of getting a certificate.
func Ways() []string {
	names := make([]string, len(ways))
	for i, way := range ways {
		names[i] = way.name
	}
	return names
}

// EnrollmentWays returns the names of the ways of getting a first certificate.
func EnrollmentWays() []string { return []string{"est", "step-ca", "vault"} }

// Enroller returns the way of getting a first certificate.
func Enroller(s Setup, a front.App) (renew.Enroller, error) {
	if !slices.Contains(EnrollmentWays(), s.Renewal.Way) {
		reason := fmt.Sprintf("%q is not a way of getting a first certificate", keystore.Excerpt(s.Renewal.Way))
		if s.Renewal.Way == "" {
			reason = "the way of getting the certificate is not given"
		}
		return nil, signer.WithHint(front.Usagef("--way: %s", reason), "use --way "+strings.Join(EnrollmentWays(), ", --way "))
	}
	way, err := s.way(a)
	if err != nil {
		return nil, err
	}
	return way.(renew.Enroller), nil
}

func commandWay(s Setup, a front.App) (renew.Way, error) {
	if len(s.Renewal.Command) == 0 {
		return nil, signer.WithHint(front.Usagef("the way %q needs a program", s.Renewal.Way),
			"name it after the flags, as in: holdfast renew … -- /usr/local/bin/get-certificate; or as command in [role.renew]")
	}
	return program.Program{Args: s.Renewal.Command, Env: s.childEnv(a), Logger: s.Config.Logger, Signed: s.Renewal.Signed}, nil
}

func folderWay(s Setup, a front.App) (renew.Way, error) {
	dir := s.Renewal.Requests
	if dir == "" {
		return nil, signer.WithHint(front.Usagef("the way %q needs requests", s.Renewal.Way), "set --requests, or requests in [role.renew], to the folder that the CA reads")
	}
	if s.Renewal.TrustAnchor == "" && s.Config.RoleARN == "" {
		return nil, signer.WithHint(front.Usagef("the way %q needs trust_anchor, because others may write to the folder", s.Renewal.Way),
			"set --trust-anchor, or trust_anchor in [role.renew], to the file with the certificate of the CA, such as ca.pem")
	}
	return dropfolder.Way{Dir: dir, Now: a.Now}, nil
}

// childEnv returns the environment for programs of the user, without the variables
// that hold a key or a PIN.
func (s Setup) childEnv(a front.App) []string {
	if a.Environ == nil {
		return nil
	}
	return environ.Without(a.Environ(), s.Variables)
}

// CheckRenewal returns an error if the settings of the renewal are invalid. Without
// a way there is nothing to check.
func (s Setup) CheckRenewal(a front.App) error {
	if s.Renewal.Way == "" {
		return nil
	}
	if _, err := s.trustAnchor(); err != nil {
		return err
	}
	_, err := s.way(a)
	return err
}

// trustAnchor returns the certificates to which a new certificate must lead; nil: none
// are given.
func (s Setup) trustAnchor() ([]*x509.Certificate, error) {
	if s.Renewal.TrustAnchor == "" {
		return nil, nil
	}
	data, err := keystore.ReadFile(s.Renewal.TrustAnchor, keystore.MaxInput)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Renewal.TrustAnchor, err)
	}
	certs, err := renew.ParsePEM(data)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", s.Renewal.TrustAnchor, err), "the file must contain the certificate of the CA in PEM, such as ca.pem")
	}
	return certs, nil
}

func (s Setup) way(a front.App) (renew.Way, error) {
	i := slices.Index(Ways(), s.Renewal.Way)
	if i < 0 {
		return nil, signer.WithHint(front.Usagef("the way %.40q of getting a certificate is unknown", s.Renewal.Way), "use one of: "+strings.Join(Ways(), ", "))
	}
	return ways[i].open(s, a)
}

// foresee logs what would make a renewal fail that is due much later. It does not touch
// the folder of requests: a file server that hangs must not keep the role from its start.
func (s Setup) foresee(state string) {
	warn := func(message string, err error) {
		s.Config.Logger.Warn(message, "role", s.Name, "error", err)
	}
	for _, args := range [][]string{s.Renewal.Command, s.Renewal.DeployCommand} {
		if len(args) == 0 {
			continue
		}
		if _, err := exec.LookPath(args[0]); err != nil {
			warn("a program that the renewal needs cannot be started", err)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(state), ".holdfast-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		warn("the state of the renewal cannot be written", err)
	}
}

// Renewer returns what renews the certificate. open lends the key with the
// certificate in use. reload, unless it is nil, is called when there is a new one.
func (s Setup) Renewer(a front.App, open func(context.Context) (signer.Signer, error), reload func(context.Context) error) (*renew.Renewer, error) {
	var way renew.Way
	var err error
	if s.Renewal.Way != "" { // otherwise the caller only asks for the status
		if way, err = s.way(a); err != nil {
			return nil, err
		}
	}
	anchor, err := s.trustAnchor()
	if err != nil {
		return nil, err
	}
	state, err := s.stateFile(a)
	if err != nil {
		return nil, err
	}
	if reload != nil { // this process will renew it later
		s.foresee(state)
	}
	config := renew.Config{
		Way: way, Open: open, StateFile: state, AllowChange: s.Renewal.AllowChange, Now: a.Now,
		Logger: s.Config.Logger.With("role", s.Name),
		Check: func(ctx context.Context, old, renewed signer.Signer) error {
			return s.checkRenewed(ctx, a, anchor, old, renewed)
		},
		Key: func(ctx context.Context, old signer.Signer, begun string) (signer.Signer, string, error) {
			return s.newKey(ctx, a, old, begun)
		},
		Ready: func(ctx context.Context, old signer.Signer) error {
			opts, err := s.Key.Options(a, s.Config.Logger)
			if err != nil {
				return err
			}
			return s.Key.CheckInstall(ctx, a, old.Chain(), opts)
		},
		Install: func(ctx context.Context, old *x509.Certificate, key string, chain []*x509.Certificate) error {
			return s.install(ctx, a, old, key, chain)
		},
	}
	if reload != nil || len(s.Renewal.DeployCommand) > 0 {
		config.Deploy = func(ctx context.Context, leaf *x509.Certificate) error { return s.deploy(ctx, a, leaf, reload) }
	}
	return renew.New(config), nil
}

// KeepRenewed renews the certificate whenever it is due, until ctx ends.
func (s Setup) KeepRenewed(ctx context.Context, a front.App) error {
	identity, err := rotate.New(ctx, rotate.Config{
		Open:     func(ctx context.Context) (signer.Signer, error) { return s.Key.Open(ctx, a, s.Config.Logger) },
		Name:     s.Key.Name(),
		Files:    s.Key.Files(a),
		PINFiles: s.Key.PINFiles(a),
		Timeout:  s.Config.Timeout,
		Logger:   s.Config.Logger,
		Now:      a.Now,
	})
	if err != nil {
		return err
	}
	defer identity.Close()
	if a.Typed != nil {
		a.Typed.Stop()
	}
	r, err := s.Renewer(a, identity.Acquire, identity.Reload)
	if err != nil {
		return err
	}
	var both sync.WaitGroup
	both.Go(func() { _ = identity.Run(ctx) }) // both return only the error of ctx
	both.Go(func() { _ = r.Run(ctx) })
	both.Wait()
	return nil
}

// RenewIfDue renews the certificate if it is due, and logs why not.
func (r *Role) RenewIfDue(ctx context.Context, now time.Time) {
	if r.Renewer == nil {
		return
	}
	status, err := r.Renewer.Status(ctx)
	if err == nil {
		err = status.Unsupported
	}
	if err == nil && !now.Before(status.Next) {
		_, err = r.Renewer.Renew(ctx)
	}
	if err != nil {
		r.Cache.Logger.Error("the certificate was not renewed", logging.Error(err, signer.Hint(err))...)
	}
}
