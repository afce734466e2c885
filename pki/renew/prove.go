package renew

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxSkew bounds the time for which a new certificate is kept until it is valid: the
// clock of the CA can be ahead of that of this machine.
const maxSkew = 5 * time.Minute

// leastLifeShare is the share of the life before that a new certificate must have, so
// that a mistake of the CA does not replace a good certificate.
const leastLifeShare = 100

// prove returns the chain of the new certificate, or an error that wraps [ErrUnfit]
// if the certificate must not replace that of old, whose renewals are in plan. It borrows
// both keys.
func (r *Renewer) prove(ctx context.Context, old, key signer.Signer, obtained []*x509.Certificate, plan Schedule, now time.Time) ([]*x509.Certificate, error) {
	certs, err := signer.SelectCertificates(key.Public(), obtained, now)
	if err != nil {
		return nil, unfit(err)
	}
	leaf := certs.Chain[0]
	before := old.Chain()
	switch {
	case now.Before(leaf.NotBefore) && leaf.NotBefore.Sub(now) < maxSkew:
		return nil, signer.WithHint(fmt.Errorf("the new certificate is not valid before %s, and is used then", leaf.NotBefore.UTC().Format(time.RFC3339)),
			"check the clocks of this machine and of the CA")
	case now.Before(leaf.NotBefore):
		return nil, unfit(fmt.Errorf("it is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339)))
	case !now.Before(leaf.NotAfter):
		return nil, unfit(fmt.Errorf("it expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339)))
	case bytes.Equal(leaf.Raw, before[0].Raw):
		return nil, unfit(fmt.Errorf("it is the certificate that is in use"))
	}
	if differences := pki.Compare(before[0], leaf); len(differences) > 0 && !r.config.AllowChange {
		return nil, unfit(signer.WithHint(fmt.Errorf("it is another identity: %s", differences[0]), "if this is intended, use Config.AllowChange"))
	}
	switch {
	case leaf.NotAfter.Equal(before[0].NotAfter) && leaf.NotBefore.After(before[0].NotBefore) && !now.Before(plan.Due()):
		return nil, unfit(signer.WithHint(fmt.Errorf("it expires at the same time as the one that is in use, %s", leaf.NotAfter.UTC().Format(time.RFC3339)), "check when the certificate of the CA expires; a CA issues none that lives longer than itself"))
	case leaf.NotAfter.Sub(now) < plan.life()/leastLifeShare && !r.config.AllowChange:
		return nil, unfit(signer.WithHint(fmt.Errorf("it lives for %v, and the one in use for %v", leaf.NotAfter.Sub(now).Round(time.Second), plan.life().Round(time.Second)), "if this is intended, use Config.AllowChange"))
	case leaf.NotBefore.Before(before[0].NotBefore) && !r.config.AllowChange:
		return nil, unfit(signer.WithHint(fmt.Errorf("it was issued before the one that is in use"), "the CA must issue a new certificate; if it sets notBefore earlier than the CA before it, use Config.AllowChange once"))
	}
	if err := signer.Prove(ctx, key, signer.PublicKeyOf(leaf)); err != nil {
		return nil, err
	}
	if r.config.Check != nil {
		if err := r.config.Check(ctx, old, signer.WithCertificates(key, certs)); err != nil {
			return nil, err
		}
	}
	return certs.Issued(), nil
}

// unfit wraps a reason why a certificate is not used.
func unfit(err error) error {
	unfit := fmt.Errorf("%w: %w", ErrUnfit, err)
	if signer.Hint(err) != "" {
		return unfit
	}
	return signer.WithHint(unfit, "the CA must issue the certificate for the key and the names in the request, with a validity that includes now")
}
