package signer

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
)

// A ContextSigner is a Signer that stops waiting for its device when a context
// ends.
type ContextSigner interface {
	Signer

	// SignContext is Sign, but returns an error that wraps the cause of ctx
	// soon after ctx ends. If the cause is [context.DeadlineExceeded] and the
	// device did not answer, the error also wraps [ErrUnavailable]; an error
	// of a signature that only waited for others need not. The device may
	// still be busy then, and Close does not wait for it.
	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// SignContext signs with s until ctx ends, as [ContextSigner] describes. If s
// is not a ContextSigner, its Sign continues in the background after ctx has
// ended, and Close of s may wait for it.
func SignContext(ctx context.Context, s Signer, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if c, ok := s.(ContextSigner); ok {
		return c.SignContext(ctx, rand, digest, opts)
	}
	if ctx.Done() != nil {
		digest = bytes.Clone(digest) // the call may outlive ctx
	}
	return bounded(ctx, func() ([]byte, error) { return s.Sign(rand, digest, opts) })
}

// bounded returns the signature of sign, or an error when ctx ends. sign then
// continues in the background.
func bounded(ctx context.Context, sign func() ([]byte, error)) ([]byte, error) {
	switch {
	case ctx.Done() == nil:
		return sign()
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	type result struct {
		signature []byte
		err       error
	}
	done := make(chan result, 1)
	go func() {
		signature, err := sign()
		done <- result{signature, err}
	}()
	select {
	case r := <-done:
		return r.signature, r.err
	case <-ctx.Done():
	}
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w: it made no signature in time: %w", ErrUnavailable, err)
	}
	return nil, fmt.Errorf("the device has made no signature: %w", err)
}

// An Attended is a Signer whose signatures may wait for a person at the device,
// such as one that asks for the PIN on its own keypad.
type Attended interface {
	// NeedsPerson reports whether a signature may wait for a person. It
	// does no I/O.
	NeedsPerson() bool
}

// NeedsPerson reports whether s is [Attended] and a signature with it may wait
// for a person.
func NeedsPerson(s Signer) bool {
	a, ok := s.(Attended)
	return ok && a.NeedsPerson()
}

// WithContext returns s with a Sign and a SignMessage that are [SignContext] and
// [SignMessage] with ctx, for functions that accept no context, such as those of
// crypto/x509. SignContext and SignMessageContext of the result end when their own
// context ends, too. The result borrows s; its Close does nothing.
func WithContext(ctx context.Context, s Signer) Signer {
	c := contextBound{s, ctx}
	if l, ok := s.(SchemeLimiter); ok {
		return limitedContextBound{c, l}
	}
	return c
}

type contextBound struct {
	Signer
	ctx context.Context
}

func (c contextBound) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return SignContext(c.ctx, c.Signer, rand, digest, opts)
}

func (c contextBound) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	ctx, done := endsWithBoth(ctx, c.ctx)
	defer done()
	return SignContext(ctx, c.Signer, rand, digest, opts)
}

func (c contextBound) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return SignMessage(c.ctx, c.Signer, rand, message, opts)
}

func (c contextBound) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	ctx, done := endsWithBoth(ctx, c.ctx)
	defer done()
	return SignMessage(ctx, c.Signer, rand, message, opts)
}

// endsWithBoth returns a context with the values of ctx that ends when ctx or other
// ends; it has ended if one of them has. The caller calls done.
func endsWithBoth(ctx, other context.Context) (_ context.Context, done func()) {
	if other.Done() == nil {
		return ctx, func() {}
	}
	both, end := context.WithCancelCause(ctx)
	if other.Err() != nil { // AfterFunc would end both a little later
		end(context.Cause(other))
	}
	stop := context.AfterFunc(other, func() { end(context.Cause(other)) })
	return both, func() {
		stop()
		end(nil)
	}
}

func (c contextBound) Certificates() Certificates { return CertificatesOf(c.Signer) }
func (c contextBound) NeedsPerson() bool          { return NeedsPerson(c.Signer) }
func (c contextBound) SignsMessagesOnly() bool    { return SignsMessagesOnly(c.Signer) }
func (c contextBound) Close() error               { return nil }

func (c contextBound) PSSSaltLengths(hash crypto.Hash) []int { return PSSSaltLengths(c.Signer, hash) }

type limitedContextBound struct {
	contextBound
	SchemeLimiter
}
