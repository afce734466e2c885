package flags

import (
	"context"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Key returns the Key that a reference names, without opening it. An empty
// reference is no key. Open it with [Key.OpenBare]: it needs no certificate.
func (f *Device) Key(reference string) (k Key, err error) {
	k.modules = f.Modules
	if reference != "" {
		if k.Identity.Key, err = keystore.ParseRef(reference); err != nil {
			return k, err
		}
	}
	k.PINSource, err = ParsePINSource(f.PINSource)
	return k, err
}

// OpenBare is [Key.OpenWith] for a key that needs no certificate.
func (k Key) OpenBare(ctx context.Context, a front.App, opts keystore.Options) (signer.Signer, error) {
	id, err := k.complete(a)
	if err != nil {
		return nil, err
	}
	watcher := &front.Watcher{App: a, Pinentry: k.PINSource.Pinentry, Logger: logging.OrDiscard(opts.Logger)}
	opts.PIN = watcher.PIN(opts.PIN)
	s, err := a.Store.Open(ctx, id.Key, opts)
	if err != nil {
		return nil, err
	}
	return watcher.Watch(s, k.Name()), nil
}
