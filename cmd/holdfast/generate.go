package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
)

func (a app) generate() *cobra.Command {
	var id identityFlags
	var kind string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a key in a token or a TPM",
		Long: `Makes a key pair whose private half never leaves the device, and prints the
public key in PEM. What exists is never overwritten.

A new key of a TPM is kept in a file, or with handle= in the TPM itself. It has
a password if --pin-source names one; with --pin-source prompt it is asked for.
For a token --pin-source is the token's PIN.`,
		Example: `  holdfast generate --private-key tpm:path=app.pem
  holdfast generate --private-key 'tpm:path=app.pem;pcrs=sha256:7'
  holdfast generate --private-key tpm:handle=0x81010002 --key-type rsa2048
  holdfast generate --private-key 'pkcs11:token=prod;object=app'

  # a certificate request with OpenSSL's TPM provider:
  openssl req -new -provider tpm2 -provider default \
      -key app.pem -subj /CN=app -out app.csr`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runGenerate(cmd.Context(), &id, kind) },
	}
	fs := cmd.Flags()
	fs.StringVar(&id.identity.Key, "private-key", "", "the new key, as a `reference`: tpm:path=FILE, tpm:handle=HANDLE or pkcs11:token=…;object=…")
	fs.StringVar(&kind, "key-type", string(keystore.P256), "`type`: "+strings.Join(keyTypes(), ", "))
	id.addSource(fs)
	return cmd
}

func keyTypes() []string {
	var names []string
	for _, t := range keystore.KeyTypes() {
		names = append(names, string(t))
	}
	return names
}

func (a app) runGenerate(ctx context.Context, id *identityFlags, kind string) error {
	if id.identity.Key == "" {
		return usagef("--private-key is not given: it names the new key")
	}
	if !slices.Contains(keyTypes(), kind) {
		return usagef("--key-type %q is not one of %s", kind, strings.Join(keyTypes(), ", "))
	}
	opts, err := a.options(id, false)
	if err != nil {
		return err
	}
	if id.pinSource == "prompt" {
		opts.PIN = a.promptNew
	}
	ref, err := keystore.ParseRef(id.identity.Key)
	if err != nil {
		return err
	}
	if ref, err = setIfKnown(a.store(), ref, "module-path", id.module); err != nil {
		return err
	}
	key, err := a.store().Generate(ctx, ref, keystore.KeySpec{Type: keystore.KeyType(kind)}, opts)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err == nil {
		_, err = a.stdout.Write(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return errors.Join(err, key.Close())
}

// promptNew asks twice for what is not known to be right by any device.
func (a app) promptNew(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	if !p.Optional {
		return a.prompt(ctx, p)
	}
	p.Optional = false
	what := p.What
	p.What = "new " + what
	first, err := a.prompt(ctx, p)
	if err != nil {
		return nil, err
	}
	p.What = "again, " + what
	second, err := a.prompt(ctx, p)
	defer clear(second)
	if err == nil && !bytes.Equal(first, second) {
		err = &promptError{errors.New("not the same twice")}
	}
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}
