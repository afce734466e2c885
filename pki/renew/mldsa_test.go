package renew_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/asn1"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

// An mldsaKey has an ML-DSA public key.
type mldsaKey struct{ signer.Signer }

func (mldsaKey) Public() crypto.PublicKey {
	set := mldsa.ParametersFor(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17})
	return mldsa.NewPublicKey(set, make([]byte, 1312))
}

// No certificate for an ML-DSA key is asked for, and nothing is written. Run says so
// once an hour, because somebody can replace the key.
func TestMLDSA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.config.Now = time.Now
		open := b.config.Open
		b.config.Open = func(ctx context.Context) (signer.Signer, error) {
			s, err := open(ctx)
			return mldsaKey{s}, err
		}
		if _, err := renew.New(b.config).Renew(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
		for _, name := range []string{b.state, b.state + ".lock"} {
			if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		time.Sleep(65 * 24 * time.Hour) // until it is due
		var log bytes.Buffer
		b.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour+time.Minute)
		defer cancel()
		if err := renew.New(b.config).Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if n := bytes.Count(log.Bytes(), []byte("was not renewed")); n != 11 {
			t.Errorf("%d lines in ten hours: %s", n, &log)
		}
		if len(b.asked) > 0 {
			t.Error("the CA was asked")
		}
	})
}
