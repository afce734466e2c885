package signer

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
)

// A ContextMessageSigner is a Signer that is a [crypto.MessageSigner] and, like a
// [ContextSigner], stops waiting when a context ends. Wrappers of a Signer implement
// it for any key.
type ContextMessageSigner interface {
	Signer
	crypto.MessageSigner

	// SignMessageContext is SignMessage with the context of
	// [ContextSigner.SignContext].
	SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error)
}

// SignMessage signs a message with s until ctx ends; see [SignContext]. A
// [crypto.MessageSigner], such as a key of an agent that accepts no digests, gets the
// message. Any other key gets its hash, or the message if opts have no hash, as
// Ed25519 and ML-DSA demand.
func SignMessage(ctx context.Context, s Signer, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	switch m := s.(type) {
	case ContextMessageSigner:
		return m.SignMessageContext(ctx, rand, message, opts)
	case crypto.MessageSigner:
		if ctx.Done() != nil {
			message = bytes.Clone(message) // the call may outlive ctx
		}
		return bounded(ctx, func() ([]byte, error) { return m.SignMessage(rand, message, opts) })
	}
	digest, err := digestOf(message, opts)
	if err != nil {
		return nil, err
	}
	return SignContext(ctx, s, rand, digest, opts)
}

// A MessageOnly is a Signer that may sign whole messages only, such as a key of an agent
// that accepts no digests.
type MessageOnly interface {
	// SignsMessagesOnly reports whether Sign fails with [errors.ErrUnsupported] for
	// every digest, while SignMessage works. It does no I/O, and always returns the
	// same. It is true as well for an Ed25519 key of such an agent, whose Sign accepts
	// a message.
	SignsMessagesOnly() bool
}

// SignsMessagesOnly reports whether s is [MessageOnly] and signs whole messages only. A
// caller that has only digests can refuse such a key before the first signature.
func SignsMessagesOnly(s Signer) bool {
	m, ok := s.(MessageOnly)
	return ok && m.SignsMessagesOnly()
}

// digestOf returns what [crypto.SignMessage] passes to Sign. Without options, which
// Sign refuses, it returns message. A hash function that the program does not contain is
// an error: Sign could take a message that is as long as a digest for one.
func digestOf(message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if isNil(opts) || opts.HashFunc() == 0 {
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
