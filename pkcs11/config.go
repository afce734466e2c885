package pkcs11

import (
	"crypto/x509"
	"log/slog"

	"github.com/holdfast-dev/holdfast/keystore"
)

// A Config names a key on a token. The zero value of each field is its default.
// Open does not modify it.
type Config struct {
	URI URI

	// Module is the path of the shared library; "" takes the URI's
	// module-path or module-name, or else p11-kit's proxy.
	Module string

	// PIN is asked when the token wants a login, and before each signature
	// if the key always authenticates. nil: the URI's pin-value, or its
	// pin-source if that is a file. It may be called from several goroutines.
	PIN keystore.PINFunc

	// MaxSessions bounds the sessions for concurrent signatures; 0: 8. The
	// token's own limit holds in any case, and a card in a reader gets one.
	MaxSessions int

	// Certificates are certificates from elsewhere, one of which may be the
	// key's: of several keys that match, the one with its public key is
	// taken, and if the token does not show the public key, it is taken from
	// there. The chain is made of them too.
	Certificates []*x509.Certificate

	Ref    keystore.Ref // the key's name in prompts and errors; zero: the URI without its PIN
	Logger *slog.Logger // nil: discard
}

// name is the key's name in prompts and errors.
func (c Config) name() keystore.Ref {
	if !c.Ref.IsZero() {
		return c.Ref
	}
	bare := c.URI
	bare.PINValue, bare.PINSource = "", ""
	return bare.ref()
}
