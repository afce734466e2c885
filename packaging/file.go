package main

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A file is a part of an archive, a package or an image.
type file struct {
	name   string // there, with slashes
	mode   fs.FileMode
	source string // the path of its content; of a folder ""
	config bool   // belongs to the administrator after the installation
}

// withFolders adds the folders of the files and sorts the result by name, so that a
// folder precedes what is in it.
func withFolders(files []file) []file {
	all := slices.Clone(files)
	known := map[string]bool{}
	for _, f := range files {
		known[f.name] = true
	}
	for _, f := range files {
		for dir := path.Dir(f.name); dir != "." && dir != "/" && !known[dir]; dir = path.Dir(dir) {
			known[dir] = true
			all = append(all, file{name: dir, mode: fs.ModeDir | 0o755})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return all
}

// generate writes a file to the work folder and returns its path.
func (r *release) generate(name string, data []byte) (string, error) {
	path := filepath.Join(r.work, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, data, 0o644)
}

// list returns the files of a folder on this machine, whose names end with a suffix, as
// files of another one. A folder that does not exist has none.
func list(dir, suffix, folder string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []file
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			files = append(files, file{name: path.Join(folder, e.Name()), mode: 0o644, source: filepath.Join(dir, e.Name())})
		}
	}
	return files, nil
}

// tree returns the files of a folder on this machine and of the folders in it, sorted by
// name, as those of another folder.
func tree(dir, folder string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(source string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, source)
		files = append(files, file{name: path.Join(folder, filepath.ToSlash(name)), mode: 0o644, source: source})
		return err
	})
	return files, err
}
