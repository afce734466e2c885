//go:build unix

package ecp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestProtocolOut: what a module prints is not part of the protocol.
func TestProtocolOut(t *testing.T) {
	if os.Getenv("ECP_TEST_CHILD") != "" {
		out := ProtocolOut()
		fmt.Println("noise")
		fmt.Fprint(out, "protocol")
		out.Close()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProtocolOut$")
	cmd.Env = append(os.Environ(), "ECP_TEST_CHILD=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stdout.String() != "protocol" || !bytes.Contains(stderr.Bytes(), []byte("noise\n")) {
		t.Errorf("%v: %q, %q", err, &stdout, &stderr)
	}
}
