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

// A Config names an identity: a certificate and its private key. A name
// that is set must be true of the identity; the zero value of any other field is
// its default. Open does not modify it. There is no PIN: macOS asks the user
// itself.
type Config struct {
	Label    string // its name, as Keychain Access shows it; in the same case
	Token    string // the ID of the token that it is in, such as com.apple.ctkcard:user
	Selector selector.Selector

	// Certificates are certificates from elsewhere, one of which may be the
	// key's: of several identities that match, the one with its public key is
	// taken.
	Certificates []*x509.Certificate

	Ref    keystore.Ref     // the key's name in errors; zero: that of [Key.Ref]
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now; for Selector.UseLatestExpiring
}

// configFor turns a reference into a Config.
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
	}, nil
}

// reference names an identity so that it is found again.
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
