package authority

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
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
)

// An Authority is the folder of a CA. It is safe for concurrent use, also by
// several processes.
type Authority struct {
	dir   string
	chain []*x509.Certificate
	now   func() time.Time

	mu    sync.Mutex // held while the index is used
	index *index
}

// A Certificate is an entry of the index.
type Certificate struct {
	Serial   string // in hexadecimal
	Subject  string // RFC 4514
	Issued   time.Time
	NotAfter time.Time
	Key      string // SHA-256 of the SubjectPublicKeyInfo, in hexadecimal
	Profile  string
	Evidence string // SHA-256 of the evidence of an attestation; "": none

	Revoked time.Time // zero: not revoked
	Reason  pki.Reason
}

// Create makes the folder of a CA, whose certificate is chain[0]; the others
// are its issuers. The folder must be empty or must not exist; otherwise the
// error wraps [fs.ErrExist]. now is the clock; nil: time.Now.
func Create(dir string, chain []*x509.Certificate, now func() time.Time) (*Authority, error) {
	if len(chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	a := &Authority{dir: dir, chain: chain, now: clock(now), index: newIndex()}
	if err := os.MkdirAll(filepath.Join(dir, issuedDir), 0o700); err != nil {
		return nil, err
	}
	unlock, err := a.lock(context.Background())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if entries, err := os.ReadDir(dir); err != nil {
		return nil, err
	} else if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != issuedDir && e.Name() != lockFile }) {
		return nil, fmt.Errorf("%s: %w: the folder is not empty", dir, fs.ErrExist)
	}
	var text bytes.Buffer
	for _, c := range chain {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return nil, err
		}
	}
	if err := a.write(caFile, text.Bytes()); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(chain[0].Raw)
	// The index comes last: without it there is no CA.
	if err := a.append(event{Kind: created, Version: Version, CA: hex.EncodeToString(sum[:])}); err != nil {
		return nil, err
	}
	return a, atomicfile.File{Name: filepath.Join(dir, indexFile)}.SyncFolder()
}

func clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

// Open opens the folder of a CA. now is the clock; nil: time.Now. If the index
// is damaged, the error wraps [ErrIndex].
func Open(dir string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, now: clock(now), index: newIndex()}
	data, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, signer.WithHint(err, "make a CA with: holdfast ca init")
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate is damaged", filepath.Join(dir, caFile))
		}
		a.chain = append(a.chain, c)
	}
	if len(a.chain) == 0 {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, caFile), signer.ErrNoCertificate)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.refresh(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(a.chain[0].Raw)
	if a.index.ca != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%s: %w: it belongs to another CA certificate than %s", filepath.Join(dir, indexFile), ErrIndex, caFile)
	}
	return a, nil
}

// Chain returns the certificate of the CA, followed by its issuers. The caller
// must not change them.
func (a *Authority) Chain() []*x509.Certificate { return a.chain }

// Issue issues a certificate with a new serial number. key is the key of the
// CA; evidence may be empty. ctx bounds the wait for other writers and the
// signature.
func (a *Authority) Issue(ctx context.Context, key signer.Signer, t pki.Template, evidence string) (*x509.Certificate, error) {
	issuer := pki.Issuer{Certificate: a.chain[0], Key: signer.WithContext(ctx, key)}
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
	sum := sha256.Sum256(spki)
	serial := serialText(t.Serial)
	unlock, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := a.append(event{Kind: issued, Serial: serial, Subject: t.Names.SubjectText(), NotAfter: t.NotAfter,
		Key: hex.EncodeToString(sum[:]), Profile: t.Profile.Name, Evidence: evidence}); err != nil {
		return nil, err
	}
	c, err := pki.Issue(rand.Reader, issuer, t)
	if err != nil {
		return nil, err
	}
	return c, a.write(filepath.Join(issuedDir, serial+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// Revoke revokes the certificate with a serial number in hexadecimal. The error
// wraps [fs.ErrNotExist] if the CA did not issue it. A certificate that is
// revoked already stays so, without an error. Make a revocation list afterwards.
func (a *Authority) Revoke(ctx context.Context, serial string, reason pki.Reason) error {
	unlock, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	c, ok := a.index.certificates[serial]
	switch {
	case !ok:
		return signer.WithHint(fmt.Errorf("serial number %q: %w: this CA did not issue it", serial, fs.ErrNotExist), "show the serial numbers with: holdfast ca list")
	case !c.Revoked.IsZero():
		return nil
	}
	return a.append(event{Kind: revoked, Serial: serial, Reason: reason})
}

// CRL makes the next revocation list, which is valid for a period, stores it as
// crl.pem and returns it in PEM. It lists the certificates that are revoked and
// have not expired. key is the key of the CA.
func (a *Authority) CRL(ctx context.Context, key signer.Signer, period time.Duration) ([]byte, error) {
	unlock, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	now := a.now()
	var list []pki.Revocation
	for _, serial := range a.index.serials {
		c := a.index.certificates[serial]
		if n, ok := new(big.Int).SetString(serial, 16); ok && !c.Revoked.IsZero() && now.Before(c.NotAfter) {
			list = append(list, pki.Revocation{Serial: n, Time: c.Revoked, Reason: c.Reason})
		}
	}
	number := new(big.Int).Add(&a.index.number, big.NewInt(1))
	next := now.Add(period)
	if err := a.append(event{Kind: listed, Number: number.String(), NextUpdate: next.UTC().Truncate(time.Second)}); err != nil {
		return nil, err
	}
	der, err := pki.NewCRL(rand.Reader, pki.Issuer{Certificate: a.chain[0], Key: signer.WithContext(ctx, key)}, number, list, now, next)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	return text, a.write(crlFile, text)
}

// List returns all entries of the index in the order of issue.
func (a *Authority) List() ([]Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.refresh(); err != nil {
		return nil, err
	}
	list := make([]Certificate, len(a.index.serials))
	for i, serial := range a.index.serials {
		list[i] = *a.index.certificates[serial]
	}
	return list, nil
}

// Certificate returns an issued certificate. The error wraps [fs.ErrNotExist]
// if there is none, for example because the signature was interrupted.
func (a *Authority) Certificate(serial string) (*x509.Certificate, error) {
	if !isSerial(serial) {
		return nil, fmt.Errorf("serial number %q: %w", serial, fs.ErrNotExist)
	}
	data, err := os.ReadFile(filepath.Join(a.dir, issuedDir, serial+".pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New(issuedDir + "/" + serial + ".pem is not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
