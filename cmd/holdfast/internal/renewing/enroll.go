package renewing

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

type enrollFlags struct {
	renewal    flags.RenewalFlags
	csr, token string

	allowChange bool
	out         front.OutFile
}

// Enroll returns the command that obtains a first certificate.
func Enroll(a front.App) *cobra.Command {
	var f enrollFlags
	cmd := &cobra.Command{
		Use:   "enroll",
		Short: "Get the first certificate from a CA",
		Long: `Sends a certificate request to a CA, with a secret of its administrator, and
prints the certificate and those of its issuers in PEM. The secret is a one-time
token for step-ca, a token for Vault, and USER:PASSWORD for EST. holdfast csr
makes the request, holdfast install stores the certificate beside its key, and
holdfast renew renews it without the secret; see docs/renew.md.`,
		Example: `  holdfast csr --private-key key.pem --subject CN=app --out app.csr
  holdfast enroll --way step-ca --ca-url https://ca.example.com \
      --ca-roots root.pem --csr app.csr --token-source file:token --out cert.pem`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), a) },
	}
	f.renewal.AddCA(cmd, role.EnrollmentWays())
	front.RenewalFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.csr, "csr", "", "`file` of the request, - for standard input")
		fs.StringVar(&f.token, "token-source", "", "`source` of the token, or of USER:PASSWORD for est: file:PATH or env:NAME")
		front.MarkValues(fs.Lookup("token-source"), "file:", "env:")
		fs.BoolVar(&f.allowChange, "allow-change", false, "accept a certificate with other names than those of the request")
	})
	front.OutputFlags.Define(cmd.Flags(), func(*pflag.FlagSet) {})
	f.out.Add(cmd, "certificate", "CERTIFICATE")
	return cmd
}

// enrollTimeout is how long an enrolment may take.
const enrollTimeout = 2 * time.Minute

func (f *enrollFlags) run(ctx context.Context, a front.App) error {
	for _, required := range []struct{ value, flag, example string }{
		{f.csr, "csr", "name the request, as in --csr app.csr"},
		{f.token, "token-source", "name the file with the token, as in --token-source file:token"},
	} {
		if required.value == "" {
			return signer.WithHint(front.Usagef("--%s is not given", required.flag), required.example)
		}
	}
	if err := f.out.Check(a); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, enrollTimeout)
	defer cancel()
	way, err := role.Enroller(role.Setup{Renewal: f.renewal.Renewal(nil)}, a)
	if err != nil {
		return err
	}
	data, err := read(ctx, a, f.csr)
	if err != nil {
		return err
	}
	request, err := pki.ParseRequest(data)
	if err != nil {
		return fmt.Errorf("%s: %w", keystore.Excerpt(f.csr), err)
	}
	if err := f.out.CheckFor(front.Object{Key: request.RawSubjectPublicKeyInfo, Name: request.RawSubject}); err != nil {
		return err
	}
	token, err := read(ctx, a, f.token)
	if err == nil && len(token) > maxToken {
		err = errors.New("the token is too long")
	}
	if err != nil {
		return fmt.Errorf("--token-source: %w", err)
	}
	certs, err := way.Enroll(ctx, request.Raw, string(bytes.TrimSpace(token)))
	if err != nil {
		return err
	}
	found, err := signer.SelectCertificates(request.PublicKey, certs, a.Now())
	if err == nil {
		err = f.check(request, found.Chain[0], a.Now())
	}
	if err != nil {
		return err
	}
	return f.print(a, found.Issued())
}

// check returns an error if the CA has issued another certificate than the request asks
// for, or one that cannot be used.
func (f *enrollFlags) check(request *x509.CertificateRequest, c *x509.Certificate, now time.Time) error {
	switch {
	case c.IsCA:
		return signer.WithHint(errors.New("the CA issued a certificate of a CA"), "ask the operator of the CA for a certificate of a client")
	case now.After(c.NotAfter):
		return signer.WithHint(fmt.Errorf("the CA issued a certificate that expired at %s", day(c.NotAfter)), "check the clocks of this machine and of the CA")
	case f.allowChange:
		return nil
	}
	if asked, issued := pki.NamesOfRequest(request), pki.NamesOf(c); !asked.Equal(issued) {
		return signer.WithHint(fmt.Errorf("the CA issued a certificate with other names than the request: %q instead of %q, or other alternative names", issued.SubjectText(), asked.SubjectText()),
			"ask for the names that the CA issues, or accept them with --allow-change")
	}
	return nil
}

// maxToken bounds a token, in bytes.
const maxToken = 16 << 10

func read(ctx context.Context, a front.App, reference string) ([]byte, error) {
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return nil, err
	}
	data, err := (keystore.Call{Options: a.Options(a.Logger(false))}).Read(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return data, nil
}

func (f *enrollFlags) print(a front.App, chain []*x509.Certificate) error {
	var text bytes.Buffer
	for _, c := range chain {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return err
		}
	}
	err := f.out.Write(a, text.Bytes(), nil)
	_, told := fmt.Fprintf(a.Stderr, "the CA issued a certificate for %s; it expires at %s\nnext: holdfast install --certificate FILE --private-key KEY\n",
		front.OneLine(chain[0].Subject.String()), day(chain[0].NotAfter))
	return errors.Join(err, told)
}
