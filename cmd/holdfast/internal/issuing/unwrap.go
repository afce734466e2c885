package issuing

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer"
)

// readCertificates returns the certificates in ref, which can be wrapped for key.
func readCertificates(ctx context.Context, a front.App, ref, key keystore.Ref, opts keystore.Options) ([]*x509.Certificate, error) {
	if !a.Store.IsInput(ref) {
		return a.Store.Certificates(ctx, ref, opts)
	}
	data, err := (keystore.Call{Options: opts}).Read(ctx, ref)
	_, isEvidence := attestation.EvidenceKey(data) // which is easily confused with it
	if err != nil || !attestation.IsWrapped(data) && !isEvidence {
		return a.Store.Certificates(ctx, ref, opts) // its errors name ref
	}
	w, err := attestation.ParseWrapped(data)
	if err != nil && signer.Hint(err) == "" {
		err = signer.WithHint(err, "copy the file again from the CA")
	}
	if err != nil {
		return nil, inInput(ref, err)
	}
	certs, err := unwrap(ctx, a, w, key, opts)
	if errors.Is(err, signer.ErrMismatch) {
		err = inInput(ref, err)
	}
	return certs, err
}

// unwrap returns the certificates that are wrapped for key.
func unwrap(ctx context.Context, a front.App, w *attestation.Wrapped, key keystore.Ref, opts keystore.Options) ([]*x509.Certificate, error) {
	blob, encrypted := w.Credential()
	ctx, done := await.Person(ctx, attestTimeout) // the limit of install is too short for some TPMs
	defer done()
	secret, err := a.Store.Activate(ctx, key, keystore.Credential{Key: w.Key(), EndorsementKey: w.EndorsementKey(), Blob: blob, Secret: encrypted}, opts)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	chain, err := w.Open(secret)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the wrapped certificate: %w", err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// askOnce returns a PINFunc that gives the same answer to the same question, for a
// command that opens a key twice: the second time, the answer was right.
func askOnce(ask keystore.PINFunc) keystore.PINFunc {
	if ask == nil {
		return nil
	}
	type question struct {
		what string
		ref  keystore.Ref
	}
	answers := make(map[question][]byte)
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		q := question{p.What, p.Ref}
		if answer, ok := answers[q]; ok {
			delete(answers, q)
			return answer, nil
		}
		answer, err := ask(ctx, p)
		if err == nil {
			answers[q] = bytes.Clone(answer)
		}
		return answer, err
	}
}
