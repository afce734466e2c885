// Package keys has the commands that make, list and keep what is in devices:
// generate, list, seal. They know no AWS. Of Holdfast the package imports the
// front, the flags and keystore.
package keys

import (
	"context"
	"crypto/x509"
	"encoding/json"
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
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a key in a token or a TPM",
		Long: `Makes a key pair whose private half never leaves the device. The command prints
the public key in PEM on standard output, and on standard error a reference for
--private-key that names the new key. With --json it prints one object with both
on standard output. It never overwrites a key.

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
		RunE: func(cmd *cobra.Command, _ []string) error {
			return generate(cmd.Context(), a, device, reference, kind, asJSON)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&reference, "private-key", "", "`reference` of the new key: tpm:path=FILE, tpm:handle=HANDLE or pkcs11:token=…;object=…")
	fs.StringVar(&kind, "key-type", string(keystore.P256), "`type` of the new key: "+strings.Join(keyTypes(), ", "))
	front.MarkValues(fs.Lookup("key-type"), keyTypes()...)
	fs.BoolVar(&asJSON, "json", false, "print a JSON object: reference, key, public_key")
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

func generate(ctx context.Context, a front.App, device flags.Device, reference, kind string, asJSON bool) error {
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
	key, err := front.InterruptibleValue(ctx, ref.String(), func() (keystore.Key, error) {
		return a.Store.Generate(ctx, ref, keystore.KeySpec{Type: keystore.KeyType(kind)}, opts)
	})
	if err != nil {
		return err
	}
	return errors.Join(tellMade(a, key, asJSON), key.Close())
}

// A madeKey is a new key for scripts.
type madeKey struct {
	Reference string `json:"reference"`
	Key       string `json:"key"`        // its type, as in a listing
	PublicKey string `json:"public_key"` // PEM
}

// tellMade keeps standard output to the public key alone, as scripts redirect it
// to a file.
func tellMade(a front.App, key keystore.Key, asJSON bool) error {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if asJSON {
		return json.NewEncoder(a.Stdout).Encode(madeKey{key.Ref().String(), signer.DescribeKey(key.Public()), string(public)})
	}
	if _, err := a.Stdout.Write(public); err != nil {
		return err
	}
	made := front.OneLine(front.ShellQuote(key.Ref().String()))
	_, err = fmt.Fprintf(a.Stderr, "the new key is %s\nnext: have a CA issue a certificate for it (docs/tpm.md and docs/pkcs11.md show how), then give --certificate cert.pem --private-key %s\n", made, made)
	return err
}
