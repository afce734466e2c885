package tpm

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Attest implements [keystore.Attester].
func (Backend) Attest(ctx context.Context, ref keystore.Ref, endorsementKey keystore.KeyType, call keystore.Call) (keystore.Attestation, error) {
	cfg, err := configFor(ctx, ref, call)
	if err != nil {
		return keystore.Attestation{}, err
	}
	return Attest(ctx, cfg, endorsementKey)
}

// Attest returns the evidence that a key is in a TPM. It loads the key to see that
// it is in this TPM, but does not use it, so it needs no password of the key.
// endorsementKey is one of [EndorsementKeyTypes]; "" selects the first one with a
// certificate, or else the first one that the TPM supports.
func Attest(ctx context.Context, cfg Config, endorsementKey keystore.KeyType) (keystore.Attestation, error) {
	return attest(ctx, cfg, endorsementKey, dial)
}

func attest(ctx context.Context, cfg Config, endorsementKey keystore.KeyType, dial dialer) (keystore.Attestation, error) {
	return bounded(ctx, cfg.Device, func() (keystore.Attestation, error) { return attestNow(ctx, cfg, endorsementKey, dial) }, nil)
}

func attestNow(ctx context.Context, cfg Config, endorsementKey keystore.KeyType, dial dialer) (keystore.Attestation, error) {
	none := keystore.Attestation{}
	types, err := endorsementTypesOf(endorsementKey)
	if err != nil {
		return none, err
	}
	cfg.PIN = nil
	ld, err := newLoader(ctx, cfg, dial)
	if err != nil {
		return none, err
	}
	ld.endorse()
	ld.mu.Lock()
	defer ld.mu.Unlock()
	defer ld.wipe()
	key, err := signingKey(ld.area)
	if err != nil {
		return none, err
	}
	evidence := &keystore.TPMAttestation{Area: tpm2.Marshal(ld.area), Policy: policySteps(ld.policy)}
	ld.policy = nil
	if err := ld.password.set(nil, lockout{}); err != nil {
		return none, err
	}
	if err := ld.use(ctx, func(l *loadedObject) error { return ld.addEndorsement(l, types, evidence) }); err != nil {
		return none, err
	}
	return keystore.Attestation{Public: key.pub, TPM: evidence}, nil
}

// EndorsementKeyTypes returns the types of endorsement keys that this package
// supports, in the order of preference.
func EndorsementKeyTypes() (kinds []keystore.KeyType) {
	for _, t := range endorsementTypes {
		kinds = append(kinds, t.kind)
	}
	return kinds
}

// endorsementTypesOf returns the types to try for a key type, which may be "".
func endorsementTypesOf(kind keystore.KeyType) ([]endorsementType, error) {
	if kind == "" {
		return endorsementTypes, nil
	}
	i := slices.IndexFunc(endorsementTypes, func(t endorsementType) bool { return t.kind == kind })
	if i < 0 {
		return nil, fmt.Errorf("endorsement keys of type %.20q: %w; the types are %v", kind, errors.ErrUnsupported, EndorsementKeyTypes())
	}
	return endorsementTypes[i : i+1], nil
}

// addEndorsement adds the endorsement key and its certificates.
func (ld *loader) addEndorsement(l *loadedObject, types []endorsementType, evidence *keystore.TPMAttestation) error {
	indices, err := handles(l.device, firstEndorsementIndex)
	if err != nil {
		return err
	}
	for _, t := range types {
		if !slices.Contains(indices, t.certificate) {
			continue
		}
		c, err := readCertificate(l.device, t.certificate)
		if err == nil {
			var pub crypto.PublicKey
			if pub, err = ld.takeEndorsementKey(l, t, c.PublicKey); err != nil && !isUnsupported(err) {
				return err
			}
			if err == nil && signer.SamePublicKey(pub, c.PublicKey) {
				evidence.EndorsementKey, evidence.EndorsementCertificate = pub, c.Raw
				evidence.EndorsementIssuers, err = ld.issuers(l.device, indices)
				return err
			}
			err = cmp.Or(err, notOfKey(c))
		}
		if errors.Is(err, errBus) || lost(err) {
			return err
		}
		ld.log.Warn("a certificate of an endorsement key in the TPM is not used", "index", fmt.Sprintf("0x%08x", uint32(t.certificate)), "cause", err)
	}
	for _, t := range types {
		if evidence.EndorsementKey, err = ld.takeEndorsementKey(l, t, nil); err == nil || !isUnsupported(err) {
			return err
		}
	}
	return signer.WithHint(err, "this TPM supports none of the endorsement keys that Holdfast knows")
}

// takeEndorsementKey returns the public key of endorsementKey, and flushes that.
func (ld *loader) takeEndorsementKey(l *loadedObject, t endorsementType, wanted crypto.PublicKey) (crypto.PublicKey, error) {
	ek, pub, err := ld.endorsementKey(l, t, wanted)
	if err != nil {
		return nil, err
	}
	return pub, l.flushOne(ek.handle)
}

// readCertificate returns the certificate at the beginning of an NV index.
func readCertificate(d *device, index tpm2.TPMHandle) (*x509.Certificate, error) {
	data, err := readNV(d, index)
	if err != nil {
		return nil, err
	}
	rest := cryptobyte.String(data)
	return firstCertificate(&rest)
}

func notOfKey(c *x509.Certificate) error {
	if c.PublicKey == nil {
		return errors.New("has a public key of an unknown type")
	}
	return errors.New("is for another key than the one that the TPM makes from the template")
}

// isUnsupported reports whether a TPM refused a template.
func isUnsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, Error(tpm2.TPMRCValue)) || errors.Is(err, Error(tpm2.TPMRCSymmetric))
}

// policySteps returns the commands of a policy; nil if their selection of PCRs is
// not written as this package does, so that text would not describe it exactly.
func policySteps(p policy) (steps []keystore.TPMPolicyStep) {
	for _, s := range p {
		if s.command != tpm2.TPMCCPolicyPCR {
			steps = append(steps, keystore.TPMPolicyStep{})
			continue
		}
		pcrs, err := parsePCRs(s.parameters)
		if err != nil {
			return nil
		}
		text, ok := formatPCRs(pcrs.Pcrs)
		if !ok {
			return nil
		}
		steps = append(steps, keystore.TPMPolicyStep{PCRs: text, Digest: pcrs.PcrDigest.Buffer})
	}
	return steps
}

// formatPCRs returns a selection in the syntax of [ParsePCRs].
func formatPCRs(selection tpm2.TPMLPCRSelection) (string, bool) {
	var parts []string
	for _, bank := range selection.PCRSelections {
		var numbers []string
		for n := range len(bank.PCRSelect) * 8 {
			if bank.PCRSelect[n/8]&(1<<(n%8)) != 0 {
				numbers = append(numbers, fmt.Sprint(n))
			}
		}
		for _, known := range banks {
			if bankIDs.Get(known.Value) == bank.Hash && len(bank.PCRSelect) == pcrCount/8 && len(numbers) > 0 {
				parts = append(parts, known.Key+":"+strings.Join(numbers, ","))
			}
		}
	}
	return strings.Join(parts, "+"), len(parts) == len(selection.PCRSelections) && len(parts) > 0
}
