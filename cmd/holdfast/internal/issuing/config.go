package issuing

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/boundedtoml"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// configFile is the name of the settings in the folder of a CA.
const configFile = "ca.toml"

// A config is the settings of a CA. Flags override them.
type config struct {
	PrivateKey   string                  `toml:"private_key,omitempty"`
	PINSource    string                  `toml:"pin_source,omitempty"`
	CRLURLs      []string                `toml:"crl_distribution_points,omitempty"`
	CRLLifetime  string                  `toml:"crl_lifetime,omitempty"`
	AttestedOnly bool                    `toml:"attested_only,omitempty"`
	Profiles     map[string]profileTable `toml:"profile,omitempty"`
	Allow        []allowance             `toml:"allow,omitempty"`

	profiles    []pki.Profile
	crlLifetime time.Duration
}

// A profileTable is a [profile.NAME]: what differs from the profile base.
type profileTable struct {
	Base          string   `toml:"base"`
	Lifetime      string   `toml:"lifetime"`
	KeyUsage      []string `toml:"key_usage"`
	ExtKeyUsage   []string `toml:"ext_key_usage"`
	PathLength    *int     `toml:"path_length"`
	RolesAnywhere *bool    `toml:"roles_anywhere"`
}

// An allowance is an [[allow]]: the names that one key gets, or that anybody
// gets who asks for its subject.
type allowance struct {
	Key     string   `toml:"key"`     // SHA-256 of the SubjectPublicKeyInfo, in hexadecimal
	AnyKey  bool     `toml:"any_key"` // instead of key
	Subject string   `toml:"subject"`
	DNS     []string `toml:"dns"`
	URIs    []string `toml:"uri"`
	IPs     []string `toml:"ip"`
	Emails  []string `toml:"email"`
	Profile string   `toml:"profile"` // "": client

	names pki.Names
}

// maxConfig limits the size of the file, in bytes: some thousand allowances.
const maxConfig = 1 << 20

// defaultCRLLifetime is the time until the next revocation list.
const defaultCRLLifetime = 7 * 24 * time.Hour

// readConfig reads the settings in path. Without a path they are those in the
// folder, which may have none.
func readConfig(ctx context.Context, dir, path string) (c config, err error) {
	optional := path == ""
	if optional {
		path = filepath.Join(dir, configFile)
	}
	c.crlLifetime, c.profiles = defaultCRLLifetime, pki.Profiles()
	data, err := keystore.ReadFile(path, maxConfig)
	switch {
	case optional && errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return c, fmt.Errorf("%s: %w", path, err)
	}
	parsed, unknown, err := boundedtoml.Decode[config](ctx, string(data))
	if err == nil && len(unknown) > 0 {
		err = unknownKey(unknown[0])
	}
	if err == nil {
		parsed.crlLifetime, parsed.profiles = c.crlLifetime, c.profiles
		err = parsed.check()
	}
	if err != nil {
		err = front.Usagef("%s: %w", path, err)
		if signer.Hint(err) == "" {
			err = signer.WithHint(err, "docs/ca.md describes the file")
		}
		return c, err
	}
	return parsed, nil
}

// topKeys are the keys that are in no section. One that was appended to the file
// belongs to its last section.
var topKeys = []string{"private_key", "pin_source", "crl_distribution_points", "crl_lifetime", "attested_only"}

func unknownKey(key toml.Key) error {
	err := fmt.Errorf("unknown key %s", keystore.Excerpt(key.String()))
	if last := key[len(key)-1]; len(key) > 1 && slices.Contains(topKeys, last) {
		return signer.WithHint(err, last+" must be above the first [section]")
	}
	return signer.WithHint(err, "docs/ca.md lists the keys")
}

// check converts the texts of the file to values.
func (c *config) check() (err error) {
	if c.CRLLifetime != "" {
		if c.crlLifetime, err = front.ParseLifetime("crl_lifetime", c.CRLLifetime); err != nil {
			return err
		}
	}
	if err := checkURLs(c.CRLURLs); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		p, err := c.Profiles[name].profile(name)
		if err != nil {
			return fmt.Errorf("profile %q: %w", keystore.Excerpt(name), err)
		}
		c.profiles = append(slices.DeleteFunc(c.profiles, func(p pki.Profile) bool { return p.Name == name }), p)
	}
	for i := range c.Allow {
		if err := c.Allow[i].check(c.profiles); err != nil {
			return fmt.Errorf("[[allow]] number %d: %w", i+1, err)
		}
		if j := slices.IndexFunc(c.Allow[:i], c.Allow[i].sameRequests); j >= 0 {
			return signer.WithHint(fmt.Errorf("[[allow]] numbers %d and %d are for the same requests", j+1, i+1), "remove one of them")
		}
	}
	return nil
}

// checkURLs checks the places of a revocation list.
func checkURLs(urls []string) error {
	for _, u := range urls {
		if !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") || strings.ContainsFunc(u, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return signer.WithHint(fmt.Errorf("the CRL distribution point %q is not a URL with http or https", keystore.Excerpt(u)), "name the place of the list, such as http://ca.example.com/ca.crl")
		}
	}
	return nil
}

func (t profileTable) profile(name string) (p pki.Profile, err error) {
	base := t.Base
	if base == "" {
		base = pki.Client.Name
	}
	if p, err = findProfile(pki.Profiles(), base); err != nil {
		return p, err
	}
	p.Name = name
	if t.Lifetime != "" {
		if p.Lifetime, err = front.ParseLifetime("lifetime", t.Lifetime); err != nil {
			return p, err
		}
	}
	if t.KeyUsage != nil {
		p.KeyUsage = 0
	}
	for _, text := range t.KeyUsage {
		u, err := lookUp(pki.KeyUsages(), "key usage", text)
		if err != nil {
			return p, err
		}
		p.KeyUsage |= u
	}
	if t.ExtKeyUsage != nil {
		p.ExtKeyUsage = []x509.ExtKeyUsage{}
	}
	for _, text := range t.ExtKeyUsage {
		u, err := lookUp(pki.ExtKeyUsages(), "extended key usage", text)
		if err != nil {
			return p, err
		}
		p.ExtKeyUsage = append(p.ExtKeyUsage, u)
	}
	switch {
	case t.PathLength != nil && !p.IsCA:
		return p, errors.New("only a CA has a path_length; use base = \"intermediate\"")
	case t.PathLength != nil && *t.PathLength < 0:
		return p, errors.New("path_length is negative")
	case t.PathLength != nil:
		p.PathLength = *t.PathLength
	}
	if t.RolesAnywhere != nil {
		p.RolesAnywhere = *t.RolesAnywhere
	}
	return p, p.Check()
}

func lookUp[T any](table map[string]T, what, text string) (T, error) {
	v, ok := table[text]
	if !ok {
		return v, fmt.Errorf("%s %q is not one of %s", what, keystore.Excerpt(text), strings.Join(slices.Sorted(maps.Keys(table)), ", "))
	}
	return v, nil
}

func findProfile(profiles []pki.Profile, name string) (pki.Profile, error) {
	var names []string
	for _, p := range profiles {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return pki.Profile{}, fmt.Errorf("profile %q is not one of %s", keystore.Excerpt(name), strings.Join(names, ", "))
}

// sameRequests reports whether both entries are for the same requests.
func (w allowance) sameRequests(other allowance) bool {
	return w.Key == other.Key && w.AnyKey == other.AnyKey && (!w.AnyKey || w.names.SubjectText() == other.names.SubjectText())
}

func (w *allowance) check(profiles []pki.Profile) (err error) {
	w.Key = strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(w.Key, "sha256:"), ":", ""))
	switch sum, decodeErr := hex.DecodeString(w.Key); {
	case w.AnyKey && w.Key != "":
		return signer.WithHint(errors.New("has both key and any_key"), "remove one of them")
	case !w.AnyKey && w.Key == "":
		return signer.WithHint(errors.New("has neither key nor any_key"), "key is the SHA-256 hash that holdfast csr prints; any_key = true accepts every key")
	case !w.AnyKey && (decodeErr != nil || len(sum) != 32):
		return signer.WithHint(errors.New("key is not a SHA-256 hash of a public key in hexadecimal"), "holdfast csr prints it; any_key = true accepts every key")
	case w.Subject == "":
		return errors.New("has no subject")
	}
	if w.Profile == "" {
		w.Profile = pki.Client.Name
	}
	if _, err := findProfile(profiles, w.Profile); err != nil {
		return err
	}
	w.names, err = nameFlags{w.Subject, w.DNS, w.URIs, w.IPs, w.Emails}.names()
	return err
}

// allowed returns the allowance for a request: that of its key, or one for any
// key with the subject of the request.
func (c config) allowed(request *x509.CertificateRequest) (w allowance, err error) {
	hash, err := keyHash(request.PublicKey)
	if err != nil {
		return w, err
	}
	subject := pki.NamesOfRequest(request).SubjectText()
	for _, matches := range []func(allowance) bool{
		func(w allowance) bool { return w.Key == hash },
		func(w allowance) bool { return w.AnyKey && w.names.SubjectText() == subject },
	} {
		if i := slices.IndexFunc(c.Allow, matches); i >= 0 { // check refuses a second one
			return c.Allow[i], nil
		}
	}
	return w, signer.WithHint(fmt.Errorf("no [[allow]] entry matches the request: none has its key %s, and none with any_key = true has its subject %q", hash, keystore.Excerpt(subject)),
		"add an [[allow]] entry for the key, or give the names with --subject")
}

// key returns the key of the CA in the file. It may be empty.
func (c config) key(a front.App, dir string) (k flags.Key, err error) {
	if k, err = (&flags.Device{PINSource: c.PINSource}).Key(c.PrivateKey); err != nil {
		return k, err
	}
	k.Identity.Key = a.Store.Rebase(k.Identity.Key, dir)
	k.PINSource.Ref = a.Store.Rebase(k.PINSource.Ref, dir)
	return k, nil
}
