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
	Cache    *credentials.Cache

	// Tried is closed after the first attempt of the Cache to obtain
	// credentials.
	Tried <-chan struct{}
}

// Open opens the key of a role. Each of the credentials that its Cache obtains
// goes to renewed, unless that is nil. The caller closes the Role.
func (s Setup) Open(ctx context.Context, a front.App, renewed func(credentials.Credentials)) (*Role, error) {
	config := s.Config
	config.Logger = s.Config.Logger.With("role", s.Name)
	config.CertificateName = s.Key.CertificateName()
	tried := make(chan struct{})
	r := &Role{
		Name: s.Name, Port: s.Port, ARN: config.RoleARN, Region: config.TrustAnchorRegion(),
		Cache: &credentials.Cache{Logger: config.Logger, Now: a.Now}, Tried: tried,
	}
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
		Check:    config.CheckSigner,
		Name:     s.Key.Name(),
		Files:    s.Key.Files(a),
		Reloaded: r.Cache.Retry,
		Logger:   config.Logger,
		Now:      a.Now,
	})
	if err != nil {
		return nil, err
	}
	if r.Cache.Source, err = rolesanywhere.NewRotating(config, r.Identity); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Keep has credentials renewed and key and certificate reloaded until ctx ends.
func (r *Role) Keep(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { _ = r.Cache.Run(ctx) }) // both return ctx's error, soon after its end
	both.Go(func() { _ = r.Identity.Run(ctx) })
	both.Wait()
}

// Close closes the key, also in the middle of a signature.
func (r *Role) Close() { _ = r.Identity.Close() }
