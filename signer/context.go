package signer

import (
	"context"
	"crypto"
	"io"
)

// A ContextSigner is a Signer that stops waiting for its device when a context
// ends. Every Signer of this module is one.
type ContextSigner interface {
	Signer

	// SignContext is Sign, but returns an error that wraps the cause of ctx
	// soon after ctx ends. The device may still be busy then, and Close
	// does not wait for it.
	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// SignContext signs with s until ctx ends. If s is not a [ContextSigner], it
// only checks ctx before it calls Sign.
func SignContext(ctx context.Context, s Signer, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if c, ok := s.(ContextSigner); ok {
		return c.SignContext(ctx, rand, digest, opts)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return s.Sign(rand, digest, opts)
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
