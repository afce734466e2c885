// Package keys implements the commands generate, list and seal, which manage
// keys and secrets in devices, and sign-string and read-certificate-data, which
// test keys and show certificates as aws_signing_helper does. None of them uses
// AWS. Within Holdfast it imports front, flags, keystore and signer.
package keys

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Generate returns the command that generates a key.
func Generate(a front.App) *cobra.Command {
	var device flags.Device
	var reference, keyType string
	var asJSON bool
	var out front.OutFile
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Generate a key in a PKCS #11 token, a TPM or a file",
		Long: `Generates a key pair. The private key never leaves the token or the TPM; a plain
path makes a key in a file instead, for machines without hardware. The command
prints the public key in PEM to standard output, and a reference to the new key
for --private-key to standard error. With --json it prints both to standard
output, in one object. It never overwrites a key.

A new TPM key is stored in a file or, with handle=, in the TPM itself. Like a
key in a file, it has a password if --pin-source provides one; --pin-source
prompt asks for it. For a token, --pin-source provides the PIN of the token.`,
		Example: `  holdfast generate --private-key tpm:path=app.pem
  holdfast generate --private-key 'tpm:path=app.pem;pcrs=sha256:7'
  holdfast generate --private-key tpm:handle=0x81010002 --key-type rsa2048
  holdfast generate --private-key 'pkcs11:token=prod;object=app'

  # a certificate request for the new key:
  holdfast csr --private-key app.pem --subject CN=app > app.csr`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return generate(cmd.Context(), a, device, reference, keyType, &out, asJSON)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&reference, "private-key", "", "`reference` for the new key: tpm:path=FILE, tpm:handle=HANDLE, pkcs11:token=…;object=… or a file")
	fs.StringVar(&keyType, "key-type", string(keystore.P256), "`type` of the new key: "+strings.Join(keyTypes(), ", "))
	front.MarkValues(fs.Lookup("key-type"), keyTypes()...)
	fs.BoolVar(&asJSON, "json", false, "print a JSON object: reference, key, public_key")
	out.Add(cmd, "public key", "PUBLIC KEY")
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

func generate(ctx context.Context, a front.App, device flags.Device, reference, keyType string, out *front.OutFile, asJSON bool) error {
	if err := out.Check(a); err != nil {
		return err
	}
	if reference == "" {
		return signer.WithHint(front.Usagef("--private-key is not given"), "name the new key, as in --private-key tpm:path=app.pem; see holdfast generate --help")
	}
	if err := flags.CheckKeyType("key-type", keyType, keyTypes()); err != nil {
		return err
	}
	opts, err := device.Options(a)
	if err != nil {
		return err
	}
	if source, err := flags.ParsePINSource(device.PINSource); err == nil && source.Asks() {
		opts.PIN = front.Twice(source.Ask(a))
	}
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return err
	}
	if ref, err = device.Complete(a, ref); err != nil {
		return err
	}
	key, err := onDevice(ctx, deviceTimeout, ref.String(), func(ctx context.Context) (keystore.Key, error) {
		return a.Store.Generate(ctx, ref, keystore.KeySpec{Type: keystore.KeyType(keyType)}, opts)
	})
	if err != nil {
		return err
	}
	return errors.Join(printKey(a, key, device.PINSource, out, asJSON), key.Close())
}

// newKey is the output of --json.
type newKey struct {
	Reference string `json:"reference"`
	Key       string `json:"key"`        // its type, as in the output of list
	PublicKey string `json:"public_key"` // PEM
}

// printKey prints a new key. Without asJSON it prints only the public key to
// standard output, because scripts redirect standard output to a file.
func printKey(a front.App, key keystore.Key, pinSource string, out *front.OutFile, asJSON bool) error {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if asJSON {
		return out.Write(a, public, newKey{key.Ref().String(), signer.DescribeKey(key.Public()), string(public)})
	}
	if err := out.Write(a, public, nil); err != nil {
		return err
	}
	ref := front.OneLine(front.ShellQuote(key.Ref().String()))
	pin := ""
	if pinSource != "" {
		pin = " --pin-source " + front.OneLine(front.ShellQuote(pinSource))
	}
	_, err = fmt.Fprintf(a.Stderr, "the new key is %s\nnext: holdfast csr --private-key %s%s --subject CN=NAME\n", ref, ref, pin)
	return err
}
