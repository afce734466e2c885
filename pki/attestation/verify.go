package attestation

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// The reasons for which evidence is refused.
var (
	// ErrOrigin means that the key was made outside of the TPM, or may have been.
	ErrOrigin = errors.New("the key was not generated in the TPM")

	// ErrMovable means that the key can leave the TPM.
	ErrMovable = errors.New("the key can leave the TPM")

	// ErrUntrustedTPM means that the endorsement key is not one that the CA
	// trusts.
	ErrUntrustedTPM = errors.New("the TPM is not one that this CA trusts")

	// ErrPolicy means that the key does not have the policy that the CA
	// requires.
	ErrPolicy = errors.New("the key does not have the required policy")
)

// A Trust says which keys in which TPMs a CA accepts.
type Trust struct {
	// Roots are CAs of makers of TPMs. The certificate of an endorsement key
	// must chain to one of them; each of them is trusted, also one that is not a
	// root.
	Roots []*x509.Certificate

	// Endorsements are SHA-256 hashes of the SubjectPublicKeyInfo of endorsement
	// keys, in lower-case hexadecimal. They need no certificate.
	Endorsements []string

	// Policies are policies of which the key must have one. If there are none, it
	// needs no policy.
	Policies []Policy

	Now time.Time // zero: time.Now()
}

// Verify returns an error unless the key that e describes can only have been
// generated in a TPM, cannot leave it, and has a policy that t accepts, and the TPM
// is one that t accepts. The error wraps [ErrOrigin], [ErrMovable],
// [ErrUntrustedTPM], [ErrPolicy] or [errors.ErrUnsupported].
//
// Verify does not show that the TPM contains the key: only a TPM that decrypts the
// result of [Evidence.Wrap] shows that.
func (e *Evidence) Verify(t Trust) error {
	if err := e.CheckKey(); err != nil {
		return err
	}
	if _, err := e.endorsementArea(); err != nil {
		return err
	}
	if err := e.checkEndorsement(t); err != nil {
		return err
	}
	return e.checkPolicy(t.Policies)
}

// nameAlgs are the hash functions that may identify the key. With SHA-1, somebody
// could make two public areas with the same name.
var nameAlgs = []tpm2.TPMAlgID{tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512}

// CheckKey returns an error if the attributes of the key do not say that it was
// generated in a TPM and cannot leave it (TPM 2.0 Library, part 2, section 8.3). The
// error wraps [ErrOrigin], [ErrMovable] or [errors.ErrUnsupported].
func (e *Evidence) CheckKey() error {
	a := e.area.ObjectAttributes
	const hint = "generate a new key in the TPM, as in tpm:path=app.pem"
	switch {
	case !a.FixedTPM && !a.FixedParent && !a.SensitiveDataOrigin:
		return signer.WithHint(fmt.Errorf("%w: it has none of the attributes fixedTPM, fixedParent and sensitiveDataOrigin, like a software key that was loaded into it", ErrOrigin), hint)
	case !a.SensitiveDataOrigin:
		return signer.WithHint(fmt.Errorf("%w: it was imported, because it does not have the attribute sensitiveDataOrigin", ErrOrigin), hint)
	case !a.FixedTPM && !a.FixedParent:
		return signer.WithHint(fmt.Errorf("%w: it can be duplicated, because it has neither of the attributes fixedTPM and fixedParent", ErrMovable), hint)
	case !a.FixedParent:
		return signer.WithHint(fmt.Errorf("%w: it can be duplicated, because it does not have the attribute fixedParent", ErrMovable), hint)
	case !a.FixedTPM:
		return signer.WithHint(fmt.Errorf("%w: its parent can be duplicated, because it does not have the attribute fixedTPM", ErrMovable), hint)
	case !slices.Contains(nameAlgs, e.area.NameAlg):
		return signer.WithHint(fmt.Errorf("the name of the key is not a SHA-256, SHA-384 or SHA-512 hash: %w", errors.ErrUnsupported), hint)
	case a.AdminWithPolicy:
		return signer.WithHint(fmt.Errorf("the key has the attribute adminWithPolicy, with which the certificate could not be unwrapped: %w", errors.ErrUnsupported), hint)
	}
	return nil
}

// oidEndorsement is the extended key usage tcg-kp-EKCertificate (TCG EK Credential
// Profile, section 3.2.16). Without it, a certificate that the maker of a TPM issued
// for another purpose could be mistaken for one.
var oidEndorsement = asn1.ObjectIdentifier{2, 23, 133, 8, 1}

// oidSAN is subjectAltName. That of an endorsement certificate is critical and
// contains a directoryName with maker, model and version (section 3.2.9), which
// crypto/x509 does not know.
var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// checkEndorsement checks whose TPM it is.
func (e *Evidence) checkEndorsement(t Trust) error {
	if t.Now.IsZero() {
		t.Now = time.Now()
	}
	hash := e.EndorsementHash()
	if slices.Contains(t.Endorsements, hash) {
		return nil
	}
	hint := "if this is the hash that you collected from a machine of yours, allow it with Trust.Endorsements " + hash
	key := fmt.Sprintf("endorsement key (%s, SHA-256 %s)", signer.DescribeKey(e.endorsement), hash)
	switch {
	case len(t.Roots) == 0:
		return signer.WithHint(fmt.Errorf("%w: its %s is not among those allowed", ErrUntrustedTPM, key), hint)
	case e.certificate == nil:
		return signer.WithHint(fmt.Errorf("%w: the evidence contains no certificate of its %s", ErrUntrustedTPM, key), hint)
	case e.certificate.IsCA || !slices.ContainsFunc(e.certificate.UnknownExtKeyUsage, oidEndorsement.Equal):
		return signer.WithHint(fmt.Errorf("%w: the certificate is not that of an endorsement key (extended key usage %v)", ErrUntrustedTPM, oidEndorsement), hint)
	}
	c := *e.certificate
	c.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(c.UnhandledCriticalExtensions), oidSAN.Equal)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range t.Roots {
		roots.AddCert(root)
	}
	for _, issuer := range e.issuers {
		between.AddCert(issuer)
	}
	chains, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: t.Now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		text := fmt.Sprintf("the issuer of its certificate, %.200q, is not trusted, and nothing leads from it to a trusted one", c.Issuer.String())
		_, cause, _ := strings.Cut(err.Error(), "possibly because of ")
		switch {
		case strings.Contains(cause, "verification error"):
			text += "; a trusted one with this name has another key"
		case cause != "":
			text += ": " + strings.TrimSuffix(cause, ")")
		}
		err, hint = errors.New(text), "if you trust the maker of this TPM, add the certificate of this issuer to the file of Trust.Roots"
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		whose, when := "its certificate", "expired at "+invalid.Cert.NotAfter.UTC().Format(time.RFC3339)
		if !invalid.Cert.Equal(e.certificate) {
			whose = fmt.Sprintf("the certificate of the CA %.100q", invalid.Cert.Subject.String())
		}
		if t.Now.Before(invalid.Cert.NotBefore) {
			when = "is not yet valid, before " + invalid.Cert.NotBefore.UTC().Format(time.RFC3339)
		}
		err = errors.New(whose + " " + when)
	}
	if err == nil && !slices.ContainsFunc(chains, certifiesEndorsements) {
		err = errors.New("the CA that issued its certificate is limited to other purposes")
	}
	if err != nil {
		return signer.WithHint(fmt.Errorf("%w: %w", ErrUntrustedTPM, err), hint)
	}
	return nil
}

// certifiesEndorsements reports whether all certificates of a chain below its root are
// for endorsement keys, as far as they have an extended key usage.
func certifiesEndorsements(chain []*x509.Certificate) bool {
	return !slices.ContainsFunc(chain[:len(chain)-1], func(c *x509.Certificate) bool {
		return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) &&
			!slices.ContainsFunc(c.UnknownExtKeyUsage, oidEndorsement.Equal)
	})
}
