package main

import (
	"context"
	"strings"
	"sync"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// A roleSetup is what a role is made of: what flags say, and a table of the
// configuration over them.
type roleSetup struct {
	name    string
	port    int // of its own; 0: none
	id      identityFlags
	session sessionFlags
}

// A role has credentials that are always there.
type role struct {
	name   string
	port   int // of its own; 0: none
	arn    string
	region string
	files  []string // that the key and the certificate are in
	loaded stamp    // of these, before they were opened
	source *pairSource
	cache  *credentials.Cache
	force  chan struct{} // reloads the key and the certificate
}

// keep has credentials renewed and key and certificate reloaded until ctx ends.
func (r *role) keep(ctx context.Context) {
	_ = orLeave(ctx, r.name, func() error {
		var both sync.WaitGroup
		both.Go(func() { _ = r.cache.Run(ctx) }) // returns ctx's error
		both.Go(func() { r.source.watch(ctx, r.files, r.loaded, r.force, func() { r.cache.Retry(ctx) }) })
		both.Wait()
		return nil
	})
}

// openRole opens the key of a role. The caller closes role.source.
func (a app) openRole(ctx context.Context, setup roleSetup) (*role, error) {
	id := setup.id
	debug := setup.session.debug
	config := setup.session.config
	log := a.logger(debug).With("role", setup.name)
	config.Logger = log
	config.CertificateName = id.certificateName()
	open := func(ctx context.Context) (signer.Signer, error) { return id.openAnew(ctx, a, debug) }
	refs, err := id.resolved(a.store())
	if err != nil {
		return nil, err
	}
	names := a.store().Uses(refs.Key, refs.Certificate, refs.Intermediates).Files
	loaded := stampOf(names)
	source, err := getOrLeave(ctx, id.keyName(), func() (*pairSource, error) { return newPairSource(ctx, open, config, log) })
	if err != nil {
		return nil, err
	}
	return &role{
		name: setup.name, port: setup.port, arn: config.RoleARN, region: regionOf(config), files: names, loaded: loaded,
		source: source, force: make(chan struct{}, 1),
		cache: &credentials.Cache{Source: source, Logger: log, Now: a.now},
	}, nil
}

// regionOf returns the region that clients are told: that of the trust anchor,
// which is the fourth field of its ARN, unless another was given.
func regionOf(c rolesanywhere.Config) string {
	if c.Region != "" {
		return c.Region
	}
	return strings.Split(c.TrustAnchorARN, ":")[3] // Config.Check saw to it
}
