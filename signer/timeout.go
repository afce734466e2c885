package signer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"
)

// WithTimeout returns s for libraries that accept only a [crypto.Signer], such as
// crypto/tls or one for JWT. Each Sign and each SignMessage ends when it has taken
// timeout, or when ctx ends; see [SignContext]. After the timeout and after a deadline
// of ctx, the error wraps [ErrUnavailable] and [context.DeadlineExceeded].
//
// The time that a person needs to touch the device or to enter a PIN counts; see
// [NeedsPerson]. So does the time that a signature waits for others of the same key.
//
// SignContext and SignMessageContext of the result end when their own context ends,
// too. The result borrows s; its Close does nothing.
func WithTimeout(ctx context.Context, s Signer, timeout time.Duration) Signer {
	t := timeBound{s, ctx, timeout}
	if l, ok := s.(SchemeLimiter); ok {
		return limitedTimeBound{t, l}
	}
	return t
}

// hintMute is for a device about which nothing more is known.
const hintMute = "reconnect the device or restart what it belongs to; if a person has to touch it or enter a PIN, allow more time"

type timeBound struct {
	Signer
	ctx     context.Context
	timeout time.Duration
}

func (t timeBound) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return t.within(t.ctx, func(ctx context.Context) ([]byte, error) {
		return SignContext(ctx, t.Signer, rand, digest, opts)
	})
}

func (t timeBound) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return t.within(t.ctx, func(ctx context.Context) ([]byte, error) {
		return SignMessage(ctx, t.Signer, rand, message, opts)
	})
}

func (t timeBound) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	ctx, done := endsWithBoth(ctx, t.ctx)
	defer done()
	return t.within(ctx, func(ctx context.Context) ([]byte, error) {
		return SignContext(ctx, t.Signer, rand, digest, opts)
	})
}

func (t timeBound) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	ctx, done := endsWithBoth(ctx, t.ctx)
	defer done()
	return t.within(ctx, func(ctx context.Context) ([]byte, error) {
		return SignMessage(ctx, t.Signer, rand, message, opts)
	})
}

// within signs until ctx ends or the timeout is over.
func (t timeBound) within(ctx context.Context, sign func(context.Context) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	signature, err := sign(ctx)
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: it made no signature in time: %w", ErrUnavailable, err)
	}
	if errors.Is(err, context.DeadlineExceeded) && Hint(err) == "" {
		err = WithHint(err, hintMute)
	}
	return signature, err
}

func (t timeBound) Certificates() Certificates { return CertificatesOf(t.Signer) }
func (t timeBound) NeedsPerson() bool          { return NeedsPerson(t.Signer) }
func (t timeBound) SignsMessagesOnly() bool    { return SignsMessagesOnly(t.Signer) }
func (t timeBound) Close() error               { return nil }

func (t timeBound) PSSSaltLengths(hash crypto.Hash) []int { return PSSSaltLengths(t.Signer, hash) }

type limitedTimeBound struct {
	timeBound
	SchemeLimiter
}
