// Package role has what a role is: from flags and tables of a configuration to
// credentials that are always there. Of Holdfast it imports the front, the
// flags and the libraries.
package role

import (
	"context"
	"sync"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// A Setup is what a role is opened with.
type Setup struct {
	Name   string
	Port   int // of its own; 0: none
	Key    flags.Key
	Config rolesanywhere.Config // but for the Signer
}

// A Role has credentials that are always there while Keep runs. Its fields are
// not changed; it is safe for concurrent use.
type Role struct {
	Name   string
	Port   int // of its own; 0: none
	ARN    string
	Region string

	Identity *rotate.Identity // its key and certificate
	Client   *rolesanywhere.Client
	Cache    *credentials.Cache

	// Tried is closed after the first attempt of the Cache to obtain
	// credentials.
	Tried chan struct{}
}

// Open opens the key of a role. Each of the credentials that its Cache obtains
// goes to renewed, unless that is nil. The caller closes the Role.
func (s Setup) Open(ctx context.Context, a front.App, renewed func(credentials.Credentials)) (*Role, error) {
	base := s.Config.Logger
	config := s.Config
	config.Logger = base.With("role", s.Name)
	config.CertificateName = s.Key.CertificateName()
	r := &Role{Name: s.Name, Port: s.Port, ARN: config.RoleARN, Region: config.TrustAnchorRegion(), Tried: make(chan struct{})}
	identity, err := rotate.New(ctx, rotate.Config{
		Open:     func(ctx context.Context) (signer.Signer, error) { return s.Key.OpenAnew(ctx, a, base) },
		Check:    config.CheckSigner,
		Name:     s.Key.Name(),
		Files:    s.Key.Files(a),
		Reloaded: func(ctx context.Context) { r.Cache.Retry(ctx) },
		Logger:   config.Logger,
		Now:      a.Now,
	})
	if err != nil {
		return nil, err
	}
	r.Identity = identity
	if r.Client, err = rolesanywhere.NewRotating(config, identity); err != nil {
		r.Close()
		return nil, err
	}
	var first sync.Once
	r.Cache = &credentials.Cache{Source: r.Client, Logger: config.Logger, Now: a.Now, Renewed: func(c credentials.Credentials, err error) {
		first.Do(func() { close(r.Tried) })
		if err == nil && renewed != nil {
			renewed(c)
		}
	}}
	return r, nil
}

// Keep has credentials renewed and key and certificate reloaded until ctx ends.
func (r *Role) Keep(ctx context.Context) {
	_ = front.Interruptible(ctx, r.Name, func() error {
		var both sync.WaitGroup
		both.Go(func() { _ = r.Cache.Run(ctx) }) // returns ctx's error
		both.Go(func() { _ = r.Identity.Run(ctx) })
		both.Wait()
		return nil
	})
}

// Close closes the key, also in the middle of a signature.
func (r *Role) Close() { _ = r.Identity.Close() }
