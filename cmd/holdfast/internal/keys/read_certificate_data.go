package keys

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/algorithm"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/internal/thumbprint"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// ReadCertificateData returns the command that shows certificates.
func ReadCertificateData(a front.App) *cobra.Command {
	var f flags.Certificate
	var debug bool
	cmd := &cobra.Command{
		Use:   "read-certificate-data",
		Short: "Show the certificates of a file, a token or a key store",
		Long: `Shows certificates, as aws_signing_helper read-certificate-data does. It needs
no private key and does not use AWS.

For a file, it prints the first certificate as JSON: the type of its key, the
certificate in base64, its serial number in decimal, and the algorithms with
which the key can sign. No line end follows.

For a PKCS #11 token and for the key store of Windows or macOS, it prints a
numbered list of the matching certificates: fingerprint (SHA-1), subject,
issuer, serial number in hexadecimal and, for tokens, the URI. Without flags, it
lists the personal certificate store of the user on Windows, and the keychains
on macOS. In these stores, it lists only certificates with a private key.`,
		Example: `  holdfast read-certificate-data --certificate cert.pem
  holdfast read-certificate-data --certificate pkcs11:token=prod
  holdfast read-certificate-data --cert-selector Key=x509Subject,Value=CN=app`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ref, named, err := f.Ref(cmd, a)
			if err != nil {
				return err
			}
			opts, err := f.Options(a, debug)
			if err != nil {
				return err
			}
			_, err = onDevice(cmd.Context(), deviceTimeout, ref.String(), func(ctx context.Context) (done struct{}, err error) {
				return done, readCertificateData(ctx, a, ref, named, opts)
			})
			return err
		},
	}
	f.Add(cmd)
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&debug, "debug", false, "log each step to standard error, without secrets")
	})
	return cmd
}

// readCertificateData prints the certificates behind ref. If named is set, the
// user named the token or the store, so it must exist.
func readCertificateData(ctx context.Context, a front.App, ref keystore.Ref, named bool, opts keystore.Options) error {
	if a.Store.IsInput(ref) {
		return printCertificateData(ctx, a, ref, opts)
	}
	entries, failed := a.Store.List(ctx, ref, opts)
	has := func(kind keystore.EntryKind, withCertificate bool) bool {
		return slices.ContainsFunc(entries, func(e keystore.Entry) bool { return e.Kind == kind && (e.Certificate != nil) == withCertificate })
	}
	inToken := has(keystore.TokenEntry, false)
	_, single := errors.AsType[*keystore.RefError](failed) // such as the file of a TPM key, which cannot be listed
	switch {
	case single, errors.Is(failed, errors.ErrUnsupported), !inToken && has(keystore.KeyEntry, false):
		return printCertificateData(ctx, a, ref, opts)
	case len(entries) == 0 && failed == nil && named:
		_, why := a.Store.Certificates(ctx, ref, opts)
		return signer.WithHint(nothing{ref}, cmp.Or(signer.Hint(why), "list the tokens and key stores: holdfast list"))
	}
	return printMatching(a, entries, inToken, failed)
}

// A nothing is the error for a reference that no token or key store matches.
type nothing struct{ ref keystore.Ref }

func (e nothing) Error() string        { return e.ref.String() + ": no token or key store matches" }
func (e nothing) Is(target error) bool { return target == signer.ErrNotFound }

func printCertificateData(ctx context.Context, a front.App, ref keystore.Ref, opts keystore.Options) error {
	certs, err := a.Store.Certificates(ctx, ref, opts)
	if err != nil {
		return err
	}
	data, err := newCertificateData(certs[0])
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = a.Stdout.Write(text)
	return err
}

// certificateData is the output for the certificate of a file.
type certificateData struct {
	KeyType         string   `json:"keyType"`
	CertificateData string   `json:"certificateData"` // base64 of DER
	SerialNumber    string   `json:"serialNumber"`    // decimal
	Algorithms      []string `json:"supportedAlgorithms"`
}

func newCertificateData(c *x509.Certificate) (certificateData, error) {
	d := certificateData{CertificateData: base64.StdEncoding.EncodeToString(c.Raw), SerialNumber: c.SerialNumber.String()}
	switch c.PublicKeyAlgorithm {
	case x509.RSA:
		d.KeyType = "RSA"
	case x509.ECDSA:
		d.KeyType = "EC"
	default:
		key := mldsa.OfCertificate(c)
		if key == nil {
			return d, signer.WithHint(fmt.Errorf("the key of the certificate has the algorithm %s: %w", algorithm.OfKey(c), errors.ErrUnsupported),
				"IAM Roles Anywhere accepts RSA, ECDSA and ML-DSA; show the certificate with openssl x509 -in FILE -noout -text")
		}
		d.KeyType, d.Algorithms = key.Name, []string{key.Name}
		return d, nil
	}
	for _, hash := range digests {
		d.Algorithms = append(d.Algorithms, d.KeyType+hash)
	}
	return d, nil
}

// printMatching prints the certificates of a token, or those with a private key
// of another store. If some could not be read, it prints the others and fails.
func printMatching(a front.App, entries []keystore.Entry, inToken bool, failed error) error {
	kind := keystore.KeyEntry
	if inToken {
		kind = keystore.CertificateEntry
	}
	var b strings.Builder
	n := 0
	for _, e := range entries {
		if e.Kind == kind && e.Certificate != nil {
			n++
			writeMatching(&b, n, e, inToken)
		}
	}
	if n == 0 && failed != nil {
		return failed
	}
	text := "No matching identities\n"
	if n > 0 {
		text = "Matching identities\n" + b.String()
	}
	_, err := a.Stdout.Write([]byte(text))
	return errors.Join(err, failed)
}

func writeMatching(b *strings.Builder, n int, e keystore.Entry, withURI bool) {
	c := e.Certificate
	fmt.Fprintf(b, "%d) Hex Fingerprint: %x\n", n, thumbprint.SHA1(c.Raw))
	fmt.Fprintf(b, "Subject: %s\n", front.OneLine(c.Subject.String()))
	fmt.Fprintf(b, "Issuer: %s\n", front.OneLine(c.Issuer.String()))
	fmt.Fprintf(b, "Serial Number: %X\n", c.SerialNumber)
	if withURI {
		fmt.Fprintf(b, "URI: %s\n", front.OneLine(e.Ref.String()))
	}
	b.WriteString("\n")
}
