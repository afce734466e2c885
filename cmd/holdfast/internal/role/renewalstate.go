package role

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/signer"
)

// stateFile returns the file with the state of the renewal: beside the file of the
// certificate, or else in the folder for the state of programs.
func (s Setup) stateFile(a front.App) (path string, err error) {
	id := s.Key.Identity
	if path = s.Renewal.StateFile; path == "" {
		ref := id.Certificate
		if ref.IsZero() {
			ref = id.Key
		}
		if files := a.Store.Uses(ref).Files; len(files) == 1 {
			path = files[0]
			if real, err := filepath.EvalSymlinks(path); err == nil {
				path = real // it has one state, whatever it is called
			}
			path += ".renewal"
		} else if path, err = stateFolder(a); err == nil {
			path = filepath.Join(path, fmt.Sprintf("%x.renewal", sha256.Sum256([]byte(ref.String())))[:32])
		}
	}
	if err != nil {
		return "", err
	}
	return path, fileowner.Check(path)
}

// stateFolder returns the folder for the state of programs, and makes it: that of
// systemd, or that of the XDG Base Directory Specification.
func stateFolder(a front.App) (string, error) {
	dir, _, _ := strings.Cut(a.Env("STATE_DIRECTORY"), ":")
	if dir == "" {
		base := a.Env("XDG_STATE_HOME")
		switch home := a.Env("HOME"); {
		case filepath.IsAbs(base):
		case runtime.GOOS == "windows":
			base = a.Env("LOCALAPPDATA")
		case home != "":
			base = filepath.Join(home, ".local", "state")
		default:
			base = ""
		}
		if base == "" {
			return "", signer.WithHint(front.Usagef("there is no folder for the state of the renewal"), "name a file with --state-file")
		}
		dir = filepath.Join(base, "holdfast")
	}
	return dir, os.MkdirAll(dir, 0o700)
}
