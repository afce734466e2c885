// Package keys has the commands that make, list and keep what is in devices:
// generate, list, seal. They know no AWS. Of Holdfast the package imports the
// front, the flags and keystore.
package keys

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Generate returns the command that makes a key.
func Generate(a front.App) *cobra.Command {
	var device flags.Device
	var reference, kind string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a key in a token or a TPM",
		Long: `Makes a key pair whose private half never leaves the device, and prints the
public key in PEM. It never overwrites a key.

A new TPM key is kept in a file, or with handle= in the TPM itself. It has a
password if --pin-source names one; --pin-source prompt asks for it. For a token
--pin-source is the token's PIN.`,
		Example: `  holdfast generate --private-key tpm:path=app.pem
  holdfast generate --private-key 'tpm:path=app.pem;pcrs=sha256:7'
  holdfast generate --private-key tpm:handle=0x81010002 --key-type rsa2048
  holdfast generate --private-key 'pkcs11:token=prod;object=app'

  # a certificate request with OpenSSL's TPM provider:
  openssl req -new -provider tpm2 -provider default \
      -key app.pem -subj /CN=app -out app.csr`,
		RunE: func(cmd *cobra.Command, _ []string) error { return generate(cmd.Context(), a, device, reference, kind) },
	}
	fs := cmd.Flags()
	fs.StringVar(&reference, "private-key", "", "`reference` of the new key: tpm:path=FILE, tpm:handle=HANDLE or pkcs11:token=…;object=…")
	fs.StringVar(&kind, "key-type", string(keystore.P256), "`type` of the new key: "+strings.Join(keyTypes(), ", "))
	front.MarkValues(fs.Lookup("key-type"), keyTypes()...)
	device.Add(fs)
	return cmd
}

func keyTypes() []string {
	var names []string
	for _, t := range keystore.KeyTypes() {
		names = append(names, string(t))
	}
	return names
}

func generate(ctx context.Context, a front.App, device flags.Device, reference, kind string) error {
	if reference == "" {
		return front.Usagef("--private-key is not given: it names the new key")
	}
	if !slices.Contains(keyTypes(), kind) {
		return front.Usagef("--key-type %q is not one of %s", kind, strings.Join(keyTypes(), ", "))
	}
	opts, err := device.Options(a)
	if err != nil {
		return err
	}
	if device.PINSource == "prompt" {
		opts.PIN = a.PromptNew
	}
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return err
	}
	if ref, err = device.Complete(a, ref); err != nil {
		return err
	}
	key, err := front.InterruptibleValue(ctx, ref.String(), func() (signer.Signer, error) {
		return a.Store.Generate(ctx, ref, keystore.KeySpec{Type: keystore.KeyType(kind)}, opts)
	})
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err == nil {
		_, err = a.Stdout.Write(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	if err := errors.Join(err, key.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stderr, "next: have a CA issue a certificate for the key (docs/tpm.md and docs/pkcs11.md show how), then give --certificate cert.pem --private-key %s\n",
		front.OneLine(front.ShellQuote(ref.String())))
	return err
}
