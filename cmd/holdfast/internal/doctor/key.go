package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// keyOptions returns the options to open the key. Without --use-pin nobody is asked.
func (p *patient) keyOptions() (keystore.Options, error) {
	a := p.App
	if !p.usePIN {
		a.OpenTTY = func() (front.TTY, error) { return nil, errHeld }
	}
	opts, err := p.key.Options(a, nil) // the checks tell what it would log
	if err != nil {
		return opts, err
	}
	opts.Permit = p.permit
	opts.PIN = p.compareTyped(opts.PIN)
	return opts.Once(), nil
}

// checkKey opens the key.
func checkKey(ctx context.Context, p *patient) (results []result) {
	if m, bad := p.badModule(); bad {
		p.readFiles(ctx)
		return []result{m.fault()}
	}
	opts, err := p.keyOptions()
	if err != nil {
		return []result{p.keyCommand(failure(err), err)}
	}
	ctx, cancel := await.Limit(ctx, p.timeout())
	defer cancel()
	p.backend, err = p.key.Backend(ctx, p.App, opts)
	if err == nil {
		p.signer, err = front.InterruptibleValue(ctx, p.key.Name(), func() (signer.Signer, error) { return p.key.OpenWith(ctx, p.App, opts) })
	}
	p.openErr = err
	if errors.Is(err, context.DeadlineExceeded) {
		p.hangs = true
		p.readFiles(context.WithoutCancel(ctx))
		if modules, _ := p.key.Modules(p.App); len(modules) > 0 { // an error was told before
			return []result{failure(err).tool("pkcs11-tool --module PATH --list-slots", modules[0].Path)}
		}
		return []result{p.keyCommand(failure(err), err)}
	}
	p.readCertificates(ctx, opts)
	tries, count, countErr := p.countTries(ctx, opts)
	switch {
	case err == nil:
		r := fine("opened %s (backend %s): %s", p.key.Name(), p.backend, p.describeKey())
		if tries != "" {
			r.Seen += "; " + tries
		}
		return slices.Concat([]result{r}, p.checkHash(), p.sign(ctx), p.checkTyped())
	case errors.Is(err, errHeld) && countErr != nil: // the device is not there
		return []result{p.keyCommand(failure(countErr), countErr)}
	case errors.Is(err, errHeld):
		return []result{p.heldResult(tries, count)}
	case errors.Is(err, signer.ErrMismatch) && !errors.Is(err, signer.ErrNoCertificate):
		return []result{fine("opened %s (backend %s)", p.key.Name(), p.backend)} // match tells the fault
	}
	if p.told(err) {
		return []result{skip("%s was not opened; see files", p.key.Name())}
	}
	r := failure(err)
	switch {
	case errors.Is(err, signer.ErrPINRequired) && count.Used && count.Left < 0:
		r.Seen = count.Device + ": the stored PIN was not used. A wrong PIN was entered before, and the token does not say how many tries are left."
		r.Hint = enterOnce
	case tries != "":
		r.Seen += "; " + tries
	}
	if count.Unblock != "" && errors.Is(err, signer.ErrPINLocked) {
		return []result{r.paste(count.Unblock)}
	}
	return []result{p.keyCommand(r, err)}
}

// heldResult is the result for a key that is not opened because it needs a PIN.
func (p *patient) heldResult(tries string, count keystore.Tries) result {
	r := skip("%s (backend %s) needs its %s; --use-pin uses it", p.key.Name(), p.backend, p.held)
	if modules, _ := p.key.Modules(p.App); len(modules) > 0 { // key would report an error
		r = skip("the token of %s is present; to look for the key in it, doctor needs its %s; --use-pin uses it", p.key.Name(), p.held)
	}
	if tries != "" {
		r.Seen += "; " + tries
	}
	r.Command = p.again("--use-pin")
	switch {
	case tries != "" && count.Left == 0:
		r.State, r.code = fault, front.ExitPIN
		r.Hint, r.Command = "unblock it with the tools of the vendor", count.Unblock
	case tries != "" && count.Left == 1:
		r.State = warning
		r.Hint = "Holdfast uses the last try only if a person types the PIN"
		r.Command = p.again("--use-pin", "--pin-source", "prompt")
	case tries != "" && count.Used && count.Left < 0:
		r.State, r.code = fault, front.ExitPIN
		r.Hint = "A wrong PIN was entered before, so Holdfast does not use a stored PIN. " + enterOnce
		if path, ok := p.pinFile(); ok {
			r.Hint += " Check the one in " + path + ", too."
		}
		r.Command = p.again("--use-pin", "--pin-source", "prompt")
	case p.held == keystore.AskPassword:
		r.State = warning
		r.Seen = fmt.Sprintf("%s needs a password: only clients on a terminal can use this key", p.key.Name())
		r.Hint = "for other clients, store the password in a file, and give its name"
		r.Command = p.again("--pin-source", "file:PATH")
	}
	return r
}

const enterOnce = "Enter the PIN yourself once."

// deviceLists add a command that lists the devices of a backend, by its name.
var deviceLists = lookup.Table[string, func(*patient, result) result]{
	{"tpm", (*patient).listTPMs},
	{"spiffe", (*patient).listWorkloadAPI},
	{"sshagent", func(_ *patient, r result) result { return r.with("ssh-add", "-l") }},
}

// withoutLists are the backends that have no certificates or no list, so that holdfast
// list does not show what is missing.
var withoutLists = []string{"sshagent", "exec"}

// keyCommand returns r, the fault of opening the key, with a command.
func (p *patient) keyCommand(r result, err error) result {
	files := p.key.KeyFiles(p.App)
	switch {
	case errors.Is(err, signer.ErrPINIncorrect):
		return p.wrongPIN(r)
	case errors.Is(err, signer.ErrPINRequired):
		return r.paste(p.again("--use-pin", "--pin-source", "prompt"))
	case errors.Is(err, signer.ErrNoCertificate) && len(p.key.CertificateFiles(p.App)) > 0:
		return r.with("holdfast", "list", "--in", p.key.CertificateFiles(p.App)[0])
	case errors.Is(err, signer.ErrNoCertificate) && slices.Contains(withoutLists, p.backend):
		return r.paste(p.again("--certificate", "PATH"))
	}
	if as := new(front.UsageError); errors.As(err, &as) { // of a variable or a flag
		switch {
		case strings.Contains(r.Seen, "--pkcs11-isolation: "):
			return r.paste(p.again("--pkcs11-isolation", "auto"))
		case strings.Contains(r.Seen, "HOLDFAST_PKCS11_ISOLATION: ") && runtime.GOOS != "windows":
			return r.paste("unset HOLDFAST_PKCS11_ISOLATION")
		}
		return r.paste(p.again())
	}
	if _, _, helperErr := p.key.Isolation(p.App); errors.Is(helperErr, signer.ErrUnavailable) || errors.Is(helperErr, errors.ErrUnsupported) {
		return mendHelper(r)
	}
	if modules, moduleErr := p.key.Modules(p.App); moduleErr != nil || len(modules) > 0 && errors.Is(err, fs.ErrNotExist) {
		return listModules(r)
	}
	if list := deviceLists.Get(p.backend); list != nil && errors.Is(err, signer.ErrUnavailable) {
		return list(p, r)
	}
	var own interface{ Command() string } // the backend knows a better command
	var malformed *keystore.RefError
	switch {
	case errors.As(err, &own):
		return r.paste(own.Command())
	case errors.As(err, &malformed) && slices.Contains(withoutLists, p.backend) && p.cmd.Flags().Changed("private-key"):
		return r.paste(p.again("--private-key", "REFERENCE"))
	case errors.Is(err, signer.ErrNotFound) && slices.Contains(oneHash, p.backend):
		return deviceLists.Get(p.backend)(p, r)
	case len(files) > 0:
		return r.with("holdfast", "list", "--in", files[0])
	}
	return r.with("holdfast", "list")
}

// certificateCommand returns r, the fault of reading the certificates, with a command.
func (p *patient) certificateCommand(r result) result {
	if files := p.key.CertificateFiles(p.App); len(files) > 0 {
		return r.with("holdfast", "list", "--in", files[0])
	}
	if errors.Is(p.certErr, signer.ErrNoCertificate) && slices.Contains(withoutLists, p.backend) {
		return r.paste(p.again("--certificate", "PATH"))
	}
	return r.with("holdfast", "list")
}

// sameCause reports whether two errors are one fault of one reference, which was used
// for the key and for its certificates.
func sameCause(a, b error) bool {
	var one, other *signer.Error
	if errors.As(a, &one) && errors.As(b, &other) {
		away := errors.Is(a, signer.ErrUnavailable) && errors.Is(b, signer.ErrUnavailable)
		return one.Ref == other.Ref && (away || one.Err.Error() == other.Err.Error())
	}
	return a.Error() == b.Error()
}

// told reports whether the check of the files has told the fault: err names a file
// or a variable of one of its faults.
func (p *patient) told(err error) bool {
	for _, names := range [][]string{p.key.Files(p.App), p.key.PINFiles(p.App), p.key.Variables(p.App)} {
		for _, name := range names {
			if strings.Contains(err.Error(), name) && slices.ContainsFunc(p.badFiles, func(text string) bool { return strings.Contains(text, name) }) {
				return true
			}
		}
	}
	return false
}

// oneHash has the backends of ssh-agents, whose ECDSA keys sign only with the hash of their curve.
var oneHash = []string{"sshagent"}

// checkHash tells if the key does not sign with SHA-256, as requests demand. Only keys of
// the backends in oneHash are limited.
func (p *patient) checkHash() []result {
	pub, ok := p.signer.Public().(*ecdsa.PublicKey)
	if !ok || pub.Curve == elliptic.P256() || !slices.Contains(oneHash, p.backend) {
		return nil
	}
	name := newFile("app-key")
	r := failed(front.ExitUnavailable, "an ssh-agent does not sign with SHA-256 with a key of type %s, but requests to Roles Anywhere are signed with it", signer.DescribeKey(pub))
	return []result{r.because("use an RSA key or an ECDSA key on P-256").tool("ssh-keygen -t ecdsa -b 256 -f NAME && ssh-add NAME", name, name)}
}

// describeKey describes the open key: one in an ssh-agent with the fingerprint that
// ssh-add -l shows.
func (p *patient) describeKey() string {
	text := signer.DescribeKey(p.signer.Public())
	if !slices.Contains(oneHash, p.backend) {
		return text
	}
	if blob, err := sshwire.MarshalPublicKey(p.signer.Public()); err == nil {
		text += " " + sshwire.FingerprintOf(blob).String()
	}
	if p.checkHash() == nil {
		text += "; it can sign with SHA-256"
	}
	return text
}

// sign makes a signature with a key whose PIN may be used, to find faults that
// opening does not show. A key in a file needs no such proof, and without
// --use-pin a device is not used.
func (p *patient) sign(ctx context.Context) []result {
	if !p.usePIN {
		return nil
	}
	err := front.Interruptible(ctx, p.key.Name(), func() error { return signer.Prove(ctx, p.signer, p.signer.Public()) })
	switch {
	case errors.Is(err, signer.ErrMismatch):
		return []result{failed(front.ExitOther, "a signature of %s does not verify with its public key", p.key.Name()).with("holdfast", "list")}
	case err != nil:
		return []result{p.keyCommand(failure(err), err)}
	}
	return []result{fine("the key made a signature")}
}

// countTries reads how many tries for a PIN are left. It returns the device with
// the fewest, and a text, which is "" if nothing is counted.
func (p *patient) countTries(ctx context.Context, opts keystore.Options) (text string, least keystore.Tries, err error) {
	all, err := front.InterruptibleValue(ctx, p.key.Name(), func() ([]keystore.Tries, error) { return p.key.Tries(ctx, p.App, opts) })
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	if err != nil || len(all) == 0 {
		return "", keystore.Tries{Left: -1}, err
	}
	least = all[0]
	var texts []string
	for _, t := range all {
		texts = append(texts, t.String())
		if t.Left >= 0 && (least.Left < 0 || t.Left < least.Left) {
			least = t
		}
	}
	return strings.Join(texts[:min(len(texts), 4)], "; "), least, nil
}

// readCertificates sets the certificates: those of the open key, or those that
// the references name.
func (p *patient) readCertificates(ctx context.Context, opts keystore.Options) {
	if p.signer != nil {
		p.certs = signer.CertificatesOf(p.signer)
		return
	}
	certs, err := front.InterruptibleValue(ctx, p.key.CertificateName(), func() ([]*x509.Certificate, error) { return p.key.Certificates(ctx, p.App, opts) })
	p.certErr = err
	for _, c := range certs {
		if !c.IsCA || len(certs) == 1 {
			if p.certs, err = signer.SelectCertificates(signer.PublicKeyOf(c), certs, p.Now()); err == nil {
				return
			}
		}
	}
}

// readFiles sets the certificates if they are in files, so that they can be
// examined without the device.
func (p *patient) readFiles(ctx context.Context) {
	for _, ref := range []keystore.Ref{p.key.Identity.Certificate, p.key.Identity.Intermediates} {
		if modules, err := p.Store.Modules(ref); err != nil || len(modules) > 0 {
			return
		}
	}
	if p.key.Identity.Certificate.IsZero() {
		return
	}
	if opts, err := p.keyOptions(); err == nil {
		ctx, cancel := await.Limit(ctx, p.timeout())
		defer cancel()
		p.readCertificates(ctx, opts)
	}
}

// checkMatch checks that the key and the certificate belong together.
func checkMatch(_ context.Context, p *patient) []result {
	switch err := p.openErr; {
	case p.signer != nil:
		return []result{fine("the certificate %q is for this key", p.certs.Chain[0].Subject)}
	case errors.Is(err, signer.ErrMismatch):
		return []result{p.compare(failure(err))}
	case errors.Is(p.certErr, errHeld):
		return []result{skip("the certificate is in %s, which was not opened; see key", p.key.CertificateName())}
	case p.certErr != nil && p.told(p.certErr):
		return []result{skip("the certificate was not read; see files")}
	case p.certErr != nil && len(p.certs.Chain) == 0 && (err == nil || !sameCause(err, p.certErr)):
		return []result{p.certificateCommand(failure(p.certErr))}
	}
	return []result{skip("%s", needOpen.why)}
}

// compare returns r with a command that shows the fingerprints of both public keys.
func (p *patient) compare(r result) result {
	keys, certs := p.key.KeyFiles(p.App), p.key.CertificateFiles(p.App)
	if len(keys) == 0 || len(certs) == 0 {
		return r.with("holdfast", "list")
	}
	if strings.Contains(r.Seen, "ML-DSA") {
		r.Hint += "; " + openssl35
	}
	return r.tool("openssl pkey -in FILE -pubout -outform DER | openssl sha256 ; "+
		"openssl x509 -in FILE -noout -pubkey | openssl pkey -pubin -outform DER | openssl sha256", keys[0], certs[0])
}

// openssl35 is the hint for commands with a key that older versions do not know.
const openssl35 = "the command needs OpenSSL 3.5 or later"
