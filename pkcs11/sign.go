package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// An operation is a signature in terms of Cryptoki: mechanism and input of
// C_Sign. finish converts its output.
type operation struct {
	mechanism mechanism
	input     []byte
	finish    func(sig []byte) ([]byte, error)

	// what the caller asked for
	request signer.Mechanism
	digest  []byte
}

// pssHashes maps hash functions to CKM_ and CKG_ values for PSS.
var pssHashes = lookup.Table[crypto.Hash, struct{ ckm, ckg uint }]{
	{crypto.SHA224, struct{ ckm, ckg uint }{ckmSHA224, ckgSHA224}},
	{crypto.SHA256, struct{ ckm, ckg uint }{ckmSHA256, ckgSHA256}},
	{crypto.SHA384, struct{ ckm, ckg uint }{ckmSHA384, ckgSHA384}},
	{crypto.SHA512, struct{ ckm, ckg uint }{ckmSHA512, ckgSHA512}},
}

func operationFor(pub crypto.PublicKey, m signer.Mechanism, digest []byte) (operation, error) {
	unchanged := func(sig []byte) ([]byte, error) { return sig, nil }
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if m.Padding == signer.PSS {
			kind := pssHashes.Get(m.Hash)
			return operation{mechanism{ckmRSAPSS, &pssParams{kind.ckm, kind.ckg, uint(m.SaltLen)}}, digest, unchanged, m, digest}, nil
		}
		return operation{mechanism{kind: ckmRSA}, append(signer.DigestInfo(m.Hash), digest...), unchanged, m, digest}, nil
	case *ecdsa.PublicKey:
		return operation{mechanism{kind: ckmECDSA}, truncate(pub, digest), derSignature, m, digest}, nil
	case ed25519.PublicKey:
		return operation{mechanism{kind: ckmEdDSA}, digest, unchanged, m, digest}, nil
	}
	return operation{}, fmt.Errorf("public key type %T: %w", pub, errors.ErrUnsupported)
}

// truncate shortens a digest to the size of the curve's order (FIPS 186-5,
// section 6.4.1), because some modules do not. It works on whole bytes: the
// order of P-521 is not a whole number of bytes, but is longer than any digest.
func truncate(pub *ecdsa.PublicKey, digest []byte) []byte {
	return digest[:min(len(digest), (pub.Curve.Params().BitSize+7)/8)]
}

// derSignature converts the concatenation of r and s (PKCS #11 v3.1, section
// 6.3.1) to an ECDSA-Sig-Value.
func derSignature(sig []byte) ([]byte, error) {
	n := len(sig) / 2
	der := signer.ECDSASignature(sig[:n], sig[n:])
	if n == 0 || len(sig)%2 != 0 || der == nil {
		return nil, fmt.Errorf("the module returned a malformed ECDSA signature of %d bytes", len(sig))
	}
	return der, nil
}

// Sign implements [crypto.Signer]. It ignores the random source. If the public
// key was not read from the private key itself, Sign verifies the first signature
// after each connection to the token, and fails with [signer.ErrMismatch] if
// another key made it.
func (k *Key) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), rand, digest, opts)
}

// SignContext implements [signer.ContextSigner]. The session of a signature
// that did not end in time is not used again.
func (k *Key) SignContext(ctx context.Context, _ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	if ctx.Done() != nil {
		digest = bytes.Clone(digest) // the call may outlive ctx
	}
	op, err := operationFor(k.pub, m, digest)
	if err != nil {
		return nil, err
	}
	use, err := k.begin()
	if err != nil {
		return nil, err
	}
	waits, done := k.ctx, func() {}
	if ctx.Done() != nil {
		e := &either{Context: ctx, other: k.ctx}
		waits, done = e, e.end
	}
	sig, err := inTime(ctx, k.awaited(), func() ([]byte, error) {
		defer use.end()
		defer done()
		return k.attempt(ctx, op, k.auth.begin(waits))
	}, nil)
	use.abandon() // no effect if it has ended
	switch {
	case err == nil:
		return sig, nil
	case k.ctx.Err() != nil && errors.Is(err, k.ctx.Err()):
		return nil, fmt.Errorf("sign: %w: %w", signer.ErrClosed, err)
	}
	return nil, fmt.Errorf("sign with %s: %w", k.auth.ref, err)
}

// NeedsPerson implements [signer.Attended]: the device asks for the PIN itself
// for each signature, or because the login was lost.
func (k *Key) NeedsPerson() bool {
	conn := k.conn.Load()
	return conn.token.info.flags&cktFlagProtectedPath != 0 &&
		(conn.key.alwaysAuthenticate || conn.token.info.flags&cktFlagLoginRequired != 0 && conn.pool.isRetired())
}

// attempt signs. After a loss of the connection it reconnects and tries again,
// at most maxAttempts times in all. It waits for others, and begins an attempt, until
// d.ctx ends, which is also the end of the Key. Nobody waits for the signature after
// the end of ctx.
func (k *Key) attempt(ctx context.Context, op operation, d *dialog) ([]byte, error) {
	defer d.end()
	ended := 0
	for n := 1; ; {
		if d.ctx.Err() != nil {
			return nil, context.Cause(d.ctx)
		}
		conn := k.conn.Load()
		sig, err := k.sign(ctx, conn, op, d)
		switch {
		case err == nil:
			return sig, nil
		case errors.Is(err, errRetired): // another goroutine noticed the loss, or reconnecting failed before
		case !lost(err) || n == maxAttempts || isEnded(err, &ended):
			return nil, err
		default:
			n++
		}
		d.loss = err
		if err = k.reconnect(d.ctx, conn, err, d); err != nil {
			if !lost(err) || n == maxAttempts || isEnded(err, &ended) {
				return nil, err
			}
			n++
			d.loss = err
		}
	}
}

// isEnded counts the ends of the helper process and reports whether it ended too often.
func isEnded(err error, count *int) bool {
	if errors.As(err, new(*endedError)) {
		*count++
	}
	return *count == maxEnded
}

func (k *Key) sign(ctx context.Context, conn *connection, op operation, d *dialog) ([]byte, error) {
	session, err := conn.pool.get(d.ctx)
	if err != nil {
		return nil, err
	}
	sig, err := k.signIn(conn, session, op, d)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // nobody waits any more
	}
	conn.pool.put(session, err)
	if err != nil {
		return nil, err
	}
	if sig, err = op.finish(sig); err != nil || conn.key.own {
		return sig, err
	}
	if err := conn.proof.Check(k.pub, op.request, op.digest, sig); err != nil {
		return nil, signer.WithHint(err, "use the reference of the key that the certificate was issued for; this shows the keys: List with the reference '"+conn.token.uri().withModuleOf(k.cfg.URI).String()+"'")
	}
	return sig, nil
}

// signIn signs in a session.
func (k *Key) signIn(conn *connection, session uint, op operation, d *dialog) ([]byte, error) {
	var authenticate func() error
	if conn.key.alwaysAuthenticate {
		authenticate = func() error { return d.loginForSignature(conn.token, session) }
	}
	if conn.card {
		if err := k.mod.card.lock(d.ctx); err != nil {
			return nil, err
		}
		defer k.mod.card.unlock()
	}
	return k.mod.sign(session, conn.key.handle, op.mechanism, op.input, authenticate)
}

// schemes maps mechanisms to the signature schemes of crypto/tls.
var schemes = lookup.Table[uint, []tls.SignatureScheme]{
	{ckmRSAPSS, []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}},
	{ckmRSA, []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}},
	{ckmECDSA, []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512}},
	{ckmEdDSA, []tls.SignatureScheme{tls.Ed25519}},
}

// SignatureSchemes implements [signer.SchemeLimiter] with the mechanisms that
// the token lists. The first call reads them.
func (k *Key) SignatureSchemes() []tls.SignatureScheme { return k.schemes() }

func (k *Key) findSchemes() []tls.SignatureScheme {
	var listed []uint
	use, err := k.begin()
	if err == nil { // after Close the module may be finalized
		ctx, cancel := context.WithTimeout(k.ctx, closeTimeout)
		defer cancel()
		listed, err = inTime(ctx, k.awaited(), func() ([]uint, error) {
			defer use.end()
			return k.mod.mechanisms(k.conn.Load().token.slot)
		}, nil)
		use.abandon() // no effect if it has ended
	}
	var all []tls.SignatureScheme
	for _, kind := range mechanismsOf(k.pub) {
		// If the token does not answer, assume that it supports all of them.
		if err != nil || slices.Contains(listed, kind) {
			all = append(all, schemes.Get(kind)...)
		}
	}
	return all
}

func mechanismsOf(pub crypto.PublicKey) []uint {
	switch pub.(type) {
	case *rsa.PublicKey:
		return []uint{ckmRSAPSS, ckmRSA}
	case *ecdsa.PublicKey:
		return []uint{ckmECDSA}
	}
	return []uint{ckmEdDSA}
}
