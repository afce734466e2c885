package spiffe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log"
	"os"
	"os/signal"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/spiffe"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// A program that always uses the SVID that the Workload API has sent last.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	store := keystore.New(spiffe.Backend{}) // or all.New() from keystore/all
	refs, err := keystore.ParseIdentity("", "spiffe://example.org/app")
	if err != nil {
		log.Fatal(err)
	}
	options := keystore.Options{LookupEnv: os.LookupEnv} // of SPIFFE_ENDPOINT_SOCKET
	id, err := rotate.New(ctx, rotate.Config{
		Open: func(ctx context.Context) (signer.Signer, error) { return store.OpenIdentity(ctx, refs, options) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer id.Close()
	go func() { _ = id.Run(ctx) }()
	go func() {
		_ = store.Watch(ctx, refs, options, func(leaf *x509.Certificate) {
			if !leaf.Equal(id.Chain()[0]) {
				id.RequestReload()
			}
		})
	}()

	_ = &tls.Config{GetCertificate: id.GetCertificate} // and rolesanywhere.NewRotating(config, id)
	<-ctx.Done()
}
