package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/commands"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// completions returns the values that a shell gets for a command line, and their
// descriptions.
func completions(t *testing.T, store *keystore.Store, args ...string) (values, descriptions []string) {
	t.Helper()
	a, stdout, _ := testApp()
	a.Stderr, a.Store, a.Offers = io.Discard, store, commands.Offers
	if code := a.Run(t.Context(), append([]string{"__complete"}, args...)); code != 0 {
		t.Fatalf("%q: exit code %d", args, code)
	}
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, ":") {
		t.Fatalf("%q: %q", args, lines)
	}
	for _, line := range lines[:len(lines)-1] {
		value, description, _ := strings.Cut(line, "\t")
		values, descriptions = append(values, value), append(descriptions, description)
	}
	return values, descriptions
}

// Each visible flag of each command is completed, with a description of one line that a
// shell does not interpret. So are the subcommands and the marked values of flags.
func TestCompletionsAreComplete(t *testing.T) {
	for _, line := range commandLines(t) {
		cmd, _, err := tree(t).Find(line)
		if err != nil {
			t.Fatal(err)
		}
		values, descriptions := completions(t, nil, append(line, "--")...)
		for i, d := range descriptions {
			if d == "" || strings.ContainsAny(d, "`\n\r\t") {
				t.Errorf("%q: %s: description %q", line, values[i], d)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			found := slices.ContainsFunc(values, func(v string) bool { return v == "--"+f.Name || v == "--"+f.Name+"=" })
			if found == f.Hidden {
				t.Errorf("%q: --%s: hidden: %v, completed: %v", line, f.Name, f.Hidden, found)
			}
			marked := front.FlagValues(f)
			if len(marked) == 0 {
				return
			}
			if got, _ := completions(t, nil, append(line, "--"+f.Name+"=")...); !slices.Equal(got, marked) {
				t.Errorf("%q: --%s: %q, want %q", line, f.Name, got, marked)
			}
		})
		if !cmd.HasAvailableSubCommands() {
			continue
		}
		values, descriptions = completions(t, nil, append(line, "")...)
		for _, c := range cmd.Commands() {
			i := slices.Index(values, c.Name())
			if (i >= 0) == c.Hidden || i >= 0 && descriptions[i] != c.Short {
				t.Errorf("%q: %s: hidden: %v, completed: %v", line, c.Name(), c.Hidden, i >= 0)
			}
		}
	}
}

// A drawer is a backend with a certificate and keys, of which one has a name that
// cannot be typed.
type drawer struct {
	t *testing.T
	c keystore.Entry
}

func (drawer) Name() string      { return "drawer" }
func (drawer) Schemes() []string { return []string{"drawer"} }

func (drawer) Open(context.Context, keystore.Ref, keystore.Call) (signer.Signer, error) {
	return nil, errors.ErrUnsupported
}

func (d drawer) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	if call.PIN != nil {
		d.t.Error("a PIN could be asked for")
	}
	if ref.Rest != "" {
		d.t.Errorf("it lists %q", ref.Rest)
	}
	if _, limited := ctx.Deadline(); !limited {
		d.t.Error("no time limit")
	}
	return []keystore.Entry{
		{Ref: keystore.Ref{Scheme: "drawer", Rest: "1"}, Kind: keystore.KeyEntry, Comment: "for `x`\nand y"},
		{Ref: keystore.Ref{Scheme: "drawer", Rest: "2\n"}, Kind: keystore.KeyEntry},
		{Ref: keystore.Ref{Scheme: "drawer", Rest: "token"}, Kind: keystore.TokenEntry},
		d.c,
	}, errors.New("an entry could not be read")
}

func TestCompletionsOfReferences(t *testing.T) {
	key := signertest.Key(t, "p256")
	certificate := signertest.NewCA(t, "CA").Issue(t, key, nil)
	store := keystore.New(drawer{t, keystore.Entry{Ref: keystore.Ref{Scheme: "drawer", Rest: "c"}, Kind: keystore.CertificateEntry, Certificate: certificate}})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"csr", "--private-key", "dr"}, "drawer:"},
		{[]string{"csr", "--private-key", "drawer:"}, "drawer:1 drawer:token"},
		{[]string{"csr", "--private-key", "drawer:1"}, "drawer:1"},
		{[]string{"csr", "--private-key=drawer:"}, "drawer:1 drawer:token"},
		{[]string{"verify", "--certificate", "drawer:"}, "drawer:c"},
		{[]string{"list", "--in", "drawer:"}, "drawer:1 drawer:token drawer:c"},
		{[]string{"list", "--in", "shelf:"}, ""},
	} {
		values, descriptions := completions(t, store, c.args...)
		if got := strings.Join(values, " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
		for i, d := range descriptions {
			if strings.ContainsAny(d, "`\n") {
				t.Errorf("%q: %s: %q", c.args, values[i], d)
			}
		}
	}
}

func TestCompletionsOfRoles(t *testing.T) {
	config := filepath.Join(t.TempDir(), "roles.toml")
	for _, c := range []struct{ text, want string }{
		{"[[role]]\nname = \"backup\"\n[[role]]\nrole_arn = \"arn:aws:iam::111122223333:role/path/app\"\n", "app backup"},
		{"[[role]]\nname = \"a b\\n\"\n", ""},
		{"not TOML", ""},
	} {
		if err := os.WriteFile(config, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		values, _ := completions(t, nil, "serve", "--config", config, "--role", "")
		slices.Sort(values)
		if got := strings.Join(values, " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	if values, _ := completions(t, nil, "serve", "--role", ""); values != nil {
		t.Errorf("without a file: %q", values)
	}
}
