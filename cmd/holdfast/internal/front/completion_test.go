package front

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The scripts of cobra still have the parts that are replaced.
func TestWrongParts(t *testing.T) {
	root := &cobra.Command{Use: "holdfast"}
	var cobras strings.Builder
	if err := root.GenFishCompletion(&cobras, true); err != nil {
		t.Fatal(err)
	}
	if err := root.GenZshCompletion(&cobras); err != nil {
		t.Fatal(err)
	}
	if err := root.GenBashCompletionV2(&cobras, true); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"\n__holdfast_handle_special_char()", "\n__start_holdfast()", " -F __start_holdfast holdfast\n"} {
		if !strings.Contains(cobras.String(), part) {
			t.Errorf("words.bash replaces nothing: the script has no %q", part)
		}
	}
	for i := 0; i < len(wrongParts); i += 2 {
		if !strings.Contains(cobras.String(), wrongParts[i]) {
			t.Errorf("%q is not in the scripts", wrongParts[i])
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		for _, descriptions := range []bool{true, false} {
			script, err := completionScript(root, shell, descriptions)
			if err != nil || strings.Contains(script, "'-.*='") || strings.Contains(script, "__completeNoDesc") == descriptions {
				t.Errorf("%s, descriptions %v: %v\n%s", shell, descriptions, err, script)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"pin", "app.pem", ".hidden", ".$(run)1", ".$(run)2"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("app", 0o700); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.String("config", "", "TOML `file`")
	fs.String("dir", "", "`folder` of it")
	fs.String("out", "", "`file` for it")
	fs.String("key", "", "`reference` to it")
	fs.String("source", "", "`source` of it")
	MarkValues(fs.Lookup("source"), "file:", "env:", "prompt")
	fs.String("name", "", "`name` of it")
	offers := []Offer{{Value: "reference", Texts: func(_ context.Context, _ App, _ *pflag.FlagSet, flag, typed string) []string {
		if flag != "key" {
			t.Errorf("flag %q", flag)
		}
		return map[string][]string{
			"p":   {"pkcs11:"},
			"pk":  {"pkcs11:"},
			"x:":  {"x:a;b=1\tfirst", "x:a;b=2\tsecond"},
			"y:":  {"y:a", "y:b"},
			"s:":  {"s:a;b\tCN=first", "s:a;b\tCN=second"},
			"x:a": {"x:a;b=1", "z:other"},
		}[typed]
	}}}
	const (
		space   = cobra.ShellCompDirectiveNoFileComp
		noSpace = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		files   = cobra.ShellCompDirectiveDefault
	)
	sep := string(filepath.Separator)
	for _, c := range []struct {
		flag, typed string
		want        []string
		directive   cobra.ShellCompDirective
	}{
		{"config", "", []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt},
		{"dir", "", nil, cobra.ShellCompDirectiveFilterDirs},
		{"out", "a", nil, files},
		{"out", "file:a", []string{"file:app" + sep, "file:app.pem"}, noSpace},
		{"key", "", nil, files},
		{"key", "p", nil, files}, // the file pin
		{"key", "pk", []string{"pkcs11:"}, noSpace},
		{"key", "q", nil, files},
		{"key", "x:", []string{"x:a;b="}, noSpace},
		{"key", "x:a", []string{"x:a;b=1"}, space},
		{"key", "y:", []string{"y:a", "y:b"}, space},
		{"key", "s:", []string{"s:a;b\tCN=first"}, space},
		{"source", "file:.$", []string{"file:.$(run)"}, noSpace},
		{"source", "file:.$(run)", []string{"file:.$(run)1", "file:.$(run)2"}, noSpace},
		{"source", "", []string{"file:", "env:", "prompt"}, noSpace},
		{"source", "p", []string{"prompt"}, space},
		{"source", "file:", []string{"file:app" + sep, "file:app.pem", "file:pin"}, noSpace},
		{"source", "file:app/", nil, noSpace},
		{"source", "file:.h", []string{"file:.hidden"}, noSpace},
		{"source", "file:none/x", nil, noSpace},
		{"name", "", nil, space},
	} {
		f := fs.Lookup(c.flag)
		value, _ := pflag.UnquoteUsage(f)
		cmd := &cobra.Command{}
		cmd.SetContext(t.Context())
		got, directive := App{Offers: offers}.complete(cmd, f, value, c.typed)
		if !slices.Equal(got, c.want) || directive != c.directive {
			t.Errorf("--%s %q: %q %v, want %q %v", c.flag, c.typed, got, directive, c.want, c.directive)
		}
	}
}

// A store that hangs does not keep the shell.
func TestOfferThatHangs(t *testing.T) {
	ended := make(chan struct{})
	o := Offer{Texts: func(context.Context, App, *pflag.FlagSet, string, string) []string {
		<-ended
		return []string{"late"}
	}}
	if got := (App{}).offered(t.Context(), o, nil, "", ""); got != nil {
		t.Errorf("%q", got)
	}
	close(ended)
}
