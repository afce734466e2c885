package vending

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// Cache returns the commands for the cache of credential-process --cache.
func Cache(a front.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show or clear the cache of credential-process --cache",
		Long: `Shows or clears the credentials that credential-process --cache stores in files
and in the keyring of the Linux kernel. docs/cache.md describes the locations.`,
		Example: `  holdfast cache show
  holdfast cache clear`,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "show",
		Short:   "List the cached credentials without their secrets",
		Example: "  holdfast cache show",
		RunE:    func(*cobra.Command, []string) error { return showCache(a) },
	}, &cobra.Command{
		Use:   "clear",
		Short: "Remove all cached credentials",
		Long: `Removes all cached credentials. This does not revoke them: a copy remains valid
until it expires.`,
		Example: "  holdfast cache clear",
		RunE:    func(*cobra.Command, []string) error { return clearCache(a) },
	})
	return cmd
}

// eachCache calls f with each cache that exists. It ignores a missing cache
// folder and an unavailable keyring.
func eachCache(a front.App, f func(kind string, s credentials.Storage) error) error {
	folder, err := openFolder(a, credentials.OpenFolder)
	switch {
	case err == nil:
		defer folder.Close()
		err = f(cacheFile, folder)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	keyring, keyringErr := openKeyring(a)
	if keyringErr == nil {
		err = errors.Join(err, f(cacheKeyring, keyring))
	}
	return err
}

func showCache(a front.App) error {
	var lines []string
	err := eachCache(a, func(kind string, s credentials.Storage) error {
		entries, err := credentials.List(s, a.Now())
		for key, e := range entries {
			c := e.Credentials
			lines = append(lines, fmt.Sprintf("%-8s %.12s %s account %s until %s\n", kind, key,
				front.OneLine(c.AccessKeyID), front.OneLine(c.AccountID), c.Expires.UTC().Format(time.RFC3339)))
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(lines)
	_, err = a.Stdout.Write([]byte(strings.Join(lines, "")))
	return err
}

func clearCache(a front.App) error {
	n := 0
	err := eachCache(a, func(_ string, s credentials.Storage) error {
		cleared, err := credentials.Clear(s)
		if folder, ok := s.(*credentials.Folder); ok {
			err = errors.Join(err, folder.Tidy(a.Now().Add(time.Minute)))
		}
		n += cleared
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stdout, "removed %d\n", n)
	return err
}
