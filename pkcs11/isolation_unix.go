//go:build unix

package pkcs11

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-dev/holdfast/signer"
)

// checkHelper refuses a program that users other than this one and root can write or
// replace.
func checkHelper(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return signer.WithHint(fmt.Errorf("%s is not a program", path), "install "+helperName+" of the same version as this program")
	}
	if err := refuse(path, path, info, 0o022); err != nil {
		return err
	}
	// A link can lead from a safe folder to one that is not, and back.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(real)} {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if err := refuse(path, dir, info, 0o002); err != nil {
			return err
		}
	}
	return nil
}

// refuse returns an error if users other than this one and root can write name: the
// program or its folder. Others must not have the permissions in mask, but in a folder
// with the sticky bit they can replace only files of their own.
func refuse(program, name string, info fs.FileInfo, mask fs.FileMode) error {
	owner := info.Sys().(*syscall.Stat_t).Uid
	sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0
	var why, hint string
	switch {
	case owner != 0 && owner != uint32(os.Geteuid()):
		why, hint = fmt.Sprintf("belongs to another user (UID %d)", owner), "sudo chown NAME FILE"
	case info.Mode().Perm()&mask != 0 && !sticky:
		why, hint = fmt.Sprintf("can be written by other users (mode %#o)", info.Mode().Perm()), "chmod go-w FILE"
	default:
		return nil
	}
	if info.IsDir() {
		why = "its folder " + why
	}
	hint = strings.NewReplacer("NAME", "root", "FILE", "'"+name+"'").Replace(hint)
	return signer.WithHint(fmt.Errorf("%s is not started: %w", program, &refusedError{why}), hint)
}

// A refusedError says how others could make another program of one. It wraps
// [fs.ErrPermission].
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }
func (e *refusedError) Unwrap() error { return fs.ErrPermission }
