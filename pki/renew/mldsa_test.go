package renew_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
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

// An mldsaKey has an ML-DSA public key and a certificate for it.
type mldsaKey struct{ signer.Signer }

func (mldsaKey) Public() crypto.PublicKey {
	set := mldsa.ParametersFor(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17})
	return mldsa.NewPublicKey(set, make([]byte, 1312))
}

func (k mldsaKey) Chain() []*x509.Certificate {
	leaf := *k.Signer.Chain()[0]
	leaf.PublicKey, leaf.PublicKeyAlgorithm = nil, x509.UnknownPublicKeyAlgorithm
	leaf.RawSubjectPublicKeyInfo, _ = signer.MarshalPublicKey(k.Public()) // its length is right
	return []*x509.Certificate{&leaf}
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
		status, err := renew.New(b.config).Status(t.Context())
		if err != nil || !errors.Is(status.Unsupported, errors.ErrUnsupported) || signer.Hint(status.Unsupported) == "" {
			t.Errorf("status %+v, error %v", status, err)
		}
		var log bytes.Buffer
		b.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		first, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := renew.New(b.config).Run(first); !errors.Is(err, context.DeadlineExceeded) || bytes.Count(log.Bytes(), []byte("\n")) != 1 ||
			!bytes.Contains(log.Bytes(), []byte("the certificate will not be renewed")) {
			t.Errorf("error %v, log %s", err, &log)
		}
		time.Sleep(65 * 24 * time.Hour) // until it is due
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
