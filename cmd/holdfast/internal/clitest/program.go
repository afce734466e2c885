package clitest

import (
	"bytes"
	"fmt"
	"os/exec"
)

// WriteProgram writes an executable file in a process of its own. If the test wrote
// it, a process that another test starts at this moment could still have the file
// open for writing, and nobody could execute it (ETXTBSY).
func WriteProgram(path string, content []byte) error {
	cmd := exec.Command("sh", "-c", `cat >"$1" && chmod 755 "$1"`, "sh", path)
	cmd.Stdin = bytes.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s: %w: %s", path, err, out)
	}
	return nil
}
