package awsconfig

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var lines = []string{
	"", " ", "holdfast", "a b", "a  b\t c", "'a b' c", `"a b" c`, `a\ b`, `a\\b`, `"a\"b"`, `"a\\b"`, `"a\$b"`, `"a\nb"`, `'a\b'`,
	"'a", `"a`, `a\`, "''", `"" ''`, `a'b'"c"d`, "a\nb", "a\\\nb", "\"a\\\nb\"", "~/key.pem", "$HOME/key.pem", `"$HOME/key.pem"`, "'$HOME'",
	"a #b", "a#b", "#a", "a;b", "a|b", "a&b", "a>b", "a*b", "a?b", "a[b]", "`a`", "$(a)", "(a)", "pkcs11:token=a;object=b", "'pkcs11:token=a;object=b'",
	"a~b", "x=~", `C:\holdfast.exe -a`, `"C:\Program Files\holdfast.exe" "a\\" b`, `a\\\"b c`, "é ü", "a\rb",
}

// The words are those of shlex and, on Windows, of botocore.
func TestSplitPython(t *testing.T) {
	python := signertest.Require(t, "boto3", "/usr/bin/python3")
	const script = `import json, sys
from botocore.compat import compat_shell_split
def split(s, platform):
    try: return compat_shell_split(s, platform)
    except ValueError: return None
print(json.dumps([[split(s, p) for p in ("linux", "win32")] for s in json.load(sys.stdin)]))`
	var want [][2][]string
	runPython(t, python, script, lines, &want)
	for i, line := range lines {
		for j, split := range []func(string) ([]string, error){SplitPython, SplitWindows} {
			got, err := split(line)
			if (err == nil) != (want[i][j] != nil) || err == nil && !slices.Equal(got, want[i][j]) {
				t.Errorf("%q, %d: %q, %v, want %q", line, j, got, err, want[i][j])
			}
		}
	}
}

func runPython(t *testing.T, python, script string, input, output any) {
	t.Helper()
	data, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", script)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(data), t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, output); err != nil {
		t.Fatal(err)
	}
}

// Without special parts, the words are those of sh. With them, sh does something
// else than to pass these words.
func TestSplitShell(t *testing.T) {
	sh := signertest.Require(t, "sh", "sh")
	for _, line := range lines {
		cmd := exec.Command(sh, "-c", `set -f; printf '%s\0' `+line)
		cmd.Dir, cmd.Env = t.TempDir(), []string{"HOME=/home/u", "PATH=/nonexistent"}
		out, err := cmd.Output()
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		got, splitErr := SplitShell(line)
		switch {
		case splitErr != nil:
			if err == nil {
				t.Errorf("%q: %v, but sh accepts it", line, splitErr)
			}
		case len(got.Specials) > 0:
		case err != nil:
			t.Errorf("%q: sh refuses it: %v", line, err)
		case len(got.Words) == 0:
			if string(out) != "\x00" && string(out) != "" {
				t.Errorf("%q: no words, sh has %q", line, want)
			}
		case !slices.Equal(got.Words, want):
			t.Errorf("%q: %q, want %q", line, got.Words, want)
		}
	}
	for line, want := range map[string][]string{
		"a ~/b":        {"~/b"},
		`a "$HOME/b"`:  {"$HOME/b"},
		`a '$HOME/b'`:  nil,
		"a;b c":        {";b"},
		"a\nb":         {"a line end"},
		"a #b c":       {"#b"},
		"a#b x=~":      nil,
		`a \$b \~ \;c`: nil,
		"a `b` *":      {"`b`", "`", "*"},
		"a\\\n b":      nil,
	} {
		if got, err := SplitShell(line); err != nil || !slices.Equal(got.Specials, want) {
			t.Errorf("%q: %q, %v, want %q", line, got.Specials, err, want)
		}
	}
}

var files = []string{
	"",
	"[default]\nregion = eu-west-1\n",
	"[profile a]\ncredential_process = x y\n  --z\n",
	"[profile a]\ncredential_process = x y\n  --z=1\nregion: eu\n",
	"[profile a]\n# comment\nkey = a # b\n; c\nother = \"q\"\n",
	"[profile a]\ns3 =\n  max = 1\n  min = 2\nkey = v\n",
	"[profile a]\ns3 =\n  max\n",
	"[profile a]\nkey = v\n\n  more\n\n\nlast = 1\n",
	"[profile a]\nk = 1\nk = 2\n",
	"[profile a]\n[profile a]\n",
	"[profile \"a b\"]\nk = 1\n[profile 'c']\n[profile d e]\n[profiled]\n[profile]\n",
	"k = 1\n[a]\n",
	"[a]\nnonsense\n",
	"[a]\n= 1\n",
	"\ufeff[default]\n",
	"[a]\nkey = \xff\n",
	"[a] # comment\nk=1\n",
	"[a]]\nk=1\n",
	"[]\n",
	"  [a]\n  k = 1\n  l = 2\n m = 3\n",
	"[a]\nKEY = Value\n",
	"[a]\nk = v\r\n[b]\r\nl = w\r\n",
	"[a]\nk = x\n  # comment\n  y\n",
	"[a]\nk =\n",
	"[profile  a]\nk = v\n",
	"[DEFAULT]\nk = v\n[profile a]\n",
	"[profile a]\nk = 1\n[profile \"a\"]\nl = 2\n",
	"[default]\nk = 1\n[profile default]\nl = 2\n",
	"[profile default]\nk = 1\n[default]\nl = 2\n",
	"[profilex a]\nk = 1\n",
	"[profile a]\rk = 1\rl = 2\r",
}

// Profiles are those of botocore, which refuses the same files.
func TestProfiles(t *testing.T) {
	python := signertest.Require(t, "boto3", "/usr/bin/python3")
	const script = `import json, sys
import botocore.exceptions, botocore.session
all = []
for config, credentials in json.load(sys.stdin):
    s = botocore.session.Session()
    s.set_config_variable("config_file", config)
    s.set_config_variable("credentials_file", credentials)
    try: all.append(s.full_config["profiles"])
    except botocore.exceptions.ConfigParseError: all.append(None)
print(json.dumps(all))`
	dir := t.TempDir()
	var pairs [][2]string
	for i, text := range files {
		name := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, [2]string{name, "/nonexistent"}, [2]string{"/nonexistent", name})
	}
	both := [2]string{filepath.Join(dir, "config"), filepath.Join(dir, "credentials")}
	for i, text := range []string{"[profile a]\nk = 1\nl = 2\n[default]\nm = 3\n", "[a]\nk = 4\n[profile a]\nn = 5\n[b]\n"} {
		if err := os.WriteFile(both[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pairs = append(pairs, both)
	var want []map[string]map[string]any
	runPython(t, python, script, pairs, &want)
	for i, pair := range pairs {
		shared, err := Read(Paths{pair[0], pair[1]}, Python, os.ReadFile)
		if err != nil || want[i] == nil {
			if err == nil || want[i] != nil {
				t.Errorf("%v: %v, want %v", pair, err, want[i])
			}
			continue
		}
		if got, want := shared.Names(), slices.Sorted(maps.Keys(want[i])); !slices.Equal(got, want) {
			t.Errorf("%v: profiles %q, want %q", pair, got, want)
			continue
		}
		for name, p := range shared.Profiles {
			got := make(map[string]any)
			for key, v := range p.Settings {
				got[key] = v.Value
			}
			for key, v := range want[i][name] {
				if _, nested := v.(map[string]any); nested {
					got[key] = v
				}
			}
			if !reflect.DeepEqual(got, want[i][name]) {
				t.Errorf("%v: profile %q: %q, want %q", pair, name, got, want[i][name])
			}
		}
	}
}
