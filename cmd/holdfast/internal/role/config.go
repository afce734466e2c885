package role

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/boundedtoml"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume"
	"github.com/holdfast-dev/holdfast/signer"
)

// A table is a [[role]] of the configuration file. Flags and environment
// variables override it.
type table struct {
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

	Assume *assumeTable   `toml:"assume"`
	Renew  *flags.Renewal `toml:"renew"`
}

// An assumeTable is the [role.assume] of a role.
type assumeTable struct {
	RoleARN           string            `toml:"role_arn"`
	RoleSessionName   string            `toml:"role_session_name"`
	SessionDuration   int               `toml:"session_duration"` // seconds
	ExternalID        string            `toml:"external_id"`
	Tags              map[string]string `toml:"tags"`
	TransitiveTagKeys []string          `toml:"transitive_tag_keys"`
	Endpoint          string            `toml:"endpoint"`
}

// chain returns the settings of the table. A nil table has none.
func (t *assumeTable) chain() (flags.Chain, error) {
	if t == nil {
		return flags.Chain{}, nil
	}
	if t.SessionDuration != 0 {
		if err := flags.CheckChainSeconds(t.SessionDuration); err != nil {
			return flags.Chain{}, fmt.Errorf("assume.session_duration %w", err)
		}
	}
	return flags.Chain{Config: assume.Config{
		RoleARN: t.RoleARN, SessionName: t.RoleSessionName, Duration: time.Duration(t.SessionDuration) * time.Second,
		ExternalID: t.ExternalID, Tags: t.Tags, TransitiveTagKeys: t.TransitiveTagKeys, Endpoint: t.Endpoint,
	}}, nil
}

// maxConfig limits the size of a configuration file, in bytes. The decoder
// needs 1 KiB of memory for each nested array.
const maxConfig = 64 << 10

// keyName returns a key for messages. Its parts are texts from a user, who may have
// put anything there.
func keyName(key toml.Key) string {
	parts := make(toml.Key, len(key))
	for i, part := range key {
		parts[i] = keystore.Excerpt(part)
	}
	return parts.String()
}

// headers are those of the tables of the file.
var headers = []string{"[[role]]", "[role.assume]", "[role.renew]"}

// typeOf returns the type of the table with a header, or nil if there is no such table.
func typeOf(header string) reflect.Type {
	switch header {
	case headers[0]:
		return reflect.TypeFor[table]()
	case headers[1]:
		return reflect.TypeFor[assumeTable]()
	case headers[2]:
		return reflect.TypeFor[flags.Renewal]()
	}
	return nil
}

// keysOf returns the keys of the table with a header.
func keysOf(header string) (keys []string) {
	for _, field := range reflect.VisibleFields(typeOf(header)) {
		if field.IsExported() {
			keys = append(keys, field.Tag.Get("toml"))
		}
	}
	return keys
}

// meantKey returns the key or the table that an unknown key may stand for, or "".
func meantKey(unknown toml.Key) string {
	last := unknown[len(unknown)-1]
	header := "[[role]]"
	switch {
	case len(unknown) == 1 && typeOf("[role."+last+"]") != nil:
		return "[role." + last + "], below its [[role]]"
	case len(unknown) == 1 && front.Similar(last, "role") != "":
		return "[[role]]"
	case len(unknown) > 2:
		header = "[role." + unknown[1] + "]"
	}
	if typeOf(header) == nil {
		return ""
	}
	keys := keysOf(header)
	if i := slices.IndexFunc(keys, func(key string) bool { return strings.HasSuffix(key, "_"+last) }); i >= 0 {
		return keys[i]
	}
	for _, h := range headers {
		if slices.Contains(keysOf(h), last) {
			return last + " below " + h
		}
	}
	return front.Similar(last, keys...)
}

// readTables reads a configuration file, at most until ctx ends.
func readTables(ctx context.Context, path string) ([]table, error) {
	data, err := keystore.ReadFile(path, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("--config %s: %w", path, err)
	}
	type document struct {
		Roles []table `toml:"role"`
	}
	doc, keys, err := boundedtoml.Decode[document](ctx, string(data))
	if err != nil {
		return nil, signer.WithHint(front.Usagef("--config %s: %w", path, err), hintOfNamed(ctx, string(data)))
	}
	if len(keys) > 0 {
		hint := "docs/configuration.md lists the keys"
		if meant := meantKey(keys[0]); meant != "" {
			hint = "did you mean " + meant + "? " + hint
		}
		return nil, signer.WithHint(front.Usagef("--config %s: unknown key %s", path, keyName(keys[0])), hint)
	}
	if len(doc.Roles) == 0 {
		return nil, signer.WithHint(front.Usagef("--config %s: no [[role]] table", path), "see docs/serve.md for an example")
	}
	return doc.Roles, nil
}

// hintOfNamed returns the hint for a file with a table such as [role.app], or "".
func hintOfNamed(ctx context.Context, text string) string {
	type document struct {
		Roles map[string]any `toml:"role"`
	}
	doc, _, err := boundedtoml.Decode[document](ctx, text)
	if err != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Roles)) {
		if _, isTable := doc.Roles[name].(map[string]any); isTable && typeOf("[role."+name+"]") == nil {
			return fmt.Sprintf("instead of [role.%s], write [[role]] and name = %q", keyName(toml.Key{name}), keystore.Excerpt(name))
		}
	}
	return ""
}

// fill returns s, which has the settings from flags and environment, with the
// missing settings from the table. [flags.Key.OrElse] has the rule for keys.
// Relative paths are relative to dir. It adds the variables of the table to those of s.
func (t table) fill(s Setup, a front.App, dir string) (Setup, error) {
	key, err := t.key(a.Store, dir)
	if err != nil {
		return s, err
	}
	shortest, longest := int(rolesanywhere.MinDuration/time.Second), int(rolesanywhere.MaxDuration/time.Second)
	if t.SessionDuration != 0 && (t.SessionDuration < shortest || t.SessionDuration > longest) {
		return s, fmt.Errorf("session_duration %d is not between %d and %d seconds", t.SessionDuration, shortest, longest)
	}
	if t.Port < 0 || t.Port > 65535 {
		return s, fmt.Errorf("port %d is not between 1 and 65535", t.Port)
	}
	chain, err := t.Assume.chain()
	if err != nil {
		return s, err
	}
	chain = s.Chain.OrElse(chain)
	if t.Assume != nil && chain.RoleARN == "" {
		return s, signer.WithHint(errors.New("[role.assume] has no role_arn"), `add the ARN of the second role: role_arn = "arn:aws:iam::ACCOUNT:role/NAME"`)
	}
	if t.Renew != nil {
		s.Renewal = s.Renewal.OrElse(t.Renew.Rebase(dir))
		if s.Renewal.Way == "" {
			return s, signer.WithHint(errors.New("[role.renew] has no way"), `add the way of getting the certificate, such as way = "command"`)
		}
	}
	s.Name, s.Port, s.Key, s.Chain = t.Name, t.Port, s.Key.OrElse(key), chain
	s.Variables = slices.Concat(s.Variables, key.Variables(a))
	c := &s.Config
	c.Duration = cmp.Or(c.Duration, time.Duration(t.SessionDuration)*time.Second)
	for _, f := range []struct {
		dst   *string
		value string
	}{
		{&c.TrustAnchorARN, t.TrustAnchorARN},
		{&c.ProfileARN, t.ProfileARN},
		{&c.RoleARN, t.RoleARN},
		{&c.Region, t.Region},
		{&c.Endpoint, t.Endpoint},
		{&c.SessionName, t.RoleSessionName},
	} {
		*f.dst = cmp.Or(*f.dst, f.value)
	}
	return s, nil
}

// key returns the key of the table. It may be empty.
func (t table) key(store *keystore.Store, dir string) (k flags.Key, err error) {
	for _, f := range []struct {
		dst  *keystore.Ref
		text string
	}{
		{&k.Identity.Certificate, t.Certificate},
		{&k.Identity.Key, t.PrivateKey},
		{&k.Identity.Intermediates, t.Intermediates},
	} {
		if f.text == "" {
			continue
		}
		ref, err := keystore.ParseRef(f.text)
		if err != nil {
			return k, err
		}
		*f.dst = store.Rebase(ref, dir)
	}
	if k.PINSource, err = flags.ParsePINSource(t.PINSource); err == nil {
		k.PINSource.Ref = store.Rebase(k.PINSource.Ref, dir)
	}
	return k, err
}

// isRoleName reports whether s is a valid name of an IAM role. Such a name is
// also a valid part of a URL path without escapes.
func isRoleName(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte("_+=,.@-", c) < 0 {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64 && s != "." && s != ".."
}
