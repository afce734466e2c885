package authority

import (
	"bytes"
	"context"
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
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

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
	if a.chain, err = parseChain(data); err != nil {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", a.path(caFile), err), hintBackup)
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

// parseChain returns the certificates in PEM data, which contains nothing else.
func parseChain(data []byte) (chain []*x509.Certificate, err error) {
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, signer.ErrNoCertificate
	}
	for text := bytes.TrimSpace(data); len(text) > 0; {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != pemCertificate || !bytes.HasPrefix(text, []byte("-----BEGIN")) || bytes.Count(text[:len(text)-len(rest)], []byte("-----BEGIN")) > 1 {
			return nil, errors.New("the file contains something other than certificates, or a certificate that is damaged")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("the certificate is damaged")
		}
		chain, text = append(chain, c), bytes.TrimSpace(rest)
	}
	return chain, nil
}
