package main

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/commands"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const testEpoch = "1767225600" // 2026-01-01

// tree returns all visible commands.
func tree() (all []*cobra.Command) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		all = append(all, cmd)
		for _, s := range front.CommandSections(cmd) {
			for _, c := range s.Commands {
				walk(c)
			}
		}
	}
	walk(front.App{Commands: commands.All}.Tree())
	return all
}

func testPages(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := pages(testEpoch)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Every command has a page with its sections, its flags, and its subcommands.
func TestPages(t *testing.T) {
	files := testPages(t)
	programs := 2
	if got, want := len(files), len(tree())+programs; got != want {
		t.Errorf("%d pages, want %d", got, want)
	}
	for _, cmd := range tree() {
		page := string(files["man/man1/"+pageName(cmd)+".1"])
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"} {
			if strings.Count(page, ".SH \""+section+"\"\n") != 1 {
				t.Errorf("%s: no section %s", cmd.CommandPath(), section)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden == regexp.MustCompile(`(?m)^(\\fB\\-h\\fR, )?\\fB\\-\\-`+strings.ReplaceAll(f.Name, "-", `\\-`)+`\\fR`).MatchString(page) {
				t.Errorf("%s: --%s: hidden: %v", cmd.CommandPath(), f.Name, f.Hidden)
			}
		})
		for _, c := range cmd.Commands() {
			if line := "\n" + bold(pageName(c)) + "(1)\n"; c.Hidden == strings.Contains(page, line) {
				t.Errorf("%s: %s: hidden: %v", cmd.CommandPath(), c.Name(), c.Hidden)
			}
		}
		if strings.Contains(page, "Exit codes:") {
			t.Errorf("%s: the exit codes are there twice", cmd.CommandPath())
		}
	}
	for name, page := range files {
		if !strings.Contains(string(page), ` "1" "2026-01-01" "Holdfast"`) {
			t.Errorf("%s: no date", name)
		}
		for line := range strings.Lines(string(page)) {
			for _, r := range line {
				if r >= 0x80 {
					t.Errorf("%s: %q is not ASCII", name, line)
				}
			}
		}
	}
}

func TestEscape(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"--pin-source", `\-\-pin\-source`},
		{`LocalMachine\NAME`, `LocalMachine\eNAME`},
		{`"it's" ~/.aws ^`, `\(dqit\(aqs\(dq \(ti/.aws \(ha`},
		{"pkcs11:…", "pkcs11:..."},
		{"`µ`", `\(ga\[u00B5]\(ga`},
		{"😀", `\[u1F600]`},
	} {
		if got := escape(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	var p page
	p.verbatim(".TH\n'br\n\\\n\n x")
	if want := ".EX\n\\&.TH\n\\(aqbr\n\\e\n\n x\n.EE\n"; p.String() != want {
		t.Errorf("%q", p.String())
	}
}

func TestDate(t *testing.T) {
	for _, c := range []struct {
		epoch, want string
		ok          bool
	}{{"", "", true}, {"0", "1970-01-01", true}, {testEpoch, "2026-01-01", true}, {"x", "", false}, {"1.5", "", false}} {
		if got, err := dateOf(c.epoch); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %q, %v", c.epoch, got, err)
		}
	}
}

// The formatter accepts each page, and shows the examples so that they can be copied.
func TestFormatted(t *testing.T) {
	groff := signertest.Require(t, "groff", "groff")
	files := testPages(t)
	for name, page := range files {
		cmd := exec.Command(groff, "-man", "-ww", "-Tutf8", "-P-cbou")
		cmd.Stdin = strings.NewReader(string(page))
		var warnings strings.Builder
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, &warnings)
		}
		files[name] = out
	}
	for _, cmd := range tree() {
		shown := string(files["man/man1/"+pageName(cmd)+".1"])
		for line := range strings.Lines(cmd.Example) {
			if line = strings.TrimSpace(line); !strings.Contains(shown, line) {
				t.Errorf("%s: the page does not show %q", cmd.CommandPath(), line)
			}
		}
		if !strings.Contains(strings.Join(strings.Fields(shown), " "), "NAME "+pageName(cmd)+" - ") {
			t.Errorf("%s: no name in\n%s", cmd.CommandPath(), shown)
		}
	}
}

// mandoc formats pages on macOS and the BSDs.
func TestMandoc(t *testing.T) {
	mandoc := signertest.Require(t, "mandoc", "mandoc")
	dir := t.TempDir()
	if err := run(dir, testEpoch); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "man", "man1", "*.1"))
	if err != nil || len(found) == 0 {
		t.Fatal(err, found)
	}
	if out, err := exec.Command(mandoc, append([]string{"-Tlint", "-Wwarning"}, found...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The pages of the other programs have what these print about themselves.
func TestPagesOfPrograms(t *testing.T) {
	for name, source := range map[string]string{
		"holdfast-ecp":    "../../../holdfast-ecp/internal/ecp/ecp.go",
		"holdfast-pkcs11": "../../../holdfast-pkcs11/main.go",
	} {
		code, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		usage := regexp.MustCompile("(?s)const usage = [`\"](.*?)[`\"]\n").FindSubmatch(code)
		if usage == nil {
			t.Fatalf("%s has no usage", source)
		}
		page, err := programs.ReadFile(name + ".1")
		if err != nil {
			t.Fatal(err)
		}
		words := strings.NewReplacer(`\-`, "-", `\(dq`, `"`, `\fB`, "", `\fR`, "", `\fI`, "").Replace(string(page))
		words = strings.Join(strings.Fields(words), " ")
		for part := range strings.SplitSeq(string(usage[1]), "\n\n") {
			part = strings.Join(strings.Fields(part), " ")
			if !strings.HasPrefix(part, "usage:") && !strings.HasPrefix(part, "--") && !strings.Contains(words, part) {
				t.Errorf("%s.1 does not have %q", name, part)
			}
		}
	}
}

// The table of docs/errors.md begins with the words of the pages.
func TestExitMeanings(t *testing.T) {
	data, err := os.ReadFile("../../../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d) \| (.*?) \|`).FindAllStringSubmatch(string(data), -1)
	if len(rows) != len(front.ExitMeanings) {
		t.Fatalf("%d rows, %d meanings", len(rows), len(front.ExitMeanings))
	}
	for i, e := range front.ExitMeanings {
		if row := strings.ReplaceAll(rows[i][2], "`", ""); rows[i][1] != strconv.Itoa(e.Code) || !strings.HasPrefix(row, e.Meaning) {
			t.Errorf("%d %q in the code, %s %q in docs/errors.md", e.Code, e.Meaning, rows[i][1], row)
		}
	}
}

// Each variable in the text of a flag is in the page of its command, and each variable
// of the pages is in the documentation. Each entry belongs to a command.
func TestEntries(t *testing.T) {
	pages := testPages(t)
	var docs strings.Builder
	for _, name := range []string{"configuration", "stability", "doctor"} {
		data, err := os.ReadFile("../../../../docs/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		docs.Write(data)
	}
	variable := regexp.MustCompile(`\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b`)
	known := make(map[string]bool)
	for _, e := range variables {
		for _, name := range strings.Split(e.name, ", ") {
			known[name] = true
			if name != "DISPLAY" && !strings.Contains(docs.String(), name) && !strings.Contains(docs.String(), strings.SplitAfter(name, "_")[0]+"…") {
				t.Errorf("no page describes %s", name)
			}
		}
	}
	for _, cmd := range tree() {
		page := string(pages["man/man1/"+pageName(cmd)+".1"])
		_, environment, _ := strings.Cut(page, `.SH "ENVIRONMENT"`)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			for _, name := range variable.FindAllString(f.Usage, -1) {
				if known[name] && !strings.Contains(environment, name) {
					t.Errorf("%s: --%s: %s is not in ENVIRONMENT", cmd.CommandPath(), f.Name, name)
				}
				if !known[name] {
					t.Errorf("%s: --%s: %s is not known", cmd.CommandPath(), f.Name, name)
				}
			}
		})
	}
	for _, e := range slices.Concat(variables, files) {
		for _, in := range e.in {
			one := entry{in: []string{in}}
			if !slices.ContainsFunc(tree(), one.appliesTo) {
				t.Errorf("%s: no command for %s", e.name, in)
			}
		}
	}
}

// The same source makes the same files, with the permissions of files for everybody.
func TestRun(t *testing.T) {
	var trees [2]map[string]string
	for i := range trees {
		dir := t.TempDir()
		trees[i] = make(map[string]string)
		if err := run(dir, ""); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			name, _ := filepath.Rel(dir, path)
			trees[i][filepath.ToSlash(name)] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(trees[0], trees[1]) {
		t.Error("two runs differ")
	}
	for _, s := range scripts {
		if !strings.Contains(trees[0][s.path], "__complete") {
			t.Errorf("%s: no script", s.path)
		}
	}
	if err := run(t.TempDir(), "yesterday"); err == nil {
		t.Error("no error for a wrong SOURCE_DATE_EPOCH")
	}
}
