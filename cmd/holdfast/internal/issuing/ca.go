package issuing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

// CA returns the commands of a small certification authority.
func CA(a front.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Run a small certification authority",
		Long: `Runs a certification authority (CA) for up to a few thousand certificates,
without a server. Its key is any reference: in a token, a TPM, the key store of
Windows or macOS, or an encrypted file. Its state is a folder: the certificates
that it issued, an index that only grows, and the last revocation list.

docs/ca.md describes the folder, its backup, and how to replace a CA.`,
		Example: `  holdfast ca init --private-key ca-key.pem --generate p256 \
      --subject 'CN=Example CA'
  holdfast csr --private-key app.pem --subject CN=app > app.csr
  holdfast ca issue --csr app.csr --subject CN=app > cert.pem`,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(caInit(a), caIssue(a), caRevoke(a), caCRL(a), caList(a), caShow(a), caCheck(a))
	return cmd
}

// A folder is the group of flags that all commands of a CA have.
type folder struct {
	dir  string
	json bool
}

func (f *folder) add(cmd *cobra.Command, printed string) {
	front.ConfigFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.dir, "dir", "ca", "`folder` of the CA")
	})
	cmd.Flags().BoolVar(&f.json, "json", false, "print a JSON "+printed)
}

func (f *folder) open(a front.App) (*authority.Authority, error) {
	ca, err := authority.Open(f.dir, authority.Options{Now: a.Now})
	return ca, hintOf(f.dir, err)
}

// A caKey is the group of flags for the key of a CA and its settings.
type caKey struct {
	reference string
	config    string
	device    flags.Device
}

func (f *caKey) add(cmd *cobra.Command) {
	front.ConfigFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.config, "config", "", "TOML `file` with the settings of the CA; see docs/ca.md (default: ca.toml in the folder, if it exists)")
	})
	front.KeyFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.reference, "private-key", "", "`reference` to the key of the CA (default: private_key in the settings)")
		f.device.Add(fs)
	})
}

// settings reads the settings of the CA in dir.
func (f *caKey) settings(ctx context.Context, dir string) (config, error) {
	return readConfig(ctx, dir, f.config)
}

// key returns the key of the CA: that of the flags, or that of the settings.
func (f *caKey) key(a front.App, c config, dir string) (flags.Key, error) {
	key, err := f.device.Key(f.reference)
	if err != nil {
		return key, err
	}
	base := dir
	if f.config != "" {
		base = filepath.Dir(f.config)
	}
	other, err := c.key(a, cmp.Or(base, "."))
	if err != nil {
		return key, front.Usagef("%s: %w", cmp.Or(f.config, filepath.Join(dir, configFile)), err)
	}
	if key = key.OrElse(other); key.IsZero() {
		return key, signer.WithHint(front.Usagef("--private-key is not given, and the settings have no private_key"), "name the key of the CA with --private-key")
	}
	return key, nil
}

// with opens the key of the CA in dir and calls use with it. If the key or the
// source of its PIN comes from the settings and does not exist, the error names
// the settings.
func (f *caKey) with(ctx context.Context, a front.App, c config, dir string, use func(context.Context, signer.Signer) error) error {
	key, err := f.key(a, c, dir)
	if err != nil {
		return err
	}
	opened := false
	err = withKey(ctx, a, key, func(ctx context.Context, s signer.Signer) error {
		opened = true
		return use(ctx, s)
	})
	file := cmp.Or(f.config, filepath.Join(dir, configFile))
	fromSettings := !opened && f.reference == ""
	switch {
	case fromSettings && errors.Is(err, signer.ErrPINIncorrect) && c.PINSource != "" && f.device.PINSource == "":
		_, hint := front.Explain(err)
		return signer.WithHint(fmt.Errorf("pin_source in %s: %w", file, err), hint+"; it is from pin_source in "+file)
	case !fromSettings || !errors.Is(err, fs.ErrNotExist):
		return err
	case errors.Is(err, signer.ErrPINRequired) && isMissing(key.PINFiles(a)):
		return signer.WithHint(fmt.Errorf("pin_source in %s: %w", file, err), "correct it in "+file+", or name the key with --private-key and --pin-source")
	case !isMissing(key.Files(a)): // such as a device that is away
		return err
	}
	return signer.WithHint(fmt.Errorf("private_key in %s: %w", file, err),
		"correct it in "+file+", or name the key with --private-key and --pin-source; "+hintLostKey)
}

// isMissing reports whether one of files does not exist.
func isMissing(files []string) bool {
	return slices.ContainsFunc(files, func(name string) bool {
		_, err := os.Stat(name)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// hintLostKey is the end of a hint for a key of a CA that is not there.
const hintLostKey = `if the key is lost, see "Replace a root" in docs/ca.md`
