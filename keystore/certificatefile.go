package keystore

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
)

// A certificateFile is a file to which certificates are written.
type certificateFile struct {
	path  string
	ofKey bool // the file also contains the key
}

// certificateMode is the mode of a new file. Certificates are public, and the user
// who runs a service is often not the one who installs its certificate.
const certificateMode = 0o644

// write replaces the certificates in the file, atomically. Without replace, it
// refuses a file with certificates of other keys than those of leaves.
func (f certificateFile) write(chain, leaves []*x509.Certificate, replace bool) error {
	path, text, info, err := f.prepare(chain, leaves, replace)
	if err != nil {
		return err
	}
	return writeFile(path, text, info)
}

// prepare returns the file to write, its new contents, and what it is now. It
// refuses a file that must not be replaced with the certificate of one of leaves.
func (f certificateFile) prepare(chain, leaves []*x509.Certificate, replace bool) (path string, text []byte, info fs.FileInfo, err error) {
	data, path, info, err := f.read()
	if err != nil {
		return "", nil, nil, err
	}
	text = encodeCertificates(chain)
	if f.ofKey {
		text, err = replaceCertificates(data, chain)
	} else if info != nil {
		err = mayReplace(data, leaves, replace)
	}
	if err != nil {
		return "", nil, nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return path, text, info, nil
}

// read returns the contents of the file and what [certificateFile.target] returns.
func (f certificateFile) read() (data []byte, path string, info fs.FileInfo, err error) {
	if path, err = f.target(); err != nil {
		return nil, "", nil, err
	}
	if data, info, err = readOld(path); err != nil {
		return nil, "", nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return data, path, info, nil
}

// target returns the file to write: a symbolic link stays.
func (f certificateFile) target() (path string, err error) {
	path, err = filepath.EvalSymlinks(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isLink(f.path):
		path = f.path
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return "", fmt.Errorf("%s: %w", path, withoutPath(err))
		}
	case err != nil:
		return "", fmt.Errorf("%s: the link leads nowhere: %w", f.path, withoutPath(err))
	}
	return path, fileowner.Check(path)
}

// replaces reports whether the file contains certificates.
func (f certificateFile) replaces() bool {
	data, err := ReadFile(f.path, MaxInput)
	return err == nil && (hasCertificate(data) || !f.ofKey && len(bytes.TrimSpace(data)) > 0)
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// readOld reads a file; info is nil if it does not exist.
func readOld(path string) (data []byte, info fs.FileInfo, err error) {
	if info, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("is not a regular file")
	}
	data, err = ReadFile(path, MaxInput)
	return data, info, err
}

// temporary is the pattern of temporary files, after the name of the file.
const temporary = ".holdfast.*.tmp"

// writeFile replaces a file atomically, and keeps the owner and mode in info, if
// that is not nil. A process that was killed meanwhile leaves a temporary file,
// which can contain a key; the next one removes it. A lock says which temporary
// files are in use.
func writeFile(path string, text []byte, info fs.FileInfo) error {
	f := atomicfile.File{Name: path, Temporary: filepath.Base(path) + temporary}
	f.Prepare = func(t *os.File) error {
		if held, err := filelock.TryLock(t); err == nil && !held {
			return fs.ErrNotExist // as if it had not been there
		}
		if info == nil {
			return t.Chmod(certificateMode)
		}
		return atomicfile.CopyOwnerAndMode(t, info)
	}
	removeLeftovers(path)
	err := f.Replace(text)
	for n := 1; (errors.Is(err, fs.ErrNotExist) || isInUse(err)) && n < maxAttempts; n++ {
		time.Sleep(time.Duration(n) * attemptPause)
		err = f.Replace(text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	return f.SyncFolder()
}

// maxAttempts is how often a file is written if other processes remove its
// temporary file, or on Windows have the file open. The pause before each further
// attempt is longer by attemptPause.
const (
	maxAttempts  = 8
	attemptPause = 5 * time.Millisecond
)

// removeLeftovers removes temporary files that no living process has locked. Its
// errors do not matter for the new file.
func removeLeftovers(path string) {
	folder, base := filepath.Split(path)
	entries, _ := os.ReadDir(filepath.Clean(folder + "."))
	prefix, suffix, _ := strings.Cut(temporary, "*")
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base+prefix) || !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		name := folder + e.Name()
		t, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		held, err := filelock.TryLock(t)
		_ = t.Close() // on Windows an open file cannot be removed
		if held && err == nil {
			_ = os.Remove(name)
		}
	}
}

func sameFile(a, b string) bool {
	if a == b {
		info, err := os.Stat(a)
		return err == nil && info.Mode().IsRegular()
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
