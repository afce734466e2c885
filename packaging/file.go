package main

import (
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

// glob returns the files of a folder as files of another one.
func glob(pattern, folder string) ([]file, error) {
	paths, err := filepath.Glob(pattern)
	var files []file
	for _, p := range paths {
		files = append(files, file{name: path.Join(folder, filepath.Base(p)), mode: 0o644, source: p})
	}
	return files, err
}
