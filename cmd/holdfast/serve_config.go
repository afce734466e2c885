package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// A roleTable is a [[role]] of the configuration. What it leaves out is as the
// flags say.
type roleTable struct {
	Name            string `toml:"name"`
	Certificate     string `toml:"certificate"`
	PrivateKey      string `toml:"private_key"`
	Intermediates   string `toml:"intermediates"`
	PINSource       string `toml:"pin_source"`
	TrustAnchorARN  string `toml:"trust_anchor_arn"`
	ProfileARN      string `toml:"profile_arn"`
	RoleARN         string `toml:"role_arn"`
	Region          string `toml:"region"`
	Endpoint        string `toml:"endpoint"`
	SessionDuration int    `toml:"session_duration"` // seconds
	RoleSessionName string `toml:"role_session_name"`
	Port            int    `toml:"port"`
}

// maxServeConfig bounds a configuration, in bytes; the decoder takes a KiB of
// memory for each array in an array.
const maxServeConfig = 64 << 10

// readRoles reads a configuration. Relative paths in it are relative to its
// folder.
func readRoles(path string) ([]roleTable, error) {
	data, err := keystore.ReadFile(path, maxServeConfig)
	if err != nil {
		return nil, fmt.Errorf("--config %s: %w", path, err)
	}
	var doc struct {
		Roles []roleTable `toml:"role"`
	}
	meta, err := toml.Decode(string(data), &doc)
	if err != nil {
		return nil, usagef("--config %s: %w", path, err)
	}
	if keys := meta.Undecoded(); len(keys) > 0 {
		return nil, signer.WithHint(usagef("--config %s: unknown key %s", path, keys[0]), "see docs/serve.md for the keys")
	}
	if len(doc.Roles) == 0 {
		return nil, signer.WithHint(usagef("--config %s: no [[role]]", path), "see docs/serve.md for an example")
	}
	store := all.New()
	for i := range doc.Roles {
		r := &doc.Roles[i]
		for _, text := range []*string{&r.Certificate, &r.PrivateKey, &r.Intermediates, &r.PINSource} {
			ref, err := keystore.ParseRef(*text)
			if err != nil || *text == "prompt" {
				continue // not given, or refused when it is opened
			}
			if rebased := store.Rebase(ref, filepath.Dir(path)); rebased != ref {
				*text = rebased.String()
			}
		}
	}
	return doc.Roles, nil
}

// over lays a table over what the flags say. A role with a key or certificate
// of its own takes neither from the flags.
func (t roleTable) over(r roleSetup) (roleSetup, error) {
	if t.Certificate != "" || t.PrivateKey != "" {
		r.id.identity = identityTexts{}
		r.id.pinSource, r.id.password, r.id.tpmPassword, r.id.noTPMPassword = "", "", "", false
	}
	c := &r.session.config
	for _, f := range []struct {
		dst *string
		v   string
	}{
		{&r.name, t.Name},
		{&r.id.identity.Certificate, t.Certificate},
		{&r.id.identity.Key, t.PrivateKey},
		{&r.id.identity.Intermediates, t.Intermediates},
		{&r.id.pinSource, t.PINSource},
		{&c.TrustAnchorARN, t.TrustAnchorARN},
		{&c.ProfileARN, t.ProfileARN},
		{&c.RoleARN, t.RoleARN},
		{&c.Region, t.Region},
		{&c.Endpoint, t.Endpoint},
		{&c.SessionName, t.RoleSessionName},
	} {
		overlay(f.dst, f.v)
	}
	if t.SessionDuration < 0 || t.SessionDuration > int(rolesanywhere.MaxDuration/time.Second) {
		return r, fmt.Errorf("session_duration %d is not from %d to %d seconds",
			t.SessionDuration, rolesanywhere.MinDuration/time.Second, rolesanywhere.MaxDuration/time.Second)
	}
	if t.Port < 0 || t.Port > 65535 {
		return r, fmt.Errorf("port %d is not from 1 to 65535", t.Port)
	}
	r.port = t.Port
	overlay(&c.Duration, time.Duration(t.SessionDuration)*time.Second)
	return r, nil
}

// setups returns the roles that flags and, if there is one, the configuration
// name, and checks what needs nothing but the text.
func setups(cmd *cobra.Command, flags roleSetup, configFile string) ([]roleSetup, error) {
	if configFile == "" {
		if err := flags.id.check(cmd); err != nil {
			return nil, err
		}
		if err := flags.session.config.Check(); err != nil {
			return nil, err
		}
		flags.name = flags.session.config.RoleARN[strings.LastIndexByte(flags.session.config.RoleARN, '/')+1:]
		return []roleSetup{flags}, nil
	}
	if err := flags.id.checkPairs(cmd); err != nil {
		return nil, err
	}
	tables, err := readRoles(configFile)
	if err != nil {
		return nil, err
	}
	var all []roleSetup
	seen := make(map[string]bool)
	for i, t := range tables {
		r, err := t.over(flags)
		switch {
		case err != nil:
		case r.name == "":
			err = errors.New("has no name")
		case seen[r.name]:
			err = errors.New("is there twice")
		case !isRoleName(r.name):
			err = errors.New("its name is not 1 to 64 letters, digits or any of _+=,.@-")
		case r.id.identity.Key == "" && r.id.identity.Certificate == "":
			err = errors.New("has neither certificate nor private_key")
		default:
			err = r.session.config.Check()
		}
		if err != nil {
			err = &usageError{fmt.Errorf("--config %s: role %d %q: %w", configFile, i+1, t.Name, err)}
			return nil, signer.WithHint(err, "see docs/serve.md for the keys of a role")
		}
		seen[r.name] = true
		all = append(all, r)
	}
	return all, nil
}

// isRoleName follows the names of IAM roles, which are parts of a path as they
// stand.
func isRoleName(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte("_+=,.@-", c) < 0 {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64 && s != "." && s != ".."
}
