//go:build unix

package role

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

const goodTable = `[[role]]
name = "app"
certificate = "cert.pem"
private_key = "/keys/key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/app"
`

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		name, text, culprit string // "": the text is valid
	}{
		{"good", goodTable, ""},
		{"two", goodTable + strings.Replace(goodTable, `"app"`, `"other"`, 1), ""},
		{"every key", goodTable + "intermediates = \"i.pem\"\npin_source = \"file:pin\"\nregion = \"us-east-1\"\nendpoint = \"https://localhost\"\nsession_duration = 900\nrole_session_name = \"me\"\nport = 9921\n", ""},
		{"text", "hello", "serve.toml"},
		{"empty", "", "[[role]]"},
		{"a named table", strings.Replace(goodTable, "[[role]]", "[role.app]", 1), "the value must be a list"},
		{"unknown key", goodTable + "cert = \"x\"\n", "cert"},
		{"unknown table", goodTable + "[server]\nport = 1\n", "server"},
		{"a number for a text", "[[role]]\nname = 7\n", "serve.toml"},
		{"no name", strings.Replace(goodTable, `name = "app"`, "", 1), "name"},
		{"twice", goodTable + goodTable, "twice"},
		{"a name with a slash", strings.Replace(goodTable, `"app"`, `"a/b"`, 1), "letters"},
		{"a name with braces", strings.Replace(goodTable, `"app"`, `"{x...}"`, 1), "letters"},
		{"a name of dots", strings.Replace(goodTable, `"app"`, `".."`, 1), "letters"},
		{"a long name", strings.Replace(goodTable, `"app"`, `"`+strings.Repeat("a", 65)+`"`, 1), "letters"},
		{"no key", "[[role]]\nname = \"app\"\n", "certificate"},
		{"bad ARN", strings.Replace(goodTable, "role/app", "", 1), "role"},
		{"short session", goodTable + "session_duration = 5\n", "duration"},
		{"long session", goodTable + "session_duration = 4294968196\n", "duration"},
		{"bad port", goodTable + "port = 65536\n", "port"},
		{"large", strings.Repeat("#", 65<<10), "serve.toml"},
	} {
		path := filepath.Join(t.TempDir(), "serve.toml")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		roles, err := Setup{}.fromConfig(t.Context(), front.App{Store: all.New()}, path, "")
		if test.culprit == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			} else if id := roles[0].Key.Identity; id.Certificate.String() != filepath.Join(filepath.Dir(path), "cert.pem") || id.Key.String() != "/keys/key.pem" {
				t.Errorf("%s: identity %+v", test.name, id)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.culprit) {
			t.Errorf("%s: error %v does not name %s", test.name, err, test.culprit)
		}
	}
}

// The hint for a key in the wrong table says where it belongs.
func TestConfigKeyOfAnotherTable(t *testing.T) {
	for text, hint := range map[string]string{
		goodTable + "[renew]\nway = \"command\"\n":          "did you mean [role.renew], below its [[role]]?",
		goodTable + "[assume]\nrole_arn = \"x\"\n":          "did you mean [role.assume], below its [[role]]?",
		"port = 9911\n" + goodTable:                         "did you mean port below [[role]]?",
		"[[roles]]\nname = \"app\"\n":                       "did you mean [[role]]?",
		goodTable + "[role.renew]\nport = 9911\n":           "did you mean port below [[role]]?",
		goodTable + "[role.renew]\nurl = \"https://ca/\"\n": "did you mean ca_url?",
		goodTable + "[role.renewal]\nway = \"command\"\n":   "did you mean renew?",
		goodTable + "[server]\nname.a = \"b\"\n":            "docs/configuration.md lists the keys",
	} {
		path := filepath.Join(t.TempDir(), "serve.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Setup{}.fromConfig(t.Context(), front.App{Store: all.New()}, path, "")
		if err == nil || !strings.HasPrefix(signer.Hint(err), hint) {
			t.Errorf("%q: error %v, hint %q, want %q", text, err, signer.Hint(err), hint)
		}
	}
}

// Paths in a configuration file, including PIN files, are relative to its
// folder.
func TestConfigRelativePaths(t *testing.T) {
	for text, want := range map[string]string{
		"-": "-", "env:X": "env:X", "/k.pem": "/k.pem", "k.pem": "/etc/k.pem", "file:k.pem": "/etc/k.pem",
		"../k.pem": "/k.pem", "pkcs11:token=x": "pkcs11:token=x", "tpm:path=k.pem": "tpm:path=/etc/k.pem",
		"pkcs11:token=x?pin-source=file:pin": "pkcs11:token=x?pin-source=/etc/pin", "tpm:path=k;parent-auth-source=pin": "tpm:path=/etc/k;parent-auth-source=/etc/pin",
	} {
		got, err := table{Certificate: text, PrivateKey: text, Intermediates: text}.fill(Setup{}, front.App{Store: all.New()}, "/etc")
		if id := got.Key.Identity; err != nil || id.Certificate.String() != want || id.Key.String() != want || id.Intermediates.String() != want {
			t.Errorf("%q: got %v, %v, want %q", text, id, err, want)
		}
	}
	for text, want := range map[string]flags.PINSource{
		"": {}, "prompt": {Prompt: true}, "file:pin": {Ref: keystore.Ref{Scheme: keystore.SchemeFile, Rest: "/etc/pin"}},
		"env:PIN": {Ref: keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "PIN"}},
	} {
		if got, err := (table{PINSource: text}).fill(Setup{}, front.App{Store: all.New()}, "/etc"); err != nil || got.Key.PINSource != want {
			t.Errorf("%q: got %v, %v, want %v", text, got.Key.PINSource, err, want)
		}
	}
}

// A table that has the name of a role in its header is not a role.
func TestNamedTable(t *testing.T) {
	for text, want := range map[string]string{
		"[role.app]\ncertificate = \"cert.pem\"\n": `instead of [role.app], write [[role]] and name = "app"`,
		"[role.\"a b\"]\n":                         `instead of [role."a b"], write [[role]] and name = "a b"`,
		"[role]\nname = \"app\"\n":                 "",
		"[role.renew]\nway = \"est\"\n":            "",
	} {
		path := filepath.Join(t.TempDir(), "serve.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readTables(t.Context(), path); err == nil || signer.Hint(err) != want {
			t.Errorf("%s: error %v, hint %q, want %q", text, err, signer.Hint(err), want)
		}
	}
}
