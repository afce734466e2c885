package sshagent

import (
	"context"
	"crypto"
	"crypto/rand"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// A key is a private key that is opened again after its device was disconnected. It is
// safe for concurrent use.
type key struct {
	name     string // the reference
	public   crypto.PublicKey
	identity *rotate.Identity
}

// openKey opens a key for the first time. Of config it sets Check and KeyOnly.
func openKey(ctx context.Context, name string, config rotate.Config) (*key, error) {
	k := &key{name: name}
	config.KeyOnly = true
	config.Check = func(s signer.Signer) error {
		switch {
		case k.public == nil: // the first time
			k.public = s.Public()
		case !signer.SamePublicKey(k.public, s.Public()):
			return mismatch("this is another key than the one that the agent lists")
		}
		return nil
	}
	var err error
	k.identity, err = rotate.New(ctx, config)
	return k, err
}

// A mismatch matches [signer.ErrMismatch], whose text is about certificates.
type mismatch string

func (m mismatch) Error() string      { return string(m) }
func (mismatch) Is(target error) bool { return target == signer.ErrMismatch }

// close ends the use of the key.
func (k *key) close() error { return k.identity.Close() }

// sign returns the blob of a signature, which it has verified.
func (k *key) sign(ctx context.Context, message []byte, a sshwire.Algorithm) ([]byte, error) {
	s, err := k.identity.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close() // returns the key, without an error
	signature, err := signer.SignMessage(ctx, s, rand.Reader, message, a.Hash)
	if err != nil {
		return nil, err
	}
	if !verifies(k.public, a, message, signature) {
		return nil, mismatch("the device signed with another key")
	}
	return sshwire.MarshalSignature(k.public, a.Name, signature)
}

// verifies reports whether a signature in the form of crypto.Signer is valid.
func verifies(pub crypto.PublicKey, a sshwire.Algorithm, message, signature []byte) bool {
	digest, m := message, signer.Mechanism{Hash: a.Hash}
	if a.Hash != 0 {
		h := a.Hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	}
	if sshwire.TypeOf(pub) == sshwire.RSA {
		m.Padding = signer.PKCS1v15
	}
	return signer.Verifies(pub, m, digest, signature)
}

// comment returns what clients see of a reference: not where its PIN is. With a
// forwarded agent, other machines see it, too.
func comment(ref string) string {
	ref, _, _ = strings.Cut(ref, "?")
	var kept []string
	for part := range strings.SplitSeq(ref, ";") {
		if !strings.HasPrefix(part, "pin-") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ";")
}
