package signer_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A mute signs never: SignContext returns when its context ends.
type mute struct{ signer.Signer }

func (mute) NeedsPerson() bool { return true }

func (mute) SignContext(ctx context.Context, _ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestBindForwardsTheContext(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "CA")
	b, err := signer.Bind(mute{signer.FromKey(key)}, []*x509.Certificate{ca.Issue(t, key, nil)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := signer.SignContext(ctx, b, rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, stop) {
		t.Errorf("SignContext: %v", err)
	}
	if !signer.NeedsPerson(b) {
		t.Error("the bound signer does not tell that its key needs a person")
	}
}
