package renew

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// A Way obtains certificates from a CA. Its methods are called by one goroutine
// at a time.
type Way interface {
	// Renew returns the new certificate and those of its issuers, in any
	// order. The caller checks them. A Renew that was interrupted is called
	// again with the same request, perhaps by another process.
	//
	// The error wraps [ErrRejected] if the CA will not issue the certificate,
	// [ErrUnreachable] if it could not be asked, or is a [*WaitError].
	Renew(ctx context.Context, r Request) ([]*x509.Certificate, error)
}

// An Enroller is a [Way] that also obtains a first certificate.
type Enroller interface {
	// Enroll returns the certificate for a certificate request in DER, and
	// those of its issuers. The token is a secret. The errors are those of
	// [Way].
	Enroll(ctx context.Context, csr []byte, token string) ([]*x509.Certificate, error)
}

// A Request is what a [Way] asks for.
type Request struct {
	// Old is the certificate in use with its key, by which the renewal is
	// authenticated. It can have expired. It is borrowed.
	Old signer.Signer

	// CSR is the certificate request in DER, with the names of the old
	// certificate, signed by the key of the new one. It is the same for all
	// tries of one renewal.
	CSR []byte

	// Token is unique for the renewal and the same for all of its tries: 32
	// lower-case hexadecimal digits.
	Token string

	Attempt int // from 1
}

// Expired reports whether the certificate in use has expired at the time now. A CA
// that refuses to renew it can have this reason; see [HintExpired].
func (r Request) Expired(now time.Time) bool {
	if r.Old == nil {
		return false
	}
	chain := r.Old.Chain()
	return len(chain) > 0 && now.After(chain[0].NotAfter)
}

// HintExpired is the hint for an expired certificate that a CA of Holdfast, or one
// behind a program, refuses to renew.
const HintExpired = "the certificate has expired: let the CA renew it, as holdfast ca issue does with Renewal.AllowExpired, or let it issue a new one"

// Errors of ways.
var (
	ErrRejected    = errors.New("the CA refuses to renew the certificate")
	ErrUnreachable = errors.New("the CA cannot be reached")
)

// A WaitError says that the CA has accepted the request and will issue the
// certificate later.
type WaitError struct {
	After  time.Duration // when to ask again; 0: unknown
	Reason string        // what is waited for; "": the CA
}

func (e *WaitError) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	if e.After == 0 {
		return "the CA has not issued the certificate yet"
	}
	return fmt.Sprintf("the CA has not issued the certificate yet; it asks to wait for %v", e.After.Round(time.Second))
}
