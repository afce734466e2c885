package role

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Flags are those of a command that keeps roles.
type Flags struct {
	identity flags.Identity
	Session  flags.Session
}

// Add adds the flags to a command.
func (f *Flags) Add(cmd *cobra.Command) {
	f.identity.Add(cmd)
	f.Session.Add(cmd)
}

// Setup returns the role that the flags name. It checks first what costs
// nothing, so that a person is not asked for a PIN in vain.
func (f *Flags) Setup(cmd *cobra.Command, a front.App) (Setup, error) {
	setups, err := f.Setups(cmd, a, "")
	if err != nil {
		return Setup{}, err
	}
	return setups[0], nil
}

// Setups returns the roles of a configuration file, in which the flags fill
// what it leaves out; without a file, the one that the flags name.
func (f *Flags) Setups(cmd *cobra.Command, a front.App, configFile string) (setups []Setup, err error) {
	var flagged Setup
	if flagged.Config, err = f.Session.Config(cmd, a); err != nil {
		return nil, err
	}
	if flagged.Key, err = f.identity.Key(cmd); err != nil {
		return nil, err
	}
	if configFile == "" {
		setups, err = flagged.alone()
	} else {
		setups, err = flagged.read(a, configFile)
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
	}
	return setups, err
}

// alone returns a role without a configuration.
func (s Setup) alone() ([]Setup, error) {
	if err := s.Key.Check(); err != nil {
		return nil, err
	}
	if err := s.Config.Check(); err != nil {
		return nil, err
	}
	s.Name = s.Config.RoleName()
	return []Setup{s}, nil
}

// read returns the roles of a configuration over what the flags say.
func (s Setup) read(a front.App, path string) (setups []Setup, err error) {
	tables, err := readTables(path)
	if err != nil {
		return nil, err
	}
	store, dir := a.Store, filepath.Dir(path)
	seen := make(map[string]bool)
	for i, t := range tables {
		r, err := t.over(s, store, dir)
		switch {
		case err != nil:
		case r.Name == "":
			err = errors.New("has no name")
		case seen[r.Name]:
			err = errors.New("is there twice")
		case !isRoleName(r.Name):
			err = errors.New("its name is not 1 to 64 letters, digits or any of _+=,.@-")
		case r.Key.IsZero():
			err = errors.New("has neither certificate nor private_key")
		default:
			err = r.Config.Check()
		}
		if err != nil {
			var ref *keystore.RefError
			isRef := errors.As(err, &ref)
			err = &front.UsageError{Err: fmt.Errorf("--config %s: role %d %q: %w", path, i+1, t.Name, err)}
			if !isRef { // what is wrong with a reference has a hint of its own
				err = signer.WithHint(err, "see docs/serve.md for the keys of a role")
			}
			return nil, err
		}
		seen[r.Name] = true
		setups = append(setups, r)
	}
	return setups, nil
}
