package pages

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const root = "../../../.."

// documents returns the pages by their paths below the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(found) < 20 {
		t.Fatalf("%d pages, error %v", len(found), err)
	}
	for _, path := range found {
		names = append(names, "docs/"+filepath.Base(path))
	}
	pages := make(map[string]string)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		pages[name] = string(text)
	}
	return pages
}

// Blocks of code, which have neither links nor headings.
var fence = regexp.MustCompile("(?ms)^ *```.*?^ *```$")

var link = regexp.MustCompile(`\]\(([^()\s]+)\)|(?m:^\[[^\]]+\]: +(\S+))|(?:src|srcset|href)="([^"]+)"`)

// links returns the targets of a page's links.
func links(text string) (targets []string) {
	for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		targets = append(targets, m[1]+m[2]+m[3])
	}
	return targets
}

var heading = regexp.MustCompile("(?m)^#+ +(.+)$")

// anchors returns the names that GitHub gives the headings of a page.
func anchors(text string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		for n, first := 1, name; slices.Contains(names, name); n++ {
			name = first + "-" + strconv.Itoa(n)
		}
		names = append(names, name)
	}
	return names
}

func TestLinks(t *testing.T) {
	pages := documents(t)
	for from, text := range pages {
		for _, target := range links(text) {
			u, err := url.Parse(target)
			if err != nil {
				t.Errorf("%s: %v", from, err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			to := from
			if u.Path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(from), u.Path))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: %s leads nowhere", from, target)
			} else if u.Fragment != "" && !slices.Contains(anchors(pages[to]), u.Fragment) {
				t.Errorf("%s: %s: %s has only %q", from, target, to, anchors(pages[to]))
			}
		}
	}
}

// Every page is found by somebody who begins at the README and clicks.
func TestPagesAreReachable(t *testing.T) {
	pages := documents(t)
	seen := map[string]bool{}
	var follow func(page string)
	follow = func(page string) {
		if seen[page] || pages[page] == "" {
			return
		}
		seen[page] = true
		for _, target := range links(pages[page]) {
			target, _, _ = strings.Cut(target, "#")
			follow(filepath.ToSlash(filepath.Join(filepath.Dir(page), target)))
		}
	}
	follow("README.md")
	for page := range pages {
		if !seen[page] {
			t.Errorf("no link leads to %s", page)
		}
	}
}

var (
	testName = regexp.MustCompile("`(Test[A-Z]\\w*)")
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
)

// A page that says which test shows something names one that is there.
func TestNamesOfTests(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil || len(tests) < 100 {
		t.Fatalf("%d tests, error %v", len(tests), err)
	}
	for page, text := range documents(t) {
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}

func TestAnchors(t *testing.T) {
	const text = "# Keys in a TPM 2.0\n## A PKCS #11 module\n```sh\n# no heading\n```\n## `--cache` and `XDG_CACHE_HOME`\n## serve\n## serve\n"
	want := []string{"keys-in-a-tpm-20", "a-pkcs-11-module", "--cache-and-xdg_cache_home", "serve", "serve-1"}
	if got := anchors(text); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	const linked = "[a](b.md#c) ![p](p.svg) <img src=\"q.svg\">\n```\n[x](y)\n```\n[IAM]: https://x\n"
	if got, want := links(linked), []string{"b.md#c", "p.svg", "q.svg", "https://x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
