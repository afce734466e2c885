package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/signer"
)

const testARN = "arn:aws:iam::111122223333:role/app"

// row returns the text of a [[pod]] with more lines.
func row(namespace, serviceAccount string, more ...string) string {
	return fmt.Sprintf("[[pod]]\nnamespace = %q\nservice_account = %q\nrole_arn = %q\n%s\n", namespace, serviceAccount, testARN, strings.Join(more, "\n"))
}

func accept(entry) error { return nil }

func TestMapping(t *testing.T) {
	m, err := parseMapping(t.Context(), []byte(row("shop", "checkout", "tag_pod = true", `external_id = "x.y"`, "session_duration = 900")+
		row("shop", "a.b-c", "direct = true", `profile_arn = "p"`, "session_duration = 43200")), accept)
	if err != nil || len(m) != 2 {
		t.Fatalf("%v, %v", m, err)
	}
	e, ok := m.of(podidentity.Pod{Namespace: "shop", ServiceAccount: "checkout", Name: "x"})
	if want := (entry{Namespace: "shop", ServiceAccount: "checkout", RoleARN: testARN, SessionDuration: 900, ExternalID: "x.y", TagPod: true}); !ok || e.entry != want || e.grantKey != want.key() {
		t.Errorf("%+v, %t", e, ok)
	}
	for _, other := range []podidentity.Pod{{}, {Namespace: "shop"}, {Namespace: "checkout", ServiceAccount: "shop"}, {Namespace: "shop", ServiceAccount: "check"}} {
		if e, ok := m.of(other); ok {
			t.Errorf("%+v has %+v", other, e)
		}
	}
	if m, err := parseMapping(t.Context(), nil, accept); err != nil || len(m) != 0 {
		t.Errorf("empty: %v, %v", m, err)
	}
}

// Files that are refused, and a part of the error, which names the culprit.
func TestBadMappings(t *testing.T) {
	refuse := func(entry) error { return signer.WithHint(errors.New("no such partition"), "set a flag") }
	for _, test := range []struct{ name, text, want string }{
		{"syntax", "[[pod]\n", "line 2"},
		{"type", "[[pod]]\nnamespace = 1\n", "line 2"},
		{"single brackets", "[pod]\nnamespace = \"a\"\n", "two brackets"},
		{"unknown key", row("a", "b", `rolearn = "x"`), "unknown key pod.rolearn"},
		{"unknown table", row("a", "b") + "[[pods]]\n", "unknown key pods"},
		{"no namespace", strings.Replace(row("a", "b"), "namespace", "#", 1), "pod 1 (/b): namespace is not set"},
		{"namespace with a dot", row("a.b", "c"), "pod 1 (a.b/c): namespace"},
		{"upper case", row("Shop", "c"), "namespace"},
		{"pattern", row("a", "*"), "service_account"},
		{"empty", row("", "c"), "namespace"},
		{"long namespace", row(strings.Repeat("a", 64), "c"), "namespace"},
		{"long account", row("a", strings.Repeat("a", 254)), "service_account"},
		{"hyphen first", row("-a", "b"), "namespace"},
		{"two dots", row("a", "b..c"), "service_account"},
		{"twice", row("a", "b") + row("c", "d") + row("a", "b"), "pod 3 (a/b): there are two entries"},
		{"no ARN", "[[pod]]\nnamespace=\"a\"\nservice_account=\"b\"\n", "role_arn is not set"},
		{"ARN of a user", strings.Replace(row("a", "b"), ":role/", ":user/", 1), "role_arn"},
		{"short", row("a", "b", "session_duration = 899"), "session_duration 899 is not between 900 and 3600"},
		{"long", row("a", "b", "session_duration = 3601"), "session_duration"},
		{"long and direct", row("a", "b", "direct = true", "session_duration = 43201"), "between 900 and 43200"},
		{"negative", row("a", "b", "session_duration = -1"), "session_duration"},
		{"tags and direct", row("a", "b", "direct = true", "tag_pod = true"), "tag_pod and direct"},
		{"external ID and direct", row("a", "b", "direct = true", `external_id = "xx"`), "external_id and direct"},
		{"profile without direct", row("a", "b", `profile_arn = "p"`), "profile_arn is set without direct"},
		{"nested", "a = " + strings.Repeat("[", 1000), "line 1: too many nested"},
		{"dots", "\n" + strings.Repeat("a.", 1000) + "a = 1", "line 2: too many nested"},
		{"long text", "a = \"\"\"x\ny\"\"\"", "line 1: texts of several lines"},
		{"large", strings.Repeat("#", maxMapping+1), "larger"},
		{"many", strings.Repeat("[[pod]]\n", maxPods+1), "10001 entries"},
		{"not UTF-8", row("a", "b", "# \xff"), "UTF-8"},
		{"check", row("a", "b"), "pod 1 (a/b): no such partition"},
	} {
		check := accept
		if test.name == "check" {
			check = refuse
		}
		m, err := parseMapping(t.Context(), []byte(test.text), check)
		if err == nil || !strings.Contains(err.Error(), test.want) || m != nil {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if hint := signer.Hint(err); strings.Contains(hint, "flag") {
			t.Errorf("%s: the hint %q is about a flag", test.name, hint)
		}
	}
}

// The largest mapping is read.
func TestLargeMapping(t *testing.T) {
	var text strings.Builder
	for i := range maxPods {
		fmt.Fprintf(&text, "[[pod]]\nnamespace=\"n\"\nservice_account=\"a%d\"\nrole_arn=%q\n", i, testARN)
	}
	if m, err := parseMapping(t.Context(), []byte(text.String()), accept); err != nil || len(m) != maxPods {
		t.Errorf("%d entries, %v", len(m), err)
	}
}

// Entries with the same credentials have the same key, and no others.
func TestKeys(t *testing.T) {
	a := entry{Namespace: "shop", ServiceAccount: "a", RoleARN: testARN}
	with := func(change func(*entry)) entry {
		e := a
		change(&e)
		return e
	}
	seen := map[string]entry{a.key(): a}
	for _, e := range []entry{
		with(func(e *entry) { e.Namespace = "other" }), with(func(e *entry) { e.ServiceAccount = "b" }), with(func(e *entry) { e.RoleARN += "2" }),
		with(func(e *entry) { e.ExternalID = "x" }), with(func(e *entry) { e.SessionDuration = 900 }), with(func(e *entry) { e.TagPod = true }),
		with(func(e *entry) { e.Direct = true }), with(func(e *entry) { e.Direct, e.ProfileARN = true, "p" }),
	} {
		if old, twice := seen[e.key()]; twice {
			t.Errorf("%+v and %+v have one key", old, e)
		}
		seen[e.key()] = e
	}
	one, two := with(func(e *entry) { e.Direct = true }), with(func(e *entry) { e.Direct, e.Namespace = true, "other" })
	if one.key() != two.key() {
		t.Error("service accounts do not share a direct session")
	}
	if key := a.key(); withoutPod(key+podSeparator+"uid") != key || withoutPod(key) != key {
		t.Errorf("withoutPod(%q)", key)
	}
}

// A file that is replaced by a bad one does not change the mapping.
func TestMappingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pods.toml")
	changes := 0
	f := &mappingFile{path: path, check: accept, changed: func(mapping) { changes++ }}
	if err := f.load(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for i, test := range []struct {
		text string
		pods int
		good bool
	}{
		{row("a", "b"), 1, true},
		{row("a", "b") + row("c", "d"), 2, true},
		{"x", 2, false},
		{"", 0, true},
	} {
		if err := os.WriteFile(path+".new", []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if f.isSettled() || !f.isSettled() {
			t.Errorf("%d: the change is not seen at the second look", i)
		}
		err := f.load(t.Context())
		if (err == nil) != test.good || len(f.current()) != test.pods || f.stats().pods != test.pods || f.isSettled() {
			t.Errorf("%d: %v, %d pods", i, err, len(f.current()))
		}
		if !test.good && signer.Hint(err) == "" {
			t.Errorf("%d: no hint: %v", i, err)
		}
	}
	if s := f.stats(); changes != 3 || s.loads != 3 || s.failures != 2 {
		t.Errorf("%d changes, %+v", changes, s)
	}
}

func FuzzMapping(f *testing.F) {
	for _, text := range []string{"", row("a", "b"), row("a", "b", "direct = true", "# \"", `external_id = 'a"b'`), "a=[[{b.c.d=1}]]", "[[pod]]\nnamespace=\"\\u0041\\\"\"", "\"\"\"", "'''\n'''"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMapping(t.Context(), []byte(text), accept)
		if err != nil && m != nil || err == nil && len(m) > strings.Count(text, "service_account") {
			t.Errorf("%d entries, %v", len(m), err)
		}
		for _, e := range m {
			if name := sessionName(e.Namespace, e.ServiceAccount); len(name) < 3 || len(name) > maxSessionName {
				t.Errorf("session name %q", name)
			}
		}
	})
}
