package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/signer"
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
// refuses a file with certificates of other keys only.
func (f certificateFile) write(chain []*x509.Certificate, replace bool) error {
	path, text, info, err := f.prepare(chain, chain[:1], replace)
	if err != nil {
		return err
	}
	return writeFile(path, text, info)
}

// prepare returns the file to write, its new contents, and what it is now. It
// refuses a file that must not be replaced with the certificate of one of leaves.
func (f certificateFile) prepare(chain, leaves []*x509.Certificate, replace bool) (path string, text []byte, info fs.FileInfo, err error) {
	path, err = filepath.EvalSymlinks(f.path) // keep a symbolic link
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isLink(f.path):
		path = f.path
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return "", nil, nil, fmt.Errorf("%s: %w", path, withoutPath(err))
		}
	case err != nil:
		return "", nil, nil, fmt.Errorf("%s: the link leads nowhere: %w", f.path, withoutPath(err))
	}
	if err := fileowner.Check(path); err != nil {
		return "", nil, nil, err
	}
	data, info, err := readOld(path)
	if err != nil {
		return "", nil, nil, fmt.Errorf("%s: %w", f.path, err)
	}
	text = encodeCertificates(chain)
	if f.ofKey {
		text, err = replaceCertificates(data, text)
	} else if info != nil {
		err = mayReplace(data, leaves, replace)
	}
	if err != nil {
		return "", nil, nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return path, text, info, nil
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
			return errRemoved
		}
		if info == nil {
			return t.Chmod(certificateMode)
		}
		return atomicfile.CopyOwnerAndMode(t, info)
	}
	removeLeftovers(path)
	err := f.Replace(text)
	for n := 1; (errors.Is(err, errRemoved) || isInUse(err)) && n < maxAttempts; n++ {
		time.Sleep(time.Duration(n) * attemptPause)
		err = f.Replace(text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	return f.SyncFolder()
}

// errRemoved is the error of a temporary file that another process took for a
// leftover, in the moments before and after it was locked.
var errRemoved = fs.ErrNotExist

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

func encodeCertificates(chain []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer does not fail
	}
	return b.Bytes()
}

func isCertificateLabel(label string) bool {
	return label == "CERTIFICATE" || label == "X509 CERTIFICATE" || label == "TRUSTED CERTIFICATE"
}

func hasCertificate(data []byte) bool {
	return slices.ContainsFunc(pemBlocks(data), func(b pemBlock) bool { return isCertificateLabel(b.label) })
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

var (
	errOtherContents = signer.WithHint(fmt.Errorf("contains something other than certificates and is not replaced: %w", fs.ErrExist),
		"choose another file with Installation.File")
	errOtherKey = signer.WithHint(fmt.Errorf("contains only certificates of other keys and is not replaced: %w", fs.ErrExist),
		"choose another file with Installation.File, or replace it with Installation.Replace")
)

// mayReplace refuses to replace a file that contains anything but certificates
// and comments, such as text between them, or without replace a file with none for the key of
// one of leaves.
func mayReplace(data []byte, leaves []*x509.Certificate, replace bool) error {
	var old []*x509.Certificate
	text := bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.Contains(text, []byte(pemBegin)) {
		for text = withoutComments(text); len(text) > 0; text = withoutComments(text) {
			block, after := pem.Decode(text)
			if block == nil || !isCertificateLabel(block.Type) || !bytes.HasPrefix(text, []byte(pemBegin)) ||
				bytes.Count(text[:len(text)-len(after)], []byte(pemBegin)) > 1 {
				return errOtherContents
			}
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				old = append(old, c)
			} else if isPrivateKey(block.Bytes) {
				return errOtherContents
			}
			text = after
		}
	} else if len(bytes.TrimSpace(data)) > 0 {
		var err error
		if old, err = x509.ParseCertificates(data); err != nil {
			return errOtherContents
		}
	}
	same := func(c *x509.Certificate) bool {
		return slices.ContainsFunc(leaves, func(leaf *x509.Certificate) bool { return signer.SamePublicKey(c.PublicKey, leaf.PublicKey) })
	}
	if !replace && len(old) > 0 && !slices.ContainsFunc(old, same) {
		return errOtherKey
	}
	return nil
}

// withoutComments removes white space and lines that begin with # from the
// beginning of text.
func withoutComments(text []byte) []byte {
	for text = bytes.TrimSpace(text); bytes.HasPrefix(text, []byte("#")); text = bytes.TrimSpace(text) {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text
}

// replaceCertificates returns PEM data with the certificates replaced by those in
// text, in the place of the first of them, or else at the end. All other blocks
// keep their bytes. Of the text between blocks, only comments with # and what
// belongs to the other blocks remains.
func replaceCertificates(data, text []byte) ([]byte, error) {
	refused := func(reason string) ([]byte, error) {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", reason, errors.ErrUnsupported), "write the certificates to another file with Installation.File")
	}
	var out bytes.Buffer
	keys, placed := 0, false
	rest := data
	for bytes.Contains(rest, []byte(pemBegin)) {
		block, after := pem.Decode(rest)
		segment := rest[:len(rest)-len(after)]
		if block == nil || bytes.Count(segment, []byte(pemBegin)) > 1 {
			return refused("contains a damaged PEM block, so that its certificates cannot be replaced")
		}
		rest = after
		switch {
		case !isCertificateLabel(block.Type):
			if strings.HasSuffix(block.Type, "PRIVATE KEY") {
				keys++
			}
			out.Write(segment)
			continue
		case isPrivateKey(block.Bytes):
			return refused("contains a private key that is labeled as a certificate, so that its certificates cannot be replaced")
		}
		for line := range bytes.Lines(segment[:bytes.Index(segment, []byte(pemBegin))]) {
			if bytes.HasPrefix(line, []byte("#")) {
				out.Write(line)
			}
		}
		if !placed {
			out.Write(text)
			placed = true
		}
	}
	switch {
	case keys == 0:
		return refused("is not PEM, so that certificates cannot be added to it")
	case keys > 1:
		return refused(fmt.Sprintf("contains %d private keys, whose certificates may be needed", keys))
	}
	out.Write(rest)
	if !placed {
		if b := out.Bytes(); b[len(b)-1] != '\n' {
			out.WriteByte('\n')
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}
