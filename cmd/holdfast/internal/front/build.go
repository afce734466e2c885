package front

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the version of a release that is built from a source archive,
// where the toolchain has no repository to read it from. The Makefile and
// script/build-all set it from HOLDFAST_VERSION.
var version string

// A Build describes the running binary. The Go toolchain records the data.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	CGO      bool   `json:"cgo"` // so that PKCS #11 modules can run in this process
}

// ReadBuild returns the description of the running binary.
func ReadBuild() Build {
	b := Build{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	b.Version = cmp.Or(version, info.Main.Version, b.Version)
	for _, s := range info.Settings {
		switch s.Key {
		case "CGO_ENABLED":
			b.CGO = s.Value == "1"
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String returns the description in one line.
func (b Build) String() string {
	return fmt.Sprintf("holdfast %s (%s, %s/%s)", b.Version, b.Go, b.OS, b.Arch)
}

// UserAgent returns the value of the User-Agent header (RFC 9110, section
// 10.1.5).
func (b Build) UserAgent() string {
	return fmt.Sprintf("Holdfast/%s (%s; %s; %s)", b.Version, b.Go, b.OS, b.Arch)
}
