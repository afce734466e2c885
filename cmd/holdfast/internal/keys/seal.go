package keys

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Seal returns the command that seals a PIN or password with the TPM.
func Seal(a front.App) *cobra.Command {
	var to, source string
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Seal a PIN or password with this machine's TPM",
		Long: `Asks for a secret and writes it to a file, encrypted by the TPM. Only the TPM of
this machine can decrypt it. With --pin-source tpm:path=FILE, other commands use
it as the PIN of a token or the password of a key, so that an unattended machine
stores no PIN in plaintext.

With pcrs= the TPM decrypts it only while its PCRs have the values that they
have now; sha256:7 reflects the state of Secure Boot.`,
		Example: `  holdfast seal --to 'tpm:path=/etc/holdfast/pin.pem;pcrs=sha256:7'

  # use it as the PIN of a token:
  holdfast list --in pkcs11:token=prod \
      --pin-source tpm:path=/etc/holdfast/pin.pem`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return seal(cmd.Context(), a, to, source)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&to, "to", "", "`reference` for the new file: tpm:path=FILE, with pcrs= to bind it to PCRs")
	fs.StringVar(&source, "secret-source", "prompt", "`source` of the secret: file:PATH, env:NAME, prompt or pinentry")
	front.MarkValues(fs.Lookup("secret-source"), "file:", "env:", "prompt", "pinentry")
	return cmd
}

func seal(ctx context.Context, a front.App, to, source string) error {
	if to == "" {
		return signer.WithHint(front.Usagef("--to is not given"), "name the new file, as in --to tpm:path=pin.pem; see holdfast seal --help")
	}
	var device flags.Device
	opts, err := device.Options(a)
	if err != nil {
		return err
	}
	from, err := flags.ParsePINSource(source)
	if err != nil {
		return signer.WithHint(err, "--secret-source accepts file:PATH, env:NAME, prompt or pinentry")
	}
	ask := front.Twice(from.Ask(a))
	if !from.Asks() {
		if ask, err = (keystore.Call{Options: opts}).PINSource(from.Ref); err != nil {
			return err
		}
		ask = from.Quiet(ask)
	}
	ref, err := keystore.ParseRef(to)
	if err != nil {
		return err
	}
	_, err = onDevice(ctx, deviceTimeout, ref.String(), func(ctx context.Context) (done struct{}, err error) {
		secret, err := ask(ctx, keystore.Prompt{What: "secret", Ref: ref, Optional: true})
		var prompt *front.PromptError
		if source == "prompt" && errors.As(err, &prompt) {
			err = signer.WithHint(err, "run the command in a terminal, or give the secret with --secret-source file:PATH or env:NAME")
		}
		if err != nil {
			return done, err
		}
		defer clear(secret)
		return done, a.Store.Seal(ctx, ref, secret, opts)
	})
	return err
}
