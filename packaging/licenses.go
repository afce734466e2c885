package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// modules returns the modules that are linked into the programs, sorted by path.
func (r *release) modules() ([]*debug.Module, error) {
	var all []*debug.Module
	for _, t := range r.targets {
		for _, name := range t.programs() {
			info, err := buildinfo.ReadFile(r.program(t, name))
			if err != nil {
				return nil, err
			}
			all = append(all, info.Deps...)
		}
	}
	slices.SortFunc(all, func(a, b *debug.Module) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(all, func(a, b *debug.Module) bool { return a.Path == b.Path }), nil
}

// licenses returns the path of the text with the licenses of the linked modules.
func (r *release) licenses() string { return filepath.Join(r.work, "THIRD-PARTY-LICENSES") }

// copyright returns the path of the text with all licenses.
func (r *release) copyright() string { return filepath.Join(r.work, "copyright") }

// writeLicenses collects the licenses of what is linked into the programs: they require
// that their text is a part of a distribution.
func writeLicenses(ctx context.Context, r *release) error {
	modules, err := r.modules()
	if err != nil {
		return err
	}
	goroot, err := r.goTool(ctx, nil, "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	text.WriteString("The programs contain the Go standard library and the modules below.\n")
	if err := appendLicenses(&text, "The Go standard library", strings.TrimSpace(string(goroot))); err != nil {
		return err
	}
	args := []string{"list", "-m", "-f", "{{.Dir}}"}
	for _, m := range modules {
		args = append(args, m.Path)
	}
	dirs, err := r.goTool(ctx, nil, args...).Output()
	if err != nil {
		return err
	}
	for i, dir := range strings.Split(strings.TrimSpace(string(dirs)), "\n") {
		if err := appendLicenses(&text, modules[i].Path+" "+modules[i].Version, dir); err != nil {
			return err
		}
	}
	if err := os.WriteFile(r.licenses(), text.Bytes(), 0o644); err != nil {
		return err
	}
	own, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return err
	}
	return os.WriteFile(r.copyright(), slices.Concat(own, []byte("\n"), text.Bytes()), 0o644)
}

// appendLicenses appends the licenses and notices in a folder.
func appendLicenses(text *bytes.Buffer, title, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		license := strings.HasPrefix(name, "LICEN") || strings.HasPrefix(name, "COPYING")
		if e.IsDir() || !license && !strings.HasPrefix(name, "NOTICE") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(text, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 72), title, e.Name(), bytes.TrimSpace(data))
		found = found || license
	}
	if !found {
		return fmt.Errorf("%s has no license in %s", title, dir)
	}
	return nil
}
