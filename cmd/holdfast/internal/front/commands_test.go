package front

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

// A flag that restricts is refused with an empty text, alone and in a list.
func TestRefuseEmpty(t *testing.T) {
	for _, args := range [][]string{{"--only="}, {"--list", ""}, {"--list", "a", "--list="}, {"--only=a", "--only", ""}} {
		ran := false
		a := App{Stdout: io.Discard, Stderr: io.Discard, Commands: []Command{{Name: "check", New: func(App) *cobra.Command {
			cmd := &cobra.Command{Use: "check", RunE: func(*cobra.Command, []string) error {
				ran = true
				return nil
			}}
			cmd.Flags().String("only", "", "")
			ListVar(cmd.Flags(), new([]string), "list", "")
			RefuseEmpty(cmd.Flags(), "only", "list")
			return cmd
		}}}}
		if code := a.Run(t.Context(), append([]string{"check"}, args...)); code != ExitUsage || ran {
			t.Errorf("%q: exit code %d, the command ran: %v", args, code, ran)
		}
	}
}

// A flag with an empty text counts as not given: it has its default, and
// Changed is false. Empty elements of a list are removed.
func TestEmptyFlags(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "listen 127.0.0.1:1 [] false false false false"},
		{[]string{"--listen", "", "--name=", "--list", ""}, "listen 127.0.0.1:1 [] false false false false"},
		{[]string{"--list=", "--list", "a b", "--list", "", "--list", "c,d"}, "listen 127.0.0.1:1 [a b c,d] false false true false"},
		{[]string{"--list", `"a`, "--list=b=c\nd", "--list", "--name"}, "listen 127.0.0.1:1 [\"a b=c\nd --name] false false true false"},
		{[]string{"--listen", "x", "--listen="}, "listen 127.0.0.1:1 [] false false false false"},
		{[]string{"--listen=", "--listen", "x", "--name", " "}, "listen x  [] true true false false"},
		{[]string{"--on=false"}, "listen 127.0.0.1:1 [] false false false true"},
	} {
		var got string
		a := App{Stdout: io.Discard, Stderr: t.Output(), Commands: []Command{{Name: "listen", New: func(App) *cobra.Command {
			cmd := &cobra.Command{Use: "listen"}
			fs := cmd.Flags()
			listen, name := fs.String("listen", "127.0.0.1:1", ""), fs.String("name", "", "")
			var list []string
			ListVar(fs, &list, "list", "")
			fs.Bool("on", true, "")
			cmd.RunE = func(cmd *cobra.Command, _ []string) error {
				got = fmt.Sprintf("listen %s%s %s", *listen, *name, list)
				for _, flag := range []string{"listen", "name", "list", "on"} {
					got += fmt.Sprint(" ", fs.Changed(flag))
				}
				return nil
			}
			return cmd
		}}}}
		if code := a.Run(context.Background(), slices.Concat([]string{"listen"}, test.args)); code != 0 || got != test.want {
			t.Errorf("%q: exit code %d, %q, want %q", test.args, code, got, test.want)
		}
	}
}
