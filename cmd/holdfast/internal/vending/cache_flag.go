package vending

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// The values of --cache.
const (
	cacheFile    = "file"
	cacheKeyring = "keyring"
)

// A cacheFlag is the storage in which processes share credentials; "": no
// cache.
type cacheFlag string

func (f *cacheFlag) add(fs *pflag.FlagSet) {
	const name = "cache"
	fs.StringVar((*string)(f), name, "", "share credentials with other processes, in files (--cache) or in the Linux kernel keyring (--cache=keyring); `where` is file or keyring; see docs/cache.md (default: no cache)")
	front.MarkOptionalValue(fs.Lookup(name), cacheFile, cacheKeyring)
}

func (f cacheFlag) check() error {
	if f != "" && f != cacheFile && f != cacheKeyring {
		return signer.WithHint(front.Usagef("--cache=%s is neither %s nor %s", f, cacheFile, cacheKeyring), "use --cache or --cache=keyring")
	}
	if f == cacheKeyring && runtime.GOOS != "linux" {
		return signer.WithHint(fmt.Errorf("--cache=keyring: the keyring is available only on Linux: %w", errors.ErrUnsupported), "use --cache to store the credentials in files")
	}
	return nil
}

// A createFunc creates a session. It returns the credentials and the expiry of
// the certificate chain, after which a cache must not return them.
type createFunc func(context.Context) (credentials.Credentials, time.Time, error)

// openShared returns a source that caches the credentials from create under
// key. If no cache is available, it logs a warning and returns nil without an
// error. It fails only if the cache folder is unsafe, see
// [credentials.UnsafeError]. The caller calls close after the last use.
func openShared(a front.App, f cacheFlag, key string, create createFunc, logger *slog.Logger) (_ *credentials.Shared, close func(), err error) {
	s := &credentials.Shared{Key: key, Make: create, Logger: logger, Now: a.Now}
	close = func() {}
	without := func(err error) (*credentials.Shared, func(), error) {
		logger.Warn("continuing without the cache", "error", err)
		return nil, close, nil
	}
	if f == cacheKeyring {
		k, err := openKeyring(a)
		if err != nil {
			return without(err)
		}
		s.Storage = k
	}
	folder, err := openFolder(a, credentials.MakeFolder)
	var unsafe *credentials.UnsafeError
	switch {
	case errors.As(err, &unsafe):
		return nil, close, err
	case err != nil && s.Storage == nil:
		return without(err)
	case err != nil:
		logger.Warn("cannot lock the cache; processes that start at the same time each create a session", "error", err)
		return s, close, nil
	}
	s.Locks = folder
	if s.Storage == nil {
		s.Storage = folder
	}
	return s, func() { folder.Close() }, nil
}

func openFolder(a front.App, open func(path string) (*credentials.Folder, error)) (*credentials.Folder, error) {
	path, err := cachePath(runtime.GOOS, a.Env)
	if err != nil {
		return nil, err
	}
	return open(path)
}

// openKeyring opens the keyring. Its entries have a prefix that is derived from
// the path of the cache folder. So different folders, for example those of
// tests, also have separate entries in the keyring.
func openKeyring(a front.App) (*credentials.Keyring, error) {
	path, err := cachePath(runtime.GOOS, a.Env)
	if err != nil {
		path = ""
	}
	return credentials.OpenKeyring("holdfast:" + credentials.Key(path)[:16] + ":")
}

// cachePath returns the path of the cache folder. On Linux it follows the XDG
// Base Directory Specification, which requires that relative paths are ignored.
// On Windows and macOS it follows the conventions of the system.
func cachePath(goos string, env func(string) string) (string, error) {
	home := func(elements ...string) string {
		h := env("HOME")
		if h == "" {
			return ""
		}
		return filepath.Join(append([]string{h}, elements...)...)
	}
	var base, from string
	switch goos {
	case "windows":
		base, from = env("LocalAppData"), "LocalAppData"
	case "darwin":
		base, from = home("Library", "Caches"), "HOME"
	default:
		base, from = env("XDG_CACHE_HOME"), "XDG_CACHE_HOME or HOME"
		if !filepath.IsAbs(base) {
			base = home(".cache")
		}
	}
	if !filepath.IsAbs(base) {
		return "", signer.WithHint(errors.New("no path is known for the cache folder"), "set the environment variable "+from)
	}
	return filepath.Join(base, "holdfast"), nil
}
