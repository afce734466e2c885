package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// An authToken is the authorization token of the container endpoint, and the
// file from which clients read it. It is safe for concurrent use.
type authToken struct {
	path string
	log  *slog.Logger
	own  bool // serve wrote the file, and removes it at the end

	mu    sync.Mutex
	value string
	seen  filestate.State // of the file, when value was read or written
}

const maxAuthToken = 4 << 10 // bytes

// newAuthToken reads the token from the file at path if it exists. Otherwise it
// writes a random token to path. If path is empty, it uses the file for addr in
// the [RuntimeDir], and the token that a killed process left there, so that
// clients keep their access. The caller closes the result, which removes a file
// that newAuthToken wrote.
func newAuthToken(env func(string) string, path string, addr net.Addr, log *slog.Logger) (*authToken, error) {
	if path != "" {
		return givenAuthToken(path, log)
	}
	dir, err := RuntimeDir(env)
	if err != nil {
		return nil, noPlace(err)
	}
	name := tokenName(addr)
	removeStale(dir, name)
	t := &authToken{path: filepath.Join(dir, name), log: log, own: true}
	if t.value = leftToken(t.path); t.value != "" {
		t.touch()
		return t, nil
	}
	if err := t.write(); err != nil {
		return nil, noPlace(err)
	}
	return t, nil
}

// noPlace explains an error about the file of the token if no file was named.
func noPlace(err error) error {
	if err == nil {
		return nil
	}
	return signer.WithHint(fmt.Errorf("file for the token of the container endpoint: %w", err),
		"name a file in a folder that you can write with --token-file FILE")
}

// givenAuthToken reads the token from the file at path, or creates the file.
func givenAuthToken(path string, log *slog.Logger) (*authToken, error) {
	path, err := filepath.Abs(path) // other shells may have other working directories
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil:
		t := &authToken{path: path, log: log, seen: filestate.Of(path)}
		if t.value, err = readAuthToken(path); err != nil {
			return nil, signer.WithHint(fmt.Errorf("--token-file %s: %w", path, err),
				"the file must be a regular file that contains only the token, on one line; if you remove it, serve creates a new one")
		}
		if runtime.GOOS != "windows" && info.Mode().Perm()&0o006 != 0 {
			log.Warn("every local user can read or change the token file; protect it with chmod 600", "file", path)
		}
		t.warnIfNewline(t.value)
		return t, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	if err := fileowner.Check(path); err != nil {
		return nil, fmt.Errorf("--token-file %w", err)
	}
	t := &authToken{path: path, log: log, own: true}
	if err := t.write(); err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	return t, nil
}

// write writes the token to the file, and creates it if there is none.
func (t *authToken) write() error {
	if t.value == "" {
		t.value = rand.Text()
	}
	err := atomicfile.File{Name: t.path}.Replace([]byte(t.value))
	t.seen = filestate.Of(t.path)
	return err
}

// touch sets the modification time of the file, which marks it as in use.
func (t *authToken) touch() {
	now := time.Now()
	_ = os.Chtimes(t.path, now, now) // otherwise it counts as stale a day later
	t.seen = filestate.Of(t.path)
}

// touchPause is the pause between two calls of touch by keep.
const touchPause = 10 * time.Minute

// keep keeps a file that serve wrote until ctx ends: it marks it as in use, and
// writes it again if another program, such as systemd-tmpfiles, removed it.
func (t *authToken) keep(ctx context.Context) {
	tick := time.NewTicker(touchPause)
	defer tick.Stop()
	for t.own {
		select {
		case <-tick.C:
			t.renew()
		case <-ctx.Done():
			return
		}
	}
}

func (t *authToken) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := os.Lstat(t.path)
	switch {
	case filestate.Of(t.path).Equal(t.seen) && err == nil:
		t.touch()
	case errors.Is(err, fs.ErrNotExist):
		if err := t.write(); err != nil {
			go t.log.Warn("could not write the token file again", "file", t.path, "error", err) // without the lock
		}
	}
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
	if t.own {
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

// Close removes a file that newAuthToken wrote, unless another process has
// taken it over or replaced it. A file of another program stays.
func (t *authToken) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.own && filestate.Of(t.path).Equal(t.seen) {
		_ = os.Remove(t.path)
	}
}
