package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/commands"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// The commands of aws_signing_helper 1.8.4 that have flags.
var (
	sessionCommands = []string{"credential-process", "serve", "update"}
	signingCommands = append(slices.Clone(sessionCommands), "sign-string")
	helperCommands  = append(slices.Clone(signingCommands), "read-certificate-data")
)

// A helperFlag is a flag of aws_signing_helper. In its commands, Holdfast has a
// flag with the same name, kind of value and meaning.
type helperFlag struct {
	name      string
	commands  []string
	kind      string // pflag's name of the type
	value     string // valid, other than both defaults
	byDefault string // of aws_signing_helper
	other     string // what differs if the flag is not given, or ""; docs/migration.md has it
}

// helperFlags is the table of docs/migration.md.
var helperFlags = []helperFlag{
	{"certificate", helperCommands, "string", "cert.pem", "", ""},
	{"private-key", signingCommands, "string", "key.pem", "", ""},
	{"intermediates", sessionCommands, "string", "more.pem", "", ""},
	{"cert-selector", helperCommands, "string", "Key=x509Subject,Value=CN=app", "", ""},
	{"system-store-name", helperCommands, "string", "Root", "MY", ""},
	{"use-latest-expiring-certificate", signingCommands, "bool", "true", "false", ""},
	{"pkcs11-lib", helperCommands, "string", "/lib/module.so", "", "`PKCS11_MODULE_PATH` is read"},
	{"reuse-pin", signingCommands, "bool", "true", "false", ""},
	{"pkcs8-password", signingCommands, "string", "pw", "", ""},
	{"tpm-key-password", signingCommands, "string", "pw", "", ""},
	{"no-tpm-key-password", signingCommands, "bool", "true", "false", ""},
	{"trust-anchor-arn", sessionCommands, "string", "arn", "", ""},
	{"profile-arn", sessionCommands, "string", "arn", "", ""},
	{"role-arn", sessionCommands, "string", "arn", "", ""},
	{"session-duration", sessionCommands, "int", "900", "3600", "the duration of the profile"},
	{"role-session-name", sessionCommands, "string", "name", "", ""},
	{"region", sessionCommands, "string", "us-east-1", "", ""},
	{"endpoint", sessionCommands, "string", "https://host", "", ""},
	{"no-verify-ssl", sessionCommands, "bool", "true", "false", ""},
	{"with-proxy", sessionCommands, "bool", "false", "false", "`true`"},
	{"port", []string{"serve"}, "int", "9912", "9911", ""},
	{"hop-limit", []string{"serve"}, "int", "1", "64", ""},
	{"profile", []string{"update"}, "string", "app", "default", ""},
	{"once", []string{"update"}, "bool", "true", "false", ""},
	{"digest", []string{"sign-string"}, "string", "SHA512", "SHA256", ""},
	{"format", []string{"sign-string"}, "string", "bin", "json", ""},
	{"debug", helperCommands, "bool", "true", "false", ""},
}

// row is the line of the flag in docs/migration.md.
func (f helperFlag) row() string {
	code := func(s string) string {
		if s == "" {
			return "none"
		}
		return "`" + s + "`"
	}
	commands := "`" + strings.Join(f.commands, "`, `") + "`"
	if len(f.commands) == len(helperCommands) {
		commands = "all"
	} else if len(f.commands) == len(signingCommands) {
		commands = "all except `read-certificate-data`"
	}
	other := f.other
	if other == "" {
		other = "the same"
	}
	return fmt.Sprintf("| `--%s` | %s | %s | %s |", f.name, commands, code(f.byDefault), other)
}

func TestFlagsOfSigningHelper(t *testing.T) {
	for _, name := range helperCommands {
		for _, f := range helperFlags {
			if !slices.Contains(f.commands, name) {
				continue
			}
			for _, args := range [][]string{{"--" + f.name, f.value}, {"--" + f.name + "=" + f.value}, {"--" + f.name}} {
				if f.kind == "bool" && len(args) == 2 { // the value of a Boolean flag is never a separate argument
					continue
				}
				got, err := parse(t, name, args...)
				switch noValue := len(args) == 1 && !strings.Contains(args[0], "="); {
				case noValue && f.kind != "bool":
					if err == nil {
						t.Errorf("%s %q: a flag without a value is accepted", name, args)
					}
					continue
				case err != nil:
					t.Errorf("%s %q: %v", name, args, err)
					continue
				}
				flag := got.Lookup(f.name)
				want := f.value
				if len(args) == 1 && !strings.Contains(args[0], "=") {
					want = "true"
				}
				if flag.Value.Type() != f.kind || flag.Value.String() != want {
					t.Errorf("%s %q: %s %q, want %s %q", name, args, flag.Value.Type(), flag.Value, f.kind, want)
				}
				// MY is the default of the reference that the flags result in.
				if same := flag.DefValue == f.byDefault || f.name == "system-store-name" || f.byDefault == "" && flag.DefValue == ""; same != (f.other == "" || f.name == "pkcs11-lib") {
					t.Errorf("%s: the default of --%s is %q, and that of aws_signing_helper %q", name, f.name, flag.DefValue, f.byDefault)
				}
			}
		}
	}
}

// parse parses the flags of a command.
func parse(t *testing.T, name string, args ...string) (*pflag.FlagSet, error) {
	t.Helper()
	i := slices.IndexFunc(commands.All, func(c front.Command) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no command %s", name)
	}
	a, _, _ := testApp()
	var cmd *cobra.Command = commands.All[i].New(a)
	return cmd.Flags(), cmd.ParseFlags(args)
}

// The pairs of flags that aws_signing_helper refuses are refused.
func TestExclusiveFlagsOfSigningHelper(t *testing.T) {
	value := func(name string) string {
		i := slices.IndexFunc(helperFlags, func(f helperFlag) bool { return f.name == name })
		return "--" + name + "=" + helperFlags[i].value
	}
	for _, test := range []struct {
		pair     string
		commands []string
	}{
		{"certificate cert-selector", helperCommands},
		{"certificate system-store-name", helperCommands},
		{"private-key cert-selector", signingCommands},
		{"private-key system-store-name", signingCommands},
		{"private-key use-latest-expiring-certificate", signingCommands},
		{"use-latest-expiring-certificate intermediates", sessionCommands},
		{"use-latest-expiring-certificate reuse-pin", signingCommands},
		{"cert-selector intermediates", sessionCommands},
		{"cert-selector reuse-pin", signingCommands},
		{"system-store-name reuse-pin", signingCommands},
		{"tpm-key-password cert-selector", signingCommands},
		{"tpm-key-password reuse-pin", signingCommands},
		{"no-tpm-key-password cert-selector", signingCommands},
		{"no-tpm-key-password tpm-key-password", signingCommands},
		{"pkcs8-password tpm-key-password", signingCommands},
	} {
		first, second, _ := strings.Cut(test.pair, " ")
		for _, name := range test.commands {
			a, stdout, stderr := testApp()
			a.LookupEnv = func(name string) (string, bool) { return "/nowhere", name == "HOME" || name == "USERPROFILE" }
			code := a.Run(t.Context(), []string{name, value(first), value(second)})
			if want := "--" + first + " cannot be used with --" + second; code != front.ExitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
				t.Errorf("%s with %s: exit code %d, %s%s", name, test.pair, code, stdout, stderr)
			}
		}
	}
}

// The table of flags in docs/migration.md has a line for every flag, and no
// others.
func TestMigrationPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `--") && strings.Count(line, " | ") == 3 {
			got = append(got, strings.TrimSpace(line))
		}
	}
	for _, f := range helperFlags {
		want = append(want, f.row())
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/migration.md has the rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
