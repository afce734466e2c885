//go:build linux

package sshagent_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A running agent.
type agentProcess struct {
	*exec.Cmd
	t      *testing.T
	socket string
	log    *clitest.LockedBuffer
	rest   io.Reader // of standard output
}

// environ is the environment of the programs of a test.
func environ(dir string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "TMPDIR=" + dir, "LC_ALL=C.UTF-8"}, more...)
}

// start runs the agent in dir and waits until it listens.
func start(t *testing.T, dir string, env []string, args ...string) *agentProcess {
	t.Helper()
	a := &agentProcess{Cmd: exec.Command("holdfast", append([]string{"ssh-agent", "--debug"}, args...)...), t: t, log: new(clitest.LockedBuffer)}
	a.Dir, a.Env, a.Stderr = dir, environ(dir, env...), a.log
	out, err := a.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Process.Kill()
		_ = a.Wait()
		if t.Failed() {
			t.Logf("the log of the agent:\n%s", a.log)
		}
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	value, ok := strings.CutPrefix(line, "SSH_AUTH_SOCK=")
	a.socket, _, _ = strings.Cut(value, ";")
	if err != nil || !ok || !strings.HasSuffix(line, "; export SSH_AUTH_SOCK;\n") {
		_ = a.Wait()
		t.Fatalf("%v: %q\n%s", err, line, a.log)
	}
	a.rest = lines
	return a
}

// stop ends the agent, which removes its socket.
func (a *agentProcess) stop() {
	a.t.Helper()
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	more, _ := io.ReadAll(a.rest)
	if err := a.Wait(); err != nil || len(more) > 0 {
		a.t.Errorf("%v, %q\n%s", err, more, a.log)
	}
	if _, err := os.Lstat(a.socket); !errors.Is(err, fs.ErrNotExist) {
		a.t.Errorf("the socket is left: %v", err)
	}
}

// run runs a program that uses the agent, and returns its output.
func (a *agentProcess) run(input, program string, args ...string) (string, error) {
	a.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = a.Dir, environ(a.Dir, "SSH_AUTH_SOCK="+a.socket, "GIT_CONFIG_NOSYSTEM=1"), strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// must is run for a program that must succeed.
func (a *agentProcess) must(input, program string, args ...string) string {
	a.t.Helper()
	out, err := a.run(input, program, args...)
	if err != nil {
		a.t.Fatalf("%s %q: %v\n%s\n%s", program, args, err, out, a.log)
	}
	return out
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keyFlags returns the flags of the key of an identity, without its certificate.
func keyFlags(id clitest.Identity) []string {
	flags := slices.Clone(id.Flags)
	if i := slices.Index(flags, "--private-key"); i >= 0 {
		return flags[i:]
	}
	flags[0] = "--private-key" // of a token, where the certificate has the same reference
	return flags
}

// TestOpenSSH uses keys of devices with the programs of OpenSSH and with Git.
func TestOpenSSH(t *testing.T) {
	sshd := signertest.Require(t, "openssh", "/usr/sbin/sshd")
	signertest.Require(t, "openssh", "ssh-keygen")
	ca := signertest.NewCA(t, "CA")
	for _, id := range append(clitest.TPMIdentities(t, ca), clitest.TokenIdentities(t, ca)...) {
		t.Run(id.Name, func(t *testing.T) {
			t.Chdir(id.Dir)
			a := start(t, id.Dir, id.Env, keyFlags(id)...)
			line := a.must("", "ssh-add", "-L")
			if strings.Count(line, "\n") != 1 || strings.Contains(line, "pin-") {
				t.Fatalf("ssh-add -L: %q", line)
			}
			write(t, id.Dir, "key.pub", line)
			fields := strings.Fields(line)
			rsa := fields[0] == "ssh-rsa"
			if out := a.must("", "ssh-add", "-l"); !strings.Contains(out, "SHA256:") {
				t.Errorf("ssh-add -l: %q", out)
			}
			testSignatures(t, a, rsa)
			testGit(t, a, fields[0]+" "+fields[1])
			testRefusals(t, a)

			host := newHost(t, sshd, id.Dir)
			write(t, id.Dir, "authorized_keys", line)
			host.login(a, "")
			for _, algorithm := range []string{"rsa-sha2-256", "rsa-sha2-512"} {
				if rsa {
					host.login(a, algorithm)
				}
			}
			if !strings.Contains(a.log.String(), "bound to a connection") {
				t.Error("ssh did not bind its session")
			}
			a.stop()

			// A certificate of a CA, without the key in authorized_keys.
			write(t, id.Dir, "authorized_keys", "")
			host.certify(t)
			a = start(t, id.Dir, id.Env, append(keyFlags(id), "--ssh-certificate", "key-cert.pub")...)
			if out := a.must("", "ssh-add", "-L"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "-cert-v01@openssh.com ") {
				t.Errorf("ssh-add -L: %q", out)
			}
			host.login(a, "")
			a.stop()
		})
	}
}

func testSignatures(t *testing.T, a *agentProcess, rsa bool) {
	t.Helper()
	// OpenSSH before 9.3 tests RSA keys with SHA-1.
	if out, err := a.run("", "ssh-add", "-T", "key.pub"); err != nil && !rsa {
		t.Errorf("ssh-add -T: %v\n%s", err, out)
	}
	signature := a.must("message", "ssh-keygen", "-Y", "sign", "-n", "file", "-f", "key.pub")
	_, signature, _ = strings.Cut(signature, "-----BEGIN")
	write(t, a.Dir, "sig", "-----BEGIN"+signature)
	if out := a.must("message", "ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", "sig"); !strings.Contains(out, `Good "file" signature`) {
		t.Errorf("ssh-keygen -Y: %s", out)
	}
}

// testGit signs a commit as gitformat-signature(5) says.
func testGit(t *testing.T, a *agentProcess, public string) {
	t.Helper()
	signertest.Require(t, "git", "git")
	write(t, a.Dir, "allowed", "app@example "+public+"\n")
	git := []string{"-c", "user.name=app", "-c", "user.email=app@example", "-c", "gpg.format=ssh", "-c", "user.signingkey=key::" + public, "-c", "gpg.ssh.allowedSignersFile=allowed"}
	a.must("", "git", "init", "-q", ".")
	a.must("", "git", append(git, "commit", "-q", "--allow-empty", "-S", "-m", "signed")...)
	if out := a.must("", "git", append(git, "verify-commit", "HEAD")...); !strings.Contains(out, `Good "git" signature for app@example`) {
		t.Errorf("git verify-commit: %s", out)
	}
}

// testRefusals: the keys belong to Holdfast.
func testRefusals(t *testing.T, a *agentProcess) {
	t.Helper()
	a.must("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other")
	for _, args := range [][]string{{"other"}, {"-t", "60", "other"}, {"-c", "other"}, {"-d", "key.pub"}, {"-D"}, {"-s", "/usr/lib/libnone.so"}} {
		if out, err := a.run("", "ssh-add", args...); err == nil {
			t.Errorf("ssh-add %q succeeded: %s", args, out)
		}
	}
	if out := a.must("", "ssh-add", "-L"); strings.Count(out, "\n") != 1 {
		t.Errorf("ssh-add -L: %q", out)
	}
}

// A host is a configuration of sshd, which runs for each connection.
type host struct{ sshd, dir string }

func newHost(t *testing.T, sshd, dir string) host {
	t.Helper()
	if os.Geteuid() == 0 { // sshd demands the folder, which its service makes
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			signertest.Skip(t, "openssh", err)
		}
	}
	h := host{sshd, dir}
	h.keygen(t, "-q", "-t", "ed25519", "-N", "", "-f", "host")
	h.keygen(t, "-q", "-t", "ed25519", "-N", "", "-f", "ca")
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, dir, "sshd_config", strings.Join([]string{
		"HostKey " + in("host"), "PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin prohibit-password",
		"AuthorizedKeysFile " + in("authorized_keys"), "TrustedUserCAKeys " + in("ca.pub"),
		"PasswordAuthentication no", "KbdInteractiveAuthentication no",
	}, "\n")+"\n")
	public, err := os.ReadFile(in("host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "known_hosts", "host.example "+string(public))
	return h
}

func (h host) keygen(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Dir = h.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %q: %v\n%s", args, err, out)
	}
}

// certify writes key-cert.pub.
func (h host) certify(t *testing.T) {
	t.Helper()
	h.keygen(t, "-q", "-s", "ca", "-I", "app", "-n", h.user(), "-V", "-5m:+1h", "key.pub")
}

func (h host) user() string {
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
}

// login runs a command through SSH, with a signature of one algorithm if it is not "".
func (h host) login(a *agentProcess, algorithm string) {
	a.t.Helper()
	args := []string{"-F", "none", "-o", "UserKnownHostsFile=known_hosts", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentityFile=none",
		"-o", fmt.Sprintf("ProxyCommand=%s -i -e -f %s/sshd_config", h.sshd, h.dir)}
	if algorithm != "" {
		args = append(args, "-o", "PubkeyAcceptedAlgorithms="+algorithm)
	}
	if out := a.must("", "ssh", append(args, h.user()+"@host.example", "echo logged in")...); !strings.Contains(out, "logged in\n") {
		a.t.Errorf("%s", out)
	}
}
