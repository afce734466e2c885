package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// The values of --cache.
const (
	cacheFile    = "file"
	cacheKeyring = "keyring"
)

// A cacheFlag says where processes share credentials; "": nowhere.
type cacheFlag string

func (f *cacheFlag) add(fs *pflag.FlagSet) {
	const name = "cache"
	fs.StringVar((*string)(f), name, "", "share credentials with other processes, in files (--cache) or in the Linux kernel (--cache=keyring); `where`: see docs/cache.md (default: nowhere)")
	fs.Lookup(name).NoOptDefVal = cacheFile
}

func (f cacheFlag) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("cache") && f != cacheFile && f != cacheKeyring {
		return signer.WithHint(usagef("--cache=%s is neither %s nor %s", f, cacheFile, cacheKeyring), "write --cache or --cache=keyring")
	}
	if f == cacheKeyring && runtime.GOOS != "linux" {
		return signer.WithHint(fmt.Errorf("--cache=keyring: only Linux has such a keyring: %w", errors.ErrUnsupported), "use --cache, which keeps files")
	}
	return nil
}

// shared returns the source that keeps in the cache what create makes under a
// key; nil if there is no cache to be had, which is told. The caller calls
// close after the last use.
func (a app) shared(f cacheFlag, key string, create createFunc, logger *slog.Logger) (_ *credentials.Shared, close func(), err error) {
	s := &credentials.Shared{Key: key, Make: create, Logger: logger, Now: a.now}
	close = func() {}
	without := func(err error) (*credentials.Shared, func(), error) {
		logger.Warn("going on without the cache", "error", err)
		return nil, close, nil
	}
	if f == cacheKeyring {
		k, err := a.keyring()
		if err != nil {
			return without(err)
		}
		s.Store = k
	}
	folder, err := a.folder(credentials.MakeFolder)
	var unsafe *credentials.UnsafeError
	switch {
	case errors.As(err, &unsafe):
		return nil, close, err
	case err != nil && s.Store == nil:
		return without(err)
	case err != nil:
		logger.Warn("processes that start at once make credentials each", "error", err)
		return s, close, nil
	}
	s.Locks = folder
	if s.Store == nil {
		s.Store = folder
	}
	return s, func() { folder.Close() }, nil
}

func (a app) folder(open func(path string) (*credentials.Folder, error)) (*credentials.Folder, error) {
	path, err := cachePath(runtime.GOOS, a.env)
	if err != nil {
		return nil, err
	}
	return open(path)
}

// keyring opens the keyring that goes with the folder: what other folders keep
// apart, such as those of tests, the keyring keeps apart too.
func (a app) keyring() (*credentials.Keyring, error) {
	path, err := cachePath(runtime.GOOS, a.env)
	if err != nil {
		path = ""
	}
	return credentials.OpenKeyring("holdfast:" + credentials.Key(path)[:16] + ":")
}

// cachePath follows the XDG Base Directory Specification, which has relative
// paths ignored, and the other systems' customs.
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
		return "", signer.WithHint(errors.New("there is no folder for a cache"), "set the environment variable "+from)
	}
	return filepath.Join(base, "holdfast"), nil
}

func (a app) cache() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show or clear what credential-process --cache keeps",
		Long: `Shows or clears the credentials that credential-process keeps with --cache, in
files and in the keyring of the Linux kernel. docs/cache.md says where.`,
		Example: `  holdfast cache show
  holdfast cache clear`,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "show",
		Short:   "Show which credentials are kept, without their secrets",
		Example: "  holdfast cache show",
		RunE:    func(*cobra.Command, []string) error { return a.runCacheShow() },
	}, &cobra.Command{
		Use:   "clear",
		Short: "Remove all credentials that are kept",
		Long: `Removes all credentials that are kept. They are good until they expire for who
has them: AWS does not hear of it.`,
		Example: "  holdfast cache clear",
		RunE:    func(*cobra.Command, []string) error { return a.runCacheClear() },
	})
	return cmd
}

// eachCache calls f with what there is of caches.
func (a app) eachCache(f func(kind string, s credentials.Store) error) error {
	folder, err := a.folder(credentials.OpenFolder)
	switch {
	case err == nil:
		defer folder.Close()
		err = f(cacheFile, folder)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	keyring, keyringErr := a.keyring()
	if keyringErr == nil {
		err = errors.Join(err, f(cacheKeyring, keyring))
	}
	return err
}

func (a app) runCacheShow() error {
	var lines []string
	err := a.eachCache(func(kind string, s credentials.Store) error {
		entries, err := credentials.List(s, a.now())
		for key, e := range entries {
			c := e.Credentials
			lines = append(lines, fmt.Sprintf("%-8s %.12s %s account %s until %s\n", kind, key,
				oneLine(c.AccessKeyID), oneLine(c.AccountID), c.Expires.UTC().Format(time.RFC3339)))
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(lines)
	_, err = a.stdout.Write([]byte(strings.Join(lines, "")))
	return err
}

func (a app) runCacheClear() error {
	n := 0
	err := a.eachCache(func(_ string, s credentials.Store) error {
		cleared, err := credentials.Clear(s)
		if folder, ok := s.(*credentials.Folder); ok {
			err = errors.Join(err, folder.Tidy(a.now().Add(time.Minute)))
		}
		n += cleared
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "removed %d\n", n)
	return err
}
