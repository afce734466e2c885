package role

import (
	"cmp"
	"context"
	"path"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// OfferNames returns the names of the roles in the file of --config, for completions.
func OfferNames(ctx context.Context, _ front.App, fs *pflag.FlagSet, _, _ string) (names []string) {
	config := fs.Lookup("config")
	if config == nil || config.Value.String() == "" {
		return nil
	}
	tables, _ := readTables(ctx, config.Value.String()) // a file with an error has no roles
	for _, t := range tables {
		if name := cmp.Or(t.Name, path.Base(t.RoleARN)); isRoleName(name) {
			names = append(names, name)
		}
	}
	return names
}
