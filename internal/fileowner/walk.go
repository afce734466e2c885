package fileowner

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// walk goes the way of the system to the file at path, and calls visit for each folder,
// without symbolic links in its name, in which the system looks up a name. decides means
// that the name is that of the file or of a symbolic link. The way of a link to a folder
// and then .. leads to the folder above the target of the link, which no lexical rule
// finds. walk returns the name of the file without symbolic links, or "" where files have
// no known owner, as on Windows, and visit is not called. It fails with the error of
// [os.Stat] if there is no such file.
func walk(path string, visit func(folder string, decides bool) error) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if _, known := UID(info); !known {
		return "", nil
	}
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = dir + "/" + path // not cleaned
	}
	place, name, links := "/", "", 0
	for rest := path; rest != ""; {
		name, rest, _ = strings.Cut(rest, "/")
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			place = filepath.Dir(place)
			continue
		}
		next := filepath.Join(place, name)
		target, err := os.Readlink(next)
		isLink := err == nil
		if err := visit(place, isLink || strings.Trim(rest, "/") == ""); err != nil {
			return "", err
		}
		if !isLink {
			place = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		if filepath.IsAbs(target) {
			place = "/"
		}
		rest = target + "/" + rest
	}
	return place, nil
}
