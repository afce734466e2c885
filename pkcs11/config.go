package pkcs11

import (
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
)

// A Config names a key on a token. The zero value of a field selects its
// default. Open does not modify the Config.
type Config struct {
	URI URI

	// Module is the path of the module's shared library. "" selects the
	// module-path or module-name of the URI, or else p11-kit's proxy.
	Module string

	// PIN is called when the token requires a login, and before each
	// signature if the key has CKA_ALWAYS_AUTHENTICATE. nil selects the
	// pin-value of the URI, or its pin-source if that is a file. PIN must
	// be safe for concurrent use.
	PIN keystore.PINFunc

	// MaxSessions limits the number of sessions for concurrent signatures.
	// 0 means 8. A token can have a lower limit; a card in a reader always
	// has one session.
	MaxSessions int

	// Certificates are certificates from outside the token. If several keys
	// match the URI, Open selects the key whose public key is in one of
	// these certificates. If the token does not provide the public key,
	// Open takes it from them. The chain can contain them.
	Certificates []*x509.Certificate

	Ref    keystore.Ref // name of the key in prompts and errors; zero: the URI without its PIN
	Logger *slog.Logger // nil: no log

	Now func() time.Time // decides which certificates are valid; nil: time.Now

	permit      func(keystore.Prompt) error // see keystore.Options
	environ     []string                    // of the helper; nil: that of this process
	longRunning bool                        // see keystore.Options
}

func (c Config) now() time.Time { return keystore.Options{Now: c.Now}.Time() }

// name returns the name of the key for prompts and errors.
func (c Config) name() keystore.Ref {
	if !c.Ref.IsZero() {
		return c.Ref
	}
	bare := c.URI
	bare.PINValue, bare.PINSource = "", ""
	return bare.ref()
}
