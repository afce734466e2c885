package ecp

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// writeKey writes PREFIX.key and PREFIX.crt to a folder.
func writeKey(t *testing.T, dir, prefix, kind string) {
	t.Helper()
	key := signertest.Key(t, kind)
	writeFile(t, filepath.Join(dir, prefix+".key"), signertest.KeyPEM(t, key))
	writeFile(t, filepath.Join(dir, prefix+".crt"), signertest.CertPEM(signertest.NewCA(t, "CA").Issue(t, key, nil)))
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs the program with the arguments and no client.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Process{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Store: keystore.New(file.Backend{})}.Run(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	writeKey(t, dir, "p256", "p256")
	writeKey(t, dir, "rsa", "rsa2048")
	writeKey(t, dir, "ed25519", "ed25519")
	const own = `{"cert_configs": {"holdfast": %}}`
	for _, c := range []struct {
		name, config string
		code         int
		want         string // part of standard error
	}{
		{"ECDSA", `{"certificate": "p256.crt", "private_key": "p256.key"}`, 0, ""},
		{"RSA", `{"certificate": "file:rsa.crt", "private_key": "rsa.key"}`, 0, ""},
		{"empty file", "", 2, "the file is not JSON: error at byte 0"},
		{"no JSON", "=certificate: x", 2, "the file is not JSON: error at byte 1"},
		{"cut off", `={"cert_configs": {"holdfast": {`, 2, "the file is not JSON: error at byte 31"},
		{"two documents", `={} {}`, 2, "the file is not JSON: error at byte 4"},
		{"an array", `=[]`, 2, "it has the wrong type: array"},
		{"sections are a text", `={"cert_configs": "holdfast"}`, 2, `"cert_configs" has the wrong type: string`},
		{"no sections", `={"libs": {"ecp": "x"}}`, 2, `the file has no section "cert_configs.holdfast"`},
		{"sections of others only", `={"cert_configs": {"pkcs11": {"label": "x", "user_pin": "1234"}}}`, 2, `the file has no section "cert_configs.holdfast"`},
		{"section is a text", `"p256.key"`, 2, "cert_configs.holdfast: it has the wrong type: string"},
		{"section is null", `null`, 2, "cert_configs.holdfast names no key"},
		{"empty section", `{}`, 2, "cert_configs.holdfast names no key"},
		{"only intermediates", `{"intermediates": "p256.crt"}`, 2, "cert_configs.holdfast names no key"},
		{"unknown field", `{"certificate": "p256.crt", "key": "p256.key"}`, 2, `cert_configs.holdfast: json: unknown field "key"`},
		{"a PIN", `{"certificate": "p256.crt", "private_key": "p256.key", "pin": "SECRET"}`, 2, `json: unknown field "pin"`},
		{"a number", `{"certificate": 1}`, 2, `cert_configs.holdfast: "certificate" has the wrong type: number`},
		{"a list", `{"private_key": ["a"]}`, 2, `cert_configs.holdfast: "private_key" has the wrong type: array`},
		{"unknown scheme", `{"certificate": "p256.crt", "private_key": "shelf:x"}`, 2, "shelf"},
		{"standard input", `{"certificate": "-", "private_key": "p256.key"}`, 2, "cert_configs.holdfast.certificate is standard input, which belongs to the client"},
		{"key is missing", `{"certificate": "p256.crt", "private_key": "none.key"}`, 3, "none.key"},
		{"certificate is missing", `{"certificate": "none.crt", "private_key": "p256.key"}`, 3, "none.crt"},
		{"no certificate", `{"private_key": "p256.key"}`, 3, "no certificate"},
		{"no key", `{"certificate": "p256.crt"}`, 3, "contains no private key"},
		{"certificate of another key", `{"certificate": "rsa.crt", "private_key": "p256.key"}`, 1, "certificate is for another key"},
		{"Ed25519", `{"certificate": "ed25519.crt", "private_key": "ed25519.key"}`, 1, "the clients of Google do not accept a key of the type Ed25519"},
		{"too large", "=" + strings.Repeat(" ", maxConfig+1), 1, "certificate_config.json: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, whole := strings.CutPrefix(c.config, "=")
			if !whole && text != "" {
				text = strings.Replace(own, "%", text, 1)
			}
			path := filepath.Join(dir, "certificate_config.json")
			writeFile(t, path, []byte(text))
			code, stdout, stderr := run(t, path)
			if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "SECRET") {
				t.Errorf("code %d, want %d; output %q; error %q, want %q", code, c.code, stdout, stderr, c.want)
			}
			checkLines(t, code, stderr)
		})
	}
}

// checkLines: an error is two lines.
func checkLines(t *testing.T, code int, stderr string) {
	t.Helper()
	lines := strings.Split(stderr, "\n")
	if code != 0 && (len(lines) != 3 || !strings.HasPrefix(lines[0], "holdfast-ecp: ") || !strings.HasPrefix(lines[1], "hint: ") || lines[1] == "hint: ") {
		t.Errorf("standard error %q", stderr)
	}
	if code == 0 && stderr != "" {
		t.Errorf("standard error %q", stderr)
	}
}

// TestPage: the example of the page has a section that the program reads.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/google.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	for _, text := range []string{example, usage[strings.Index(usage, "  {"):strings.Index(usage, "  --help")]} {
		id, err := parseConfig([]byte(text))
		if err != nil || id.Key.Scheme != "pkcs11" || id.Certificate.Scheme != keystore.SchemeFile {
			t.Errorf("%v: %+v", err, id)
		}
	}
}

func TestArguments(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--help"}, 0, "usage: holdfast-ecp FILE", ""},
		{[]string{"--version"}, 0, "holdfast-ecp (", ""},
		{nil, 2, "", "0 arguments instead of one"},
		{[]string{""}, 2, "", "the name of the configuration file is empty"},
		{[]string{"a", "b"}, 2, "", "2 arguments instead of one"},
		{[]string{"version"}, 3, "", "version: "},
		{[]string{dir}, 1, "", "directory"},
		{[]string{filepath.Join(dir, "none.json")}, 3, "", "none.json: "},
	} {
		code, stdout, stderr := run(t, c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || (c.stdout == "") != (stdout == "") || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%q: code %d, output %q, error %q", c.args, code, stdout, stderr)
		}
		checkLines(t, code, stderr)
	}
}

// TestVersionIsSet: the linker silently ignores -X for a variable that does not exist.
func TestVersionIsSet(t *testing.T) {
	flag := "-X=" + reflect.TypeFor[Process]().PkgPath() + ".version="
	for _, name := range []string{"Makefile", "script/build-all"} {
		text, err := os.ReadFile(filepath.Join("../../../..", name))
		if err != nil || !strings.Contains(string(text), flag) {
			t.Errorf("%v: %s has no %s", err, name, flag)
		}
	}
	defer func(before string) { version = before }(version)
	version = "v1.2.3"
	if line := versionLine(); !strings.HasPrefix(line, "holdfast-ecp v1.2.3 (go") {
		t.Errorf("%q", line)
	}
}

func TestOutputFails(t *testing.T) {
	var errs bytes.Buffer
	if code := (Process{Stdout: failing{}, Stderr: &errs}).Run(context.Background(), []string{"--version"}); code != 1 {
		t.Errorf("code %d, %q", code, &errs)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A swapping backend opens another key each time. The first one fails like a device
// that was disconnected.
type swapping struct{ keys chan signer.Signer }

func (swapping) Name() string      { return "swap" }
func (swapping) Schemes() []string { return []string{"swap"} }

func (b swapping) Open(context.Context, keystore.Ref, keystore.Call) (signer.Signer, error) {
	return <-b.keys, nil
}

// TestOtherKey: the client knows the certificate of the first key, so that no other
// key must sign.
func TestOtherKey(t *testing.T) {
	first, second := fake(t, "p256"), fake(t, "rsa2048")
	first.OnSign = func(int) error { return signer.ErrUnavailable }
	b := swapping{make(chan signer.Signer, 2)}
	b.keys <- first
	b.keys <- second
	p := Process{Stderr: io.Discard, Store: keystore.New(b)}
	id, err := p.open(t.Context(), keystore.Identity{Key: keystore.Ref{Scheme: "swap", Rest: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer id.Close()
	digest := make([]byte, 32)
	if _, err := id.Signer().Sign(nil, digest, crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := id.Signer().Sign(nil, digest, crypto.SHA256); !errors.Is(err, signer.ErrMismatch) || second.Signs() != 0 {
		t.Errorf("%v; %d signatures of another key", err, second.Signs())
	}
}

// A recording backend notes the environment for its programs.
type recording struct {
	signer.Signer
	env *[]string
}

func (recording) Name() string      { return "record" }
func (recording) Schemes() []string { return []string{"record"} }

func (b recording) Open(_ context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	*b.env = call.ChildEnv(ref)
	return b.Signer, nil
}

// TestProgramEnvironment: a program that a backend starts gets the environment without the
// variables that the configuration names as places of keys and PINs.
func TestProgramEnvironment(t *testing.T) {
	key := fake(t, "p256")
	chain := string(signertest.CertPEM(key.Certificates...))
	config := filepath.Join(t.TempDir(), "config.json")
	writeFile(t, config, []byte(`{"cert_configs": {"holdfast": {"certificate": "env:CHAIN", "private_key": "record:x"}}}`))
	var env []string
	p := Process{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: os.Stderr,
		LookupEnv: func(name string) (string, bool) { return chain, name == "CHAIN" },
		Environ:   func() []string { return []string{"CHAIN=" + chain, "HOME=/home/app"} },
		Store:     keystore.New(file.Backend{}, recording{key, &env}),
	}
	if code := p.Run(t.Context(), []string{config}); code != 0 || !reflect.DeepEqual(env, []string{"HOME=/home/app"}) {
		t.Errorf("code %d; the program gets %q", code, env)
	}
}

// A whole signer signs only whole messages.
type whole struct{ signer.Signer }

func (whole) SignsMessagesOnly() bool { return true }

// TestMessagesOnly: a key that refuses the digests of the clients is refused at the start.
func TestMessagesOnly(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.json")
	writeFile(t, config, []byte(`{"cert_configs": {"holdfast": {"private_key": "record:x"}}}`))
	for _, kind := range []string{"p256", "rsa2048"} {
		var errs bytes.Buffer
		var env []string
		p := Process{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs, Store: keystore.New(recording{whole{fake(t, kind)}, &env})}
		if code := p.Run(t.Context(), []string{config}); code != 5 || !strings.Contains(errs.String(), "send digests, and this key signs only whole messages") || !strings.Contains(errs.String(), "hint: an ssh-agent cannot sign for these clients") {
			t.Errorf("%s: code %d, %s", kind, code, &errs)
		}
	}
}
