package blob

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// signBlob are the flags of sign-blob.
type signBlob struct {
	identity  flags.Identity
	signature string
	force     bool
}

// SignBlob returns the command that signs a file.
func SignBlob(a front.App) *cobra.Command {
	var f signBlob
	cmd := &cobra.Command{
		Use:   "sign-blob [flags] FILE",
		Short: "Sign a file in a form that OpenSSL verifies",
		Long: `Signs a file, or standard input for -, and writes the signature to FILE.sig: its
raw bytes, without the content. If the certificate of the key is known, the
command also writes it to FILE.sig.pem, in PEM, followed by its issuers without
the root. Both files are public, and every user can read them (mode 0644).

  key        signature
  RSA        PKCS #1 v1.5 with SHA-256
  P-256      ECDSA with SHA-256, in ASN.1 DER
  P-384      ECDSA with SHA-384, in ASN.1 DER
  P-521      ECDSA with SHA-512, in ASN.1 DER
  Ed25519    of the content itself
  ML-DSA     of the content itself, with an empty context

A key that signs the content itself signs at most 64 MiB, and every key of an
ssh-agent at most 256 KiB. For other keys the content can have any size.

Use a key of its own for this, and not one with which IAM Roles Anywhere is
used. The text of a request to IAM Roles Anywhere is refused. docs/sign-blob.md
says what a signature proves.`,
		Example: `  holdfast sign-blob --certificate release.pem \
      --private-key 'pkcs11:token=release;object=release' SHA256SUMS
  holdfast sign-blob --private-key key.pem --signature - SHA256SUMS > raw.sig

  # verify it with openssl: RSA, P-256 (-sha384 for P-384, -sha512 for P-521)
  openssl x509 -in SHA256SUMS.sig.pem -pubkey -noout > key.pub
  openssl dgst -sha256 -verify key.pub -signature SHA256SUMS.sig SHA256SUMS

  # Ed25519, and ML-DSA with OpenSSL 3.5 or later
  openssl pkeyutl -verify -pubin -inkey key.pub -rawin -in SHA256SUMS \
      -sigfile SHA256SUMS.sig`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, a, args[0]) },
	}
	f.identity.Add(cmd)
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.signature, "signature", "", "`file` for the signature, and with .pem after its name for the certificate (default: FILE.sig); - prints the signature, and writes no certificate")
		fs.BoolVar(&f.force, "force", false, "replace an old signature and its certificate")
	})
	return cmd
}

// deviceTimeout is how long a device may take to open a key and to sign, without the
// time in which the content is read or a person is awaited. Some TPMs need more than a
// minute for an RSA key.
const deviceTimeout = 4 * time.Minute

func (f *signBlob) run(cmd *cobra.Command, a front.App, name string) error {
	key, err := f.identity.Key(cmd)
	if err != nil {
		return err
	}
	if err := key.Check(); err != nil {
		return err
	}
	path, err := signaturePath(f.signature, name)
	if err != nil {
		return err
	}
	id := key.Identity
	if name == stdio && slices.ContainsFunc([]keystore.Ref{id.Key, id.Certificate, id.Intermediates}, func(r keystore.Ref) bool { return r.String() == stdio }) {
		return signer.WithHint(front.Usagef("standard input cannot be both the content and the key or its certificates"), "write one of them to a file")
	}
	// A missing file asks for no PIN.
	in, done, err := openContent(cmd.Context(), a, name)
	if err != nil {
		return err
	}
	defer done()
	out, err := newOutputs(path, f.force, in)
	if err != nil {
		return err
	}
	opts, err := key.Options(a, a.Logger(false))
	if err != nil {
		return err
	}
	opts = opts.Once()
	ctx, cancel := await.Limit(cmd.Context(), deviceTimeout)
	defer cancel()
	made, err := front.InterruptibleValue(ctx, key.Name(), func() (made signature, err error) {
		if in.isLong() && signsContent(ctx, a, key, opts) {
			return made, fmt.Errorf("%s: %w", in.name, in.tooLong())
		}
		open := key.OpenBare
		if !id.Certificate.IsZero() || !id.Intermediates.IsZero() {
			open = key.OpenWith
		}
		s, err := open(ctx, a, opts)
		if err != nil {
			return made, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return sign(ctx, s, key.Name(), in)
	})
	if err != nil {
		return err
	}
	return out.write(a, made.raw, made.chain)
}

// signsContent reports whether it is known, before the key is opened, that it signs the
// content itself: whether all certificates of a file are for such keys, except those
// of CAs.
func signsContent(ctx context.Context, a front.App, key flags.Key, opts keystore.Options) bool {
	if !a.Store.IsInput(key.Identity.Certificate) {
		return false
	}
	certs, err := a.Store.Certificates(ctx, key.Identity.Certificate, opts)
	if err != nil {
		return false // opening the key says why
	}
	certs = slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return c.IsCA })
	return len(certs) > 0 && !slices.ContainsFunc(certs, func(c *x509.Certificate) bool {
		hash, err := hashFor(signer.PublicKeyOf(c))
		return err != nil || hash != 0
	})
}

// A signature is what sign-blob makes.
type signature struct {
	raw   []byte
	chain []*x509.Certificate // of the key; nil: not known
}

// sign reads the content and signs it with s, which name names in errors. It verifies
// the signature with the public key of the certificate, if that is known.
func sign(ctx context.Context, s signer.Signer, name string, in content) (made signature, err error) {
	made.chain = s.Chain()
	pub := s.Public()
	if len(made.chain) > 0 {
		pub = signer.PublicKeyOf(made.chain[0])
	}
	failed := func(err error) (signature, error) { return signature{}, fmt.Errorf("%s: %w", name, err) }
	hash, err := hashFor(pub)
	if err != nil {
		return failed(err)
	}
	whole := hash == 0 || signer.SignsMessagesOnly(s)
	what, err := in.read(ctx, hash, whole)
	if err != nil {
		return signature{}, err
	}
	m, err := signer.MechanismFor(pub, what.digest, hash)
	if err != nil {
		return failed(err)
	}
	if signer.NeedsPerson(s) {
		var done func()
		ctx, done = await.Person(ctx, await.PersonTimeout)
		defer done()
	}
	if whole {
		made.raw, err = signer.SignMessage(ctx, s, rand.Reader, what.message, hash)
	} else {
		made.raw, err = signer.SignContext(ctx, s, rand.Reader, what.digest, hash)
	}
	if err == nil && !signer.Verifies(pub, m, what.digest, made.raw) {
		err = fmt.Errorf("%w: its public key does not verify the signature", signer.ErrMismatch)
	}
	if err != nil {
		return failed(err)
	}
	return made, nil
}
