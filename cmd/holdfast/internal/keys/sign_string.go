package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

type signString struct {
	identity       flags.Identity
	digest, format string
	debug          bool
}

// The values of --digest and --format.
var (
	digests = []string{"SHA256", "SHA384", "SHA512"}
	formats = []string{"json", "text", "bin"}

	digestHash = lookup.Table[string, crypto.Hash]{{"SHA256", crypto.SHA256}, {"SHA384", crypto.SHA384}, {"SHA512", crypto.SHA512}}
)

// SignString returns the command that signs a fixed text.
func SignString(a front.App) *cobra.Command {
	var f signString
	cmd := &cobra.Command{
		Use:   "sign-string",
		Short: "Sign a fixed text to test a private key",
		Long: `Signs a fixed text with a private key and prints the signature, as
aws_signing_helper sign-string does. It tests whether the key can be opened and
signs, without AWS. With --certificate, it also tests whether the certificate is
for the key.

The text is "AWS Roles Anywhere Credential Helper Signing Test1", followed by
the 32 bytes of the SHA-256 hash of "IAM RA" and the public key: the
uncompressed point of an EC key, or the PKCS #1 form of an RSA key. The
signature is in ASN.1 DER for EC keys and PKCS #1 v1.5 for RSA keys. An ML-DSA
key signs only the 50 characters, and without a hash. No line end follows the
signature.`,
		Example: `  holdfast sign-string --private-key key.pem

  holdfast sign-string --certificate cert.pem \
      --private-key 'pkcs11:token=prod;object=app' \
      --digest SHA384 --format text`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.identity.Add(cmd)
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.digest, "digest", digests[0], "`hash` of the signature: "+strings.Join(digests, ", ")+"; not used for ML-DSA keys")
		front.MarkValues(fs.Lookup("digest"), digests...)
		fs.StringVar(&f.format, "format", formats[0], "`form` of the signature: json for hexadecimal digits in quotes, text for hexadecimal digits, or bin for the bytes themselves")
		front.MarkValues(fs.Lookup("format"), formats...)
		fs.BoolVar(&f.debug, "debug", false, "log each step to standard error, without secrets")
	})
	return cmd
}

func (f *signString) run(cmd *cobra.Command, a front.App) error {
	if upper := strings.ToUpper(f.digest); slices.Contains(digests, upper) {
		f.digest = upper
	}
	if err := oneOf("digest", f.digest, digests); err != nil {
		return err
	}
	if err := oneOf("format", f.format, formats); err != nil {
		return err
	}
	key, err := f.identity.Key(cmd)
	if err != nil {
		return err
	}
	if err := key.Check(); err != nil {
		return err
	}
	ctx, logger := cmd.Context(), a.Logger(f.debug)
	signature, err := onDevice(ctx, deviceTimeout, key.Name(), func(ctx context.Context) (_ []byte, err error) {
		k, err := key.OpenKey(ctx, a, logger)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, k.Close()) }()
		logger.Debug("signing", "key", signer.DescribeKey(k.Public()), "digest", f.digest)
		signature, err := signFixed(ctx, k, digestHash.Get(f.digest))
		if err != nil {
			err = fmt.Errorf("%s: %w", key.Name(), err)
		}
		return signature, err
	})
	if err != nil {
		return err
	}
	_, err = a.Stdout.Write(encodeSignature(signature, f.format))
	return err
}

// oneOf returns an error if the value of a flag is not one of values.
func oneOf(flag, value string, values []string) error {
	if slices.Contains(values, value) {
		return nil
	}
	return signer.WithHint(front.Usagef("--%s %q is not one of %s", flag, value, strings.Join(values, ", ")), "use --"+flag+" "+values[0])
}

// signFixed signs the fixed text.
func signFixed(ctx context.Context, key signer.Signer, hash crypto.Hash) ([]byte, error) {
	text, err := fixedText(key.Public())
	if err != nil {
		return nil, err
	}
	if mldsa.Of(key.Public()) != nil {
		hash = 0
	}
	return signer.SignMessage(ctx, key, rand.Reader, text, hash)
}

// fixedText returns the text that aws_signing_helper signs with the private key
// of pub.
func fixedText(pub crypto.PublicKey) (_ []byte, err error) {
	const fixed = "AWS Roles Anywhere Credential Helper Signing Test1"
	var encoded []byte
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if encoded, err = pub.Bytes(); err != nil {
			return nil, err
		}
	case *rsa.PublicKey:
		encoded = x509.MarshalPKCS1PublicKey(pub)
	default:
		if mldsa.Of(pub) != nil {
			return []byte(fixed), nil
		}
		return nil, signer.WithHint(fmt.Errorf("the key is %s: %w", signer.DescribeKey(pub), errors.ErrUnsupported),
			"use an RSA key, an ECDSA key on P-256, P-384 or P-521, or an ML-DSA key")
	}
	sum := sha256.Sum256(append([]byte("IAM RA"), encoded...))
	return append([]byte(fixed), sum[:]...), nil
}

// encodeSignature returns a signature in a format of --format.
func encodeSignature(signature []byte, format string) []byte {
	digits := hex.EncodeToString(signature)
	switch format {
	case "json":
		return []byte(`"` + digits + `"`)
	case "text":
		return []byte(digits)
	}
	return signature
}
