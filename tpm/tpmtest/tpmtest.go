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
	"strings"
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
	return start(tb, nil)
}

// A Maker is a CA that certifies the endorsement keys of new TPMs, like the maker
// of real ones.
type Maker struct {
	// Roots is a file with the certificates of the CA, in PEM.
	Roots string

	config string // of swtpm_setup
}

// NewMaker creates a CA, which is removed at the end of the test.
func NewMaker(tb testing.TB) *Maker {
	tb.Helper()
	dir := tb.TempDir()
	m := &Maker{Roots: filepath.Join(dir, "roots.pem"), config: filepath.Join(dir, "setup.conf")}
	path := func(name string) string { return filepath.Join(dir, name) }
	tool, err := exec.LookPath("swtpm_localca")
	if err != nil {
		tb.Fatal(err)
	}
	for name, text := range map[string]string{
		"ca.conf":    "statedir = " + dir + "\nsigningkey = " + path("key.pem") + "\nissuercert = " + path("issuer.pem") + "\ncertserial = " + path("serial") + "\n",
		"options":    "--platform-manufacturer Example\n--platform-version 1.0\n--platform-model Test\n",
		"setup.conf": "create_certs_tool = " + tool + "\ncreate_certs_tool_config = " + path("ca.conf") + "\ncreate_certs_tool_options = " + path("options") + "\nactive_pcr_banks = sha256\n",
	} {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return m
}

// Start is like the function Start, but the TPM has persistent endorsement keys
// (RSA-2048 and P-384), whose certificates are in its nonvolatile memory.
func (m *Maker) Start(tb testing.TB) *TPM {
	tb.Helper()
	return start(tb, func(state string) {
		arguments := strings.Fields("swtpm_setup --tpm2 --create-ek-cert --config FILE --tpmstate")
		arguments[4] = m.config
		out, err := exec.Command(arguments[0], append(arguments[1:], state)...).CombinedOutput()
		if err != nil {
			tb.Fatalf("swtpm_setup: %v: %s", err, out)
		}
		var roots []byte
		for _, name := range []string{"swtpm-localca-rootca-cert.pem", "issuer.pem"} {
			c, err := os.ReadFile(filepath.Join(filepath.Dir(m.Roots), name))
			if err != nil {
				tb.Fatal(err)
			}
			roots = append(roots, c...)
		}
		if err := os.WriteFile(m.Roots, roots, 0o600); err != nil {
			tb.Fatal(err)
		}
	})
}

// start starts a TPM. prepare, unless it is nil, writes its first state to a folder.
func start(tb testing.TB, prepare func(state string)) *TPM {
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
	if prepare != nil {
		prepare(dir)
	}
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
