package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// versions are the variables that HOLDFAST_VERSION sets; without it, the toolchain
// records the version of the repository.
var versions = []string{
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front.version",
	"github.com/holdfast-dev/holdfast/cmd/holdfast-ecp/internal/ecp.version",
	"main.version", // of holdfast-pkcs11
}

// buildEnv are the settings of the toolchain on which the result depends. They replace
// those of this process. An empty GOFLAGS would leave the flags of "go env -w".
var buildEnv = []string{
	"CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOARM=7", "GO386=sse2",
	"GOEXPERIMENT=", "GOFIPS140=off", "GOFLAGS=-buildvcs=auto", "GOWORK=off",
}

// goTool returns the Go command in the folder of the repository.
func (r *release) goTool(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = r.root, os.Stderr
	cmd.Env = slices.Concat(os.Environ(), buildEnv, env)
	return cmd
}

func buildPrograms(ctx context.Context, r *release) error {
	flags := "-s"
	if r.version != "" {
		for _, name := range versions {
			flags += " -X=" + name + "=" + r.version
		}
	}
	for _, t := range r.targets {
		dir := filepath.Dir(r.program(t, "holdfast"))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		args := []string{"build", "-trimpath", "-ldflags=" + flags, "-o", dir + string(filepath.Separator)}
		for _, program := range t.programs() {
			args = append(args, "./cmd/"+program)
		}
		if err := r.goTool(ctx, []string{"GOOS=" + t.os, "GOARCH=" + t.arch}, args...).Run(); err != nil {
			return fmt.Errorf("%s/%s: %w", t.os, t.arch, err)
		}
	}
	if r.version != "" {
		return nil
	}
	info, err := buildinfo.ReadFile(r.program(r.targets[0], "holdfast"))
	if err != nil {
		return err
	}
	if r.version = info.Main.Version; !strings.HasPrefix(r.version, "v") {
		return errors.New("there is no version here: use a clone of the repository that is no worktree, or set HOLDFAST_VERSION")
	}
	return nil
}
