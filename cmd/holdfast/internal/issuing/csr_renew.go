package issuing

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/signer"
)

// renewal makes a request to renew the certificate old, which the key signs as CMS.
func renewal(ctx context.Context, a front.App, device flags.Device, wanted nameFlags, reference, from, old string, out *front.OutFile, asJSON bool) error {
	if from != "" || wanted.given() {
		return signer.WithHint(front.Usagef("--renew cannot be used with other names"), "a renewal has the names of the certificate")
	}
	out.SetLabel("CMS")
	if err := out.Check(a); err != nil {
		return err
	}
	key, err := requestKey(device, reference)
	if err != nil {
		return err
	}
	certs, err := certificatesOf(ctx, a, device, old)
	if err != nil {
		return err
	}
	return withKey(ctx, a, key, func(ctx context.Context, s signer.Signer) error {
		s, err := bindTo(a, s, certs)
		if err != nil {
			return err
		}
		names := pki.NamesOf(s.Chain()[0])
		csr, err := pki.NewRequest(rand.Reader, signer.WithContext(ctx, s), names)
		if err != nil {
			return err
		}
		message, err := cms.Sign(ctx, s, csr, rand.Text(), a.Now())
		if err != nil {
			return err
		}
		return printRenewal(a, s, names, message, out, asJSON)
	})
}

func bindTo(a front.App, s signer.Signer, certs []*x509.Certificate) (signer.Signer, error) {
	bound, err := signer.Bind(s, certs, a.Now())
	if errors.Is(err, signer.ErrMismatch) {
		err = signer.WithHint(err, "name the certificate of this key with --renew, or another key with --private-key")
	}
	return bound, err
}

func printRenewal(a front.App, s signer.Signer, names pki.Names, message []byte, out *front.OutFile, asJSON bool) error {
	hash, err := keyHash(s.Public())
	if err != nil {
		return err
	}
	if asJSON {
		return out.Write(a, message, newRequest{names.SubjectText(), signer.DescribeKey(s.Public()), hash, string(message)})
	}
	_, told := fmt.Fprintf(a.Stderr, "created a request to renew the certificate of %s (serial number %s)\nnext: send it to the CA; with holdfast: holdfast ca issue --renew FILE\n",
		front.OneLine(names.SubjectText()), serialOf(s.Chain()[0]))
	return errors.Join(out.Write(a, message, nil), told)
}
