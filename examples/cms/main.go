// Command cms signs a file as a CMS message (RFC 5652) with a key in a device, and writes
// FILE.p7s, which is detached:
//
//	cms KEY CERTIFICATE FILE
//
// It uses github.com/smallstep/pkcs7; go.mozilla.org/pkcs7, from which that was forked,
// takes the same arguments. Package pki/cms of Holdfast makes only messages with their
// content, but also with Ed25519 and with RSA-PSS.
package main

import (
	"context"
	"log"
	"os"

	"github.com/smallstep/pkcs7"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: cms KEY CERTIFICATE FILE")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref, certificate, file string) error {
	id, err := keystore.ParseIdentity(certificate, ref)
	if err != nil {
		return err
	}
	key, err := all.New().OpenIdentity(ctx, id, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	der, err := sign(key, data)
	if err != nil {
		return err
	}
	return os.WriteFile(file+".p7s", der, 0o644)
}

// sign names the digest, because the default is SHA-1, which Holdfast refuses. An RSA key
// signs with PKCS #1 v1.5.
func sign(key signer.Signer, data []byte) ([]byte, error) {
	message, err := pkcs7.NewSignedData(data)
	if err != nil {
		return nil, err
	}
	message.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	chain := key.Chain()
	if err := message.AddSignerChain(chain[0], key, chain[1:], pkcs7.SignerInfoConfig{}); err != nil {
		return nil, err
	}
	message.Detach()
	return message.Finish()
}
