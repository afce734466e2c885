package awsconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func readFrom(contents map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		text, ok := contents[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}
}

var paths = Paths{"config", "credentials"}

func TestFind(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want Paths
	}{
		{nil, Paths{"/h/.aws/config", "/h/.aws/credentials"}},
		{map[string]string{"AWS_CONFIG_FILE": "/c", "AWS_SHARED_CREDENTIALS_FILE": ""}, Paths{"/c", "/h/.aws/credentials"}},
		{map[string]string{"AWS_CONFIG_FILE": "~/c", "AWS_SHARED_CREDENTIALS_FILE": "d"}, Paths{"/h/c", "d"}},
		{map[string]string{"AWS_CONFIG_FILE": "$X/c", "X": "/x", "AWS_SHARED_CREDENTIALS_FILE": "$NONE/d"}, Paths{"/x/c", "$NONE/d"}},
	} {
		lookup := func(name string) (string, bool) { v, ok := test.env[name]; return v, ok }
		if got := Find(lookup, "/h"); got != test.want {
			t.Errorf("%v: %v, want %v", test.env, got, test.want)
		}
	}
}

// The SDK for Go reads some values differently.
func TestGoValues(t *testing.T) {
	for _, test := range []struct{ text, python, golang string }{
		{"k = a b", "a b", "a b"},
		{"k = a # b", "a # b", "a"},
		{"k = a;b", "a;b", "a;b"},
		{`k = "a" b "c"`, `"a" b "c"`, `a" b "c`},
		{`k = 'a'`, `'a'`, "a"},
		{"k = a\n  b", "a\nb", "a\nb"},
		{"k = a\n  b=c", "a\nb=c", "a"},
		{"k = a\n\tb # c", "a\nb # c", "a\nb # c"},
	} {
		for client, want := range map[Client]string{Python: test.python, Go: test.golang} {
			s, err := Read(paths, client, readFrom(map[string]string{"config": "[profile p]\n" + test.text + "\n"}))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Profiles["p"].Get("k"); got != want {
				t.Errorf("%q, client %d: %q, want %q", test.text, client, got, want)
			}
		}
	}
	s, err := Read(paths, Go, readFrom(map[string]string{"config": "x\n[profile \t p]\nk = 1\n[profile p] ; comment\nnonsense\nk = 2\n s3 =\n  a = b\n"}))
	if err != nil || s.Profiles["p"].Get("k") != "2" {
		t.Errorf("%v, %v", s.Profiles, err)
	}
}

// [profile default] has precedence over [default] in the SDK for Go.
func TestGoDefault(t *testing.T) {
	for _, text := range []string{"[default]\nk = 1\n[profile default]\nk = 2\n", "[profile default]\nk = 2\n[default]\nk = 1\n"} {
		s, err := Read(paths, Go, readFrom(map[string]string{"config": text}))
		if err != nil || s.Profiles["default"].Get("k") != "2" {
			t.Errorf("%q: %v, %v", text, s.Profiles, err)
		}
	}
	s, err := Read(paths, Go, readFrom(map[string]string{"config": "[profile \"a\"]\nk = 1\n"}))
	if _, found := s.Profiles["a"]; err != nil || found { // it keeps the quotation marks
		t.Errorf("%v, %v", s.Profiles, err)
	}
}

func TestMisnamed(t *testing.T) {
	s, err := Read(paths, Python, readFrom(map[string]string{"config": "[a]\n[default]\n[sso-session x]\n", "credentials": "[profile b]\n[c]\n"}))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Misnamed{"a": {"config", 1, "a", "profile a"}, "b": {"credentials", 1, "profile b", "b"}}
	if len(s.Misnamed) != 2 || s.Misnamed["a"] != want["a"] || s.Misnamed["b"] != want["b"] {
		t.Errorf("%v, want %v", s.Misnamed, want)
	}
}

func TestChain(t *testing.T) {
	const config = `[profile a]
credential_process = x
[profile b]
role_arn = r
source_profile = a
[profile c]
role_arn = r
source_profile = b
[profile d]
role_arn = r
source_profile = none
[profile e]
role_arn = r
source_profile = f
[profile f]
role_arn = r
source_profile = e
[profile g]
role_arn = r
source_profile = g
[profile h]
role_arn = r
source_profile = h
credential_process = x
[profile j]
role_arn = r
source_profile = j
aws_access_key_id = x
[profile i]
source_profile = a
`
	s, err := Read(paths, Python, readFrom(map[string]string{"config": config}))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		want []string
		err  error
	}{
		{"a", []string{"a"}, nil},
		{"c", []string{"c", "b", "a"}, nil},
		{"d", []string{"d"}, ErrNoProfile},
		{"e", []string{"e", "f"}, ErrLoop},
		{"g", []string{"g"}, ErrLoop},
		{"h", []string{"h"}, ErrLoop}, // as botocore
		{"j", []string{"j"}, nil},
		{"i", []string{"i"}, nil},
		{"none", nil, ErrNoProfile},
	} {
		chain, err := s.Chain(test.name)
		var got []string
		for _, p := range chain {
			got = append(got, p.Name)
		}
		if !slices.Equal(got, test.want) || !errors.Is(err, test.err) {
			t.Errorf("%s: %q, %v, want %q, %v", test.name, got, err, test.want, test.err)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for text, line := range map[string]int{
		"k = 1":                1,
		"[a]\n\nx":             3,
		"[a]\nk=1\nK=2":        3,
		"[a]\n[b]\n[a]":        3,
		"[a]\nk = \xff":        2,
		"[a]\nk =\n  x\n  y=1": 2,
		"\ufeff[a]":            1,
	} {
		_, err := Read(paths, Python, readFrom(map[string]string{"config": text}))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line != line {
			t.Errorf("%q: %v, want line %d", text, err, line)
		}
	}
	refused := errors.New("refused")
	if _, err := Read(paths, Python, func(string) ([]byte, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}

// A large file takes no longer than its size demands.
func TestLargeFiles(t *testing.T) {
	var sections, circle strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&sections, "[profile p%d]\nrole_arn = r\nsource_profile = p%d\n", i, i+1)
	}
	circle.WriteString("[profile p0]\nk = v\n")
	for range 1_000_000 {
		circle.WriteString("  x\n")
	}
	if shell, err := SplitShell(strings.Repeat("$", 1_000_000)); err != nil || len(shell.Words) != 1 {
		t.Errorf("%v", err)
	}
	for _, client := range []Client{Python, Go} {
		s, err := Read(paths, client, readFrom(map[string]string{"config": sections.String()}))
		if err != nil {
			t.Fatal(err)
		}
		if chain, err := s.Chain("p0"); !errors.Is(err, ErrNoProfile) || len(chain) != 100_000 {
			t.Errorf("%d, %v", len(chain), err)
		}
		if s, err = Read(paths, client, readFrom(map[string]string{"config": circle.String()})); err != nil || len(s.Profiles["p0"].Get("k")) != 2_000_001 {
			t.Errorf("%v", err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range files {
		f.Add(text, text)
	}
	for _, line := range lines {
		f.Add("[profile p]\ncredential_process = "+line+"\n", "")
	}
	f.Fuzz(func(t *testing.T, config, credentials string) {
		for _, client := range []Client{Python, Go} {
			s, err := Read(paths, client, readFrom(map[string]string{"config": config, "credentials": credentials}))
			if err != nil {
				if client == Go {
					t.Fatalf("the SDK for Go refuses no file: %v", err)
				}
				continue
			}
			for _, name := range s.Names() {
				if chain, err := s.Chain(name); err == nil && len(chain) == 0 {
					t.Fatalf("%q: no profile and no error", name)
				}
				checkSplits(t, s.Profiles[name].Get(CredentialProcess))
			}
		}
	})
}

// checkSplits checks that the words of a shell without special parts, and without
// backslashes and comments, are those of Python.
func checkSplits(t *testing.T, line string) {
	words, err := SplitPython(line)
	shell, shellErr := SplitShell(line)
	_, _ = SplitWindows(line)
	if len(shell.Specials) > 0 || slices.Contains([]byte(line), '\\') || slices.Contains([]byte(line), '\r') {
		return
	}
	if (err == nil) != (shellErr == nil) || err == nil && !slices.Equal(words, shell.Words) {
		t.Fatalf("%q: %q, %v; shell %q, %v", line, words, err, shell.Words, shellErr)
	}
}
