package issuing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/signer"
)

// request reads the request, or makes one for the key in the evidence if there is
// none. evidence may be nil.
func (f *issueFlags) request(ctx context.Context, a front.App, evidence *attestation.Evidence) (*x509.CertificateRequest, error) {
	if f.csr == "" {
		return requestOf(evidence, nil)
	}
	ref, data, err := readInput(ctx, a, f.csr)
	if err != nil {
		return nil, err
	}
	request, err := pki.ParseRequest(data)
	if err != nil && isSigned(data) {
		err = signer.WithHint(err, "it is a signed request for renewal: give it to --renew, or leave out --signed (signed = true in the configuration) on the machine")
	}
	if err != nil && attestation.IsFile(data) {
		err = signer.WithHint(errors.New("is not a certificate request, but a file for an attestation"), "give the file that holdfast attest wrote to --attestation")
	}
	if err != nil && signer.Hint(err) == "" {
		err = signer.WithHint(err, "make another request, such as with holdfast csr")
	}
	if err != nil {
		return nil, inInput(ref, err)
	}
	return requestOf(evidence, request)
}

// isSigned reports whether data is what ca issue --renew takes.
func isSigned(data []byte) bool {
	_, err := cms.Parse(data)
	return err == nil
}

// readInput reads a file, or standard input for -.
func readInput(ctx context.Context, a front.App, name string) (ref keystore.Ref, data []byte, err error) {
	if ref, err = keystore.ParseRef(name); err != nil {
		return ref, nil, err
	}
	data, err = (keystore.Call{Options: a.Options(a.Logger(false))}).Read(ctx, ref)
	switch {
	case err != nil && ref.String() == stdin:
		err = fmt.Errorf("standard input: %w", err)
	case err != nil:
		err = inInput(ref, err)
	}
	return ref, data, err
}

const stdin = "-"

// inInput returns an error about what was read. It names the file; standard input has no
// name that helps, such as in the log of the machine that sent the request.
func inInput(ref keystore.Ref, err error) error {
	if ref.String() == stdin {
		return err
	}
	return fmt.Errorf("%s: %w", ref, err)
}
