// Package tpmtest runs TPM 2.0 emulators for tests. Each emulator is a process
// of the program swtpm with a separate socket and state.
package tpmtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A TPM is an emulator without a resource manager. It serves one connection at
// a time. Its methods are not safe for concurrent use, but its socket is.
type TPM struct {
	// Path is the path of the socket, for device= or TPM_DEVICE.
	Path string

	dir   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has exited
}

// timeout is how long swtpm may take to start or reset on a busy machine. At
// the first start it generates keys.
const timeout = 2 * time.Minute

// Start starts a new TPM, which is stopped at the end of the test. The test
// fails if swtpm is not installed.
func Start(tb testing.TB) *TPM {
	tb.Helper()
	// Not TempDir: a socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		tb.Fatal(err)
	}
	t := &TPM{Path: filepath.Join(dir, "tpm"), dir: dir}
	tb.Cleanup(func() {
		t.Kill()
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	if err := t.Restart(); err != nil {
		tb.Fatal(err)
	}
	return t
}

// TCTI returns the name of the TPM for tpm2-tools and the tpm2 provider of
// OpenSSL.
func (t *TPM) TCTI() string { return "swtpm:path=" + t.Path }

// Restart starts the TPM again after Kill, like power-on. The TPM keeps its
// persistent state.
func (t *TPM) Restart() error {
	control := t.Path + ".ctrl"
	for _, socket := range []string{t.Path, control} {
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	t.cmd = exec.Command("swtpm", "socket", "--tpm2",
		"--tpmstate", "dir="+t.dir,
		"--server", "type=unixio,path="+t.Path,
		"--ctrl", "type=unixio,path="+control,
		"--flags", "not-need-init,startup-clear")
	t.cmd.SysProcAttr = endWithParent
	var out bytes.Buffer
	t.cmd.Stdout, t.cmd.Stderr = &out, &out
	if err := t.cmd.Start(); err != nil {
		t.cmd = nil
		return fmt.Errorf("start swtpm: %w", err)
	}
	t.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(t.cmd, t.ended)
	deadline := time.Now().Add(timeout)
	for {
		c, err := net.Dial("unix", t.Path)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("swtpm did not start within %v: %w", timeout, err)
		}
		select {
		case <-t.ended:
			return fmt.Errorf("swtpm exited, %v: %s", t.cmd.ProcessState, &out)
		case <-time.After(time.Millisecond): // swtpm does not report when it is ready
		}
	}
}

// Kill stops the TPM like a power failure. It does nothing if the TPM is not
// running.
func (t *TPM) Kill() {
	if t.cmd == nil {
		return
	}
	_ = t.cmd.Process.Kill()
	<-t.ended
	t.cmd = nil
}

// Reset resets the TPM like a restart of the machine. The TPM then requires
// TPM2_Startup.
func (t *TPM) Reset() error {
	const cmdInit = 2 // CMD_INIT of swtpm's control channel, with no flags
	c, err := net.Dial("unix", t.Path+".ctrl")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{0, 0, 0, cmdInit, 0, 0, 0, 0}); err != nil {
		return err
	}
	var result [4]byte
	if _, err := io.ReadFull(c, result[:]); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint32(result[:]); n != 0 {
		return fmt.Errorf("swtpm: reset: error %d", n)
	}
	return nil
}
