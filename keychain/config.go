package keychain

import (
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
)

const scheme = "keychain"

// A Config names an identity: a certificate with its private key. The identity
// must match Label, Token and Selector if they are set. The zero value of any
// other field is its default. Open does not modify it. There is no PIN: macOS
// itself asks the user.
type Config struct {
	Label    string // the name in Keychain Access; case-sensitive
	Token    string // the ID of the token, such as com.apple.ctkcard:user
	Selector selector.Selector

	// Certificates are candidates for the certificate of the key. If several
	// identities match, Open selects the one whose key belongs to one of
	// them.
	Certificates []*x509.Certificate

	Ref    keystore.Ref     // the key's name in errors; zero: the result of [Key.Ref]
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // decides which certificates are valid; nil: time.Now
}

// configFor returns the Config of a reference.
func configFor(ref keystore.Ref, call keystore.Call) (Config, error) {
	s, own, err := selector.Parse(ref.Rest, "label", "token")
	if err != nil {
		return Config{}, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	return Config{
		Label:        own["label"],
		Token:        own["token"],
		Selector:     s,
		Certificates: call.Certificates,
		Ref:          ref,
		Logger:       call.Logger,
		Now:          call.Now,
	}, nil
}

// reference returns the reference to an identity.
func reference(label, token string, s selector.Selector) keystore.Ref {
	rest := ""
	add := func(part string) {
		if rest != "" {
			rest += ";"
		}
		rest += part
	}
	if label != "" {
		add(keystore.FormatAttribute("label", label))
	}
	if token != "" {
		add(keystore.FormatAttribute("token", token))
	}
	if text := s.String(); text != "" {
		add(text)
	}
	return keystore.Ref{Scheme: scheme, Rest: rest}
}

func (c Config) logger() *slog.Logger { return logging.OrDiscard(c.Logger) }

func (c Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
