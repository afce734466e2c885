package keystore_test

import (
	"context"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A teller is a backend that tells of certificates.
type teller struct {
	*backend
	watch func(ctx context.Context, ref keystore.Ref, changed func(*x509.Certificate)) error
}

func (b *teller) Watch(ctx context.Context, ref keystore.Ref, _ keystore.Call, changed func(*x509.Certificate)) error {
	return b.watch(ctx, ref, changed)
}

// The key and the certificate of an identity are watched, once each, and their calls do not
// overlap. The end of one ends both.
func TestWatch(t *testing.T) {
	calls := make(chan keystore.Ref, 2)
	fails := make(chan error)
	store := keystore.New(&backend{"file", []string{"file"}, nil}, &teller{&backend{"told", []string{"told"}, nil},
		func(ctx context.Context, ref keystore.Ref, changed func(*x509.Certificate)) error {
			calls <- ref
			for range 1000 {
				changed(nil)
			}
			select {
			case err := <-fails:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
	for _, test := range []struct {
		id    keystore.Identity
		calls int
	}{
		{keystore.Identity{Key: refOf(t, "told:a")}, 1},
		{keystore.Identity{Certificate: refOf(t, "told:a")}, 1},
		{keystore.Identity{Key: refOf(t, "told:a"), Certificate: refOf(t, "told:a")}, 1},
		{keystore.Identity{Key: refOf(t, "told:a"), Certificate: refOf(t, "cert.pem"), Intermediates: refOf(t, "told:b")}, 1},
		{keystore.Identity{Key: refOf(t, "told:a"), Certificate: refOf(t, "told:b")}, 2},
	} {
		var inside, times atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- store.Watch(ctx, test.id, keystore.Options{}, func(*x509.Certificate) {
				if inside.Add(1) > 1 {
					t.Error("two calls at the same time")
				}
				inside.Add(-1)
				times.Add(1)
			})
		}()
		for range test.calls {
			<-calls
		}
		fails <- signer.ErrUnavailable
		var own *signer.Error
		if err := <-done; !errors.Is(err, signer.ErrUnavailable) || !errors.As(err, &own) || times.Load() != int32(1000*test.calls) || len(calls) > 0 {
			t.Errorf("%v: %v after %d calls", test.id, err, times.Load())
		}
		cancel()
	}
	for _, id := range []keystore.Identity{{}, {Key: refOf(t, "key.pem")}, {Key: refOf(t, "unknown:x"), Intermediates: refOf(t, "told:a")}} {
		if err := store.Watch(t.Context(), id, keystore.Options{}, nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v: %v", id, err)
		}
	}
}
