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

// A Location is a system store location: the current user or the local machine.
type Location string

// The locations. Usually every user can read the stores of the machine, but only
// administrators and services can use machine keys.
const (
	User    Location = "user"    // CurrentUser; the default
	Machine Location = "machine" // LocalMachine
)

// A Config names a key by its certificate, with Selector, or by its own name,
// with Key. The zero value of any other field is its default. Open does not
// modify it. There is no PIN: Windows itself asks the user.
type Config struct {
	Location Location // "": User
	Store    string   // "": "MY", which Windows displays as Personal

	// Selector selects a certificate in the store.
	Selector selector.Selector

	// Key is the name of a CNG key, with or without a certificate. If Key is
	// set, Selector must be zero.
	Key string

	// Provider is the key storage provider of Key: "tpm", "software" or its
	// full name. "": "tpm". Holdfast does not fall back to another provider,
	// so that a software key is never mistaken for a TPM key.
	Provider string

	// AllowUI lets Windows show dialogs, for example for the PIN of a smart
	// card. A service without a desktop would wait forever for an answer.
	AllowUI bool

	// Certificates are candidates for the certificate of the key, in
	// addition to those in the store. If several keys match, Open selects
	// the key that belongs to one of them. If the store has no certificate
	// for Key, Open builds the chain from them.
	Certificates []*x509.Certificate

	Ref    keystore.Ref     // the key's name in errors; zero: the result of [Key.Ref]
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // decides which certificates are valid; nil: time.Now
}

const scheme = "winstore"

// backendAttributes are the attributes of a reference in addition to those of
// the Selector.
var backendAttributes = []string{"location", "store", "ui", "key", "provider"}

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

// Certificates implements [keystore.CertificateReader]. It returns the
// certificate that the reference names and its issuers. The certificate need not
// have a private key.
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

// SetAttribute implements [keystore.AttributeSetter] for newest. It returns a
// reference with the attribute key unchanged, because it names a single key.
func (Backend) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if name != "newest" {
		return ref, errors.ErrUnsupported
	}
	return keystore.WithAttribute(ref, name, value, "key"), nil
}

// configFor returns the Config of a reference.
func configFor(ref keystore.Ref, call keystore.Call) (Config, error) {
	cfg, err := parseConfig(ref.Rest)
	if err != nil {
		return Config{}, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	cfg.Certificates, cfg.Ref, cfg.Logger, cfg.Now = call.Certificates, ref, call.Logger, call.Now
	return cfg, nil
}

func parseConfig(rest string) (cfg Config, err error) {
	s, own, err := selector.Parse(rest, backendAttributes...)
	if err != nil {
		return cfg, err
	}
	cfg = Config{Location: Location(own["location"]), Store: own["store"], Selector: s, Key: own["key"], Provider: own["provider"]}
	switch own["ui"] {
	case "":
	case "allow":
		cfg.AllowUI = true
	default:
		return cfg, errors.New(`attribute "ui" must be "allow"`)
	}
	return cfg, cfg.check()
}

func (c Config) check() error {
	switch {
	case c.Location != "" && c.Location != User && c.Location != Machine:
		return errors.New(`attribute "location" must be "user" or "machine"`)
	case c.Key != "" && c.Selector.String() != "":
		return errors.New(`attribute "key" excludes attributes that select a certificate`)
	case c.Provider != "" && c.Key == "":
		return errors.New(`attribute "provider" requires attribute "key"`)
	}
	for _, text := range []string{c.Store, c.Key, c.Provider} {
		if len(text) > maxName {
			return fmt.Errorf("the name of the store, key or provider is longer than %d bytes", maxName)
		}
		if strings.ContainsRune(text, 0) {
			return errors.New("the name of the store, key or provider contains a NUL character")
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

// machineFlag returns machineKey for the keys of the machine, or 0.
func (c Config) machineFlag() uint32 {
	if c.location() == Machine {
		return machineKey
	}
	return 0
}

// silentFlag returns silent if Windows may not show dialogs, or 0.
func (c Config) silentFlag() uint32 {
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

// ref returns a reference with the location, store and key of c and more
// attributes.
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
