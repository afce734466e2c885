package authority

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// Create makes the folder of a CA, whose certificate is chain[0]; the others
// are its issuers. The folder must be empty or must not exist; otherwise the
// error wraps [fs.ErrExist].
func Create(dir string, chain []*x509.Certificate, opts Options) (*Authority, error) {
	if len(chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	a := &Authority{dir: dir, chain: chain, opts: opts, state: newState()}
	if err := a.checkOwner(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.path(issuedDir), 0o700); err != nil {
		return nil, err
	}
	lock, err := a.lock(context.Background())
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if entries, err := os.ReadDir(dir); err != nil {
		return nil, err
	} else if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !Begun(e.Name()) }) {
		return nil, signer.WithHint(fmt.Errorf("the folder %s is not empty: %w", dir, fs.ErrExist), "name a new folder; if the folder is from an attempt that was interrupted, remove it")
	}
	var text bytes.Buffer
	for _, c := range chain {
		if err := pem.Encode(&text, &pem.Block{Type: pemCertificate, Bytes: c.Raw}); err != nil {
			return nil, err
		}
	}
	if err := a.write(a.path(caFile), text.Bytes()); err != nil {
		return nil, err
	}
	first, err := json.Marshal(event{N: 1, Time: opts.now().UTC().Truncate(time.Second), Kind: created, Version: Version, CA: hashOf(chain[0].Raw)})
	if err != nil {
		return nil, err
	}
	// The index comes last: without it there is no CA.
	first = append(first, '\n')
	if err := a.write(a.path(indexFile), first); err != nil {
		return nil, err
	}
	return a, a.state.add(first)
}

// hashOf returns the SHA-256 hash of data in hexadecimal.
func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// A FolderError reports that a folder is not that of a CA. It wraps
// [fs.ErrNotExist].
type FolderError struct {
	Dir string

	incomplete bool // it has an index, but not the certificate of the CA
}

// Error implements error.
func (e *FolderError) Error() string {
	if e.incomplete {
		return filepath.Join(e.Dir, caFile) + ": the certificate of the CA is missing"
	}
	where := ""
	if abs, err := filepath.Abs(e.Dir); err == nil && abs != e.Dir {
		where = " (" + abs + ")"
	}
	return "there is no CA in the folder " + e.Dir + where
}

// Unwrap returns [fs.ErrNotExist].
func (e *FolderError) Unwrap() error { return fs.ErrNotExist }

// Hint returns what to do.
func (e *FolderError) Hint() string {
	if e.incomplete {
		return hintBackup
	}
	return ""
}

const hintBackup = "restore the folder from a backup; docs/ca.md describes how"

func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Open opens the folder of a CA. If there is none, the error is a [*FolderError].
// If the index is damaged, the error wraps [ErrIndex].
func Open(dir string, opts Options) (*Authority, error) {
	a := &Authority{dir: dir, opts: opts, state: newState()}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, &FolderError{Dir: dir}
	}
	data, err := readFile(a.path(caFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FolderError{Dir: dir, incomplete: isRegular(a.path(indexFile))}
	} else if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: the certificate is damaged", a.path(caFile))
		}
		a.chain = append(a.chain, c)
	}
	if len(a.chain) == 0 {
		return nil, fmt.Errorf("%s: %w", a.path(caFile), signer.ErrNoCertificate)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		return nil, err
	}
	if a.state.ca != hashOf(a.chain[0].Raw) {
		return nil, fmt.Errorf("%s: %w: it belongs to another CA certificate than %s", a.path(indexFile), ErrIndex, caFile)
	}
	return a, nil
}

// Chain returns the certificate of the CA, followed by its issuers. The caller
// must not change them.
func (a *Authority) Chain() []*x509.Certificate { return a.chain }

// Issuer returns the CA with its key, which signs until ctx ends. It borrows key.
func (a *Authority) Issuer(ctx context.Context, key signer.Signer) pki.Issuer {
	return pki.Issuer{Certificate: a.chain[0], Key: signer.WithContext(ctx, key)}
}

// Issue issues a certificate with a new serial number. key is the key of the
// CA; evidence may be empty. ctx bounds the wait for other writers and the
// signature.
func (a *Authority) Issue(ctx context.Context, key signer.Signer, t pki.Template, evidence string) (*x509.Certificate, error) {
	issuer := a.Issuer(ctx, key)
	if err := issuer.Check(t.NotBefore); err != nil {
		return nil, err
	}
	var err error
	if t.Serial, err = pki.NewSerial(rand.Reader); err != nil {
		return nil, err
	}
	if err := t.Check(issuer.Certificate); err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(t.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := a.record(ctx, event{Kind: issued, Serial: serialText(t.Serial), Subject: validText(t.Names.SubjectText()), NotAfter: t.NotAfter,
		Key: hashOf(spki), Profile: t.Profile.Name, Evidence: evidence}); err != nil {
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

// record appends one event.
func (a *Authority) record(ctx context.Context, e event) error {
	t, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer t.end()
	return t.append(e)
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
		if c.Serial == wanted { // it can be the beginning of another one
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
