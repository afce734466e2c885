package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// A format is a kind of package.
type format struct {
	packager nfpm.Packager
	arch     func(target) string
	suffix   string // of the names of the files, after the architecture
	zsh      string // the folder in which zsh looks for completions
	libc     string // the package of the C library, for the helper
}

var formats = []format{
	{deb.Default, func(t target) string { return t.deb }, ".deb", "usr/share/zsh/vendor-completions", "libc6"},
	{rpm.DefaultRPM, func(t target) string { return t.rpm }, ".rpm", "usr/share/zsh/site-functions", "glibc"},
}

const description = `Temporary AWS credentials from keys in hardware
holdfast turns a private key in a token, a TPM, a key store or a file, and its
certificate, into temporary AWS credentials through IAM Roles Anywhere, and
provides them to the AWS CLI and SDKs.`

func writePackages(_ context.Context, r *release) error {
	for _, t := range r.targets {
		for _, f := range formats {
			if f.arch(t) == "" {
				continue
			}
			info, err := r.packageInfo(t, f)
			if err != nil {
				return err
			}
			name := r.name("_" + f.arch(t) + f.suffix)
			if err := writeTo(name, func(w io.Writer) error { return f.packager.Package(info, w) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// packageInfo returns the description of a package.
func (r *release) packageInfo(t target, f format) (*nfpm.Info, error) {
	content, err := r.packageFiles(t, f)
	if err != nil {
		return nil, err
	}
	script := func(name string) string { return filepath.Join(r.root, "packaging", "scripts", name) }
	info := &nfpm.Info{
		Name: "holdfast", Arch: t.arch, Platform: t.os, Version: r.version, Release: "1", MTime: r.time,
		Section: "admin", Priority: "optional", Description: description, License: "Apache-2.0",
		Maintainer: "The Holdfast maintainers <holdfast-dev@users.noreply.github.com>", Homepage: "https://github.com/holdfast-dev/holdfast",
		DisableGlobbing: true,
	}
	info.Recommends = []string{"ca-certificates"}
	if t.helper { // the other programs need no library
		info.Depends = []string{f.libc}
	}
	info.Scripts = nfpm.Scripts{PostInstall: script("postinstall"), PreRemove: script("preremove"), PostRemove: script("postremove")}
	info.Deb.Arch, info.RPM.Arch = t.deb, t.rpm
	info.RPM.BuildHost = "localhost" // not the name of this machine
	info.RPM.Summary, _, _ = strings.Cut(description, "\n")
	for _, c := range withFolders(content) {
		if c.mode.IsDir() && !strings.Contains(c.name, "holdfast") {
			continue // of other packages
		}
		info.Contents = append(info.Contents, packageContent(c, r))
	}
	info = nfpm.WithDefaults(info)
	if err := nfpm.PrepareForPackager(info, strings.TrimPrefix(f.suffix, ".")); err != nil {
		return nil, err
	}
	return info, nil
}

func packageContent(f file, r *release) *files.Content {
	c := &files.Content{
		Source: f.source, Destination: "/" + f.name, Type: files.TypeFile,
		FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: f.mode, MTime: r.time},
	}
	switch {
	case f.mode.IsDir():
		c.Type, c.FileInfo.Mode = files.TypeDir, f.mode.Perm()
	case f.config:
		c.Type = files.TypeConfigNoReplace
	}
	return c
}

// packageFiles returns the files of a package. holdfast finds the helper in libexec.
func (r *release) packageFiles(t target, f format) ([]file, error) {
	deployment := filepath.Join(r.root, "docs", "deployment")
	content := []file{
		{name: "usr/bin/holdfast", mode: 0o755, source: r.program(t, "holdfast")},
		{name: "usr/bin/holdfast-ecp", mode: 0o755, source: r.program(t, "holdfast-ecp")},
		{name: "usr/share/doc/holdfast/copyright", mode: 0o644, source: r.copyright()},
		{name: "usr/share/doc/holdfast/README.md", mode: 0o644, source: filepath.Join(r.root, "README.md")},
		{name: "usr/share/doc/holdfast/CHANGELOG.md", mode: 0o644, source: filepath.Join(r.root, "CHANGELOG.md")},
		{name: "usr/share/doc/holdfast/prometheus-alerts.yml", mode: 0o644, source: filepath.Join(deployment, "prometheus-alerts.yml")},
		{name: "usr/share/doc/holdfast/prometheus-alerts-agent.yml", mode: 0o644, source: filepath.Join(deployment, "prometheus-alerts-agent.yml")},
		{name: "usr/lib/sysusers.d/holdfast.conf", mode: 0o644, source: filepath.Join(deployment, "holdfast.sysusers.conf")},
		{name: "usr/lib/tmpfiles.d/holdfast.conf", mode: 0o644, source: filepath.Join(deployment, "holdfast.tmpfiles.conf")},
		{name: "etc/holdfast/roles.toml", mode: 0o644, source: filepath.Join(deployment, "roles.toml"), config: true},
	}
	if t.helper {
		content = append(content, file{name: "usr/libexec/holdfast/holdfast-pkcs11", mode: 0o755, source: r.program(t, "holdfast-pkcs11")})
	}
	units, err := r.units(deployment)
	if err != nil {
		return nil, err
	}
	share, err := r.packageShare(f)
	return append(append(content, units...), share...), err
}

// units returns the units of systemd, which start the program of the package.
func (r *release) units(deployment string) ([]file, error) {
	var units []file
	for _, kind := range []string{"service", "socket", "timer"} {
		found, err := list(deployment, "."+kind, "usr/lib/systemd/system")
		if err != nil {
			return nil, err
		}
		units = append(units, found...)
	}
	for i, u := range units {
		text, err := os.ReadFile(u.source)
		if err != nil {
			return nil, err
		}
		text = bytes.ReplaceAll(text, []byte("/usr/local/bin/"), []byte("/usr/bin/"))
		if units[i].source, err = r.generate(u.name, text); err != nil {
			return nil, err
		}
	}
	return units, nil
}

// packageShare returns the compressed manual pages, and the completions.
func (r *release) packageShare(f format) ([]file, error) {
	share, err := tree(r.share(), "usr/share")
	if err != nil {
		return nil, err
	}
	for i := range share {
		one := &share[i]
		if dir, name := path.Split(one.name); dir == "usr/share/zsh/site-functions/" {
			one.name = path.Join(f.zsh, name)
		}
		if path.Dir(one.name) != "usr/share/man/man1" {
			continue
		}
		page, err := os.ReadFile(one.source)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(page); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		one.name += ".gz"
		if one.source, err = r.generate(one.name, out.Bytes()); err != nil {
			return nil, err
		}
	}
	return share, nil
}
