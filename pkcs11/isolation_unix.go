//go:build unix

package pkcs11

import (
	"fmt"
	"os"
	"syscall"

	"github.com/holdfast-dev/holdfast/signer"
)

// checkHelper refuses a program that users other than this one and root can replace.
func checkHelper(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if info.Mode().Perm()&0o022 != 0 || owner != 0 && owner != uint32(os.Geteuid()) {
		return signer.WithHint(fmt.Errorf("%s: other users can write this program", path), "chown root "+path+" && chmod 755 "+path)
	}
	return nil
}
