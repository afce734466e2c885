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

// readCertificates returns the certificates in ref, which can be wrapped for key. It
// calls unwrapped after the device of key has unwrapped them.
func readCertificates(ctx context.Context, a front.App, ref, key keystore.Ref, opts keystore.Options, unwrapped func()) ([]*x509.Certificate, error) {
	if !a.Store.IsInput(ref) {
		return a.Store.Certificates(ctx, ref, opts)
	}
	data, err := (keystore.Call{Options: opts}).Read(ctx, ref)
	if err != nil || !attestation.IsFile(data) {
		return a.Store.Certificates(ctx, ref, opts) // its errors name ref
	}
	w, err := attestation.ParseWrapped(data)
	if err != nil {
		if signer.Hint(err) == "" {
			err = signer.WithHint(err, "give the file that holdfast ca issue --attestation wrote; copy it again from the CA if it is damaged")
		}
		return nil, inInput(ref, err)
	}
	certs, err := unwrap(ctx, a, w, key, opts)
	if errors.Is(err, signer.ErrMismatch) {
		err = inInput(ref, err)
	}
	if err == nil {
		unwrapped()
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

// A knownPIN asks for PINs. After keep, it gives the last answers again, each of them
// once, so that a command which opens a key twice asks only once.
type knownPIN struct {
	ask     keystore.PINFunc
	answers map[pinQuestion][]byte
	kept    bool
}

type pinQuestion struct {
	what string
	ref  keystore.Ref
}

// keep is called when the device has accepted the answers.
func (k *knownPIN) keep() { k.kept = true }

// pin returns the PINFunc. It is nil if there is none to ask.
func (k *knownPIN) pin() keystore.PINFunc {
	if k.ask == nil {
		return nil
	}
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		q := pinQuestion{p.What, p.Ref}
		if answer, ok := k.answers[q]; ok && k.kept {
			delete(k.answers, q)
			return answer, nil
		}
		answer, err := k.ask(ctx, p)
		if err == nil && !k.kept {
			clear(k.answers[q])
			k.answers[q] = bytes.Clone(answer)
		}
		return answer, err
	}
}

func (k *knownPIN) forget() {
	for _, answer := range k.answers {
		clear(answer)
	}
}
