package keychain

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keystore"
)

// rows returns the cells of the table in docs/keychain.md whose first column is
// head.
func rows(t *testing.T, head string) (all [][]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/keychain.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| "+head+" |")
	if !ok {
		t.Fatalf("docs/keychain.md has no table with the first column %q", head)
	}
	for line := range strings.Lines(table[strings.Index(table, "\n")+1:]) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if !strings.HasPrefix(line, "|---") {
			all = append(all, strings.Split(strings.Trim(line, "|\n"), "|"))
		}
	}
	return all
}

// docs/keychain.md lists all codes that stand for an error of ours.
func TestErrorsInDocs(t *testing.T) {
	type error struct {
		domain string
		code   int
	}
	want := make(map[error]bool)
	for _, domain := range meanings {
		for _, code := range domain.Value {
			if code.Value.is != nil {
				want[error{domain.Key, code.Key}] = true
			}
		}
	}
	number := regexp.MustCompile(`-\d+`)
	for _, row := range rows(t, "macOS says") {
		for _, part := range strings.Split(row[0], ";") {
			domain := native.OSStatusDomain
			for _, d := range []string{"CryptoTokenKit", "LocalAuthentication"} {
				if strings.Contains(part, d) {
					domain = map[bool]string{true: d, false: "com.apple." + d}[meanings.Has(d)]
				}
			}
			for _, digits := range number.FindAllString(part, -1) {
				code, err := strconv.Atoi(digits)
				if err != nil {
					t.Fatal(err)
				}
				if !want[error{domain, code}] {
					t.Errorf("%s %d is in the table twice, or stands for no error of ours", domain, code)
				}
				delete(want, error{domain, code})
			}
		}
	}
	for e := range want {
		t.Errorf("%s %d is not in the table", e.domain, e.code)
	}
}

// docs/keychain.md lists all attributes.
func TestAttributesInDocs(t *testing.T) {
	values := map[string]string{"subject": "CN=x", "issuer": "CN=x", "serial": "01", "newest": "yes", "label": "x", "token": "x",
		"sha256": strings.Repeat("00", 32), "sha1": strings.Repeat("00", 20)}
	span := regexp.MustCompile("`(\\w+)[^`]*`")
	seen := 0
	for _, row := range rows(t, "attribute") {
		for _, m := range span.FindAllStringSubmatch(row[0], -1) {
			seen++
			ref := keystore.Ref{Scheme: scheme, Rest: m[1] + "=" + values[m[1]]}
			if _, err := configFor(ref, keystore.Call{}); err != nil {
				t.Errorf("%s: %v", m[1], err)
			}
		}
	}
	if seen != len(values) {
		t.Errorf("%d attributes in the table, want %d", seen, len(values))
	}
}
