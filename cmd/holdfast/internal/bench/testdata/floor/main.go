// Command floor links cobra, net/http, TLS and all backends, and uses none of them. Its
// page faults are those that no command of holdfast can avoid: see TestFaults.
package main

import (
	"context"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	if len(os.Args) > 1 { // never: the linker keeps what it cannot rule out
		cmd := &cobra.Command{RunE: func(cmd *cobra.Command, args []string) error { return use(cmd.Context(), args) }}
		cmd.Flags().String("flag", "", "usage")
		_ = cmd.Execute()
	}
	_, _ = os.Stdout.WriteString("hello\n")
}

// use needs the methods of all backends.
func use(ctx context.Context, args []string) error {
	if _, err := http.Get(args[0]); err != nil {
		return err
	}
	ref, err := keystore.ParseRef(args[0])
	if err != nil {
		return err
	}
	store, opts := all.New(), keystore.Options{}
	if _, err := store.OpenIdentity(ctx, keystore.Identity{}, opts); err != nil {
		return err
	}
	if _, err := store.Generate(ctx, ref, keystore.KeySpec{}, opts); err != nil {
		return err
	}
	if _, err := store.List(ctx, ref, opts); err != nil {
		return err
	}
	_, err = store.Install(ctx, ref, keystore.Installation{}, opts)
	return err
}
