package issuing

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

func caRevoke(a front.App) *cobra.Command {
	var f folder
	var serial, certificate, reason string
	var line bool
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Revoke a certificate",
		Long: `Marks a certificate as revoked, which cannot be undone. It has an effect when
the next revocation list is published: see holdfast ca crl.

Name the certificate by its serial number, by at least six of its first digits,
or by its file. A file can also be a certificate that the CA signed before it
had this folder.

The certificates that renewed it, and those that it renewed, stay valid. Unless
the reason is superseded, the command lists them. --line revokes them, too; with
the reason keyCompromise, also those of the same key, and those that came from
it. After an interruption, the same command revokes the rest.`,
		Example: `  holdfast ca revoke --serial 4f1c22 --line --reason keyCompromise
  holdfast ca revoke --certificate cert.pem --reason superseded`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return revoke(cmd.Context(), a, f, serial, certificate, reason, line)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&serial, "serial", "", "serial `number` in hexadecimal, or at least its first six digits")
	fs.StringVar(&certificate, "certificate", "", "`file` of the certificate")
	fs.BoolVar(&line, "line", false, "also revoke the other valid certificates of its line of renewals")
	fs.StringVar(&reason, "reason", "unspecified", "`reason`: "+strings.Join(reasons(), ", "))
	front.MarkValues(fs.Lookup("reason"), reasons()...)
	f.add(cmd, "object: serial, subject, revoked, reason, related, also_revoked")
	return cmd
}

func reasons() []string { return slices.Sorted(maps.Keys(pki.Reasons())) }

// minDigits is how many digits of a serial number name a certificate to revoke, unless
// the number is shorter: one digit, typed by mistake, is often that of a certificate.
const minDigits = 6

// A revocation is the output of ca revoke --json.
type revocation struct {
	Serial  string `json:"serial"`
	Subject string `json:"subject"`
	Revoked string `json:"revoked"`
	Reason  string `json:"reason"`

	// Related are the serial numbers of other valid certificates, and AlsoRevoked
	// those of the ones that --line has revoked; see [authority.Related].
	Related     []string `json:"related"`
	AlsoRevoked []string `json:"also_revoked"`
}

func revoke(ctx context.Context, a front.App, f folder, serial, certificate, reason string, line bool) error {
	code, ok := pki.Reasons()[reason]
	switch {
	case !ok:
		return front.Usagef("--reason %q is not one of %s", keystore.Excerpt(reason), strings.Join(reasons(), ", "))
	case serial != "" && certificate != "":
		return signer.WithHint(front.Usagef("--serial cannot be used with --certificate"), "give only one of them")
	case serial == "" && certificate == "":
		return signer.WithHint(front.Usagef("neither --serial nor --certificate is given"), "show the serial numbers with: "+f.command("list"))
	}
	serial, err := f.parseSerial(serial)
	if err != nil {
		return err
	}
	ca, err := f.open(a)
	if err != nil {
		return err
	}
	if certificate != "" {
		if serial, err = adopt(ctx, a, ca, certificate); err != nil {
			return err
		}
	}
	before, err := f.find(ca, serial)
	if err == nil && len(serial) < minDigits && strings.TrimLeft(serial, "0") != strings.TrimLeft(before.Serial, "0") {
		return signer.WithHint(front.Usagef("--serial %q has fewer than %d digits, and a revocation cannot be undone", serial, minDigits),
			"to revoke the certificate for "+subjectOf(before)+", give --serial "+before.Serial)
	}
	var also []authority.Certificate
	switch {
	case err != nil:
	case line:
		also, err = ca.RevokeLine(ctx, before.Serial, code)
	case before.Revoked.IsZero():
		err = ca.Revoke(ctx, before.Serial, code)
	}
	if err != nil {
		return err
	}
	return printRevocation(a, f, ca, before, also, code)
}

// printRevocation prints what has been revoked. before is its entry before that, also
// are those of its line, and reason is the one that the user gave.
func printRevocation(a front.App, f folder, ca *authority.Authority, before authority.Certificate, also []authority.Certificate, reason pki.Reason) error {
	entries, err := ca.List()
	if err != nil {
		return err
	}
	c := entries[slices.IndexFunc(entries, func(e authority.Certificate) bool { return e.Serial == before.Serial })]
	if c.Reason == pki.KeyCompromise {
		reason = c.Reason
	}
	others := authority.Related(entries, c, reason == pki.KeyCompromise, a.Now())
	if f.json {
		return front.WriteJSON(a.Stdout, revocation{c.Serial, c.Subject, stamp(c.Revoked), reasonName(c.Reason), serialsOf(others), serialsOf(also)})
	}
	done := func(c authority.Certificate) string {
		return fmt.Sprintf("revoked the certificate for %s (serial number %s)\n", front.OneLine(subjectOf(c)), c.Serial)
	}
	text := done(c)
	if !before.Revoked.IsZero() {
		text = fmt.Sprintf("the certificate for %s (serial number %s) was already revoked at %s, with the reason %s\n", front.OneLine(subjectOf(c)), c.Serial, day(c.Revoked), reasonName(c.Reason))
	}
	for _, o := range also {
		text += done(o)
	}
	told := f.tellRelated(c, others, reason)
	if reason != c.Reason && reason == pki.KeyCompromise && !slices.ContainsFunc(also, func(o authority.Certificate) bool { return o.Key == c.Key }) {
		told = "the reason cannot be changed: the CA does not know that the key is compromised until another certificate of it is revoked with the reason keyCompromise\n" + told
	}
	_, err = a.Stdout.Write([]byte(text))
	_, toldErr := fmt.Fprintf(a.Stderr, "%snext: %s, and import the list at AWS; see holdfast ca crl --help\n", told, f.command("crl", "--out", "crl.pem"))
	return errors.Join(err, toldErr)
}

func serialsOf(entries []authority.Certificate) []string {
	serials := []string{} // not nil: [] in JSON
	for _, e := range entries {
		serials = append(serials, e.Serial)
	}
	return serials
}

// adopt returns the serial number of the only certificate in a file that the CA
// signed.
func adopt(ctx context.Context, a front.App, ca *authority.Authority, file string) (serial string, err error) {
	if data, err := keystore.ReadFile(file, attestation.MaxSize); err == nil && attestation.IsFile(data) {
		return "", signer.WithHint(fmt.Errorf("%s: a wrapped certificate can be read only on its machine", keystore.Excerpt(file)), "revoke it with --serial; show the serial numbers with: holdfast ca list")
	}
	certs, err := certificatesOf(ctx, a, flags.Device{}, file)
	if err != nil {
		return "", err
	}
	issuer, found := ca.Chain()[0], certs[:1]
	if signed := slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool {
		return c.Equal(issuer) || !ca.Issued(c)
	}); len(signed) > 0 {
		found = slices.CompactFunc(signed, (*x509.Certificate).Equal)
	}
	if len(found) > 1 {
		return "", signer.WithHint(fmt.Errorf("%s contains %d certificates of this CA", keystore.Excerpt(file), len(found)), "name the one to revoke with --serial; show the serial numbers with: holdfast ca list")
	}
	serial, err = ca.Adopt(ctx, found[0])
	if err != nil {
		err = fmt.Errorf("%s: %w", keystore.Excerpt(file), err)
		if signer.Hint(err) == "" {
			err = signer.WithHint(err, "name the folder of the CA that issued it with --dir")
		}
		return "", err
	}
	return serial, nil
}

func reasonName(r pki.Reason) string {
	for name, code := range pki.Reasons() {
		if code == r {
			return name
		}
	}
	return fmt.Sprintf("reason %d", r)
}

func caCRL(a front.App) *cobra.Command {
	var f folder
	var key caKey
	var lifetime string
	var out front.OutFile
	var der bool
	cmd := &cobra.Command{
		Use:   "crl",
		Short: "Create the next revocation list",
		Long: `Signs the next revocation list and prints it in PEM to standard output. Its
number is higher than that of every earlier list. IAM Roles Anywhere refuses a
revoked certificate only if the list that you imported contains the certificate:
import each list, and create the next one before the previous one expires. The
size is printed to standard error; IAM Roles Anywhere imports at most 300,000
bytes.`,
		Example: `  holdfast ca crl > crl.pem
  aws rolesanywhere import-crl --name ca --enabled \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" --crl-data fileb://crl.pem

  # every list after the first:
  aws rolesanywhere update-crl --crl-id ID --crl-data fileb://crl.pem`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return makeCRL(cmd.Context(), a, f, key, lifetime, &out, der)
		},
	}
	key.add(cmd)
	cmd.Flags().StringVar(&lifetime, "lifetime", "", "`duration` until the next list, such as 7d (default: crl_lifetime in the settings, or 7d)")
	cmd.Flags().BoolVar(&der, "der", false, "write the list in DER, as for a place that --crl-url names (RFC 5280, section 4.2.1.13)")
	out.Add(cmd, "list", "X509 CRL")
	f.add(cmd, "object: number, entries, next_update, size, crl")
	return cmd
}

// A newCRL is the output of ca crl --json.
type newCRL struct {
	Number     string `json:"number"`
	Entries    int    `json:"entries"`
	NextUpdate string `json:"next_update"`
	Size       int    `json:"size"` // of the PEM, in bytes
	CRL        string `json:"crl"`  // PEM
}

func makeCRL(ctx context.Context, a front.App, f folder, flag caKey, lifetime string, out *front.OutFile, der bool) error {
	if err := out.Check(a); err != nil {
		return err
	}
	if err := out.CheckOutside(f.dir); err != nil {
		return err
	}
	ca, err := f.open(a)
	if err != nil {
		return err
	}
	settings, err := flag.settings(ctx, f.dir)
	if err != nil {
		return err
	}
	period := settings.crlLifetime
	if lifetime != "" {
		if period, err = front.ParseLifetime("--lifetime", lifetime); err != nil {
			return err
		}
	}
	return flag.with(ctx, a, settings, f.dir, func(ctx context.Context, s signer.Signer) error {
		text, err := ca.CRL(ctx, s, period)
		if err != nil {
			return err
		}
		return stored(printCRL(a, f, text, out, der), "the list was created; it is in "+filepath.Join(f.dir, "crl.pem"))
	})
}

func printCRL(a front.App, f folder, text []byte, out *front.OutFile, der bool) error {
	block, _ := pem.Decode(text)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return err
	}
	entries := len(list.RevokedCertificateEntries)
	if len(text) > pki.MaxCRL*4/5 {
		a.Logger(false).Warn(fmt.Sprintf("the revocation list has %d bytes, and IAM Roles Anywhere imports at most %d; docs/ca.md describes what to do", len(text), pki.MaxCRL))
	}
	result := text
	if der {
		result = block.Bytes
	}
	if f.json {
		return out.Write(a, result, newCRL{list.Number.String(), entries, stamp(list.NextUpdate), len(text), string(text)})
	}
	err = out.Write(a, result, nil)
	_, told := fmt.Fprintf(a.Stderr, "revocation list number %v revokes %s and is valid until %s\nsize: %d bytes; IAM Roles Anywhere imports at most %d\n",
		list.Number, count(entries, "certificate"), day(list.NextUpdate), len(text), pki.MaxCRL)
	return errors.Join(err, told)
}

// isOverdue reports whether a new revocation list is needed at the time now.
func isOverdue(nextUpdate, now time.Time) bool {
	return !nextUpdate.IsZero() && now.After(nextUpdate)
}
