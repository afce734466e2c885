package blob_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// program runs the program as a process of its own, in the environment of an identity.
func program(t *testing.T, id clitest.Identity, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "holdfast", args...)
	cmd.Dir, cmd.Env = id.Dir, append(os.Environ(), id.Env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%q: %w\n%s", args, err, &stderr)
	}
	return string(out), err
}

// OpenSSL verifies what keys in devices sign.
func TestDevices(t *testing.T) {
	openssl := signertest.Require(t, "openssl", "openssl")
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	for _, id := range slices.Concat(clitest.TokenIdentities(t, ca), clitest.TPMIdentities(t, ca)) {
		t.Run(id.Name, func(t *testing.T) {
			t.Chdir(id.Dir)
			f := &folder{T: t}
			f.write("app", []byte("the program\n"))
			if _, err := program(t, id, append(append([]string{"sign-blob"}, id.Flags...), "app")...); err != nil {
				t.Fatal(err)
			}
			f.openssl(openssl, "x509", "-in", "app.sig.pem", "-pubkey", "-noout", "-out", "key.pub")
			f.openssl(openssl, opensslArgs("", "verify", "app", "app.sig")...)
			if got := f.good("verify-blob", "--signer", "cert.pem", "app"); !strings.HasPrefix(got, "app: signed by CN=client (") {
				t.Errorf("%q", got)
			}
			// It is the certificate of a machine.
			f.bad(front.ExitOther, []string{"verify-blob", "--trust-anchor", "ca.pem", "--subject", "CN=client", "app"}, "lack codeSigning")
		})
	}
}

// A key in an ssh-agent gets the content, and signs with the hash of the table.
func TestSSHAgent(t *testing.T) {
	openssl := signertest.Require(t, "openssl", "openssl")
	agent := sshagenttest.Start(t, "")
	ca := signertest.NewCA(t, "root")
	for _, kind := range []string{"rsa2048", "p256", "p384", "p521", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			f := newFolder(t)
			key := signertest.Key(t, kind)
			agent.Add(key, kind)
			f.write("cert.pem", signertest.CertPEM(ca.Issue(t, key, releaser)))
			f.write("ca.pem", signertest.CertPEM(ca.Cert))
			f.write("app", []byte("the program\n"))
			id := clitest.Identity{Dir: ".", Env: []string{"SSH_AUTH_SOCK=" + agent.Socket}}
			if _, err := program(t, id, "sign-blob", "--certificate", "cert.pem", "--private-key", "sshagent:", "app"); err != nil {
				t.Fatal(err)
			}
			f.openssl(openssl, "x509", "-in", "app.sig.pem", "-pubkey", "-noout", "-out", "key.pub")
			f.openssl(openssl, opensslArgs(kind, "verify", "app", "app.sig")...)
			f.good("verify-blob", "--trust-anchor", "ca.pem", "--subject", subject, "app")
		})
	}
}

// The content can be a pipe that the shell opened, but not a FIFO.
func TestPipes(t *testing.T) {
	f := newSigner(t, "p256")
	bash := signertest.Require(t, "bash", "bash")
	cmd := exec.CommandContext(t.Context(), bash, "-euc", `
holdfast sign-blob --private-key key.pem --signature app.sig <(cat app)
holdfast verify-blob --signer cert.pem app
holdfast verify-blob --signer cert.pem --signature app.sig <(cat app) | grep '^/dev/fd/'
cat app | holdfast verify-blob --signer cert.pem --signature app.sig /dev/stdin
if holdfast verify-blob --signer cert.pem --signature app.sig <(echo other) 2>&1; then exit 1; fi`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := syscall.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	f.bad(front.ExitOther, []string{"verify-blob", "--signer", "cert.pem", "--signature", "app.sig", "fifo"}, "fifo: is a FIFO", "give - as the file")
	f.bad(front.ExitOther, []string{"sign-blob", "--private-key", "key.pem", "--signature", "new.sig", "/dev/zero"}, "/dev/zero: is a device")
}

// A full disk leaves neither a part of a file nor a signature without its certificate,
// and keeps the old files.
func TestFullDisk(t *testing.T) {
	f := newSigner(t, "p256")
	f.good(signApp...)
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		signertest.Skip(t, "tmpfs", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(disk, "app.sig")
	args := with(signApp, "--signature", path)
	fill := func() {
		t.Helper()
		if err := os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	fill()
	f.bad(front.ExitOther, args, "app.sig.pem: no space left on device", "hint: the signature is lost")
	entries, err := os.ReadDir(disk)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries, error %v", len(entries), err)
	}
	// There is space for the certificate alone.
	if err := os.Truncate(filepath.Join(disk, "ballast"), 64<<10-4096); err != nil {
		t.Fatal(err)
	}
	f.bad(front.ExitOther, args, "app.sig: no space left on device")
	if entries, err = os.ReadDir(disk); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, error %v", len(entries), err)
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	f.good(args...)
	old := f.read(path)
	fill()
	f.bad(front.ExitOther, with(args, "--force"), "no space left on device")
	if !bytes.Equal(f.read(path), old) {
		t.Error("the old signature is not there")
	}
}
