//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A machine is a root folder with the essential packages of a release of Debian, and
// systemd.
type machine struct {
	t    *testing.T
	root string
}

// newMachine unpacks what "script/test-deps packages" has downloaded.
func newMachine(t *testing.T, release string) machine {
	t.Helper()
	needsRoot(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(cache, "holdfast-test", "debian-"+release+"-1.tar")
	if _, err := os.Stat(archive); err != nil {
		signertest.Skip(t, "debian-"+release, err)
	}
	m := machine{t, t.TempDir()}
	if err := os.Chmod(m.root, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "--numeric-owner", "-C", m.root, "-xf", archive, "--exclude=./dev/*").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"null", "urandom"} { // not the devices: TempDir could be mounted without them
		if err := os.WriteFile(filepath.Join(m.root, "dev", name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// try runs a program in the root folder and returns what it prints.
func (m machine) try(args ...string) (string, error) {
	const script = `mount -t proc proc "$0/proc" && mount --bind /dev/null "$0/dev/null" &&
		mount --bind /dev/urandom "$0/dev/urandom" && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 chroot "$0" "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "--pid", "--fork", "sh", "-c", script, m.root}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for a program that must succeed.
func (m machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

func (m machine) path(name string) string { return filepath.Join(m.root, name) }

func (m machine) write(name, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// has reports whether a file exists and has a text.
func (m machine) has(name, text string) bool {
	data, err := os.ReadFile(m.path(name))
	return err == nil && strings.Contains(string(data), text)
}

func (m machine) exists(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

// later writes a package of version 0.0.1, which is later than every one without a tag, with
// the same programs and another example of the configuration.
func later(t *testing.T, f format) string {
	t.Helper()
	at := unpack(t, "linux_amd64")
	clone := filepath.Dir(dist(t))
	r := &release{root: t.TempDir(), out: t.TempDir(), work: t.TempDir(), version: "v0.0.1", targets: targets[:1]}
	for link, to := range map[string]string{
		r.work + "/bin/linux_amd64": at, r.share(): at + "/share", r.work + "/copyright": at + "/LICENSE", r.root + "/packaging": clone + "/packaging",
		r.root + "/LICENSE": clone + "/LICENSE", r.root + "/README.md": clone + "/README.md", r.root + "/CHANGELOG.md": clone + "/CHANGELOG.md",
	} {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	deployment := filepath.Join(r.root, "docs", "deployment")
	if err := os.CopyFS(deployment, os.DirFS(filepath.Join(clone, "docs", "deployment"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(deployment, "roles.toml"), []byte("# a later example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writePackages(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	return r.name("_" + f.arch(r.targets[0]) + f.suffix)
}

// A manager installs packages of a format.
type manager struct {
	format
	install, downgrade func(m machine, file string)
	version            func(m machine) string
	remove             func(m machine)
}

// mine marks the configuration as changed by the administrator.
const mine = "# changed by the administrator\n"

// lifecycle installs a package, changes the configuration, installs a later version and
// the first one again, and removes it.
func lifecycle(t *testing.T, m machine, p manager) {
	first, second := find(t, "_"+p.arch(targets[0])+p.suffix), later(t, p.format)
	p.install(m, first)
	before := p.version(m)
	if out := m.run("holdfast", "version"); !strings.HasPrefix(out, "holdfast "+version(t)) {
		t.Errorf("version prints %q", out)
	}
	if out := m.run("/usr/libexec/holdfast/holdfast-pkcs11", "--version"); !strings.HasPrefix(out, "holdfast-pkcs11 "+version(t)) {
		t.Errorf("the version of the helper is %q", out)
	}
	for name, text := range map[string]string{
		"/usr/share/bash-completion/completions/holdfast": "holdfast", "/usr/share/fish/vendor_completions.d/holdfast.fish": "holdfast", "/" + p.zsh + "/_holdfast": "holdfast",
		"/usr/share/man/man1/holdfast.1.gz": "", "/usr/share/man/man1/holdfast-ca-issue.1.gz": "", "/usr/share/doc/holdfast/prometheus-alerts.yml": "alert:", "/usr/share/doc/holdfast/prometheus-alerts-agent.yml": "alert:",
	} {
		if !m.has(name, text) {
			t.Errorf("%s is not there, or lacks %q", name, text)
		}
	}
	// Without a module, the error names it. Without the helper, it would name that.
	if out, err := m.try("holdfast", "sign-string", "--private-key", "pkcs11:object=app?module-path=/none.so"); err == nil || !strings.Contains(out, "/none.so") {
		t.Errorf("the helper is not used: %v\n%s", err, out)
	}
	if out := m.run("stat", "-c", "%a %U %G", "/var/lib/holdfast", "/etc/holdfast/roles.toml"); out != "700 holdfast holdfast\n644 root root\n" {
		t.Errorf("owners and modes:\n%s", out)
	}
	if out, err := m.try("systemctl", "is-enabled", "holdfast.service"); err == nil || strings.TrimSpace(out) != "disabled" {
		t.Errorf("the service is %s, %v", out, err)
	}
	verifyUnits(t, m)
	m.run("systemctl", "enable", "holdfast.service", "holdfast@app.service")
	m.write("/etc/holdfast/roles.toml", mine)
	m.write("/var/lib/holdfast/key.pem", "a key")

	for _, step := range []struct {
		name    string
		install func(machine, string)
		file    string
	}{{"upgrade", p.install, second}, {"downgrade", p.downgrade, first}} {
		step.install(m, step.file)
		if got := p.version(m); (got == before) != (step.file == first) {
			t.Errorf("%s: the version is %s; the first one was %s", step.name, got, before)
		}
		if !m.has("/etc/holdfast/roles.toml", mine) {
			t.Errorf("%s: the configuration was replaced", step.name)
		}
		if out := m.run("systemctl", "is-enabled", "holdfast.service", "holdfast@app.service"); out != "enabled\nenabled\n" {
			t.Errorf("%s: the services are %q", step.name, out)
		}
	}

	p.remove(m)
	for _, name := range []string{
		"/usr/bin/holdfast", "/usr/libexec/holdfast", "/usr/lib/systemd/system/holdfast.service", "/usr/share/doc/holdfast",
		"/etc/systemd/system/multi-user.target.wants/holdfast.service", "/etc/systemd/system/multi-user.target.wants/holdfast@app.service",
	} {
		if m.exists(name) {
			t.Errorf("%s still exists", name)
		}
	}
	if !m.has("/var/lib/holdfast/key.pem", "a key") {
		t.Error("the key was removed")
	}
}

func TestDeb(t *testing.T) {
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			m := newMachine(t, release)
			install := func(m machine, file string) {
				copyFile(t, file, m.path("/holdfast.deb"))
				t.Log(m.run("dpkg", "--path-include=/usr/share/man/man1*", "--force-confdef", "--force-confold", "-i", "/holdfast.deb"))
			}
			lifecycle(t, m, manager{
				formats[0], install, install,
				func(m machine) string { return m.run("dpkg-query", "-W", "-f", "${Version}", "holdfast") },
				func(m machine) { m.run("dpkg", "--remove", "holdfast") },
			})
			if !m.has("/etc/holdfast/roles.toml", mine) {
				t.Error("the removal removed the configuration")
			}
			m.run("dpkg", "--purge", "holdfast")
			if m.exists("/etc/holdfast/roles.toml") {
				t.Error("purge left the configuration")
			}
			if !m.has("/var/lib/holdfast/key.pem", "a key") {
				t.Error("purge removed the key")
			}
		})
	}
}

// TestRPM installs the packages with the program rpm of this machine, into a root folder of
// Debian, whose package manager does not know them.
func TestRPM(t *testing.T) {
	program := signertest.Require(t, "rpm", "rpm")
	m := newMachine(t, "bookworm")
	rpm := func(args ...string) string {
		const script = `mount -t proc proc "$1/proc" && exec "$0" --root "$@"`
		out, err := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, program, m.root, "--nodeps"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("rpm %q: %v\n%s", args, err, out)
		}
		t.Logf("rpm %q\n%s", args, out)
		return string(out)
	}
	lifecycle(t, m, manager{
		formats[1],
		func(_ machine, file string) { rpm("-U", file) },
		func(_ machine, file string) { rpm("-U", "--oldpackage", file) },
		func(machine) string {
			out, err := exec.Command(program, "--root", m.root, "-q", "holdfast").Output()
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		},
		func(machine) { rpm("-e", "holdfast") },
	})
	if !m.has("/etc/holdfast/roles.toml.rpmsave", mine) {
		t.Error("the removal removed the configuration")
	}
}

// verifyUnits verifies the units where the package has installed them.
func verifyUnits(t *testing.T, m machine) {
	t.Helper()
	units := []string{"holdfast.service", "holdfast@app.service", "holdfast.socket", "holdfast-renew.service", "holdfast-renew.timer", "holdfast-agent.service"}
	if out, err := m.try(append([]string{"systemd-analyze", "verify", "--man=no"}, units...)...); err != nil || strings.Contains(out, "holdfast") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, unit := range []string{"holdfast.service", "holdfast@app.service", "holdfast-renew.service", "holdfast-agent.service"} {
		out, err := m.try("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)
		if err != nil { // an exposure of 2.0 or more
			t.Errorf("systemd-analyze security %s: %v\n%s", unit, err, out)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		t.Log(lines[len(lines)-1])
	}
}
