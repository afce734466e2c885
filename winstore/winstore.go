package winstore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Location is whose stores are meant.
type Location string

// The locations. Those of the machine can mostly be read by every user, their
// keys only by administrators and services.
const (
	User    Location = "user"    // CurrentUser; the default
	Machine Location = "machine" // LocalMachine
)

// A Config names a key by its certificate, through Selector, or by itself,
// through Key. The zero value of any other field is its default. Open does not
// modify it. There is no PIN: Windows asks the user itself.
type Config struct {
	Location Location // "": User
	Store    string   // "": "MY", which Windows calls Personal

	// Selector says which certificate of the store is meant.
	Selector selector.Selector

	// Key is the name of a CNG key, which need not have a certificate. The
	// Selector must then be zero.
	Key string

	// Provider is where Key is: "tpm", "software", or the full name of a key
	// storage provider. "": "tpm". There is no falling back, so that nobody
	// believes a key in hardware that is not.
	Provider string

	// AllowUI lets Windows show dialogs, such as for the PIN of a smart card.
	// A service that has no desktop would wait for ever for an answer.
	AllowUI bool

	// Certificates are certificates from elsewhere, one of which may be the
	// key's: of several keys that match, the one with its public key is taken.
	// The chain is made of them if the store has no certificate of the key.
	Certificates []*x509.Certificate

	Ref    keystore.Ref     // the key's name in errors; zero: that of [Key.Ref]
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now; for Selector.UseLatestExpiring
}

const scheme = "winstore"

// ownAttributes are those of a reference that are not the Selector's.
var ownAttributes = []string{"location", "store", "ui", "key", "provider"}

// Backend opens "winstore:" references. It is safe for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return scheme }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string { return []string{scheme} }

// Open implements [keystore.Backend].
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	k, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Certificates implements [keystore.CertificateReader]: the certificate that
// the reference names and those of its issuers. The certificate needs no key.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	sys, err := newSystem()
	if err != nil {
		return nil, err
	}
	return certificates(ctx, sys, cfg)
}

// SetAttribute implements [keystore.AttributeSetter] for newest. A key by its
// own name is one already.
func (Backend) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if name != "newest" {
		return ref, errors.ErrUnsupported
	}
	return keystore.WithAttribute(ref, name, value, "key"), nil
}

// configFor turns a reference into a Config.
func configFor(ref keystore.Ref, call keystore.Call) (Config, error) {
	cfg, err := parseConfig(ref.Rest)
	if err != nil {
		return Config{}, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	cfg.Certificates, cfg.Ref, cfg.Logger = call.Certificates, ref, call.Logger
	return cfg, nil
}

func parseConfig(rest string) (cfg Config, err error) {
	s, own, err := selector.Parse(rest, ownAttributes...)
	if err != nil {
		return cfg, err
	}
	cfg = Config{Location: Location(own["location"]), Store: own["store"], Selector: s, Key: own["key"], Provider: own["provider"]}
	switch own["ui"] {
	case "":
	case "allow":
		cfg.AllowUI = true
	default:
		return cfg, errors.New(`attribute "ui" is not allow`)
	}
	return cfg, cfg.check()
}

func (c Config) check() error {
	switch {
	case c.Location != "" && c.Location != User && c.Location != Machine:
		return errors.New(`attribute "location" is neither user nor machine`)
	case c.Key != "" && c.Selector.String() != "":
		return errors.New(`attribute "key" names a key by itself and excludes those of its certificate`)
	case c.Provider != "" && c.Key == "":
		return errors.New(`attribute "provider" needs key=`)
	}
	for _, text := range []string{c.Store, c.Key, c.Provider} {
		if len(text) > maxName {
			return fmt.Errorf("has a name of more than %d bytes", maxName)
		}
		if strings.ContainsRune(text, 0) {
			return errors.New("has a name with a NUL")
		}
	}
	return nil
}

// maxName bounds the name of a store, a key or a provider, in bytes.
const maxName = 1024

func (c Config) location() Location {
	if c.Location == "" {
		return User
	}
	return c.Location
}

func (c Config) store() string {
	if c.Store == "" {
		return "MY"
	}
	return c.Store
}

// The key storage providers of Windows.
const (
	tpmProvider      = "Microsoft Platform Crypto Provider"
	softwareProvider = "Microsoft Software Key Storage Provider"
)

func (c Config) provider() string {
	switch c.Provider {
	case "", "tpm":
		return tpmProvider
	case "software":
		return softwareProvider
	}
	return c.Provider
}

// scope is the flag of machine-wide keys, or 0.
func (c Config) scope() uint32 {
	if c.location() == Machine {
		return machineKey
	}
	return 0
}

// silence is the flag that forbids dialogs, or 0.
func (c Config) silence() uint32 {
	if c.AllowUI {
		return 0
	}
	return silent
}

func (c Config) logger() *slog.Logger { return logging.OrDiscard(c.Logger) }

func (c Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// ref returns the reference of what attributes mean in the store of c.
func (c Config) ref(attributes string) keystore.Ref {
	parts := []string{"location=" + string(c.location())}
	if c.store() != "MY" {
		parts = append(parts, keystore.FormatAttribute("store", c.Store))
	}
	if c.Key != "" {
		parts = append(parts, keystore.FormatAttribute("key", c.Key))
	}
	if c.Provider != "" {
		parts = append(parts, keystore.FormatAttribute("provider", c.Provider))
	}
	parts = append(parts, attributes)
	if c.AllowUI {
		parts = append(parts, "ui=allow")
	}
	return keystore.Ref{Scheme: scheme, Rest: strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ";")}
}
