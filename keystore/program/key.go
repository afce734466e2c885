package program

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Config names a program and a key. The zero value of every field but Path is its
// default. Open does not modify it.
type Config struct {
	Path string   // of the program; a relative one starts in the current directory
	Key  string   // names the key for the program, which gets it in a request
	Env  []string // of the program, as NAME=VALUE; nil: no variables

	// PIN returns the PIN or password that the program asks for; nil: there is none.
	PIN keystore.PINFunc

	// Certificates are candidates for the certificate of the key, in addition to
	// those of the program.
	Certificates []*x509.Certificate

	Ref    keystore.Ref     // the key's name in errors and prompts; zero: the result of [Key.Ref]
	Logger *slog.Logger     // gets what the program writes to standard error; nil: discard
	Now    func() time.Time // decides which certificates are valid; nil: time.Now
}

func (c Config) logger() *slog.Logger { return logging.OrDiscard(c.Logger) }

// A Key is a key behind a program. It implements [signer.ContextSigner],
// [signer.ContextMessageSigner], [signer.SchemeLimiter] and [signer.SaltLimiter], and is
// safe for concurrent use. It makes one signature at a time.
type Key struct {
	cfg        Config
	ref        keystore.Ref
	pub        crypto.PublicKey
	found      []*x509.Certificate // those of the program
	certs      signer.Certificates
	messages   bool // the program takes messages, not digests
	algorithms []algorithm
	ended      context.Context // canceled by Close
	end        context.CancelFunc
	abandoned  context.Context // canceled when Close does not wait any more
	abandon    context.CancelFunc

	turn chan struct{} // full while a call uses the fields below
	proc *process      // nil: none runs
	pin  pin
	rest rest
}

// A rest is a time in which no program is started, because the last ones have ended
// at once.
type rest struct {
	until time.Time
	err   error
}

// restTime is the length of a rest.
const restTime = time.Second

// Open starts the program and opens the key. The caller closes it. If ctx ends before the
// program answers, or after 30 seconds, Open kills the program and returns an error. The
// error wraps [fs.ErrNotExist] or [fs.ErrPermission] if the program cannot be started.
func Open(ctx context.Context, cfg Config) (*Key, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, err
	}
	cfg.Path = path
	cfg.Env = slices.Clone(cfg.Env)
	k := &Key{cfg: cfg, ref: cfg.reference(), turn: make(chan struct{}, 1)}
	if cfg.Ref.IsZero() {
		k.cfg.Ref = k.ref
	}
	k.ended, k.end = context.WithCancel(context.Background())
	k.abandoned, k.abandon = context.WithCancel(context.Background())
	o, err := k.start(ctx)
	if err != nil {
		k.pin.wipe()
		return nil, k.cfg.explain(err)
	}
	k.pub, k.found, k.messages, k.algorithms = o.pub, o.certs, o.messages, o.algorithms
	k.certs, _ = signer.SelectCertificates(k.pub, slices.Concat(o.certs, cfg.Certificates), keystore.Options{Now: cfg.Now}.Time()) // without a Chain on error: the key has no certificate
	return k, nil
}

// reference returns a reference that opens the key again.
func (c Config) reference() keystore.Ref {
	ref := keystore.Ref{Scheme: scheme, Rest: keystore.FormatAttribute("program", c.Path)}
	if c.Key != "" {
		ref = keystore.WithAttribute(ref, "key", c.Key)
	}
	if c.Ref.Scheme == scheme {
		if a, err := keystore.ParseAttributes(c.Ref.Rest, attributes...); err == nil && a["pin-source"] != "" {
			ref = keystore.WithAttribute(ref, "pin-source", a["pin-source"])
		}
	}
	return ref
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.pub }

// Chain implements [signer.Signer]. The certificates come from the program and from
// Config.Certificates. Those of a program that is started again do not count.
func (k *Key) Chain() []*x509.Certificate { return k.certs.Chain }

// Certificates returns the certificates from the same places.
func (k *Key) Certificates() signer.Certificates { return k.certs }

// Ref returns a reference that opens this key again. It contains the PIN source, but no
// PIN.
func (k *Key) Ref() keystore.Ref { return k.ref }

// Sign implements [crypto.Signer]. It does not use the random source. If the program takes
// messages, it fails with [errors.ErrUnsupported] for a digest; see [Key.SignMessage].
// It waits at most 30 seconds for an answer. A program that ends instead is started once
// again.
func (k *Key) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), rand, digest, opts)
}

// SignContext implements [signer.ContextSigner]. If ctx ends while the program makes the
// signature, the program is killed, and the next signature starts it again.
func (k *Key) SignContext(ctx context.Context, _ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	if m.Hash == 0 {
		return k.sign(ctx, m, digest, digest)
	}
	if k.messages {
		return nil, signer.WithHint(fmt.Errorf("sign with %s: the program takes messages, not digests: %w", k.cfg.Ref, errors.ErrUnsupported),
			"use the key where whole messages are signed, as by holdfast credential-process, or TLS; docs/exec.md says what a program that takes digests does")
	}
	return k.sign(ctx, m, digest, nil)
}

// SignMessage implements [crypto.MessageSigner]. A program that takes digests gets the
// hash of the message.
func (k *Key) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignMessageContext(context.Background(), rand, message, opts)
}

// SignMessageContext implements [signer.ContextMessageSigner]; see [Key.SignContext]. A
// program gets messages of at most 512 KiB.
func (k *Key) SignMessageContext(ctx context.Context, _ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	digest, err := digestOf(message, opts)
	if err != nil {
		return nil, err
	}
	m, err := signer.MechanismFor(k.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	return k.sign(ctx, m, digest, message)
}

// digestOf returns the hash of a message that opts ask for. Without a hash, and without
// options, which [signer.MechanismFor] refuses, it returns message. A hash function that is
// not there is an error: a message can be as long as a digest.
func digestOf(message []byte, opts crypto.SignerOpts) ([]byte, error) {
	pss, isPSS := opts.(*rsa.PSSOptions)
	ed, isEd := opts.(*ed25519.Options)
	if opts == nil || isPSS && pss == nil || isEd && ed == nil || opts.HashFunc() == 0 {
		return message, nil
	}
	hash := opts.HashFunc()
	if !hash.Available() {
		return nil, fmt.Errorf("hash %v is not part of this program: %w", hash, errors.ErrUnsupported)
	}
	h := hash.New()
	h.Write(message)
	return h.Sum(nil), nil
}

// sign makes a signature over digest. message is nil if it is not known.
func (k *Key) sign(ctx context.Context, m signer.Mechanism, digest, message []byte) ([]byte, error) {
	a, err := k.algorithmFor(m)
	if err != nil {
		return nil, err
	}
	r := request{Request: "sign", Algorithm: a.name}
	if m.Padding == signer.PSS {
		r.SaltLength = m.SaltLen
	}
	switch {
	case !k.messages:
		r.Digest = digest
	case len(message) > maxMessage:
		return nil, fmt.Errorf("sign with %s: the message has %d bytes, and a program gets at most %d: %w", k.cfg.Ref, len(message), maxMessage, errors.ErrUnsupported)
	default:
		r.Message = &message
	}
	if err := k.take(ctx); err != nil {
		return nil, err
	}
	defer k.give()
	sig, err := k.signNow(ctx, r)
	switch {
	case err == nil && signer.Verifies(k.pub, m, digest, sig):
		return sig, nil
	case err == nil:
		err = k.wrongSignature(sig)
	case k.ended.Err() != nil:
		return nil, fmt.Errorf("sign: %w: %w", signer.ErrClosed, err)
	}
	return nil, fmt.Errorf("sign with %s: %w", k.cfg.Ref, k.cfg.explain(err))
}

// take waits for the turn to use the program.
func (k *Key) take(ctx context.Context) error {
	if k.ended.Err() != nil {
		return signer.ErrClosed
	}
	select {
	case k.turn <- struct{}{}:
	case <-k.ended.Done():
		return signer.ErrClosed
	case <-ctx.Done():
		return signer.WithHint(fmt.Errorf("sign with %s: waited for another use of the key: %w", k.cfg.Ref, context.Cause(ctx)),
			"allow more time, or make fewer signatures at the same time: a program makes one after the other")
	}
	switch {
	case k.ended.Err() != nil:
		k.give()
		return signer.ErrClosed
	case ctx.Err() != nil:
		k.give()
		return context.Cause(ctx)
	}
	return nil
}

func (k *Key) give() { <-k.turn }

// Close implements [signer.Signer]. It waits at most 5 seconds for a signature in
// progress, and then ends the program: it closes its standard input, and kills it and its
// process group if it has not ended after 2 seconds. A Sign that waits for another one or
// for a PIN returns [signer.ErrClosed].
func (k *Key) Close() error {
	k.end()
	timer := time.AfterFunc(lastSignature, k.abandon)
	defer timer.Stop()
	k.turn <- struct{}{}
	defer k.give()
	k.pin.wipe()
	if k.proc != nil {
		k.proc.stop(k.cfg.logger())
		k.proc = nil
	}
	return nil
}

// lastSignature bounds the wait of Close for a signature in progress.
const lastSignature = 5 * time.Second
