package authority

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	caFile     = "ca.pem"
	indexFile  = "index.jsonl"
	crlFile    = "crl.pem"
	lockFile   = "lock"
	issuedDir  = "certificates"
	lockPeriod = 10 * time.Second

	pemCertificate = "CERTIFICATE"
	pemCRL         = "X509 CRL"
)

// Options change how the folder is used.
type Options struct {
	Now func() time.Time // nil: time.Now

	// NoSync does not flush files to disk. A power failure can then lose the
	// event of a certificate that was issued. It is for tests and
	// measurements.
	NoSync bool
}

func (o Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// An Authority is the folder of a CA. It is safe for concurrent use, also by
// several processes.
type Authority struct {
	dir   string
	chain []*x509.Certificate
	opts  Options

	mu    sync.Mutex // held while state and owned are used
	state *state
	owned bool // checkOwner has succeeded
}

// Chain returns the certificate of the CA, followed by its issuers. The caller
// must not change them.
func (a *Authority) Chain() []*x509.Certificate { return a.chain }

// Issuer returns the CA with its key, which signs until ctx ends. It borrows key.
func (a *Authority) Issuer(ctx context.Context, key signer.Signer) pki.Issuer {
	return pki.Issuer{Certificate: a.chain[0], Above: a.chain[1:], Key: signer.WithContext(ctx, key)}
}

// Issue issues a certificate with a new serial number. key is the key of the
// CA; evidence may be empty. ctx bounds the wait for other writers and the
// signature.
func (a *Authority) Issue(ctx context.Context, key signer.Signer, t pki.Template, evidence string) (*x509.Certificate, error) {
	return a.issue(ctx, key, t, event{Evidence: evidence})
}

// issue issues a certificate. e is the event, to which it adds what t says.
func (a *Authority) issue(ctx context.Context, key signer.Signer, t pki.Template, e event) (*x509.Certificate, error) {
	issuer := a.Issuer(ctx, key)
	if err := issuer.Check(t.NotBefore); err != nil {
		return nil, err
	}
	var err error
	if t.Serial, err = pki.NewSerial(rand.Reader); err != nil {
		return nil, err
	}
	if err := t.Check(issuer); err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(t.PublicKey)
	if err != nil {
		return nil, err
	}
	e.Kind, e.Serial, e.Subject, e.NotAfter = issued, serialText(t.Serial), validText(t.Names.SubjectText()), t.NotAfter
	e.Key, e.Profile = hashOf(spki), t.Profile.Name
	if err := a.record(ctx, e); err != nil {
		return nil, err
	}
	c, err := pki.Issue(rand.Reader, issuer, t)
	if err != nil {
		return nil, err
	}
	if err := a.store(c); err != nil {
		return nil, err
	}
	return c, nil
}

// record appends the event of a new certificate.
func (a *Authority) record(ctx context.Context, e event) error {
	t, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer t.end()
	if err := t.state.checkKey(e.Key); err != nil {
		return err
	}
	if old := t.state.certificates[e.Renews]; old != nil { // it can have been revoked since it was examined
		if err := t.state.checkOrigin(old); err != nil {
			return refuse(err)
		}
		e.Evidence = old.Evidence // about the key, which is the same
	}
	return t.append(e)
}

// CheckKey returns an error if a certificate for the key was revoked because others
// may know the key. The CA issues no certificate for it.
func (a *Authority) CheckKey(key crypto.PublicKey) error {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		return err
	}
	return a.state.checkKey(hashOf(spki))
}

const hintNewKey = "generate a new key, and make a request for it"

func (x *state) checkKey(hash string) error {
	if serial, ok := x.compromised[hash]; ok {
		return signer.WithHint(fmt.Errorf("the certificate with the serial number %s for the same key was revoked with the reason keyCompromise", serial),
			hintNewKey)
	}
	return nil
}

// store writes a certificate that the index contains.
func (a *Authority) store(c *x509.Certificate) error {
	return a.write(a.certificatePath(serialText(c.SerialNumber)), pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw}))
}

func (a *Authority) certificatePath(serial string) string { return a.path(issuedDir, serial+".pem") }

// Revoke revokes the certificate with a serial number in hexadecimal. The error
// wraps [fs.ErrNotExist] if the CA did not issue it. A certificate that is
// revoked already stays so, without an error. Make a revocation list afterwards.
func (a *Authority) Revoke(ctx context.Context, serial string, reason pki.Reason) error {
	t, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer t.end()
	c, ok := t.state.certificates[serial]
	switch {
	case !ok:
		return errUnknown(serial)
	case !c.Revoked.IsZero():
		return nil
	}
	return t.append(event{Kind: revoked, Serial: serial, Reason: reason})
}

func errUnknown(serial string) error {
	return signer.WithHint(fmt.Errorf("serial number %.50q: %w: this CA did not issue it", serial, fs.ErrNotExist), "show the serial numbers with: holdfast ca list")
}

// List returns all entries of the index in the order of issue.
func (a *Authority) List() ([]Certificate, error) {
	files, err := os.ReadDir(a.path(issuedDir))
	if err != nil {
		return nil, err
	}
	exists := make(map[string]bool, len(files))
	for _, f := range files {
		exists[f.Name()] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		return nil, err
	}
	list := make([]Certificate, len(a.state.serials))
	for i, serial := range a.state.serials {
		list[i] = *a.state.certificates[serial]
		list[i].Missing = !exists[serial+".pem"]
		list[i].Unlisted = list[i].revokedBy > a.state.listedBy
	}
	return list, nil
}

// Find returns the entry whose serial number in hexadecimal begins with prefix;
// upper case and colons are accepted. The error wraps [fs.ErrNotExist] if there
// is none.
func (a *Authority) Find(prefix string) (Certificate, error) {
	wanted := strings.ToLower(strings.ReplaceAll(prefix, ":", ""))
	list, err := a.List()
	if err != nil {
		return Certificate{}, err
	}
	var found []Certificate
	for _, c := range list {
		if strings.TrimLeft(c.Serial, "0") == strings.TrimLeft(wanted, "0") && wanted != "" { // it can be the beginning of another one
			return c, nil
		}
		if strings.HasPrefix(c.Serial, wanted) && wanted != "" {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		return Certificate{}, errUnknown(prefix)
	case len(found) > 1:
		return Certificate{}, signer.WithHint(fmt.Errorf("the serial numbers of %d certificates begin with %.50q", len(found), prefix), "give more digits of the serial number")
	}
	return found[0], nil
}

// Certificate returns an issued certificate. The error wraps [fs.ErrNotExist]
// if there is none, for example because the signature was interrupted.
func (a *Authority) Certificate(serial string) (*x509.Certificate, error) {
	if !isSerial(serial) {
		return nil, errUnknown(serial)
	}
	data, err := readFile(a.certificatePath(serial))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemCertificate || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New(filepath.Join(issuedDir, serial+".pem") + " is not one certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New(filepath.Join(issuedDir, serial+".pem") + ": the certificate is damaged")
	}
	return c, nil
}
