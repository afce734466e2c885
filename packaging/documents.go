package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// completions are the shells for which holdfast prints a completion script, with the
// names of the files.
var completions = map[string]string{
	"bash": "holdfast.bash", "zsh": "_holdfast", "fish": "holdfast.fish", "powershell": "holdfast.ps1",
}

// writeDocuments runs the program of this machine to write the completion scripts to
// completions, and the manual pages to man, both in the work folder.
func writeDocuments(ctx context.Context, r *release) error {
	program := filepath.Join(r.work, "holdfast-here")
	if err := r.goTool(ctx, nil, "build", "-trimpath", "-o", program, "./cmd/holdfast").Run(); err != nil {
		return err
	}
	run := func(args ...string) ([]byte, error) {
		out, err := exec.CommandContext(ctx, program, args...).Output()
		if err != nil {
			return nil, fmt.Errorf("holdfast %s: %w", args[0], err)
		}
		return out, nil
	}
	for shell, name := range completions {
		out, err := run("completion", shell)
		if err != nil {
			return err
		}
		if _, err := r.generate(filepath.Join("completions", name), out); err != nil {
			return err
		}
	}
	return r.writeManual(run)
}

// writeManual writes the manual pages with "holdfast man FOLDER", if there is this command.
func (r *release) writeManual(run func(...string) ([]byte, error)) error {
	if _, err := run("man", "--help"); err != nil {
		return nil
	}
	dir := filepath.Join(r.work, "man")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	_, err := run("man", dir)
	return err
}
