package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fileowner"
)

// RuntimeDir returns a folder for runtime files that has the same name after a
// restart: systemd's RuntimeDirectory=, the folder holdfast in $XDG_RUNTIME_DIR
// (XDG Base Directory Specification), or a folder of this user among the
// temporary files.
func RuntimeDir(env func(string) string) (string, error) {
	if dir := env("RUNTIME_DIRECTORY"); filepath.IsAbs(dir) {
		return filepath.SplitList(dir)[0], nil
	}
	if base := env("XDG_RUNTIME_DIR"); filepath.IsAbs(base) {
		dir := filepath.Join(base, "holdfast")
		// With sudo, the folder may be another user's, and without a
		// login, it may not exist.
		if makePrivate(dir) == nil {
			return dir, nil
		}
	}
	name := "holdfast"
	if uid := os.Geteuid(); uid >= 0 {
		name += "-" + strconv.Itoa(uid)
	}
	dir := filepath.Join(os.TempDir(), name)
	return dir, makePrivate(dir)
}

// makePrivate creates a folder that only this user can access, or checks that
// an existing one belongs to this user and makes it private.
func makePrivate(dir string) error {
	if err := fileowner.Check(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s: not a directory", dir)
	case !isOurs(info):
		return fmt.Errorf("%s: the folder belongs to another user", dir)
	}
	return os.Chmod(dir, 0o700)
}

// isOurs reports whether a file belongs to this user. On Windows, where the
// permissions of the folder above apply, it is always true.
func isOurs(info fs.FileInfo) bool {
	uid, known := fileowner.UID(info)
	return !known || uid == os.Geteuid()
}

// tokenName returns the name of the file for the token of a server. Another
// server has another address, and so another file.
func tokenName(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		host, port = addr.String(), "0"
	}
	return tokenPrefix + strings.NewReplacer(":", "_", "%", "_", "/", "_").Replace(host) + "-" + port + tokenSuffix
}

const (
	tokenPrefix, tokenSuffix = "serve-", ".token"

	// staleAfter is how old a file in the runtime folder is if no process
	// uses it: a living process touches it each touchPause.
	staleAfter = 24 * time.Hour
)

// removeStale removes the files of killed servers that were not started again,
// except the file with the name keep.
func removeStale(dir, keep string) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, f := range files {
		if name := f.Name(); name == keep || !strings.HasPrefix(name, tokenPrefix) || !strings.HasSuffix(name, tokenSuffix) {
			continue
		}
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && isOurs(info) && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(filepath.Join(dir, f.Name())) // another process may have removed it
		}
	}
}

// leftToken returns the token that a killed process of this user left in the
// file at path, or "" if there is none or others could have read or written it.
func leftToken(path string) string {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || !isOurs(info) || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return ""
	}
	token, err := readAuthToken(path)
	if err != nil || len(token) < len(rand.Text()) {
		return ""
	}
	return token
}
