package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

// brokenOutput is a standard output that fails, such as that of a full disk.
type brokenOutput struct{}

var errBroken = errors.New("no space left")

func (brokenOutput) Write([]byte) (int, error) { return 0, errBroken }

func TestCommandLines(t *testing.T) {
	t.Chdir(t.TempDir())
	const arns = " --trust-anchor-arn=arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001" +
		" --profile-arn=arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001 --role-arn=arn:aws:iam::111122223333:role/a"
	for _, c := range []struct {
		args string // separated by spaces; \n stands for a line end
		code int
		want []string // in the output, in any place
	}{
		{"--version", 0, []string{"holdfast "}},
		{"frob", front.ExitUsage, []string{`unknown command "frob"`}},
		{"help frob --x", front.ExitUsage, []string{`unknown command "frob"`}},
		{"help serve --x", front.ExitUsage, []string{"unknown flag: --x"}},
		{"--version --json", front.ExitUsage, []string{"holdfast version --json"}},
		{"--version serve", front.ExitUsage, []string{"run holdfast --version"}},
		{"serve --version", front.ExitUsage, []string{"run holdfast --version"}},
		{"-V", front.ExitUsage, []string{"run holdfast --version"}},
		{"credential-process --private-key $APP_KEY" + arns, front.ExitNotFound, []string{"write env:APP_KEY"}},
		{"credential-process --certificate x --intermediates a --intermediates b" + arns, front.ExitUsage, []string{"--intermediates is given twice", "in one file"}},
		{"credential-process --certificate x --intermediates= --intermediates b" + arns, front.ExitNotFound, []string{"holdfast: file: "}},
		{"frob --certificate x", front.ExitUsage, []string{`unknown command "frob"`}},
		{"--certificate x frob", front.ExitUsage, []string{`unknown command "frob"`}},
		{"--debug frob --help", front.ExitUsage, []string{`unknown command "frob"`}},
		{"cache frob --json", front.ExitUsage, []string{`unknown command "frob"`, "holdfast cache --help"}},
		{"completion frob --x", front.ExitUsage, []string{`unknown command "frob"`}},
		{"servex --debug", front.ExitUsage, []string{"did you mean holdfast serve?"}},
		{"--certificate x", front.ExitUsage, []string{"unknown flag: --certificate", "write the command before its flags"}},
		{"credential-process --certificat x", front.ExitUsage, []string{"unknown flag: --certificat", "did you mean --certificate?"}},
		{"credential-process -certificate x", front.ExitUsage, []string{"did you mean --certificate?"}},
		{"list --jso", front.ExitUsage, []string{"did you mean --json?"}},
		{"list --jsn", front.ExitUsage, []string{"did you mean --json?"}},
		{"list --xyz", front.ExitUsage, []string{"see holdfast list --help"}},
		{"credential-process --private-key object=app" + arns, front.ExitNotFound, []string{"pkcs11:object=app"}},
		{"credential-process --private-key 'key.pem'" + arns, front.ExitNotFound, []string{"quotes"}},
		{"serve --endpont x", front.ExitUsage, []string{"did you mean --endpoint?"}},
		{"list --debug", front.ExitUsage, []string{"unknown flag: --debug"}},
		{"doctor app", front.ExitUsage, []string{`unexpected argument "app"`, "did you mean holdfast doctor --profile app?"}},
		{"doctor --online app", front.ExitUsage, []string{"put quotes around values"}},
		{"install --certificate= --private-key x", front.ExitUsage, []string{"--certificate is not given", "hint: --certificate is an empty text, which counts as not given: check the variable; name the"}},
		{"install --private-key= --certificate x", front.ExitUsage, []string{"hint: --private-key is an empty text"}},
		{"ca issue web.csr --subject CN=web", front.ExitUsage, []string{`unexpected argument "web.csr"`, "did you mean --csr web.csr? See holdfast ca issue --help"}},
		{"ca list .", front.ExitUsage, []string{`unexpected argument "."`, "did you mean --dir .? See holdfast ca list --help"}},
		{"ca issue --csr a.csr web.csr", front.ExitUsage, []string{"put quotes around values"}},
		{`update \ --once`, front.ExitUsage, []string{"one line"}},
		{`credential-process \ --certificate cert.pem`, front.ExitUsage, []string{"one line"}},
		{`credential-process \n--certificate cert.pem`, front.ExitUsage, []string{"one line"}},
		{`exec --debug --certificate x \n`, 127, []string{"PATH"}},
		{"credential-process --private-key ~/key.pem" + arns, front.ExitNotFound, []string{"~/key.pem", "only a shell replaces ~"}},
		{"credential-process --certificate $HOME/cert.pem" + arns, front.ExitNotFound, []string{"only a shell replaces ~", "/cert.pem"}},
		{"serve --config ~/roles.toml", front.ExitNotFound, []string{"only a shell replaces ~"}},
		{"list --in ~/cert.pem", front.ExitNotFound, []string{"only a shell replaces ~"}},
		{"credential-process --private-key key.pem --endpoint http://::1:9911" + arns, front.ExitUsage, []string{"http://[::1]:9911"}},
		{"credential-process --private-key key.pem --endpoint 2001:db8::1" + arns, front.ExitUsage, []string{"[::1]"}},
		{"credential-process --private-key key.pem --endpoint https://fe80::1/" + arns, front.ExitUsage, []string{"[::1]"}},
		{"serve --private-key key.pem --listen ::1:9911" + arns, front.ExitUsage, []string{"[::1]:9911"}},
		{"serve --private-key key.pem --listen a:b:c" + arns, front.ExitUsage, []string{"[::1]:9911"}},
		{"serve --private-key key.pem --listen 2001:db8::1:80" + arns, front.ExitUsage, []string{"[2001:db8::1]:80"}},
	} {
		var out bytes.Buffer
		a, _, _ := testApp()
		a.Stdout, a.Stderr, a.Store = &out, &out, all.New()
		a.OpenTTY = func() (front.TTY, error) { return nil, errors.New("none") }
		args := strings.Split(c.args, " ")
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], `\n`, "\n")
		}
		if code := a.Run(t.Context(), args); code != c.code {
			t.Errorf("%s: exit code %d, want %d", c.args, code, c.code)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in %q", c.args, want, out.String())
			}
		}
	}
}

// Every command that prints a result fails if the result cannot be written.
func TestOutputFails(t *testing.T) {
	for _, args := range [][]string{
		{"version"}, {"version", "--json"}, {"--version"}, {"--help"}, {"help"}, {"help", "list"}, {"list", "--help"},
		{"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"completion", "powershell"}, {},
	} {
		a, _, stderr := testApp()
		a.Stdout = brokenOutput{}
		if code := a.Run(t.Context(), args); code != front.ExitOther || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
}
