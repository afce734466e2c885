//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// bootFiles are what the administrator of the machine writes. The key is only for root.
var bootFiles = map[string]string{
	"/etc/holdfast/roles.toml": `[[role]]
name = "app"
certificate = "/run/credentials/holdfast.service/cert.pem"
private_key = "/run/credentials/holdfast.service/key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/app"
endpoint = "http://127.0.0.1:9910"
`,
	"/etc/emulator.toml": `[[trust_anchors]]
certificate_files = ["ca.pem"]
[[roles]]
arn = "arn:aws:iam::111122223333:role/app"
`,
	"/etc/systemd/system/holdfast.service.d/key.conf": `[Service]
LoadCredential=key.pem:/etc/pki/key.pem
LoadCredential=cert.pem:/etc/pki/cert.pem
[Unit]
Wants=emulator.service
After=emulator.service
`,
	"/etc/systemd/system/emulator.service": `[Service]
ExecStart=/usr/bin/holdfast emulator --config /etc/emulator.toml
`,
	// The check follows holdfast.service, and systemd exits at its end.
	"/etc/systemd/system/check.target": `[Unit]
Requires=holdfast.socket holdfast.service check.service
AllowIsolate=yes
`,
	"/etc/systemd/system/check.service": `[Unit]
After=holdfast.service
[Service]
Type=oneshot
StandardOutput=file:/result
StandardError=file:/errors
ExecStart=/bin/bash /check.sh
ExecStopPost=/bin/systemctl exit --force --force
TimeoutStartSec=60
`,
}

// TestServiceStarts starts holdfast.service, and the emulator, by a systemd in namespaces
// of its own, with all restrictions of the unit.
func TestServiceStarts(t *testing.T) {
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			m := newMachine(t, release)
			copyFile(t, find(t, "_amd64.deb"), m.path("/holdfast.deb"))
			m.run("dpkg", "-i", "/holdfast.deb")
			copyFile(t, filepath.Join("testdata", "check.sh"), m.path("/check.sh"))
			ca := signertest.NewCA(t, "ca")
			key := signertest.NewKey(t, "p256")
			m.write("/etc/ca.pem", string(signertest.CertPEM(ca.Cert)))
			m.write("/etc/pki/cert.pem", string(signertest.CertPEM(ca.Issue(t, key, nil))))
			m.write("/etc/pki/key.pem", string(signertest.KeyPEM(t, key)))
			if err := os.Chmod(m.path("/etc/pki/key.pem"), 0o600); err != nil {
				t.Fatal(err)
			}
			for name, text := range bootFiles {
				m.write(name, text)
			}
			m.run("systemctl", "enable", "holdfast.socket")
			boot(t, m)
			result, err := os.ReadFile(m.path("/result"))
			if err != nil {
				t.Fatal(err)
			}
			const want = `User=holdfast
NRestarts=0
ActiveState=active
NoNewPrivs=1
Seccomp=2
CapEff=0000000000000000
Ready=200
Credentials=1
Token=600 holdfast
Reload=done
AfterReloadActiveState=active
`
			for line := range strings.Lines(want) {
				if !strings.Contains("\n"+string(result), "\n"+line) {
					t.Errorf("the result lacks %s", line)
				}
			}
			errors, _ := os.ReadFile(m.path("/errors"))
			t.Logf("%s\n%s", result, errors)
		})
	}
}

// boot runs systemd in the root folder until it exits.
func boot(t *testing.T, m machine) {
	t.Helper()
	group, err := newCgroup(t)
	if err != nil {
		signertest.Skip(t, "boot", err)
	}
	script, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", "sh", script, m.root)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("systemd: %v\n%s", err, out)
	}
}

// newCgroup makes a control group, which systemd takes for its own root.
func newCgroup(t *testing.T) (*os.File, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		dir, err := os.MkdirTemp(fields[1], "holdfast-test-")
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { // only rmdir removes groups
			_ = exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
		})
		f, err := os.Open(dir)
		if err == nil {
			t.Cleanup(func() { _ = f.Close() })
		}
		return f, err
	}
	return nil, errors.New("there are no control groups of version 2")
}
