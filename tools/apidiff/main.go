// Command apidiff compares the exported API of the public packages with that of the last tag
// v*. It fails if the API has an incompatible change whose name is not under "Changed"
// or "Removed" in the part of CHANGELOG.md that is newer than the tag.
//
//	go -C tools run ./apidiff
//
// It loads each module twice, once from the tag, where golang.org/x/exp/cmd/apidiff
// loads each package twice, which takes minutes.
package main

import (
	"errors"
	"fmt"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/exp/apidiff"
	"golang.org/x/tools/go/packages"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "apidiff:", err)
		os.Exit(1)
	}
}

const module = "github.com/holdfast-dev/holdfast"

// root is the folder of the repository, from the folder of this module.
const root = ".."

// modules are the modules that programs import.
var modules = []struct{ dir, tagPrefix string }{{".", ""}, {"rolesanywhere/awssdk", "rolesanywhere/awssdk/"}}

func run() error {
	changelog, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	var unlisted []string
	for _, m := range modules {
		pattern := m.tagPrefix + "v*"
		tag, err := git("describe", "--tags", "--abbrev=0", "--match", pattern, "--exclude", "*-*") // no pre-release
		if err != nil {
			fmt.Printf("apidiff: no tag %s yet, so there is nothing to compare\n", pattern)
			continue
		}
		changes, err := compare(m.dir, tag)
		if err != nil {
			return err
		}
		listed := changesSince(string(changelog), strings.TrimPrefix(tag, m.tagPrefix+"v"))
		for _, c := range changes {
			if !c.listed(listed) {
				unlisted = append(unlisted, c.String())
			}
		}
		fmt.Printf("apidiff: %d incompatible changes since %s\n", len(changes), tag)
	}
	if len(unlisted) > 0 {
		return fmt.Errorf("incompatible changes that CHANGELOG.md does not list under Changed or Removed:\n\t%s", strings.Join(unlisted, "\n\t"))
	}
	return nil
}

// A change is an incompatible one, as apidiff tells it: "F: removed", "(*T).M: changed
// from …" or "T.Field: removed".
type change struct{ pkg, text string }

func (c change) String() string { return c.pkg + ": " + c.text }

// listed reports whether the changelog has the change in code: `signer.F`, or
// `signer.T.M` for a method or a field. A removed package is listed by its path.
func (c change) listed(changelog string) bool {
	name, _, _ := strings.Cut(c.text, ": ")
	name = strings.NewReplacer("(", "", ")", "", "*", "").Replace(name)
	if name == "package removed" {
		return strings.Contains(changelog, "`"+c.pkg+"`")
	}
	return strings.Contains(changelog, "`"+c.pkg[strings.LastIndex(c.pkg, "/")+1:]+"."+name+"`")
}

// compare returns the incompatible changes of a module since a tag.
func compare(dir, tag string) (changes []change, err error) {
	temporary, err := os.MkdirTemp("", "apidiff")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	old := filepath.Join(temporary, "old")
	if _, err := git("worktree", "add", "--detach", old, tag); err != nil {
		return nil, err
	}
	defer func() {
		_, removed := git("worktree", "remove", "--force", old)
		err = errors.Join(err, removed)
	}()
	before, err := public(filepath.Join(old, dir))
	if err != nil {
		return nil, err
	}
	now, err := public(filepath.Join(root, dir))
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		name := strings.TrimPrefix(path, module+"/")
		if now[path] == nil {
			changes = append(changes, change{name, "package removed"})
			continue
		}
		for _, c := range apidiff.Changes(before[path], now[path]).Changes {
			if !c.Compatible {
				changes = append(changes, change{name, c.Message})
			}
		}
	}
	return changes, nil
}

// public returns the packages of a module that other programs import, by their paths.
// Those for tests may change in each release (docs/stability.md).
func public(dir string) (map[string]*types.Package, error) {
	loaded, err := packages.Load(&packages.Config{Mode: packages.LoadTypes, Dir: dir}, "./...")
	if err != nil {
		return nil, err
	}
	found := make(map[string]*types.Package)
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			return nil, p.Errors[0]
		}
		if p.Name != "main" && !strings.HasSuffix(p.Name, "test") && !strings.Contains(p.PkgPath+"/", "/internal/") {
			found[p.PkgPath] = p.Types
		}
	}
	return found, nil
}

var heading = regexp.MustCompile(`(?m)^##+ .*$`)

// changesSince returns the text under "Changed" and "Removed" in the versions of a
// changelog that are above a version.
func changesSince(changelog, version string) string {
	var text strings.Builder
	headings := heading.FindAllStringIndex(changelog, -1)
	for i, at := range headings {
		title := strings.TrimSpace(strings.TrimLeft(changelog[at[0]:at[1]], "#"))
		if first, _, _ := strings.Cut(title, " "); strings.TrimSuffix(first, ",") == version {
			break
		}
		end := len(changelog)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		if title == "Changed" || title == "Removed" {
			text.WriteString(changelog[at[1]:end])
		}
	}
	return text.String()
}

// git runs Git in the repository and returns what it writes, without the last line break.
func git(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
