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

// An authToken is the authorization token of the container endpoint, and the
// file from which clients read it. It is safe for concurrent use.
type authToken struct {
	path   string
	log    *slog.Logger
	remove func() // removes what newAuthToken created; nil: the file existed before

	mu    sync.Mutex
	value string
	seen  filestate.State // of an existing file, when value was read
}

const maxAuthToken = 4 << 10 // bytes

// newAuthToken reads the token from the file at path if it exists. Otherwise it
// writes a random token to path. If path is empty, it writes the token to a
// file whose name contains port, in a folder that only this user can read. The
// caller closes the result, which removes a file that newAuthToken wrote.
func newAuthToken(env func(string) string, path, port string, log *slog.Logger) (*authToken, error) {
	if path != "" {
		path, err := filepath.Abs(path) // other shells may have other working directories
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		_, err = os.Lstat(path)
		switch {
		case err == nil:
			t := &authToken{path: path, log: log, seen: filestate.Of(path)}
			if t.value, err = readAuthToken(path); err != nil {
				return nil, signer.WithHint(fmt.Errorf("--token-file %s: %w", path, err),
					"the file must be a regular file that contains only the token, on one line; if you remove it, serve creates a new one")
			}
			t.warnIfNewline(t.value)
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
	dir, temporary, err := runtimeDir(env)
	if err != nil {
		return nil, err
	}
	path = filepath.Join(dir, "serve-"+port+".token")
	t := &authToken{path: path, log: log, value: rand.Text()}
	t.remove = func() {
		t.removeFile()
		if temporary {
			_ = os.Remove(dir)
		}
	}
	if err := (atomicfile.File{Name: path}).Replace([]byte(t.value)); err != nil {
		if temporary {
			_ = os.Remove(dir)
		}
		return nil, err
	}
	return t, nil
}

// runtimeDir returns a folder for runtime files: systemd's RuntimeDirectory=, a
// folder in $XDG_RUNTIME_DIR (XDG Base Directory Specification), or a new
// temporary folder, which the caller removes.
func runtimeDir(env func(string) string) (dir string, temporary bool, err error) {
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
		return dir, false, os.Chmod(dir, 0o700) // fails if the folder belongs to another user, except for root
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
		return "", errors.New("contains a space, a control character or a non-ASCII character")
	}
	return string(token), nil
}

// warnIfNewline logs a warning if the file ends with a newline, which is not
// part of value.
func (t *authToken) warnIfNewline(value string) {
	if info, err := os.Stat(t.path); err == nil && info.Size() > int64(len(value)) {
		t.log.Warn("the token file ends with a newline; the AWS SDKs for Go and JavaScript reject such a token", "file", t.path)
	}
}

// Value returns the current token. If the file existed before, Value reads it
// again when it has changed. If it cannot be read, the previous token remains
// valid.
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
		go t.logReload(value, err) // without the lock, because writing to the log may block
	}
	return t.value
}

func (t *authToken) logReload(value string, err error) {
	if err == nil {
		t.log.Info("reloaded the token file", "file", t.path)
		t.warnIfNewline(value)
	} else {
		t.log.Warn("could not reload the token file; the previous token remains valid", "file", t.path, "error", err)
	}
}

// removeFile removes the file unless another process has replaced it.
func (t *authToken) removeFile() {
	if data, err := keystore.ReadFile(t.path, maxAuthToken); err == nil && string(data) == t.value {
		_ = os.Remove(t.path)
	}
}

// Close removes the file and the temporary folder that newAuthToken created. A
// file that existed before stays.
func (t *authToken) Close() {
	if t.remove != nil {
		t.remove()
	}
}
