package issuing

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

// issueFlags are the flags of ca issue.
type issueFlags struct {
	folder
	key         caKey
	names       nameFlags
	csr         string
	acceptNames bool
	profile     string
	lifetime    string
	crlURLs     []string
	renewal     renewalFlags
	attestation attestationFlags
	out         front.OutFile
}

func caIssue(a front.App) *cobra.Command {
	var f issueFlags
	cmd := &cobra.Command{
		Use:        "issue",
		SuggestFor: []string{"sign", "renew"},
		Short:      "Issue a certificate for a request",
		Long: `Issues a certificate for the key of a request (PKCS #10, in PEM or DER) and
prints it in PEM to standard output, followed by those of intermediate CAs.

Only the public key of the request is used, after its signature was verified:
the common name is the identity at AWS, and a requester can ask for any name.
The names come from the flags, or from the [[allow]] list in the settings, which
contains the names for each key. --accept-csr-names uses those of the request;
check them first.

The default profile, client, is what IAM Roles Anywhere requires. The others are
server and intermediate, and those in the settings. A server certificate needs
--dns or --ip.

--attestation takes the file of holdfast attest. It accepts only a key that was
generated in a TPM that you trust and cannot leave it, and encrypts (wraps) the
certificate: only that TPM can decrypt it, and only while it contains the key.
holdfast install does that on the machine. A request for the same key is needed
only for --accept-csr-names.

--renew takes a request that the key of a certificate of this CA signed (CMS),
such as that of holdfast csr --renew, and issues a certificate with the same
names, profile and lifetime. --renew-folder does this once for all new requests
in a folder: for TOKEN.p7 it writes TOKEN.pem or, with the reason,
TOKEN.rejected. A certificate that is revoked, has expired, or was renewed with
another key is refused. In a folder, a request for another CA is left without an
answer. The same request always gets the same certificate. The exit code is 2 if
a request was refused.`,
		Example: `  holdfast ca issue --csr app.csr --subject CN=app > cert.pem
  holdfast ca issue --csr app.csr --subject CN=app --dns app.example.com \
      --lifetime 30d > cert.pem
  holdfast ca issue --csr - --accept-csr-names < app.csr > cert.pem
  holdfast ca issue --attestation evidence.json --ek-roots makers.pem \
      --subject CN=app --out wrapped.json
  holdfast ca issue --renew renewal.p7 > cert.pem
  holdfast ca issue --renew-folder /srv/requests --allow-expired 7d`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), a) },
	}
	f.key.add(cmd)
	f.names.add(cmd)
	front.NameFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&f.acceptNames, "accept-csr-names", false, "use the names in the request, whatever they are")
	})
	fs := cmd.Flags()
	fs.StringVar(&f.csr, "csr", "", "`file` of the request, - for standard input")
	fs.StringVar(&f.profile, "profile", "", "`name` of the profile: client, server, intermediate, or a profile in ca.toml (default: client)")
	front.MarkValues(fs.Lookup("profile"), "client", "server", "intermediate")
	fs.StringVar(&f.lifetime, "lifetime", "", "`duration` of the certificate, such as 90d or 12h (default: that of the profile, or of the certificate that is renewed); it never exceeds that of the CA")
	front.ListVar(fs, &f.crlURLs, "crl-url", "`URL` of the revocation list; can be repeated (default: crl_distribution_points in the settings)")
	f.attestation.add(fs)
	f.renewal.add(fs)
	f.out.Add(cmd, "certificate", "CERTIFICATE")
	f.add(cmd, "object: serial, subject, not_after, profile, certificate (with --attestation: wrapped); with --renew-folder, an array of objects: request, with serial, subject and not_after, or with refused, failed or left")
	return cmd
}

func (f *issueFlags) run(ctx context.Context, a front.App) error {
	if err := f.attestation.check(f.csr); err != nil {
		return err
	}
	if f.renewal.given() {
		return f.renew(ctx, a)
	}
	switch {
	case f.csr == "" && f.attestation.file() == "":
		return signer.WithHint(front.Usagef("--csr is not given"), "name the request, as in --csr app.csr")
	case f.csr == "" && f.acceptNames:
		return signer.WithHint(front.Usagef("--accept-csr-names needs --csr, because evidence contains no names"), "give the names, as in --subject CN=app")
	case f.attestation.file() != "":
		f.out.SetFile("wrapped certificate", attestation.WrappedKey)
	}
	if f.acceptNames && f.names.given() {
		return signer.WithHint(front.Usagef("--accept-csr-names cannot be used with the flags for names"), "use only one of them")
	}
	if err := f.out.Check(a); err != nil {
		return err
	}
	if err := f.out.CheckOutside(f.dir); err != nil {
		return err
	}
	ca, settings, err := f.issuer(ctx, a)
	if err != nil {
		return err
	}
	if settings.AttestedOnly && f.attestation.file() == "" {
		return signer.WithHint(fmt.Errorf("this CA issues certificates only with evidence of a TPM (attested_only in %s)", configFile), "give the file that holdfast attest wrote with --attestation")
	}
	evidence, err := f.attestation.read(ctx, a)
	if err != nil {
		return err
	}
	request, err := f.request(ctx, a, evidence)
	if err != nil {
		return err
	}
	t, err := f.template(a, ca.Chain(), settings, request)
	if err != nil {
		return err
	}
	if err := f.out.CheckFor(front.Object{Key: request.RawSubjectPublicKeyInfo, Name: t.Names.Subject}); err != nil {
		return err
	}
	if err := warnSameName(a, ca, t); err != nil {
		return err
	}
	return f.key.with(ctx, a, settings, f.dir, func(ctx context.Context, s signer.Signer) error {
		return f.issue(ctx, a, ca, s, t, evidence)
	})
}

// issue issues the certificate. evidence is nil if none was given.
func (f *issueFlags) issue(ctx context.Context, a front.App, ca *authority.Authority, s signer.Signer, t pki.Template, evidence *attestation.Evidence) error {
	if evidence == nil {
		c, err := ca.Issue(ctx, s, t, "")
		if err != nil {
			return err
		}
		return stored(f.print(a, c, t.Profile, chainPEM(c, ca.Chain()), false), "the certificate was issued; print it with: "+f.command("show", "--serial", serialOf(c)))
	}
	w, err := evidence.Wrap(rand.Reader)
	if err != nil {
		return err
	}
	c, err := ca.Issue(ctx, s, t, evidence.Digest())
	if err != nil {
		return err
	}
	revoke := f.command("revoke", "--serial", serialOf(c))
	wrapped, err := w.Seal(chainPEM(c, ca.Chain()))
	if err != nil {
		return signer.WithHint(fmt.Errorf("the wrapped certificate: %w", err), "the certificate was issued, but cannot be wrapped; revoke it with: "+revoke)
	}
	return stored(f.print(a, c, t.Profile, wrapped, true), "the certificate was issued, but not printed; run the command again, and revoke this one with: "+revoke)
}

// issuer opens the folder of the CA, which can issue certificates now, and reads its
// settings.
func (f *issueFlags) issuer(ctx context.Context, a front.App) (*authority.Authority, config, error) {
	ca, err := f.open(a)
	if err != nil {
		return nil, config{}, err
	}
	if c := ca.Chain()[0]; a.Now().After(c.NotAfter) {
		return nil, config{}, signer.WithHint(fmt.Errorf("the certificate of the CA %s expired at %s", named(pki.NamesOf(c).SubjectText()), day(c.NotAfter)),
			"create a new CA; docs/ca.md describes how to replace a root")
	}
	settings, err := f.key.settings(ctx, f.dir)
	return ca, settings, err
}

// template returns the certificate to issue, which the CA may issue.
func (f *issueFlags) template(a front.App, ca []*x509.Certificate, c config, request *x509.CertificateRequest) (t pki.Template, err error) {
	t.PublicKey, t.CRLDistributionPoints = request.PublicKey, c.CRLURLs
	if len(f.crlURLs) > 0 {
		t.CRLDistributionPoints = f.crlURLs
		if err := checkURLs(f.crlURLs); err != nil {
			return t, &front.UsageError{Err: err}
		}
	}
	profile, allowed := cmp.Or(f.profile, pki.Client.Name), false
	switch {
	case f.names.given():
		if t.Names, err = f.names.names(); err != nil {
			return t, &front.UsageError{Err: err}
		}
	case f.acceptNames:
		t.Names = pki.NamesOfRequest(request)
	case len(c.Allow) > 0:
		w, err := c.allowed(request)
		if err != nil {
			return t, err
		}
		if f.profile != "" && f.profile != w.Profile {
			return t, signer.WithHint(fmt.Errorf("the [[allow]] entry for this request has the profile %q, not %q", w.Profile, keystore.Excerpt(f.profile)),
				"leave out --profile, or also give the names, as in "+command(nameArguments(w.names)...))
		}
		t.Names, profile, allowed = w.names, w.Profile, true
	case f.csr == "":
		return t, signer.WithHint(front.Usagef("--subject is not given, and evidence contains no names"), "give the names, as in --subject CN=app")
	default:
		asked := pki.NamesOfRequest(request).SubjectText()
		return t, signer.WithHint(front.Usagef("you gave no names, and the names in the request (%s) are not used automatically", keystore.Excerpt(asked)),
			"give the names, as in "+asking(request)+", or accept those of the request with --accept-csr-names")
	}
	if t.Profile, err = findProfile(c.profiles, profile); err != nil {
		return t, &front.UsageError{Err: err}
	}
	if err := checkServer(t, request); err != nil {
		return t, err
	}
	if asksForCA(request) && !t.Profile.IsCA {
		hint := "for a CA, add --profile intermediate"
		if allowed {
			hint = `for a CA, write profile = "intermediate" in the [[allow]] entry of the request`
		}
		a.Logger(false).Warn(fmt.Sprintf("the request asks for the certificate of a CA, but the profile %s is not for CAs", profile), "hint", hint)
	}
	lifetime := t.Profile.Lifetime
	if f.lifetime != "" {
		if lifetime, err = front.ParseLifetime("--lifetime", f.lifetime); err != nil {
			return t, err
		}
	}
	if allowed && lifetime > t.Profile.Lifetime {
		return t, signer.WithHint(fmt.Errorf("the [[allow]] entry for this request has the profile %q, whose certificates are valid for at most %s", profile, span(t.Profile.Lifetime)),
			"leave out --lifetime, or give the names with --subject")
	}
	now := a.Now()
	t.NotBefore, t.NotAfter = pki.Validity(ca[0], now, lifetime)
	if t.NotAfter.Before(now.Add(lifetime).Add(-time.Second)) && f.lifetime != "" {
		a.Logger(false).Warn("the certificate expires when that of its CA expires, at " + day(t.NotAfter) + "; --lifetime asked for more")
	}
	checked := t
	checked.Serial = big.NewInt(1) // the real one is made later
	return t, checked.Check(pki.Issuer{Certificate: ca[0], Above: ca[1:]})
}

// asking returns the flags for the names that a request asks for.
func asking(r *x509.CertificateRequest) string {
	n := pki.NamesOfRequest(r)
	if n.SubjectText() == "" {
		n.Subject = pki.CommonName("app").Subject
	}
	return command(nameArguments(n)...)
}

// asksForCA reports whether a request has the extension basicConstraints of a CA
// (RFC 5280, section 4.2.1.9).
func asksForCA(r *x509.CertificateRequest) bool {
	return slices.ContainsFunc(r.Extensions, func(e pkix.Extension) bool {
		var constraints struct {
			IsCA       bool `asn1:"optional"`
			PathLength int  `asn1:"optional,default:-1"`
		}
		_, err := asn1.Unmarshal(e.Value, &constraints)
		return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) && err == nil && constraints.IsCA
	})
}

// checkServer refuses a server certificate that no client accepts: clients look
// only at the alternative names (RFC 9525, section 6.1).
func checkServer(t pki.Template, request *x509.CertificateRequest) error {
	if !slices.Contains(t.Profile.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || len(t.Names.DNSNames)+len(t.Names.IPAddresses) > 0 {
		return nil
	}
	hint := "give the names of the server with --dns or --ip"
	if asked := pki.NamesOfRequest(request); len(asked.DNSNames)+len(asked.IPAddresses) > 0 {
		hint += "; the request asks for " + command(nameArguments(asked)...)
	}
	return signer.WithHint(front.Usagef("a server certificate needs a DNS name or an IP address"), hint)
}

// An issuedCertificate is the output of ca issue --json.
type issuedCertificate struct {
	Serial      string          `json:"serial"`
	Subject     string          `json:"subject"`
	NotAfter    string          `json:"not_after"`
	Profile     string          `json:"profile"`
	Certificate string          `json:"certificate,omitempty"` // PEM, with its intermediate CAs
	Wrapped     json.RawMessage `json:"wrapped,omitempty"`     // the file, in the place of the certificate
}

// print prints a certificate. text is PEM, or the file with the wrapped certificate.
func (f *issueFlags) print(a front.App, c *x509.Certificate, profile pki.Profile, text []byte, wrapped bool) error {
	subject := pki.NamesOf(c).SubjectText()
	if f.json {
		o := issuedCertificate{Serial: serialOf(c), Subject: subject, NotAfter: stamp(c.NotAfter), Profile: profile.Name}
		if wrapped {
			o.Wrapped = text
		} else {
			o.Certificate = string(text)
		}
		return f.out.Write(a, text, o)
	}
	err := f.out.Write(a, text, nil)
	next := ""
	if wrapped && err == nil {
		next = "it is wrapped for one key in one TPM\nnext, on that machine: " +
			command("holdfast", "install", "--certificate", f.out.Or("FILE"), "--private-key", "KEY") + "\n"
	}
	_, told := fmt.Fprintf(a.Stderr, "issued a certificate for %s (serial number %s); it expires at %s\n%s", front.OneLine(subject), serialOf(c), day(c.NotAfter), next)
	return errors.Join(err, told)
}

// chainPEM returns a certificate and those of the intermediate CAs. A root is
// not part of a chain, because a verifier has it.
func chainPEM(c *x509.Certificate, issuers []*x509.Certificate) (text []byte) {
	for _, c := range append([]*x509.Certificate{c}, issuers...) {
		if certpath.CheckSignatureFrom(c, c) != nil {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
	}
	return text
}
