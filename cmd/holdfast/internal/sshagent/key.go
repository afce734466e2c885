package sshagent

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer"
)

// A key is a private key that is opened again after its device was disconnected. It is
// safe for concurrent use.
type key struct {
	name   string // the reference
	public crypto.PublicKey
	open   func(context.Context) (signer.Signer, error)

	opening chan struct{} // has an element while open runs

	mu      sync.Mutex
	current signer.Signer // nil: to be opened
	failed  error         // why it must not be opened again; nil: it may
}

// openKey opens a key for the first time.
func openKey(ctx context.Context, name string, open func(context.Context) (signer.Signer, error)) (*key, error) {
	k := &key{name: name, open: open, opening: make(chan struct{}, 1)}
	s, err := k.acquire(ctx)
	if err != nil {
		return nil, err
	}
	k.public = s.Public()
	return k, nil
}

// acquire returns the open key. The caller does not close it.
func (k *key) acquire(ctx context.Context) (signer.Signer, error) {
	if s, err := k.state(); s != nil || err != nil {
		return s, err
	}
	select {
	case k.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	// A device can hang. The next call waits until this one has returned.
	return await.Result(ctx, func() (signer.Signer, error) {
		defer func() { <-k.opening }()
		if s, err := k.state(); s != nil || err != nil { // of a call before this one
			return s, err
		}
		s, err := k.open(ctx)
		if err != nil {
			if errors.Is(err, signer.ErrTryCounted) {
				k.fail(err)
			}
			return nil, err
		}
		return s, k.set(s)
	}, nil)
}

func (k *key) state() (signer.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current, k.failed
}

func (k *key) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed == nil {
		k.failed = err
	}
}

// set owns s.
func (k *key) set(s signer.Signer) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.failed != nil:
		return errors.Join(k.failed, s.Close())
	case k.public != nil && !signer.SamePublicKey(k.public, s.Public()):
		err := fmt.Errorf("%s: %w: this is another key than the one that the agent lists", k.name, signer.ErrMismatch)
		return errors.Join(err, s.Close())
	}
	k.current = s
	return nil
}

// drop closes s, so that the next signature opens the key again.
func (k *key) drop(s signer.Signer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == s {
		k.current = nil
		go s.Close() // waits for other signatures
	}
}

// close ends the use of the key.
func (k *key) close() error {
	k.fail(signer.ErrClosed)
	k.mu.Lock()
	s := k.current
	k.current = nil
	k.mu.Unlock()
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, err := await.Result(ctx, func() (struct{}, error) { return struct{}{}, s.Close() }, nil)
	return err
}

// sign returns the blob of a signature, which it has verified.
func (k *key) sign(ctx context.Context, message []byte, a sshwire.Algorithm) ([]byte, error) {
	s, err := k.acquire(ctx)
	if err != nil {
		return nil, err
	}
	signature, err := signer.SignMessage(ctx, s, rand.Reader, message, a.Hash)
	if errors.Is(err, signer.ErrUnavailable) {
		k.drop(s)
	}
	if err != nil {
		return nil, err
	}
	if !verifies(k.public, a, message, signature) {
		return nil, fmt.Errorf("%w: the device signed with another key", signer.ErrMismatch)
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
