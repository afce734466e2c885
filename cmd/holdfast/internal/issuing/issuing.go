// Package issuing implements the commands csr, ca, install and verify:
// certificate requests, a small certification authority, and the way of a
// certificate to its key. Within Holdfast it imports front, flags and the
// libraries keystore, pki, rolesanywhere and signer.
package issuing

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// signTimeout is how long a device may take to open a key and to sign, without
// the time in which a person is awaited.
const signTimeout = 2 * time.Minute

// withKey opens a key and calls use with it, within signTimeout.
func withKey(ctx context.Context, a front.App, k flags.Key, use func(context.Context, signer.Signer) error) error {
	opts, err := k.Options(a, a.Logger(false))
	if err != nil {
		return err
	}
	return withOptions(ctx, a, k, opts, use)
}

func withOptions(ctx context.Context, a front.App, k flags.Key, opts keystore.Options, use func(context.Context, signer.Signer) error) error {
	ctx, cancel := await.Limit(ctx, signTimeout)
	defer cancel()
	return front.Interruptible(ctx, k.Name(), func() error {
		s, err := k.OpenBare(ctx, a, opts)
		if err != nil {
			return err
		}
		defer s.Close()
		if signer.NeedsPerson(s) {
			var done func()
			ctx, done = await.Person(ctx, await.PersonTimeout)
			defer done()
		}
		err = use(ctx, s)
		if errors.Is(err, signer.ErrMismatch) && signer.Hint(err) == "" {
			err = signer.WithHint(fmt.Errorf("%s: %w", k.Name(), err), "name the key of the CA with --private-key, or another folder with --dir")
		}
		return err
	})
}

// nameFlags are the flags for the names in a request or certificate.
type nameFlags struct {
	subject                string
	dns, uris, ips, emails []string
}

func (f *nameFlags) add(cmd *cobra.Command) {
	front.NameFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.subject, "subject", "", "subject as a distinguished `name` (RFC 4514), such as CN=app,O=Example")
		front.ListVar(fs, &f.dns, "dns", "DNS `name`; can be repeated, like --uri, --ip and --email")
		front.ListVar(fs, &f.uris, "uri", "`URI`, such as spiffe://example.com/app")
		front.ListVar(fs, &f.ips, "ip", "IP `address`")
		front.ListVar(fs, &f.emails, "email", "email `address`")
	})
}

func (f nameFlags) given() bool {
	return f.subject != "" || len(f.dns)+len(f.uris)+len(f.ips)+len(f.emails) > 0
}

// names converts texts to names. Each error names the text.
func (f nameFlags) names() (n pki.Names, err error) {
	if f.subject != "" {
		if n.Subject, err = parseSubject(f.subject); err != nil {
			return n, err
		}
	}
	for _, name := range f.dns {
		if err := checkDNS(name); err != nil {
			return n, err
		}
	}
	n.DNSNames, n.EmailAddresses = f.dns, f.emails
	for _, text := range f.uris {
		u, err := url.Parse(text)
		if err != nil {
			return n, fmt.Errorf("URI %q is not a URI", keystore.Excerpt(text))
		}
		n.URIs = append(n.URIs, u)
	}
	for _, text := range f.ips {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return n, fmt.Errorf("IP address %q is not an IP address", keystore.Excerpt(text))
		}
		n.IPAddresses = append(n.IPAddresses, ip.Unmap())
	}
	return n, n.Check()
}

// checkDNS refuses what is mistaken for a DNS name.
func checkDNS(name string) error {
	_, err := netip.ParseAddr(name)
	switch {
	case name == "":
		return signer.WithHint(errors.New("a DNS name is empty"), "leave out --dns if there is none")
	case err == nil:
		return signer.WithHint(fmt.Errorf("DNS name %q is an IP address", name), "give it with --ip; in ca.toml, with ip")
	case strings.Contains(name, ","):
		return signer.WithHint(fmt.Errorf("DNS name %q contains a comma", keystore.Excerpt(name)), "give --dns once for each name")
	}
	return nil
}

// parseSubject returns the DER of a subject.
func parseSubject(text string) ([]byte, error) {
	dn, err := selector.ParseDN(text)
	if err == nil {
		var der []byte
		if der, err = dn.Marshal(); err == nil {
			return der, nil
		}
	}
	err = fmt.Errorf("subject %q: %w", keystore.Excerpt(text), err)
	switch {
	case strings.HasPrefix(text, "/") && strings.Contains(text, "="): // the form of OpenSSL
		return nil, signer.WithHint(err, "write "+front.ShellQuote(strings.ReplaceAll(strings.Trim(text, "/"), "/", ",")))
	case text != "" && !strings.ContainsAny(text, `=,;+\"`):
		return nil, signer.WithHint(err, "write "+front.ShellQuote("CN="+text))
	}
	return nil, err
}

// span returns a duration as people write it: without zeros.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// keyHash returns the SHA-256 hash of the SubjectPublicKeyInfo in hexadecimal.
func keyHash(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// stored adds a hint to an error of standard output: the result exists.
func stored(err error, hint string) error {
	if errors.Is(err, front.ErrOutput) {
		return signer.WithHint(err, hint)
	}
	return err
}

// day returns a time as people read it, in UTC.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// stamp returns a time for JSON.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
