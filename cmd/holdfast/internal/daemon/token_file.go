package daemon

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// An authToken is what clients of the container endpoint send, and the file
// that they have it from. It is safe for concurrent use.
type authToken struct {
	path   string
	log    *slog.Logger
	remove func() // the file, and the folder made for it; nil: it is somebody else's

	mu    sync.Mutex
	value string
	seen  filestate.State // of a file that is somebody else's
}

const maxAuthToken = 4 << 10 // bytes

// newAuthToken reads the file at path if there is one. If not, it writes a
// random token there, or if path is blank into a folder that only this user
// reads, under a name with the port. The caller closes the result.
func newAuthToken(env func(string) string, path, port string, log *slog.Logger) (*authToken, error) {
	if path != "" {
		path, err := filepath.Abs(path) // as it is printed for other shells
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		_, err = os.Lstat(path)
		switch {
		case err == nil:
			t := &authToken{path: path, log: log, seen: filestate.Of(path)}
			if t.value, err = readAuthToken(path); err != nil {
				return nil, signer.WithHint(fmt.Errorf("--token-file %s: %w", path, err),
					"it must be a regular file that holds the token alone, on one line; remove it to have one made")
			}
			t.warnOfLineEnd(t.value)
			return t, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		t := &authToken{path: path, log: log, value: rand.Text()}
		t.remove = t.removeFile
		if err := (atomicfile.File{Name: path}).Replace([]byte(t.value)); err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		return t, nil
	}
	dir, made, err := runtimeDir(env)
	if err != nil {
		return nil, err
	}
	path = filepath.Join(dir, "serve-"+port+".token")
	t := &authToken{path: path, log: log, value: rand.Text()}
	t.remove = func() {
		t.removeFile()
		if made {
			_ = os.Remove(dir)
		}
	}
	if err := (atomicfile.File{Name: path}).Replace([]byte(t.value)); err != nil {
		if made {
			_ = os.Remove(dir)
		}
		return nil, err
	}
	return t, nil
}

// runtimeDir returns a folder for files that live as long as this process, and
// whether it was made for it alone: systemd's RuntimeDirectory=, that of the
// XDG Base Directory Specification, or a temporary one.
func runtimeDir(env func(string) string) (dir string, made bool, err error) {
	if dir := env("RUNTIME_DIRECTORY"); filepath.IsAbs(dir) {
		return filepath.SplitList(dir)[0], false, nil
	}
	if base := env("XDG_RUNTIME_DIR"); filepath.IsAbs(base) {
		dir = filepath.Join(base, "holdfast")
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", false, err
		}
		info, err := os.Lstat(dir)
		switch {
		case err != nil:
			return "", false, err
		case !info.IsDir():
			return "", false, fmt.Errorf("%s: not a directory", dir)
		}
		return dir, false, os.Chmod(dir, 0o700) // fails for one that is somebody else's, but for root
	}
	dir, err = os.MkdirTemp("", "holdfast-")
	return dir, true, err
}

func readAuthToken(path string) (string, error) {
	data, err := keystore.ReadFile(path, maxAuthToken)
	if err != nil {
		return "", err
	}
	token := bytes.TrimRight(data, "\r\n")
	switch {
	case len(token) == 0:
		return "", errors.New("is empty")
	case bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "", errors.New("holds a character that cannot be sent as a token")
	}
	return string(token), nil
}

// warnOfLineEnd tells of a line end that was cut off.
func (t *authToken) warnOfLineEnd(value string) {
	if info, err := os.Stat(t.path); err == nil && info.Size() > int64(len(value)) {
		t.log.Warn("the token file ends with a line end, which the AWS SDKs for Go and JavaScript refuse", "file", t.path)
	}
}

// Value returns the token as it is now. Of a file that is somebody else's it
// looks whether it changed; one that cannot be read leaves what was there.
func (t *authToken) Value() string {
	if t.remove != nil {
		return t.value
	}
	now := filestate.Of(t.path)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Equal(t.seen) {
		t.seen = now
		value, err := readAuthToken(t.path)
		if err == nil {
			t.value = value
		}
		go t.tell(value, err) // not with the lock: who reads the log may be slow
	}
	return t.value
}

func (t *authToken) tell(value string, err error) {
	if err == nil {
		t.log.Info("the token file was read again", "file", t.path)
		t.warnOfLineEnd(value)
	} else {
		t.log.Warn("the token file was not read again; the token from before stays", "file", t.path, "error", err)
	}
}

// removeFile leaves the file alone that a successor has put there meanwhile.
func (t *authToken) removeFile() {
	if data, err := keystore.ReadFile(t.path, maxAuthToken); err == nil && string(data) == t.value {
		_ = os.Remove(t.path)
	}
}

// Close removes what newAuthToken wrote.
func (t *authToken) Close() {
	if t.remove != nil {
		t.remove()
	}
}
