package issuing

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

func caList(a front.App) *cobra.Command {
	var f folder
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the certificates of a CA",
		Long: `Lists the certificates in the order in which they were issued, with state,
remaining time, the first digits of the serial number, and subject. The state is
valid, expired, revoked, or missing: then the signature was interrupted, or the
file was lost.`,
		Example: `  holdfast ca list
  holdfast ca list --dir hsm-ca --json`,
		RunE: func(*cobra.Command, []string) error { return list(a, f) },
	}
	f.add(cmd, "array of objects: serial, subject, state, issued, not_after, ends_in, profile, key_sha256, revoked, reason, unlisted, renews, evidence_sha256")
	return cmd
}

// A listing is an entry in the output of ca list and ca show.
type listing struct {
	Serial   string `json:"serial"`
	Subject  string `json:"subject"`
	State    string `json:"state"`
	Issued   string `json:"issued"`
	NotAfter string `json:"not_after"`
	EndsIn   int64  `json:"ends_in"` // seconds; negative: since the end
	Profile  string `json:"profile,omitempty"`
	KeyHash  string `json:"key_sha256,omitempty"`
	Revoked  string `json:"revoked,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Unlisted bool   `json:"unlisted,omitempty"` // revoked after the last revocation list
	Renews   string `json:"renews,omitempty"`   // serial number of the certificate that it renewed
	Evidence string `json:"evidence_sha256,omitempty"`

	Certificate string `json:"certificate,omitempty"` // PEM; only of ca show
}

func newListing(c authority.Certificate, now time.Time) listing {
	l := listing{Serial: c.Serial, Subject: c.Subject, State: "valid", Issued: stamp(c.Issued), NotAfter: stamp(c.NotAfter),
		EndsIn: int64(c.NotAfter.Sub(now) / time.Second), Profile: c.Profile, KeyHash: c.Key, Renews: c.Renews, Evidence: c.Evidence}
	switch {
	case !c.Revoked.IsZero():
		l.State, l.Revoked, l.Reason, l.Unlisted = "revoked", stamp(c.Revoked), reasonName(c.Reason), c.Unlisted
	case now.After(c.NotAfter):
		l.State = "expired"
	case c.Missing:
		l.State = "missing"
	}
	return l
}

// shortSerial is how many digits of a serial number a table shows: enough to
// name a certificate.
const shortSerial = 12

func list(a front.App, f folder) error {
	ca, err := f.open(a)
	if err != nil {
		return err
	}
	entries, err := ca.List()
	if err != nil {
		return err
	}
	now, listings := a.Now(), []listing{} // not nil: [] in JSON
	for _, c := range entries {
		listings = append(listings, newListing(c, now))
	}
	if f.json {
		return front.WriteJSON(a.Stdout, listings)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tENDS IN\tSERIAL\tSUBJECT")
	for _, l := range listings {
		ends, subject, state := remaining(l.EndsIn), l.Subject, l.State
		if l.KeyHash == "" && subject == "" { // known only from a revocation list
			ends, subject = "-", "(unknown)"
		}
		if l.Unlisted {
			state += ", not listed"
		}
		fmt.Fprintf(w, "%s\t%s\t%.*s\t%s\n", state, ends, shortSerial, l.Serial, front.OneLine(subject))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = a.Stdout.Write([]byte(b.String()))
	return err
}

// remaining returns seconds in the largest unit that gives at least two.
func remaining(seconds int64) string {
	if seconds <= 0 {
		return "-"
	}
	for _, u := range []struct {
		name string
		size int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}} {
		if seconds >= 2*u.size {
			return fmt.Sprintf("%d%s", seconds/u.size, u.name)
		}
	}
	return fmt.Sprintf("%ds", seconds)
}

func caShow(a front.App) *cobra.Command {
	var f folder
	var serial string
	var commands bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show a CA, or one of its certificates",
		Long: `Shows the CA, with the number of its certificates and its last revocation list.
With --serial it shows a certificate, and prints it in PEM. With --commands it
prints the script of holdfast ca init again.`,
		Example: `  holdfast ca show
  holdfast ca show --serial 4f1c22
  holdfast ca show --commands > aws-commands.sh`,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case serial != "" && commands:
				return signer.WithHint(front.Usagef("--commands cannot be used with --serial"), "give only one of them")
			case commands:
				return showCommands(a, f)
			case serial != "":
				return showCertificate(a, f, serial)
			}
			return showCA(a, f)
		},
	}
	cmd.Flags().StringVar(&serial, "serial", "", "serial `number` in hexadecimal, or its first digits")
	cmd.Flags().BoolVar(&commands, "commands", false, "print the script that creates a trust anchor, a role and a profile")
	f.add(cmd, "object, of the CA or, as in ca list, of the certificate")
	return cmd
}

func showCertificate(a front.App, f folder, serial string) error {
	serial, err := f.parseSerial(serial)
	if err != nil {
		return err
	}
	ca, err := f.open(a)
	if err != nil {
		return err
	}
	entry, err := f.find(ca, serial)
	if err != nil {
		return err
	}
	l := newListing(entry, a.Now())
	c, err := ca.Certificate(entry.Serial)
	switch {
	case err == nil:
		l.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if l.Evidence != "" && l.Renews == "" {
		a.Logger(false).Warn("this certificate proves that its key is in a TPM only if nobody gets it except in the wrapped file that ca issue wrote")
	}
	if f.json {
		return front.WriteJSON(a.Stdout, l)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, front.OneLine(value))
		}
	}
	row("subject", subjectOf(entry))
	row("serial", l.Serial)
	row("state", l.State)
	row("issued", day(entry.Issued))
	row("expires", day(entry.NotAfter))
	row("profile", l.Profile)
	row("renews", l.Renews)
	if c != nil {
		names := pki.NamesOf(c)
		row("DNS names", strings.Join(names.DNSNames, " "))
		for _, u := range names.URIs {
			row("URI", u.String())
		}
		for _, ip := range names.IPAddresses {
			row("IP address", ip.String())
		}
		row("emails", strings.Join(names.EmailAddresses, " "))
		row("key", signer.DescribeKeyOf(c))
	}
	row("key SHA-256", l.KeyHash)
	row("evidence SHA-256", l.Evidence)
	if l.Revoked != "" {
		row("revoked", day(entry.Revoked)+", "+l.Reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.WriteString(l.Certificate)
	_, err = a.Stdout.Write([]byte(b.String()))
	return err
}

func expires(notAfter, now time.Time) string {
	if now.After(notAfter) {
		return "EXPIRED"
	}
	return "expires"
}

func showCommands(a front.App, f folder) error {
	ca, err := f.open(a)
	if err != nil {
		return err
	}
	commands := awsCommands(ca.Chain())
	if f.json {
		return front.WriteJSON(a.Stdout, map[string]string{"commands": commands})
	}
	_, err = a.Stdout.Write([]byte(commands))
	return err
}

// A caListing is the output of ca show --json.
type caListing struct {
	Subject     string         `json:"subject"`
	Issuer      string         `json:"issuer"`
	Serial      string         `json:"serial"`
	NotAfter    string         `json:"not_after"`
	EndsIn      int64          `json:"ends_in"` // seconds
	Key         string         `json:"key"`
	States      map[string]int `json:"certificates"` // by state
	CRLNumber   string         `json:"crl_number,omitempty"`
	NextUpdate  string         `json:"next_update,omitempty"`
	Certificate string         `json:"certificate"` // PEM
}

func showCA(a front.App, f folder) error {
	ca, err := f.open(a)
	if err != nil {
		return err
	}
	entries, err := ca.List()
	if err != nil {
		return err
	}
	number, next, err := ca.LastCRL()
	if err != nil {
		return err
	}
	c, now := ca.Chain()[0], a.Now()
	l := caListing{pki.NamesOf(c).SubjectText(), c.Issuer.String(), serialOf(c), stamp(c.NotAfter), int64(c.NotAfter.Sub(now) / time.Second),
		signer.DescribeKeyOf(c), map[string]int{}, "", "", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))}
	for _, state := range []string{"valid", "expired", "revoked", "missing"} {
		l.States[state] = 0
	}
	for _, e := range entries {
		l.States[newListing(e, now).State]++
	}
	if number.Sign() > 0 {
		l.CRLNumber, l.NextUpdate = number.String(), stamp(next)
	}
	if f.json {
		return front.WriteJSON(a.Stdout, l)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "subject\t%s\nissuer\t%s\nserial\t%s\n%s\t%s\nkey\t%s\n", front.OneLine(l.Subject), front.OneLine(l.Issuer), l.Serial, expires(c.NotAfter, now), day(c.NotAfter), l.Key)
	fmt.Fprintf(w, "certificates\t%d valid, %d expired, %d revoked, %d missing\n", l.States["valid"], l.States["expired"], l.States["revoked"], l.States["missing"])
	switch {
	case l.CRLNumber == "":
		fmt.Fprintf(w, "revocation list\tnone\n")
	case isOverdue(next, now):
		fmt.Fprintf(w, "revocation list\tnumber %s, OVERDUE since %s\n", l.CRLNumber, day(next))
	default:
		fmt.Fprintf(w, "revocation list\tnumber %s, valid until %s\n", l.CRLNumber, day(next))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = a.Stdout.Write([]byte(b.String()))
	return err
}
