package dropfolder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/pki/cms"
)

const (
	requestSuffix  = ".p7"
	issuedSuffix   = ".pem"
	rejectedSuffix = ".rejected"
)

// maxToken bounds a token, in bytes.
const maxToken = 64

// isToken reports whether a token can be part of the name of a file.
func isToken(s string) bool {
	return s != "" && len(s) <= maxToken && strings.IndexFunc(s, func(r rune) bool {
		return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// A Folder is the folder as the CA uses it. It is safe for concurrent use, also by
// several processes.
type Folder struct {
	dir  string
	root *os.Root
}

// Open opens a folder that exists. The caller closes it.
func Open(dir string) (*Folder, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Folder{dir, root}, nil
}

// Close releases the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Pending returns the tokens of the requests without an answer, sorted.
func (f *Folder) Pending() (tokens []string, err error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.dir, err)
	}
	slices.Sort(names)
	has := func(name string) bool { _, found := slices.BinarySearch(names, name); return found }
	for _, name := range names {
		token, ok := strings.CutSuffix(name, requestSuffix)
		if ok && isToken(token) && !has(token+issuedSuffix) && !has(token+rejectedSuffix) {
			tokens = append(tokens, token)
		}
	}
	return tokens, nil
}

// Path returns the path of a request.
func (f *Folder) Path(token string) string { return filepath.Join(f.dir, token+requestSuffix) }

// Request returns the request with a token. It does not verify it; use [cms.Parse].
func (f *Folder) Request(token string) ([]byte, error) {
	return f.read(token+requestSuffix, cms.MaxSize)
}

// Issue answers a request with certificates in PEM.
func (f *Folder) Issue(token string, certificates []byte) error {
	return f.write(token+issuedSuffix, certificates)
}

// Reject answers a request with the reason why it is refused, which the machine
// shows. It is one line of text.
func (f *Folder) Reject(token, reason string) error {
	return f.write(token+rejectedSuffix, []byte(reason+"\n"))
}

// write writes a file whole. It is readable by everybody, because it contains
// nothing secret, and machine and CA are different users. The name of the file can
// be lost in a power failure, and the file is then written again.
func (f *Folder) write(name string, data []byte) error {
	file := atomicfile.File{FS: f.root, Name: name, Prepare: func(f *os.File) error { return f.Chmod(0o644) }}
	if err := file.Replace(data); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(f.dir, name), withoutPath(err))
	}
	return nil
}

var errNotRegular = errors.New("is not a regular file")

// read reads a regular file. It follows no link, and waits for no writer of a FIFO
// that has taken the place of the file.
func (f *Folder) read(name string, limit int64) ([]byte, error) {
	data, err := f.readRegular(name, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(f.dir, name), withoutPath(err))
	}
	return data, nil
}

func (f *Folder) readRegular(name string, limit int64) ([]byte, error) {
	named, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, errNotRegular
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if opened, err := file.Stat(); err != nil || !os.SameFile(named, opened) {
		return nil, errors.Join(errNotRegular, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("is larger than %d KiB", limit>>10)
	}
	return data, err
}

// withoutPath removes the operation and the path from an *fs.PathError, because the
// callers add them.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
