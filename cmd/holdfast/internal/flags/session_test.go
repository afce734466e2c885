package flags

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// Every setting that decides which server is trusted changes the identity of
// the trusted servers. Other settings do not.
func TestTrust(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bundle, other := write("bundle.pem", "one"), write("other.pem", "two")
	folder := filepath.Dir(write("certs/a.pem", "one"))
	trust := func(insecure, proxy bool, flag string, env map[string]string) string {
		t.Helper()
		f := Session{caBundle: flag, proxy: proxy}
		f.config.Insecure = insecure
		a := front.App{LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
		c, err := f.Connection(a)
		if err != nil {
			t.Fatal(err)
		}
		return c.Trust(a)
	}
	seen := make(map[string]string)
	differs := func(name, id string) {
		t.Helper()
		if before, ok := seen[id]; ok {
			t.Errorf("%s and %s have the same identity %s", name, before, id)
		}
		seen[id] = name
	}
	env := func(pairs ...string) map[string]string {
		m := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	differs("the system", trust(false, true, "", nil))
	differs("a bundle", trust(false, true, bundle, nil))
	differs("another bundle", trust(false, true, other, nil))
	differs("SSL_CERT_FILE", trust(false, true, "", env("SSL_CERT_FILE", bundle)))
	differs("another SSL_CERT_FILE", trust(false, true, "", env("SSL_CERT_FILE", other)))
	differs("a missing SSL_CERT_FILE", trust(false, true, "", env("SSL_CERT_FILE", filepath.Join(dir, "none"))))
	differs("SSL_CERT_DIR", trust(false, true, "", env("SSL_CERT_DIR", folder)))
	differs("another SSL_CERT_DIR", trust(false, true, "", env("SSL_CERT_DIR", dir)))
	differs("no verification", trust(true, true, "", nil))
	differs("no verification, a proxy", trust(true, true, "", env("https_proxy", "http://127.0.0.1:1")))
	differs("no verification, another proxy", trust(true, true, "", env("HTTPS_PROXY", "http://127.0.0.1:2")))
	write("bundle.pem", "changed")
	write("certs/b.pem", "one")
	differs("a changed bundle", trust(false, true, bundle, nil))
	differs("a changed SSL_CERT_FILE", trust(false, true, "", env("SSL_CERT_FILE", bundle)))
	differs("a changed SSL_CERT_DIR", trust(false, true, "", env("SSL_CERT_DIR", folder)))

	for name, same := range map[string]string{
		"a proxy":                        trust(false, true, "", env("HTTPS_PROXY", "http://127.0.0.1:1")),
		"no proxy":                       trust(false, false, "", nil),
		"a variable that is empty":       trust(false, true, "", env("SSL_CERT_FILE", "", "AWS_CA_BUNDLE", "")),
		"other variables of the process": trust(false, true, "", env("SSL_KEY_FILE", bundle)),
	} {
		if seen[same] != "the system" {
			t.Errorf("%s: %s", name, same)
		}
	}
	if flag, variable := trust(false, true, other, nil), trust(false, true, "", env("AWS_CA_BUNDLE", other)); flag != variable {
		t.Errorf("--ca-bundle %s, AWS_CA_BUNDLE %s", flag, variable)
	}
}
