package blob

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// verifyBlob are the flags of verify-blob.
type verifyBlob struct {
	signature, certificate       string
	signer, trustAnchor, subject string
}

// VerifyBlob returns the command that verifies the signature of a file.
func VerifyBlob(a front.App) *cobra.Command {
	var f verifyBlob
	cmd := &cobra.Command{
		Use:   "verify-blob [flags] FILE",
		Short: "Verify the signature of a file",
		Long: `Verifies the signature of a file, or of standard input for -, that holdfast
sign-blob or openssl made, and prints who signed it. It opens no key and no
token, and does not use the network.

You say who must have signed the file, in one of two ways:

--signer pins a certificate, or a public key in PEM, which you got from the
signer in another way than the file. The first certificate in the file is used.
Its dates, its issuer and its usages are not checked.

--trust-anchor and --subject trust a CA: the certificate of the signer leads to
a certificate in the file of --trust-anchor, is valid now, and has exactly this
subject. Each certificate on this path has the extended key usage codeSigning or
anyExtendedKeyUsage, or no extended key usages. The key usage of the signer
contains digitalSignature, unless there is none. SHA-1 and MD5 are refused, and
RSA keys of fewer than 2048 bits, also for --signer.
Revocation is not checked.

A certificate that lies beside a file proves nothing by itself: whoever replaces
the file can replace the certificate, too.`,
		Example: `  holdfast verify-blob --signer release.pem SHA256SUMS
  holdfast verify-blob --trust-anchor ca.pem \
      --subject 'CN=Release 1,O=Example' SHA256SUMS`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), a, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.signer, "signer", "", "`file` with the certificate or the public key that must have made the signature")
	fs.StringVar(&f.trustAnchor, "trust-anchor", "", "`file` with the certificates of CAs, to one of which that of the signer must lead")
	fs.StringVar(&f.subject, "subject", "", "subject that the certificate of the signer must have, as a distinguished `name` (RFC 4514), such as 'CN=Release 1,O=Example'")
	fs.StringVar(&f.signature, "signature", "", "`file` of the signature (default: FILE.sig)")
	fs.StringVar(&f.certificate, "certificate", "", "`file` with the certificate of the signer and its issuers, for --trust-anchor (default: the file of the signature, with .pem after its name)")
	front.RefuseEmpty(fs, "signer", "trust-anchor", "subject", "signature", "certificate")
	return cmd
}

// check returns an error unless the flags say in one way who must have signed.
func (f *verifyBlob) check() error {
	for _, other := range []struct{ name, value string }{{"trust-anchor", f.trustAnchor}, {"subject", f.subject}, {"certificate", f.certificate}} {
		if f.signer != "" && other.value != "" {
			return signer.WithHint(front.Usagef("--signer cannot be used with --%s", other.name), "use only one of them: --signer pins a certificate whatever its issuer and its subject are")
		}
	}
	switch {
	case f.signer != "":
		return nil
	case f.trustAnchor == "" && f.subject == "":
		return signer.WithHint(front.Usagef("neither --signer nor --trust-anchor is given: a certificate that lies beside a file proves nothing"),
			"say who must have signed: --signer FILE with a certificate that you got in another way, or --trust-anchor FILE --subject NAME")
	case f.trustAnchor == "":
		return signer.WithHint(front.Usagef("--subject is given without --trust-anchor: everybody can make a certificate with this subject"),
			"name the file of the CA with --trust-anchor FILE")
	case f.subject == "":
		return signer.WithHint(front.Usagef("--subject is not given: everybody with a certificate of this CA could have signed"),
			"name the signer, as in --subject 'CN=Release 1,O=Example'")
	}
	return nil
}

func (f *verifyBlob) run(ctx context.Context, a front.App, name string) error {
	if err := f.check(); err != nil {
		return err
	}
	path, err := signaturePath(f.signature, name)
	if err != nil {
		return err
	}
	in, done, err := openContent(ctx, a, name)
	if err != nil {
		return err
	}
	defer done()
	sig, err := readSignature(ctx, path)
	if err != nil {
		return err
	}
	opts := a.Options(a.Logger(false)).Once()
	var by identity
	if f.signer != "" {
		by, err = pinned(ctx, a, opts, f.signer)
	} else {
		by, err = trusted(ctx, a, opts, f.trustAnchor, cmp.Or(f.certificate, path+certificateEnd), f.subject)
	}
	if err != nil {
		return err
	}
	hash, err := hashFor(by.pub)
	if err != nil {
		return fmt.Errorf("%s: %w", by, err)
	}
	what, err := in.read(ctx, hash, hash == 0)
	if err != nil {
		return err
	}
	m, err := signer.MechanismFor(by.pub, what.digest, hash)
	if err != nil {
		return err
	}
	if !signer.Verifies(by.pub, m, what.digest, sig) {
		return signer.WithHint(fmt.Errorf("%s: %w: %s is not a signature of it by %s", in.name, errForged, path, by), by.hint)
	}
	_, err = fmt.Fprintf(a.Stdout, "%s: signed by %s\n", front.OneLine(in.name), front.OneLine(by.String()))
	return err
}

var errForged = errors.New("the signature does not verify")

// maxSignature bounds a signature, in bytes. One of ML-DSA-87 has 4627.
const maxSignature = 8 << 10

// readSignature reads the raw bytes of a signature.
func readSignature(ctx context.Context, path string) ([]byte, error) {
	data, err := await.Result(ctx, func() ([]byte, error) { return keystore.ReadFile(path, maxSignature) }, nil)
	form := textForm(data)
	switch {
	case err == nil && len(data) == 0:
		err = signer.WithHint(errors.New("is empty"), "get the signature again")
	case form == "base64":
		quoted := front.OneLine(front.ShellQuote(path))
		err = signer.WithHint(errors.New("is base64, not the raw bytes of a signature"), "decode it: base64 -d "+quoted+" > "+quoted+".raw")
	case form != "":
		err = signer.WithHint(fmt.Errorf("is %s, not the raw bytes of a signature", form), "give the file that holdfast sign-blob wrote, or a signature in that form")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// textForm names the form of a text, which can contain a signature; "": data are no
// text. Raw bytes are text by chance with a probability below 2^-80.
func textForm(data []byte) string {
	text := bytes.Join(bytes.Fields(data), nil)
	switch {
	case len(text) == 0:
		return ""
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return "PEM"
	}
	if _, err := hex.Decode(make([]byte, len(text)), text); err == nil {
		return "hexadecimal"
	}
	if _, err := base64.StdEncoding.Decode(make([]byte, len(text)), text); err == nil {
		return "base64"
	}
	isOther := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) && !unicode.IsSpace(r) }
	if !bytes.ContainsFunc(data, isOther) {
		return "text"
	}
	return ""
}
