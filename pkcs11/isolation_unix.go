//go:build unix

package pkcs11

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	if why := othersWrite(info, 0o022); why != "" {
		return refused(path, why, "chown root "+path+" && chmod 755 "+path)
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
		if why := othersWrite(info, 0o002); why != "" {
			return refused(path, "its folder "+why, "chown root "+dir+" && chmod go-w "+dir)
		}
	}
	return nil
}

func refused(path, why, hint string) error {
	return signer.WithHint(fmt.Errorf("%s is not started: %w", path, &refusedError{why}), hint)
}

// A refusedError says how others could make another program of one. It wraps
// [fs.ErrPermission].
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }
func (e *refusedError) Unwrap() error { return fs.ErrPermission }

// othersWrite describes how users other than this one and root can write a file or
// folder, of which they must not have the permissions in mask; "": they cannot. In a
// folder with the sticky bit they can replace only files of their own.
func othersWrite(info fs.FileInfo, mask fs.FileMode) string {
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case owner != 0 && owner != uint32(os.Geteuid()):
		return fmt.Sprintf("belongs to another user (UID %d)", owner)
	case info.Mode().Perm()&mask != 0 && !(info.IsDir() && info.Mode()&fs.ModeSticky != 0):
		return fmt.Sprintf("can be written by other users (mode %#o)", info.Mode().Perm())
	}
	return ""
}
