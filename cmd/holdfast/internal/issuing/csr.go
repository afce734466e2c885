package issuing

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// CSR returns the command that makes a certificate request.
func CSR(a front.App) *cobra.Command {
	var device flags.Device
	var names nameFlags
	var reference, from, old string
	var asJSON bool
	var out front.OutFile
	cmd := &cobra.Command{
		Use:   "csr",
		Short: "Make a certificate request for a key",
		Long: `Makes a certificate request (PKCS #10) and prints it in PEM to standard output.
The key signs it where it is: in a token, a TPM, the key store of Windows or
macOS, or a file. The signature proves to the CA that the requester has the key.

The names come from the flags, or with --names-from from a certificate, such as
the one that is to be renewed. A CA may ignore them: holdfast ca issue does,
unless you give --accept-csr-names.

--renew makes a request to renew a certificate of holdfast ca. It has the names
of the certificate, and the key signs it as CMS SignedData (RFC 5652), so that
holdfast ca issue --renew needs no person.

The command prints the SHA-256 hash of the public key to standard error; the
allow-list of holdfast ca identifies the key by it.`,
		Example: `  holdfast csr --private-key 'pkcs11:token=prod;object=app' --subject CN=app
  holdfast csr --private-key tpm:path=app.pem --subject CN=app,O=Example \
      --dns app.example.com > app.csr
  holdfast csr --private-key app.pem --names-from cert.pem > renewal.csr
  holdfast csr --private-key app.pem --renew cert.pem > renewal.p7`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if old != "" {
				return renewal(cmd.Context(), a, device, names, reference, from, old, &out, asJSON)
			}
			return csr(cmd.Context(), a, device, names, reference, from, &out, asJSON)
		},
	}
	front.KeyFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&reference, "private-key", "", "`reference` to the private key: a file, pkcs11:…, tpm:…, winstore:… or another scheme; see docs/references.md")
		device.Add(fs)
	})
	names.add(cmd)
	front.NameFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&from, "names-from", "", "`reference` to a certificate whose subject and alternative names are used")
		fs.StringVar(&old, "renew", "", "`reference` to the certificate of the key, which the request is to renew")
	})
	out.Add(cmd, "request", "CERTIFICATE REQUEST")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object: subject, key, key_sha256, request")
	return cmd
}

// newRequest is the output of csr --json.
type newRequest struct {
	Subject string `json:"subject"`
	Key     string `json:"key"`
	KeyHash string `json:"key_sha256"` // of the SubjectPublicKeyInfo
	Request string `json:"request"`    // PEM
}

func csr(ctx context.Context, a front.App, device flags.Device, wanted nameFlags, reference, from string, out *front.OutFile, asJSON bool) error {
	if err := out.Check(a); err != nil {
		return err
	}
	key, err := requestKey(device, reference)
	if err != nil {
		return err
	}
	names, err := requestNames(ctx, a, device, wanted, from)
	if err != nil {
		return err
	}
	err = withKey(ctx, a, key, func(ctx context.Context, s signer.Signer) error {
		return printRequest(ctx, a, s, names, out, asJSON)
	})
	if _, isFile := key.Identity.Key.File(); isFile && errors.Is(err, fs.ErrNotExist) && !errors.Is(err, signer.ErrPINRequired) {
		err = signer.WithHint(err, "check the name, or generate the key with: "+command("holdfast", "generate", "--private-key", reference))
	}
	return err
}

func requestKey(device flags.Device, reference string) (flags.Key, error) {
	key, err := device.Key(reference)
	if err == nil && key.IsZero() {
		err = signer.WithHint(front.Usagef("--private-key is not given"), "name the key, as in --private-key tpm:path=app.pem")
	}
	return key, err
}

func requestNames(ctx context.Context, a front.App, device flags.Device, wanted nameFlags, from string) (pki.Names, error) {
	switch {
	case from != "" && wanted.given():
		return pki.Names{}, signer.WithHint(front.Usagef("--names-from cannot be used with the flags for names"), "use only one of them")
	case from != "":
		return namesFrom(ctx, a, device, from)
	case wanted.subject == "":
		return pki.Names{}, signer.WithHint(front.Usagef("--subject is not given"), "name the subject, as in --subject CN=app; IAM Roles Anywhere requires one")
	}
	names, err := wanted.names()
	if err != nil {
		err = &front.UsageError{Err: err}
	}
	return names, err
}

// namesFrom returns the names of the only certificate in a reference that is not
// one of a CA.
func namesFrom(ctx context.Context, a front.App, device flags.Device, from string) (names pki.Names, err error) {
	certs, err := certificatesOf(ctx, a, device, from)
	if err != nil {
		return names, err
	}
	var found []*x509.Certificate
	for _, c := range certs {
		if !c.IsCA && (len(found) == 0 || len(pki.Compare(found[0], c)) > 0) {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		return names, fmt.Errorf("%s: %w: it contains only certificates of CAs", keystore.Excerpt(from), signer.ErrNoCertificate)
	case len(found) > 1:
		return names, signer.WithHint(fmt.Errorf("%s contains certificates with different names: %s and %s", keystore.Excerpt(from), found[0].Subject, found[1].Subject),
			"name a file with one of them")
	}
	return pki.NamesOf(found[0]), nil
}

// certificatesOf returns the certificates in a reference.
func certificatesOf(ctx context.Context, a front.App, device flags.Device, reference string) (certs []*x509.Certificate, err error) {
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return nil, err
	}
	if ref, err = device.Complete(a, ref); err != nil {
		return nil, err
	}
	opts, err := device.Options(a)
	if err != nil {
		return nil, err
	}
	if device.PINSource == "" {
		opts.PIN = nil // certificates are rarely hidden
	}
	entries, err := front.InterruptibleValue(ctx, ref.String(), func() ([]keystore.Entry, error) { return a.Store.List(ctx, ref, opts) })
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Certificate != nil {
			certs = append(certs, e.Certificate)
		}
	}
	if len(certs) == 0 {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", ref, signer.ErrNoCertificate), "name a file that contains a certificate")
	}
	return certs, nil
}

// printRequest makes a request and prints it, or writes it to out. On standard
// error it says what a CA needs to know.
func printRequest(ctx context.Context, a front.App, s signer.Signer, names pki.Names, out *front.OutFile, asJSON bool) error {
	der, err := pki.NewRequest(rand.Reader, signer.WithContext(ctx, s), names)
	if err != nil {
		return err
	}
	return printRequestDER(a, s, names, der, out, asJSON, "next: send it to the CA; with holdfast: "+issueCommand(names))
}

// printRequestDER prints a request or writes it to out, and prints to standard error
// what a CA needs to know.
func printRequestDER(a front.App, s signer.Signer, names pki.Names, der []byte, out *front.OutFile, asJSON bool, next string) error {
	hash, err := keyHash(s.Public())
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	if asJSON {
		return out.Write(a, text, newRequest{names.SubjectText(), signer.DescribeKey(s.Public()), hash, string(text)})
	}
	err = out.Write(a, text, nil)
	_, told := fmt.Fprintf(a.Stderr, "created a certificate request for %s\nSHA-256 of its public key: %s\n%s\n",
		front.OneLine(names.SubjectText()), hash, next)
	return errors.Join(err, told)
}
