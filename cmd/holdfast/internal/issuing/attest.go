package issuing

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer"
)

// endorsementTypes are the values of --ek-type.
var endorsementTypes = []string{string(keystore.RSA2048), string(keystore.P256), string(keystore.P384)}

// Attest returns the command that writes evidence about the origin of a key.
func Attest(a front.App) *cobra.Command {
	var device flags.Device
	var reference, kind string
	var out front.OutFile
	cmd := &cobra.Command{
		Use:   "attest",
		Short: "Write evidence that a key was generated in a TPM",
		Long: `Writes evidence about a key in the TPM: the endorsement key (EK) of the TPM, the
certificate that its maker issued for the endorsement key, and the public area
and policy of the key. The CA gives the file to holdfast ca issue --attestation,
which issues a certificate that only this TPM can decrypt, and only while it
contains this key. holdfast install decrypts it. docs/attestation.md describes
what this proves.

The command loads the key, but does not use it, so it needs neither the password
of a TPM key nor the values of its PCRs. It needs access to the TPM, which
members of the group tss usually have. If the endorsement hierarchy has a
password, name its source in the reference: endorsement-auth-source=file:PATH.
The command leaves nothing in the TPM.

For a key in a PKCS #11 token, it writes the attributes of the key about its
origin. Nothing proves these, so ca issue does not accept them. A token usually
needs its PIN for this.`,
		Example: `  holdfast attest --private-key app.pem --out evidence.json
  holdfast attest --private-key tpm:handle=0x81010002 --ek-type p256
  holdfast attest --private-key 'pkcs11:token=prod;object=app'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attest(cmd.Context(), a, device, reference, keystore.KeyType(kind), &out)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&reference, "private-key", "", "`reference` to the private key")
	fs.StringVar(&kind, "ek-type", "", "`type` of the endorsement key: "+strings.Join(endorsementTypes, ", ")+" (default: the first one with a certificate, or else rsa2048)")
	front.MarkValues(fs.Lookup("ek-type"), endorsementTypes...)
	out.AddFile(cmd, "evidence file", attestation.EvidenceKey)
	device.Add(fs)
	return cmd
}

// attestTimeout is how long a TPM may take. Some need a minute to create an RSA key.
const attestTimeout = 4 * signTimeout

func attest(ctx context.Context, a front.App, device flags.Device, reference string, kind keystore.KeyType, out *front.OutFile) error {
	if err := out.Check(a); err != nil {
		return err
	}
	if reference == "" {
		return signer.WithHint(front.Usagef("--private-key is not given"), "name the key, as in --private-key app.pem")
	}
	if err := checkEndorsementType(string(kind)); err != nil {
		return err
	}
	opts, err := device.Options(a)
	if err != nil {
		return err
	}
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return err
	}
	if ref, err = device.Complete(a, ref); err != nil {
		return err
	}
	watcher := &front.Watcher{App: a, Pinentry: device.PINSource == "pinentry", Logger: a.Logger(false)}
	opts.PIN = watcher.PIN(opts.PIN)
	ctx, cancel := await.Limit(ctx, attestTimeout)
	defer cancel()
	at, err := front.InterruptibleValue(ctx, ref.String(), func() (keystore.Attestation, error) {
		defer watcher.Begin(ctx, ref.String())()
		return a.Store.Attest(ctx, ref, kind, opts)
	})
	switch {
	case err != nil:
		return err
	case at.TPM == nil:
		return printClaims(a, at, out)
	}
	e, err := evidenceOf(at.TPM)
	if err == nil {
		err = e.CheckKey()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	return printEvidence(a, e, out)
}

func checkEndorsementType(kind string) error {
	if kind == "" || slices.Contains(endorsementTypes, kind) {
		return nil
	}
	return front.Usagef("--ek-type %q is not one of %s", keystore.Excerpt(kind), strings.Join(endorsementTypes, ", "))
}

// evidenceOf converts what a TPM says to evidence.
func evidenceOf(at *keystore.TPMAttestation) (*attestation.Evidence, error) {
	spki, err := x509.MarshalPKIXPublicKey(at.EndorsementKey)
	if err != nil {
		return nil, err
	}
	p := attestation.Parts{
		EndorsementKey: spki, EndorsementCertificate: at.EndorsementCertificate, EndorsementIssuers: at.EndorsementIssuers,
		PublicArea: at.Area,
	}
	for _, s := range at.Policy {
		p.Policy = append(p.Policy, attestation.Step{PCRs: s.PCRs, Digest: s.Digest, AuthValue: s.PCRs == ""})
	}
	return attestation.New(p)
}

// printEvidence prints or writes evidence. On standard error it says what the CA
// needs to know.
func printEvidence(a front.App, e *attestation.Evidence, out *front.OutFile) error {
	if err := out.Write(a, e.Marshal(), nil); err != nil {
		return err
	}
	certificate, trust := "none in the TPM", []string{"--ek-allow", "HASHES"}
	if c := e.Certificate(); c != nil {
		certificate, trust = "issued by "+named(c.Issuer.String()), []string{"--ek-roots", "ROOTS"}
	}
	next := append([]string{"holdfast", "ca", "issue", "--attestation", out.Or("FILE"), "--subject", "CN=NAME"}, trust...)
	hash, err := keyHash(e.Key())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stderr, `key: %s, policy: %s
SHA-256 of its public key: %s
SHA-256 of the endorsement key: %s
certificate of the endorsement key: %s
next, at the CA: %s
`, signer.DescribeKey(e.Key()), e.PolicyText(), hash, e.EndorsementHash(), front.OneLine(certificate), command(next...))
	return err
}

// printClaims prints what a token claims.
func printClaims(a front.App, at keystore.Attestation, out *front.OutFile) error {
	claims := attestation.Claims{Device: at.Device, Key: at.Public, Attributes: make(map[string]bool)}
	var text []string
	for _, c := range at.Claims {
		claims.Attributes[c.Attribute] = c.Value
		text = append(text, fmt.Sprintf("%s=%v", c.Attribute, c.Value))
	}
	data, err := claims.Marshal()
	if err != nil {
		return err
	}
	if err := out.Write(a, data, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stderr, "the token claims: %s\nNothing proves this, so holdfast ca issue does not accept it.\n", strings.Join(text, ", "))
	return err
}
