package signer

import (
	"crypto"
	"fmt"
	"sync/atomic"
)

// A Proof shows that a device signs with the key of a public key that was not
// read from the private key itself, but for example from a certificate that is
// only linked to it. A backend has one for each connection to its device. The
// zero Proof is ready for use. It is safe for concurrent use.
type Proof struct{ proven atomic.Bool }

// Check verifies sig, which the device made over digest with the mechanism m,
// unless an earlier signature was verified. If another key made the signature,
// the error wraps [ErrMismatch], and the caller must not return the signature.
func (p *Proof) Check(pub crypto.PublicKey, m Mechanism, digest, sig []byte) error {
	switch {
	case p.proven.Load():
		return nil
	case !Verifies(pub, m, digest, sig):
		return fmt.Errorf("%w: its public key does not verify the signature", ErrMismatch)
	}
	p.proven.Store(true)
	return nil
}
