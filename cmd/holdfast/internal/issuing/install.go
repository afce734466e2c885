package issuing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// installFlags are the flags of install.
type installFlags struct {
	device                                 flags.Device
	certificate, intermediates, privateKey string
	to                                     string
	replace, asJSON                        bool
}

// Install returns the command that stores a certificate for its key.
func Install(a front.App) *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Store a certificate beside its key",
		Long: `Stores a certificate and those of its issuers where Holdfast finds them with the
key. Before it writes anything, it makes a signature with the key and verifies
it with the certificate. It prints the reference for --certificate.

In a PKCS #11 token and in a certificate store of Windows, the new certificate
is added and read back. With --replace, the others of the key are then removed.
For any other key, the certificates are written to a file, which is replaced
atomically: the file of the key if it contains certificates as PEM, and
otherwise the file with the same name and the extension .crt. --to names another
file, also for a token. A root certificate is left out.

A file that holdfast ca issue --attestation wrote is decrypted first. This needs
the TPM with the key of the evidence, and the passwords of that key and of the
endorsement hierarchy, if they have one (endorsement-auth-source= in the
reference names the source of the second one).

If the command is interrupted or killed, either the old or the new certificate
is there; a token can have both.`,
		Example: `  holdfast install --certificate issued.pem --private-key app.pem
  holdfast install --certificate issued.pem --private-key app.pem --to cert.pem
  holdfast install --certificate wrapped.json --private-key app.pem
  holdfast install --certificate issued.pem --replace \
      --private-key 'pkcs11:token=prod;object=app' --pin-source prompt`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), a) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.certificate, "certificate", "", "`reference` to the certificate to install, with or without its chain, or to a wrapped one: a file, - or env:NAME")
	fs.StringVar(&f.intermediates, "intermediates", "", "`reference` to more certificates of issuers, in any order")
	fs.StringVar(&f.privateKey, "private-key", "", "`reference` to the private key")
	fs.StringVar(&f.to, "to", "", "write the certificates to this `file` (default: see above)")
	fs.BoolVar(&f.replace, "replace", false, "remove the other certificates of the key from its token or store; with --to: also replace a certificate that is for another key")
	fs.BoolVar(&f.asJSON, "json", false, "print a JSON object: certificate, private_key, subject, serial, not_after, used, kept, removed")
	f.device.Add(fs)
	return cmd
}

// installTimeout is how long a device may take, without the time of prompts.
const installTimeout = time.Minute

func (f installFlags) run(ctx context.Context, a front.App) error {
	for _, required := range []struct{ name, value, example string }{
		{"certificate", f.certificate, "name the certificate that the CA issued, as in --certificate issued.pem"},
		{"private-key", f.privateKey, "name the key of the certificate, as in --private-key app.pem"},
	} {
		if required.value == "" {
			return signer.WithHint(front.Usagef("--%s is not given", required.name), required.example)
		}
	}
	var err error
	if f.to, err = front.FilePath(a, "to", f.to); err != nil {
		return err
	}
	opts, err := f.device.Options(a)
	if err != nil {
		return err
	}
	opts = opts.Once()
	watcher := &front.Watcher{App: a, Pinentry: f.device.PINSource == "pinentry", Logger: a.Logger(false)}
	known := knownPIN{ask: watcher.PIN(opts.PIN), answers: make(map[pinQuestion][]byte)}
	opts.PIN = known.pin()
	key, err := f.reference(a, f.privateKey)
	if err != nil {
		return err
	}
	ctx, cancel := await.Limit(ctx, installTimeout)
	defer cancel()
	done, err := front.InterruptibleValue(ctx, key.String(), func() (keystore.Installed, error) {
		defer known.forget()
		in := keystore.Installation{File: f.to, Replace: f.replace}
		defer watcher.Begin(ctx, key.String())()
		var err error
		if in.Certificates, err = f.certificates(ctx, a, key, opts, known.keep); err != nil {
			return keystore.Installed{}, err
		}
		return a.Store.Install(ctx, key, in, opts)
	})
	if err != nil {
		return err
	}
	return f.print(a, key, done)
}

func (f installFlags) reference(a front.App, text string) (keystore.Ref, error) {
	ref, err := keystore.ParseRef(text)
	if err != nil {
		return ref, err
	}
	return f.device.Complete(a, ref)
}

// certificates reads the certificates to install for key.
func (f installFlags) certificates(ctx context.Context, a front.App, key keystore.Ref, opts keystore.Options, unwrapped func()) (all []*x509.Certificate, err error) {
	for _, text := range []string{f.certificate, f.intermediates} {
		if text == "" {
			continue
		}
		ref, err := f.reference(a, text)
		if err != nil {
			return nil, err
		}
		some, err := readCertificates(ctx, a, ref, key, opts, unwrapped)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// installedCertificate is the output of --json.
type installedCertificate struct {
	Certificate string   `json:"certificate"` // a reference
	PrivateKey  string   `json:"private_key"` // a reference
	Subject     string   `json:"subject"`
	Serial      string   `json:"serial"`
	NotAfter    string   `json:"not_after"`
	Used        bool     `json:"used"`              // Open selects it
	Kept        []string `json:"kept,omitempty"`    // serial numbers
	Removed     []string `json:"removed,omitempty"` // serial numbers
}

func (f installFlags) print(a front.App, key keystore.Ref, done keystore.Installed) error {
	leaf := done.Chain[0]
	log := a.Logger(false)
	if c := done.Preferred; c != nil && a.Store.IsInput(done.Certificate) {
		log.Warn(fmt.Sprintf("%s still contains the certificate with the serial number %s, which expires at %s and is used if --certificate names that file", key, serials(c)[0], day(c.NotAfter)),
			"hint", "use --certificate "+front.ShellQuote(done.Certificate.String()))
	} else if c != nil {
		log.Warn(fmt.Sprintf("the key still has the certificate with the serial number %s, which is used instead: it expires at %s", serials(c)[0], day(c.NotAfter)),
			"hint", "remove it with the same command and --replace")
	}
	if err := rolesanywhere.CheckChain(done.Chain, a.Now()); err != nil {
		log.Warn(fmt.Sprintf("Roles Anywhere would refuse it: %v", err), "hint", signer.Hint(err))
	}
	if f.asJSON {
		return front.WriteJSON(a.Stdout, installedCertificate{
			done.Certificate.String(), key.String(), leaf.Subject.String(), serials(leaf)[0], stamp(leaf.NotAfter),
			done.Preferred == nil, serials(done.Kept...), serials(done.Removed...),
		})
	}
	_, err := fmt.Fprintln(a.Stdout, front.OneLine(done.Certificate.String())) // for a shell variable, so without quotes
	text := fmt.Sprintf("installed the certificate for %s; it expires at %s\n", front.OneLine(named(leaf.Subject.String())), day(leaf.NotAfter))
	for _, number := range serials(done.Removed...) {
		text += fmt.Sprintf("removed the certificate with the serial number %s\n", number)
	}
	next := []string{"holdfast", "verify", "--certificate", done.Certificate.String()}
	if done.Certificate != key {
		next = append(next, "--private-key", key.String())
	}
	if f.device.PINSource != "" {
		next = append(next, "--pin-source", f.device.PINSource)
	}
	_, noteErr := fmt.Fprintf(a.Stderr, "%snext: %s\n", text, command(next...))
	return errors.Join(err, noteErr)
}

func serials(certs ...*x509.Certificate) (numbers []string) {
	for _, c := range certs {
		numbers = append(numbers, serialOf(c))
	}
	return numbers
}
