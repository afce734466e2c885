package issuing_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// TestAttestBesideServe runs eight attests at once, and again, on a TPM without a
// resource manager with which serve signs all the time.
func TestAttestBesideServe(t *testing.T) {
	signertest.Require(t, "swtpm", "swtpm_setup")
	maker := tpmtest.NewMaker(t)
	emulator := maker.Start(t)
	t.Setenv("TPM_DEVICE", emulator.Path)
	dir := newCA(t)
	mustRun(t, dir, "generate", "--private-key", "tpm:path=key.pem")
	mustRun(t, dir, "attest", "--private-key", "key.pem", "--out", "evidence.json")
	mustRun(t, dir, "ca", "issue", "--attestation", "evidence.json", "--ek-roots", maker.Roots, "--subject", "CN=app", "--out", "wrapped.json")
	mustRun(t, dir, "install", "--certificate", "wrapped.json", "--private-key", "key.pem", "--to", "cert.pem")
	root := readCertificate(t, filepath.Join(dir, "ca", "ca.pem"))
	up := clitest.NewUpstream(t, root, 5*time.Second) // so that serve signs once in some seconds
	s := &clitest.Site{Dir: dir, Up: up}
	s.Served = clitest.StartServe(t, dir, []string{"TPM_DEVICE=" + emulator.Path}, append([]string{"--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0"}, up.Args...)...)
	clitest.WaitReady(t, s.Served)

	const together, sessions = 8, 5
	for attests := 0; attests < 2*together || up.Sessions.Load() < sessions; attests += together {
		errs := make(chan error, together)
		for i := range together {
			go func() {
				_, _, err := runIn(t, dir, 0, "attest", "--private-key", "key.pem", "--out", fmt.Sprintf("evidence%d.json", i))
				errs <- err
			}()
		}
		for range together {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if status, _, _ := clitest.CredentialsOf(t, s.Served, "/credentials"); status != http.StatusOK {
			t.Errorf("serve answers with status %d", status)
		}
		if t.Failed() {
			break
		}
	}
	s.Signal(t, syscall.SIGTERM)
	if err := s.End(); err != nil {
		t.Error(err)
	}
	wanted, err := os.ReadFile(filepath.Join(dir, "evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range together {
		if got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("evidence%d.json", i))); err != nil || string(got) != string(wanted) {
			t.Errorf("evidence %d differs: %v", i, err)
		}
	}
	signertest.Require(t, "tpm2-tools", "tpm2_getcap")
	for _, handles := range []string{"handles-transient", "handles-loaded-session", "handles-saved-session"} {
		cmd := exec.Command("tpm2_getcap", handles)
		cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+emulator.TCTI())
		if out, err := cmd.Output(); err != nil || strings.Contains(string(out), "0x") {
			t.Errorf("left in the TPM, %s: %s %v", handles, out, err)
		}
	}
}

func readCertificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
