// Command manual writes the manual pages and the completion scripts of Holdfast into a
// folder such as /usr/local/share, each where the programs look that use them:
//
//	go run ./cmd/holdfast/internal/manual DIR
//
// The same source makes the same files. The pages have the date of SOURCE_DATE_EPOCH
// (seconds since 1970), or none.
package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/commands"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// programs has the pages of the other programs, without the line .TH.
//
//go:embed *.1
var programs embed.FS

// scripts are the completion scripts, by shell, with their paths.
var scripts = []struct{ shell, path string }{
	{"bash", "bash-completion/completions/holdfast"},
	{"zsh", "zsh/site-functions/_holdfast"},
	{"fish", "fish/vendor_completions.d/holdfast.fish"},
	{"powershell", "holdfast/holdfast.ps1"},
}

func main() {
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: manual DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// run writes all files below dir.
func run(dir, epoch string) error {
	files, err := pages(epoch)
	if err != nil {
		return err
	}
	for _, s := range scripts {
		if files[s.path], err = output("completion", s.shell); err != nil {
			return err
		}
	}
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pages returns the manual pages by their paths.
func pages(epoch string) (map[string][]byte, error) {
	date, err := dateOf(epoch)
	if err != nil {
		return nil, err
	}
	bodies := commandPages(front.App{Commands: commands.All}.Tree())
	own, err := programs.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, file := range own {
		data, err := programs.ReadFile(file.Name())
		if err != nil {
			return nil, err
		}
		bodies[strings.TrimSuffix(file.Name(), ".1")] = string(data)
	}
	files := make(map[string][]byte)
	for name, body := range bodies {
		var p page
		fmt.Fprintf(&p, ".TH \"%s\" \"1\" \"%s\" \"Holdfast\" \"Holdfast Manual\"\n", strings.ToUpper(name), date)
		p.WriteString(body)
		files["man/man1/"+name+".1"] = []byte(p.String())
	}
	return files, nil
}

// dateOf returns the day of a time in seconds since 1970, or "" for "".
func dateOf(epoch string) (string, error) {
	if epoch == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}

// output returns the standard output of a command of holdfast.
func output(args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	a := front.App{Stdout: &stdout, Stderr: &stderr, Now: time.Now, Commands: commands.All}
	if code := a.Run(context.Background(), args); code != 0 {
		return nil, errors.New(stderr.String())
	}
	return stdout.Bytes(), nil
}
