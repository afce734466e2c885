package sshagent

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxSignatures is how many signatures of one key are made at a time, each on a
// connection of its own.
const maxSignatures = 4

// closeGrace is how long Close waits for signatures, before it closes their connections.
const closeGrace = time.Second

// A key is a key of an agent. It holds no connection.
type key struct {
	listed
	agent agent
	slots chan struct{} // one for each signature that is being made

	life context.Context // ends with signer.ErrClosed, closeGrace after Close
	end  context.CancelCauseFunc

	closing chan struct{} // closed by Close
	mu      sync.Mutex
	closed  bool
	signing sync.WaitGroup
}

func newKey(a agent, l listed) *key {
	k := &key{listed: l, agent: a, slots: make(chan struct{}, maxSignatures), closing: make(chan struct{})}
	k.life, k.end = context.WithCancelCause(context.Background())
	return k
}

// Public implements [crypto.Signer].
func (k *key) Public() crypto.PublicKey { return k.pub }

// Chain implements [signer.Signer]. An agent has no X.509 certificates.
func (k *key) Chain() []*x509.Certificate { return nil }

// Ref implements [keystore.Key].
func (k *key) Ref() keystore.Ref { return reference(k.fingerprint, k.agent.socket) }

// NeedsPerson implements [signer.Attended]: an agent may ask for a confirmation (ssh-add
// -c), a touch or a PIN before any signature. The protocol does not tell.
func (k *key) NeedsPerson() bool { return true }

// tlsSchemes has the schemes of TLS for the signature algorithms of SSH.
var tlsSchemes = [...]struct {
	algorithm string
	scheme    tls.SignatureScheme
}{
	{"rsa-sha2-256", tls.PKCS1WithSHA256},
	{"rsa-sha2-512", tls.PKCS1WithSHA512},
	{sshwire.P256, tls.ECDSAWithP256AndSHA256},
	{sshwire.P384, tls.ECDSAWithP384AndSHA384},
	{sshwire.P521, tls.ECDSAWithP521AndSHA512},
	{sshwire.Ed25519, tls.Ed25519},
}

// SignatureSchemes implements [signer.SchemeLimiter].
func (k *key) SignatureSchemes() (schemes []tls.SignatureScheme) {
	for _, a := range sshwire.Algorithms(k.pub) {
		for _, s := range tlsSchemes {
			if s.algorithm == a.Name {
				schemes = append(schemes, s.scheme)
			}
		}
	}
	return schemes
}

// Sign implements [crypto.Signer] for Ed25519 keys, whose digest is the message. For
// others it fails with [errors.ErrUnsupported].
func (k *key) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), rand, digest, opts)
}

// SignContext implements [signer.ContextSigner].
func (k *key) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := k.pub.(ed25519.PublicKey); ok {
		return k.SignMessageContext(ctx, rand, digest, opts)
	}
	if k.isClosed() {
		return nil, signer.ErrClosed
	}
	return nil, signer.WithHint(fmt.Errorf("an ssh-agent signs messages, not digests: %w", errors.ErrUnsupported),
		"in a Go program, call signer.SignMessage or crypto.SignMessage")
}

// SignMessage implements [crypto.MessageSigner].
func (k *key) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignMessageContext(context.Background(), rand, message, opts)
}

// SignMessageContext implements [signer.ContextMessageSigner].
func (k *key) SignMessageContext(ctx context.Context, _ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	digest, m, err := digestFor(k.pub, message, opts)
	if err != nil {
		return nil, err
	}
	algorithm, err := k.algorithm(m)
	if err != nil {
		return nil, err
	}
	ctx, done, err := k.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	response, err := k.request(ctx, algorithm, message)
	if err != nil {
		return nil, err
	}
	return k.signature(algorithm, m, digest, response)
}

// digestFor returns what a signature of message is verified with.
func digestFor(pub crypto.PublicKey, message []byte, opts crypto.SignerOpts) (digest []byte, m signer.Mechanism, err error) {
	digest = message
	if hash := hashOf(opts); hash != 0 && hash.Available() {
		h := hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	}
	m, err = signer.MechanismFor(pub, digest, opts)
	return digest, m, err
}

// hashOf returns the hash of opts, or 0 if there are none.
func hashOf(opts crypto.SignerOpts) crypto.Hash {
	pss, isPSS := opts.(*rsa.PSSOptions)
	ed, isEd := opts.(*ed25519.Options)
	if opts == nil || isPSS && pss == nil || isEd && ed == nil {
		return 0
	}
	return opts.HashFunc()
}

// algorithm returns the algorithm of SSH for m.
func (k *key) algorithm(m signer.Mechanism) (sshwire.Algorithm, error) {
	all := sshwire.Algorithms(k.pub)
	for _, a := range all {
		if a.Hash == m.Hash && m.Padding != signer.PSS {
			return a, nil
		}
	}
	const serve = "for signatures with SHA-256, as those of IAM Roles Anywhere, use an RSA key or an ECDSA key on P-256"
	if m.Padding != signer.NoPadding {
		return sshwire.Algorithm{}, signer.WithHint(fmt.Errorf("an ssh-agent signs with an RSA key only with PKCS #1 v1.5 and SHA-256 or SHA-512, not with %v and %v: %w",
			m.Padding, m.Hash, errors.ErrUnsupported), serve)
	}
	return sshwire.Algorithm{}, signer.WithHint(fmt.Errorf("an ssh-agent signs with the hash of the curve, which is %v for %s, not with %v: %w",
		all[0].Hash, signer.DescribeKey(k.pub), m.Hash, errors.ErrUnsupported), serve)
}

// request asks the agent for a signature and returns the contents of its answer.
func (k *key) request(ctx context.Context, algorithm sshwire.Algorithm, message []byte) ([]byte, error) {
	body := sshwire.Signing{Blob: k.blob, Message: message, Flags: algorithm.Flags}.Marshal()
	contents, err := k.agent.ask(ctx, signLimit, sshwire.SignRequest, body, sshwire.SignResponse)
	switch {
	case errors.Is(err, errRefused):
		return nil, k.agent.named(k.refusal(ctx))
	case err != nil:
		return nil, err
	}
	return contents, nil
}

// signature returns the signature in an answer. It verifies it.
func (k *key) signature(algorithm sshwire.Algorithm, m signer.Mechanism, digest, contents []byte) ([]byte, error) {
	r := sshwire.NewReader(contents)
	blob := r.Bytes()
	if err := r.End(); err != nil {
		return nil, k.agent.named(garbled(err))
	}
	name, signature, err := sshwire.ParseSignature(k.pub, blob)
	if err != nil {
		return nil, k.agent.named(garbled(err))
	}
	if name != algorithm.Name {
		return nil, k.agent.named(signer.WithHint(fmt.Errorf("it made a signature with %.64q instead of %s: %w", name, algorithm.Name, errors.ErrUnsupported),
			"use an agent that supports RSA signatures with SHA-2 (RFC 8332), such as OpenSSH 7.2 or later"))
	}
	if !signer.Verifies(k.pub, m, digest, signature) {
		return nil, k.agent.named(signer.WithHint(fmt.Errorf("%w: the public key does not verify the signature that it made", signer.ErrMismatch),
			"restart the agent, or use another one"))
	}
	return signature, nil
}

// refusal returns the error for a signature that the agent refused without a reason. It
// asks the agent for its keys to find one.
func (k *key) refusal(ctx context.Context) error {
	all, err := k.agent.keys(ctx)
	has := func(other listed) bool { return slices.Equal(other.blob, k.blob) }
	switch {
	case err == nil && len(all) == 0:
		return signer.WithHint(fmt.Errorf("%w: it refused to sign: it is locked or has no keys any more", signer.ErrUnavailable),
			"unlock the agent with ssh-add -X, or add the key again with ssh-add")
	case err == nil && !slices.ContainsFunc(all, has):
		return signer.WithHint(fmt.Errorf("%w: it has the key no more", signer.ErrUnavailable), "add the key again with ssh-add")
	}
	return signer.WithHint(errors.New("it refused to sign"),
		"confirm the signature when the agent asks; it also refuses if it cannot ask, if the device with the key is missing, or if the key may only log in (ssh-add -h)")
}

// begin waits for its turn. The caller calls done when the signature is made. The
// returned context ends with ctx, and after Close.
func (k *key) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return nil, nil, signer.ErrClosed
	}
	k.signing.Add(1)
	k.mu.Unlock()
	select {
	case k.slots <- struct{}{}:
	case <-k.closing:
		err = signer.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		k.signing.Done()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(k.life, func() { cancel(context.Cause(k.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
		<-k.slots
		k.signing.Done()
	}, nil
}

func (k *key) isClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// Close implements [signer.Signer]. It waits a second for signatures that the agent
// makes. Then it closes their connections, and they return [signer.ErrClosed]; the agent
// may still ask a person.
func (k *key) Close() error {
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	k.mu.Unlock()
	if first {
		close(k.closing)
		timer := time.AfterFunc(closeGrace, func() { k.end(signer.ErrClosed) })
		defer timer.Stop()
	}
	k.signing.Wait()
	return nil
}
