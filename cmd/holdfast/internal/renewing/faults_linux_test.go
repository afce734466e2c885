package renewing_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// newPair makes a CA, a key and a certificate of a year in dir, and a program that
// renews it. The program counts its calls in the file calls.
func newPair(t *testing.T, dir string) {
	t.Helper()
	run(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--out", "app.csr")
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--out", "cert.pem")
	script := "#!/bin/sh\necho \"$HOLDFAST_TOKEN\" >> calls\nexec holdfast ca issue --csr - --accept-csr-names\n"
	if err := clitest.WriteProgram(filepath.Join(dir, "get"), []byte(script)); err != nil {
		t.Fatal(err)
	}
}

var pair = []string{"--certificate", "cert.pem", "--private-key", "key.pem"}

// A renewal that is killed at any time leaves a pair that works, and the next one
// succeeds without asking for more than one certificate that is not used.
func TestKilledRenewals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newPair(t, dir)
	renew := append([]string{"renew", "--way", "command"}, append(pair, "--", "./get")...)
	p := &killedPair{T: t, dir: dir, pair: pair, state: "cert.pem.renewal", files: []string{"cert.pem"}, renew: func(int) []string { return renew }}
	p.kill(15)
	before := serialOf(t, filepath.Join(dir, "cert.pem"))
	run(t, dir, renew...)
	if serialOf(t, filepath.Join(dir, "cert.pem")) == before {
		t.Error("the last renewal did not replace the certificate")
	}
	run(t, dir, append([]string{"verify", "--trust-anchor", "ca/ca.pem"}, pair...)...)
	// The same request was sent again after an interruption, and no other one.
	data, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	last := ""
	for token := range strings.FieldsSeq(string(data)) {
		if token != last && seen[token] {
			t.Errorf("token %s comes again after another one", token)
		}
		seen[token], last = true, token
	}
	if entries, err := filepath.Glob(filepath.Join(dir, ".holdfast-*")); err != nil || len(entries) > p.killed {
		t.Errorf("%d temporary files, %v", len(entries), err)
	}
}

// On a full disk the old pair stays, and with space the next renewal succeeds.
func TestRenewalOnAFullDisk(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=512k"); err != nil {
		signertest.Skip(t, "tmpfs", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	newPair(t, dir)
	for _, name := range []string{"cert.pem", "key.pem"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(mount, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cert, key := filepath.Join(mount, "cert.pem"), filepath.Join(mount, "key.pem")
	renew := []string{"renew", "--way", "command", "--certificate", cert, "--private-key", key, "--", "./get"}
	before := serialOf(t, cert)
	ballast := filepath.Join(mount, "ballast")
	for _, free := range []int{0, 4 << 10, 8 << 10} { // no state, no received certificate, no new file
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		if info, err := os.Stat(ballast); err != nil || os.Truncate(ballast, info.Size()-int64(free)) != nil {
			t.Fatal(err)
		}
		cmd := clitest.PlainCommand(t, renew...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err == nil && free == 0 || err != nil && (!strings.Contains(string(out), "no space left on device") || !strings.Contains(string(out), "\nhint: ")) {
			t.Errorf("%d bytes free: %v: %s", free, err, out)
		}
		if now := serialOf(t, cert); err != nil && now != before {
			t.Error("the certificate has changed in spite of an error")
		} else {
			before = now
		}
		run(t, dir, "verify", "--certificate", cert, "--private-key", key, "--trust-anchor", "ca/ca.pem")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	run(t, dir, renew...)
	if serialOf(t, cert) == before {
		t.Error("with space the certificate is still the old one")
	}
}

// An outage of the CA from before the due time to after the end of the certificate:
// the alarm comes in time, and the recovery by itself.
func TestOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newPair(t, dir)
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", "10s", "--out", "cert.pem")
	script := "#!/bin/sh\n[ -e healthy ] || { echo outage >&2; exit 3; }\nexec holdfast ca issue --csr - --accept-csr-names\n"
	if err := clitest.WriteProgram(filepath.Join(dir, "get"), []byte(script)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("holdfast", append([]string{"renew", "--loop", "--way", "command"}, append(pair, "--", "./get")...)...)
	cmd.Dir = dir
	log := new(clitest.LockedBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(unix.SIGINT)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, log)
		}
	}()
	clitest.Eventually(t, "an alarm", func() bool {
		return strings.Contains(log.String(), "the certificate is overdue and was not renewed")
	})
	clitest.Eventually(t, "the end of the certificate", func() bool {
		return exec.Command("openssl", "x509", "-in", filepath.Join(dir, "cert.pem"), "-noout", "-checkend", "0").Run() != nil
	})
	if tries := strings.Count(log.String(), "was not renewed"); tries > 60 {
		t.Errorf("%d tries", tries)
	}
	if err := os.WriteFile(filepath.Join(dir, "healthy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "a new certificate", func() bool { return strings.Contains(log.String(), "the certificate was renewed") })
	run(t, dir, append([]string{"verify", "--trust-anchor", "ca/ca.pem"}, pair...)...)
}
