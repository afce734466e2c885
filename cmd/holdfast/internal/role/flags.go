package role

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Flags is the group of flags for roles.
type Flags struct {
	Identity   flags.Identity
	Session    flags.Session
	Assume     flags.Assume
	ConfigFile string
	name       string // of the only role to use from the configuration file

	// OnlyKey accepts flags without any ARN, which describe only a key.
	OnlyKey bool
	Renewal flags.Renewal // overrides that of the configuration file
}

// Add adds the flags to a command.
func (f *Flags) Add(cmd *cobra.Command) {
	f.AddFile(cmd)
	f.AddSettings(cmd)
}

// AddFile adds the flags for the configuration file.
func (f *Flags) AddFile(cmd *cobra.Command) {
	front.ConfigFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.ConfigFile, "config", "", "TOML `file` with roles; flags and environment variables override it; see docs/configuration.md")
		fs.StringVar(&f.name, "role", "", "use only the role with this `name` from the --config file")
	})
}

// AddSettings adds the flags for the settings of a role.
func (f *Flags) AddSettings(cmd *cobra.Command) {
	f.Identity.Add(cmd)
	f.Session.Add(cmd)
	f.Assume.Add(cmd)
}

// Setup is [Flags.Setups] for a single role. It returns an error if there are
// several.
func (f *Flags) Setup(cmd *cobra.Command, a front.App) (Setup, error) {
	setups, err := f.Setups(cmd, a)
	switch {
	case err != nil:
		return Setup{}, err
	case len(setups) > 1:
		var names []string
		for _, s := range setups {
			names = append(names, s.Name)
		}
		return Setup{}, signer.WithHint(front.Usagef("--config %s: the file has %d roles, but %s uses only one", f.ConfigFile, len(setups), cmd.Name()),
			"choose one with --role: "+strings.Join(names, ", "))
	}
	return setups[0], nil
}

// Setups returns the roles of the configuration file with the settings that the
// flags and the environment override. Without a file, it returns the role that
// the flags describe. It checks all settings, so that errors in them occur
// before a prompt for a PIN.
func (f *Flags) Setups(cmd *cobra.Command, a front.App) (setups []Setup, err error) {
	var flagged Setup
	if flagged.Config, err = f.Session.Config(cmd, a); err != nil {
		return nil, err
	}
	if flagged.Chain, err = f.Assume.Chain(cmd, a); err != nil {
		return nil, err
	}
	if flagged.Key, err = f.Identity.Key(cmd); err != nil {
		return nil, err
	}
	if _, err = flagged.Key.Options(a, flagged.Config.Logger); err != nil { // --pin-source
		return nil, err
	}
	flagged.Variables = flagged.Key.Variables(a)
	flagged.Renewal = f.Renewal
	switch {
	case f.ConfigFile != "":
		setups, err = flagged.fromConfig(cmd.Context(), a, f.ConfigFile, f.name)
	case f.name != "":
		err = signer.WithHint(front.Usagef("--role %s requires --config", f.name), "name the file that contains the role: --config FILE; to give the ARN of a role, use --role-arn")
	default:
		setups, err = flagged.fromFlags(f.OnlyKey)
	}
	if err != nil {
		return nil, err
	}
	connection, err := f.Session.Connection(a)
	if err != nil {
		return nil, err
	}
	transport, err := connection.Transport()
	for i := range setups {
		setups[i].Config.Transport = transport
		setups[i].Key = setups[i].Key.Hiding(setups[i].Variables)
	}
	return setups, err
}

// fromFlags checks s and returns it as the only role. With onlyKey, it may have no
// ARN.
func (s Setup) fromFlags(onlyKey bool) ([]Setup, error) {
	if err := s.Key.Check(); err != nil {
		return nil, err
	}
	if c := s.Config; onlyKey && c.TrustAnchorARN == "" && c.ProfileARN == "" && c.RoleARN == "" {
		return []Setup{s}, nil
	}
	if err := s.Config.Check(); err != nil {
		return nil, err
	}
	if err := s.Chain.Check(s.Config); err != nil {
		return nil, err
	}
	_, s.Name = s.Chain.Role(s.Config)
	return []Setup{s}, nil
}

// fromConfig returns the roles of a configuration file, or only the role with
// this name if name is not empty. The settings of s override all of them. A PIN
// is not sent to the keys of several roles: one that is wrong uses up tries.
func (s Setup) fromConfig(ctx context.Context, a front.App, path, name string) (setups []Setup, err error) {
	tables, err := readTables(ctx, path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if dir == "/dev/fd" { // a process substitution of a shell
		dir = "."
	}
	seen := make(map[string]bool)
	for i, t := range tables {
		r, err := t.fill(s, a, dir)
		table := fmt.Sprintf("--config %s: role %d %q", path, i+1, t.Name)
		switch {
		case err != nil:
		case r.Name == "":
			err = errors.New("name is missing")
		case seen[r.Name]:
			err = errors.New("name is used twice")
		case !isRoleName(r.Name):
			err = errors.New("name is not 1 to 64 letters, digits or characters from _+=,.@-")
		case r.Key.IsZero():
			err = errors.New("neither certificate nor private_key is set")
		default:
			if _, err = r.Key.Options(a, r.Config.Logger); err == nil { // pin_source
				err = r.Config.Check()
			}
			if err == nil {
				err = r.Chain.Check(r.Config)
			}
			if err == nil {
				err = r.CheckRenewal(a)
			}
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", table, err)
			var ref *keystore.RefError
			if errors.As(err, &ref) {
				return nil, err // front has a hint for references
			}
			if signer.Hint(err) == "" { // otherwise it names the flag or the variable at fault
				err = signer.WithHint(err, "see docs/configuration.md for the keys of a role")
			}
			return nil, &front.UsageError{Err: err}
		}
		if s.Key.IsZero() && s.Key.Identity.Intermediates.IsZero() {
			r.table = table
		}
		seen[r.Name] = true
		s.Variables = r.Variables
		if name == "" || r.Name == name {
			setups = append(setups, r)
		}
	}
	switch {
	case len(setups) == 0:
		return nil, signer.WithHint(front.Usagef("--role %s: %s has no role with this name", name, path),
			"choose one of: "+strings.Join(slices.Sorted(maps.Keys(seen)), ", "))
	case len(setups) > 1 && s.Config.RoleARN != "":
		return nil, signer.WithHint(front.Usagef("--role-arn cannot apply to all %d roles of %s", len(setups), path),
			"leave it out, or choose one role with --role")
	case len(setups) > 1 && s.Chain.RoleARN != "":
		return nil, signer.WithHint(front.Usagef("--assume-role-arn cannot apply to all %d roles of %s", len(setups), path),
			"leave it out, or choose one role with --role")
	case len(setups) > 1 && s.Key.PINFlag() != "":
		return nil, signer.WithHint(front.Usagef("--%s cannot apply to the keys of all %d roles of %s", s.Key.PINFlag(), len(setups), path),
			"choose one role with --role, or set pin_source of each role in the file")
	}
	for i := range setups {
		setups[i].Variables = s.Variables // of all roles
	}
	return setups, nil
}
