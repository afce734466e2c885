package keys

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
)

// Seal returns the command that has the TPM keep a PIN.
func Seal(a front.App) *cobra.Command {
	var to, source string
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Seal a PIN or password with this machine's TPM",
		Long: `Asks for a secret and writes it to a file, encrypted by the TPM. Only this
machine's TPM can decrypt it. As --pin-source tpm:path=FILE it gives the PIN of
a token or the password of a key, so that an unattended machine needs no PIN in
the clear.

With pcrs= the TPM decrypts it only while the machine's PCRs have the values
that they have now; sha256:7 is the state of Secure Boot.`,
		Example: `  holdfast seal --to 'tpm:path=/etc/holdfast/pin.pem;pcrs=sha256:7'

  # a token whose PIN it is:
  holdfast list --in pkcs11:token=prod \
      --pin-source tpm:path=/etc/holdfast/pin.pem`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return seal(cmd.Context(), a, to, source)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&to, "to", "", "`reference` of the new file: tpm:path=FILE, with pcrs= to bind it to PCRs")
	fs.StringVar(&source, "secret-source", "prompt", "`where` the secret is: file:PATH, env:NAME or prompt")
	front.MarkValues(fs.Lookup("secret-source"), "file:", "env:", "prompt")
	return cmd
}

func seal(ctx context.Context, a front.App, to, source string) error {
	if to == "" {
		return front.Usagef("--to is not given: it names the new file, as in --to tpm:path=pin.pem")
	}
	var device flags.Device
	opts, err := device.Options(a)
	if err != nil {
		return err
	}
	ask := a.PromptNew
	if source != "prompt" {
		from, err := keystore.ParsePINSource(source)
		if err != nil {
			return err
		}
		if ask, err = (keystore.Call{Options: opts}).PINSource(from); err != nil {
			return err
		}
	}
	ref, err := keystore.ParseRef(to)
	if err != nil {
		return err
	}
	return front.Interruptible(ctx, ref.String(), func() error {
		secret, err := ask(ctx, keystore.Prompt{What: "secret", Ref: ref, Optional: true})
		if err != nil {
			return err
		}
		defer clear(secret)
		return a.Store.Seal(ctx, ref, secret, opts)
	})
}
