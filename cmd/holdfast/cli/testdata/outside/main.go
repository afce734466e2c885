// Command outside is the command line of Holdfast with an additional backend,
// in a program of another module.
package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/cli"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() { os.Exit(cli.Main(append(all.Backends(), shelf{})...)) }

// shelf opens shelf:FOLDER, a folder with key.pem and cert.pem.
type shelf struct{}

func (shelf) Name() string      { return "shelf" }
func (shelf) Schemes() []string { return []string{"shelf"} }

// Uses implements [keystore.Dependent], so that serve notices new files.
func (shelf) Uses(ref keystore.Ref) keystore.Uses {
	return keystore.Uses{Files: []string{filepath.Join(ref.Rest, "key.pem"), filepath.Join(ref.Rest, "cert.pem")}}
}

// Open implements [keystore.Backend].
func (shelf) Open(_ context.Context, ref keystore.Ref, _ keystore.Call) (signer.Signer, error) {
	der, err := readPEM(filepath.Join(ref.Rest, "key.pem"))
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	if der, err = readPEM(filepath.Join(ref.Rest, "cert.pem")); err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return key{parsed.(crypto.Signer), []*x509.Certificate{leaf}}, nil
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s contains no PEM block", path)
	}
	return block.Bytes, nil
}

// key implements [signer.Signer].
type key struct {
	crypto.Signer
	chain []*x509.Certificate
}

func (k key) Chain() []*x509.Certificate { return k.chain }
func (k key) Close() error               { return nil }
