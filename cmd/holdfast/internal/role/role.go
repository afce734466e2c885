// Package role turns flags and the tables of a configuration file into roles,
// whose credentials are renewed before they expire. Within Holdfast it imports
// front, flags and the libraries.
package role

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// A Setup is the configuration of a role.
type Setup struct {
	Name   string
	Port   int // port of this role only; 0: none
	Key    flags.Key
	Config rolesanywhere.Config // without the Signer
	Chain  flags.Chain

	Renewal flags.Renewal

	// Variables are the environment variables that flags or any role of the
	// configuration file name for a key or a PIN, used or not. They hold
	// secrets, so child processes must not inherit them.
	Variables []string

	table string // file and role whose references name the key; "": flags name it
}

// A Role is an open role. Its credentials are renewed while Keep runs. Its
// fields must not be changed. It is safe for concurrent use.
type Role struct {
	Name      string
	Port      int // port of this role only; 0: none
	ARN       string
	Region    string
	KeyScheme string // of the reference of the key

	Identity *rotate.Identity // key and certificate
	Cache    *credentials.Cache
	Renewer  *renew.Renewer // nil: the certificate is not renewed

	// Tried is closed after the first attempt to obtain credentials.
	Tried <-chan struct{}

	watch func(context.Context) // requests reloads when the store of the key tells of a certificate
}

// Open opens the key of a role. Unless renewed is nil, the Cache passes all new
// credentials to it. The caller closes the Role.
func (s Setup) Open(ctx context.Context, a front.App, renewed func(credentials.Credentials)) (*Role, error) {
	config := s.Config
	config.Logger = s.Config.Logger.With("role", s.Name)
	config.CertificateName = s.Key.CertificateName()
	tried := make(chan struct{})
	r := &Role{
		Name: s.Name, Port: s.Port, Region: config.TrustAnchorRegion(), KeyScheme: s.Key.KeyScheme(a),
		Cache: &credentials.Cache{Logger: config.Logger, Now: a.Now}, Tried: tried,
	}
	r.ARN, _ = s.Chain.Role(config)
	first := sync.OnceFunc(func() { close(tried) })
	r.Cache.Renewed = func(c credentials.Credentials, err error) {
		first()
		if err == nil && renewed != nil {
			renewed(c)
		}
	}
	var err error
	r.Identity, err = rotate.New(ctx, rotate.Config{
		Open:     func(ctx context.Context) (signer.Signer, error) { return s.Key.Open(ctx, a, s.Config.Logger) },
		Check:    s.check(config, a.Now),
		Name:     s.Key.Name(),
		Files:    s.Key.Files(a),
		PINFiles: s.Key.PINFiles(a),
		Timeout:  config.Timeout,
		Reloaded: r.Cache.Retry,
		Logger:   config.Logger,
		Now:      a.Now,
	})
	var ref *keystore.RefError
	if s.table != "" && errors.As(err, &ref) {
		return nil, fmt.Errorf("%s: %w", s.table, err)
	}
	if err != nil {
		return nil, err
	}
	r.watch = func(ctx context.Context) {
		// It returns the error of ctx, or that the store tells nothing by itself.
		_ = s.Key.Watch(ctx, a, config.Logger, func(leaf *x509.Certificate) {
			if !leaf.Equal(r.Identity.Chain()[0]) {
				r.Identity.RequestReload()
			}
		})
	}
	r.Cache.Source, err = s.source(config, r.Identity)
	if err == nil && s.Renewal.Way != "" {
		r.Renewer, err = s.Renewer(a, r.Identity.Acquire, r.Identity.Reload)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// check returns the check of a key. A certificate that has expired is accepted if it
// will be renewed; until then there are no credentials.
func (s Setup) check(config rolesanywhere.Config, now func() time.Time) func(signer.Signer) error {
	if s.Renewal.Way == "" {
		return config.CheckSigner
	}
	return func(key signer.Signer) error {
		config := config
		if chain := key.Chain(); len(chain) > 0 && now().After(chain[0].NotAfter) {
			config.Now = func() time.Time { return chain[0].NotAfter }
		}
		return config.CheckSigner(key)
	}
}

// source returns the source of the role's credentials.
func (s Setup) source(config rolesanywhere.Config, identity *rotate.Identity) (credentials.Source, error) {
	first, err := rolesanywhere.NewRotating(config, identity)
	if err != nil {
		return nil, err
	}
	if s.Chain.RoleARN == "" {
		return first, nil
	}
	return newChained(s.Chain, config, first, func() *x509.Certificate { return identity.Chain()[0] })
}

// Keep renews the credentials and the certificate, and reloads the key and the
// certificate, until ctx ends.
func (r *Role) Keep(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { _ = r.Cache.Run(ctx) }) // they return only the error of ctx
	all.Go(func() { _ = r.Identity.Run(ctx) })
	all.Go(func() { r.watch(ctx) })
	if r.Renewer != nil {
		all.Go(func() { _ = r.Renewer.Run(ctx) })
	}
	all.Wait()
}

// Close closes the key, even during a signature.
func (r *Role) Close() { _ = r.Identity.Close() }
