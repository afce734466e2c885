package issuing

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// verifyFlags are the flags of verify.
type verifyFlags struct {
	identity    flags.Identity
	trustAnchor string
	crls        []string
	asJSON      bool
}

// Verify returns the command that checks a key and its certificate.
func Verify(a front.App) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check a key and its certificate, without AWS",
		Long: `Checks a key and its certificate without AWS, and prints a line for each check:

  key           the key is that of the certificate
  signature     the certificate verifies a signature of the key
  certificate   Roles Anywhere accepts such a certificate, now
  trust-anchor  the certificate leads to the CA of --trust-anchor
  crl           the CRL of --crl revokes neither it nor one of its issuers

Each line begins with ok, fault or skipped. If there is a fault, the command
prints the first one with a hint to standard error and fails. The exit code is 1
unless the key itself could not be used; see docs/errors.md.`,
		Example: `  holdfast verify --certificate cert.pem --private-key key.pem
  holdfast verify --certificate 'pkcs11:token=prod;object=app' \
      --trust-anchor ca.pem --crl ca.crl --json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.identity.Add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.trustAnchor, "trust-anchor", "", "`file` with the certificate of the CA that the trust anchor contains")
	front.ListVar(fs, &f.crls, "crl", "`file` with a CRL of the CA; can be repeated")
	front.RefuseEmpty(fs, "trust-anchor", "crl")
	fs.BoolVar(&f.asJSON, "json", false, "print a JSON object: ok, certificate, checks")
	return cmd
}

// verifyTimeout is how long a device may take, without the time of prompts.
const verifyTimeout = time.Minute

// A crlFile is a CRL with the name of its file.
type crlFile struct {
	name string
	list *x509.RevocationList
}

func (f *verifyFlags) run(cmd *cobra.Command, a front.App) error {
	key, err := f.identity.Key(cmd)
	if err != nil {
		return err
	}
	if err := key.Check(); err != nil {
		return err
	}
	v := verification{now: a.Now()}
	ctx, cancel := await.Limit(cmd.Context(), verifyTimeout)
	defer cancel()
	if err := f.readFiles(ctx, a, &v); err != nil {
		return err
	}
	opts, err := key.Options(a, a.Logger(false))
	if err != nil {
		return err
	}
	opts = opts.Once()
	_, err = front.InterruptibleValue(ctx, key.Name(), func() (struct{}, error) { return struct{}{}, v.open(ctx, a, key, opts) })
	if err != nil {
		return err
	}
	v.checkCertificate()
	v.checkTrust()
	v.checkCRLs()
	return errors.Join(v.print(a, f.asJSON), v.fault)
}

// readFiles reads the trust anchor and the CRLs.
func (f *verifyFlags) readFiles(ctx context.Context, a front.App, v *verification) error {
	if f.trustAnchor != "" {
		ref, err := keystore.ParseRef(f.trustAnchor)
		var certs []*x509.Certificate
		if err == nil {
			certs, err = a.Store.Certificates(ctx, ref, a.Options(a.Logger(false)))
		}
		if err != nil {
			return fmt.Errorf("--trust-anchor: %w", err)
		}
		v.anchor = certs
	}
	for _, name := range f.crls {
		data, err := keystore.ReadFile(name, keystore.MaxInput)
		var list *x509.RevocationList
		switch {
		case err == nil:
			list, err = rolesanywhere.ParseCRL(data)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			err = signer.WithHint(err, "give a CRL in PEM, which begins with -----BEGIN X509 CRL-----, or in DER")
		}
		if err != nil {
			return fmt.Errorf("--crl %s: %w", name, err)
		}
		v.crls = append(v.crls, crlFile{name, list})
	}
	return nil
}

// A verification collects the results of the checks.
type verification struct {
	now    time.Time
	anchor []*x509.Certificate // nil: not given
	crls   []crlFile

	certs  signer.Certificates
	paths  [][]*x509.Certificate // to the trust anchor, or else as far as the issuers are known
	checks []checkResult
	fault  error // the first one
}

// A checkResult is the result of one check, as in --json.
type checkResult struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, fault or skipped
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// add adds the result of a check: a fault if err is not nil.
func (v *verification) add(check string, err error, detail string, args ...any) {
	r := checkResult{check, "ok", fmt.Sprintf(detail, args...), ""}
	if err != nil {
		r.Result, r.Detail = "fault", err.Error()
		_, r.Hint = front.Explain(err)
		if v.fault == nil {
			v.fault = err
		}
	}
	v.checks = append(v.checks, r)
}

func (v *verification) skip(check, why string) {
	v.checks = append(v.checks, checkResult{check, "skipped", why, ""})
}

// open opens the key and makes a signature. It returns an error if there is nothing
// to check.
func (v *verification) open(ctx context.Context, a front.App, key flags.Key, opts keystore.Options) error {
	s, err := key.OpenWith(ctx, a, opts)
	if errors.Is(err, signer.ErrMismatch) && !errors.Is(err, signer.ErrNoCertificate) {
		certs, readErr := key.Certificates(ctx, a, opts)
		if readErr != nil {
			return err
		}
		v.add("key", err, "")
		v.skip("signature", "the key is not that of the certificate")
		leaf := certs[max(slices.IndexFunc(certs, func(c *x509.Certificate) bool { return !c.IsCA }), 0)]
		v.certs, err = signer.SelectCertificates(signer.PublicKeyOf(leaf), certs, v.now)
		return err
	}
	if err != nil {
		return err
	}
	v.certs = signer.CertificatesOf(s)
	leaf := v.certs.Chain[0]
	v.add("key", nil, "%s, the key of %s", signer.DescribeKey(s.Public()), holderOf(leaf))
	err = signer.Prove(ctx, s, signer.PublicKeyOf(leaf))
	v.add("signature", err, "the certificate verifies a signature of the key")
	if err := s.Close(); err != nil {
		a.Logger(false).Warn("cannot close the key", "error", err)
	}
	return nil
}

func (v *verification) checkCertificate() {
	leaf := v.certs.Chain[0]
	err := rolesanywhere.CheckChain(v.certs.Chain, v.now)
	if err == nil {
		err = checkMapping(leaf)
	}
	from := ""
	if leaf.NotBefore.After(v.now) {
		from = "from " + day(leaf.NotBefore) + " "
	}
	v.add("certificate", err, "Roles Anywhere accepts it %suntil %s", from, day(leaf.NotAfter))
}

func (v *verification) checkTrust() {
	v.paths = [][]*x509.Certificate{v.withIssuer()}
	if v.anchor == nil {
		v.skip("trust-anchor", "--trust-anchor is not given")
		return
	}
	paths, err := rolesanywhere.TrustPaths(v.certs, v.anchor, v.now)
	if err != nil {
		v.add("trust-anchor", err, "")
		return
	}
	v.paths = paths
	var names []string
	for _, c := range paths[0] {
		names = append(names, holderOf(c))
	}
	v.add("trust-anchor", nil, "%s", strings.Join(names, ", issued by "))
}

// withIssuer returns the chain with the root, if it is among the certificates.
func (v *verification) withIssuer() []*x509.Certificate {
	top := v.certs.Chain[len(v.certs.Chain)-1]
	for _, c := range slices.Concat(v.certs.Others, v.anchor) {
		if certpath.CheckSignature(top, c) == nil {
			return append(slices.Clone(v.certs.Chain), c)
		}
	}
	return v.certs.Chain
}

func (v *verification) checkCRLs() {
	if len(v.crls) == 0 {
		v.skip("crl", "--crl is not given")
	}
	for _, crl := range v.crls {
		if ca := v.otherCA(crl.list); ca != nil {
			v.add("crl", nil, "%s is from %s, another CA of the trust anchor, and does not concern the certificates", crl.name, holderOf(ca))
			continue
		}
		c, entry, err := rolesanywhere.Revoked(v.paths, crl.list)
		if top := v.certs.Chain[len(v.certs.Chain)-1]; err != nil && v.anchor == nil && len(v.paths[0]) == len(v.certs.Chain) && bytes.Equal(crl.list.RawIssuer, top.RawIssuer) {
			err = signer.WithHint(fmt.Errorf("the CRL of %q cannot be checked without the certificate of that CA", keystore.Excerpt(crl.list.Issuer.String())),
				"give the certificate of the CA with --trust-anchor FILE")
		}
		if entry != nil {
			err = signer.WithHint(fmt.Errorf("certificate %q with the serial number %s was revoked at %s", c.Subject, serialOf(c), day(entry.RevocationTime)),
				"have the CA issue a new certificate, for a new key if the key may be known to others")
		}
		detail := fmt.Sprintf("%s revokes none of the certificates", crl.name)
		if next := crl.list.NextUpdate; !next.IsZero() && v.now.After(next) {
			detail += fmt.Sprintf("; it expired at %s, and Roles Anywhere still applies it", day(next))
		}
		v.add("crl", err, "%s", detail)
	}
}

// verified is the output of --json.
type verified struct {
	OK          bool                `json:"ok"`
	Certificate verifiedCertificate `json:"certificate"`
	Checks      []checkResult       `json:"checks"`
}

type verifiedCertificate struct {
	Subject   string `json:"subject"`
	Issuer    string `json:"issuer"`
	Serial    string `json:"serial"`
	NotBefore string `json:"not_before"`
	NotAfter  string `json:"not_after"`
}

func (v *verification) print(a front.App, asJSON bool) error {
	if asJSON {
		c := v.certs.Chain[0]
		return front.WriteJSON(a.Stdout, verified{v.fault == nil, verifiedCertificate{
			c.Subject.String(), c.Issuer.String(), serials(c)[0], stamp(c.NotBefore), stamp(c.NotAfter),
		}, v.checks})
	}
	var b strings.Builder
	for _, r := range v.checks {
		fmt.Fprintf(&b, "%-7s %-12s  %s\n", r.Result, r.Check, front.OneLine(r.Detail))
	}
	_, err := a.Stdout.Write([]byte(b.String()))
	return err
}
