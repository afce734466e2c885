package main

import (
	"archive/tar"
	"archive/zip"
	"compress/flate"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"
)

// writeArchives writes an archive for each target, of a single folder.
func writeArchives(_ context.Context, r *release) error {
	for _, t := range r.targets {
		files, err := r.archiveFiles(t)
		if err != nil {
			return err
		}
		write, suffix := writeTarGz, ".tar.gz"
		if t.os == "windows" {
			write, suffix = writeZip, ".zip"
		}
		name := r.name("_" + t.label())
		for i, f := range files {
			files[i].name = path.Join(filepath.Base(name), f.name)
		}
		if err := writeTo(name+suffix, func(w io.Writer) error { return write(w, withFolders(files), r.time) }); err != nil {
			return err
		}
	}
	return nil
}

// archiveFiles returns the files of an archive. holdfast finds the helper beside itself.
func (r *release) archiveFiles(t target) ([]file, error) {
	files := []file{
		{name: "LICENSE", mode: 0o644, source: filepath.Join(r.root, "LICENSE")},
		{name: "THIRD-PARTY-LICENSES", mode: 0o644, source: r.licenses()},
		{name: "README.md", mode: 0o644, source: filepath.Join(r.root, "README.md")},
		{name: "CHANGELOG.md", mode: 0o644, source: filepath.Join(r.root, "CHANGELOG.md")},
	}
	for _, name := range t.programs() {
		files = append(files, file{name: name + t.suffix(), mode: 0o755, source: r.program(t, name)})
	}
	share, err := tree(r.share(), "share")
	if err != nil {
		return nil, err
	}
	files = append(files, share...)
	if t.os == "linux" {
		units, err := tree(filepath.Join(r.root, "docs", "deployment"), "deployment")
		if err != nil {
			return nil, err
		}
		files = append(files, units...)
	}
	return files, nil
}

// writeTo writes a file with a function.
func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func writeTarGz(w io.Writer, files []file, at time.Time) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := writeTar(z, files, at); err != nil {
		return err
	}
	return z.Close()
}

// writeTar writes an archive whose files belong to root.
func writeTar(w io.Writer, files []file, at time.Time) error {
	archive := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, ModTime: at, Mode: int64(f.mode.Perm()), Format: tar.FormatPAX}
		if f.mode&os.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		if f.mode.IsDir() {
			h.Typeflag, h.Name = tar.TypeDir, f.name+"/"
		} else {
			info, err := os.Stat(f.source)
			if err != nil {
				return err
			}
			h.Size = info.Size()
		}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if err := copyContent(archive, f); err != nil {
			return err
		}
	}
	return archive.Close()
}

func writeZip(w io.Writer, files []file, at time.Time) error {
	archive := zip.NewWriter(w)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Modified: at, Method: zip.Deflate}
		h.SetMode(f.mode)
		if f.mode.IsDir() {
			h.Name, h.Method = f.name+"/", zip.Store
		}
		part, err := archive.CreateHeader(h)
		if err != nil {
			return err
		}
		if err := copyContent(part, f); err != nil {
			return err
		}
	}
	return archive.Close()
}

// copyContent writes the content of a file; a folder has none.
func copyContent(w io.Writer, f file) error {
	if f.mode.IsDir() {
		return nil
	}
	content, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer content.Close()
	if _, err := io.Copy(w, content); err != nil {
		return fmt.Errorf("%s: %w", f.source, err)
	}
	return nil
}
