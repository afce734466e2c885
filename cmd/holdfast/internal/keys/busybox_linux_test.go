package keys_test

import (
	"bytes"
	"crypto/x509"
	"debug/elf"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A root is a root folder with busybox, the static program and SoftHSM, as a small image
// of a container has it.
type root struct {
	testing.TB
	dir string
}

const (
	inRoot    = "/usr/bin/holdfast"
	helper    = "/usr/libexec/holdfast/holdfast-pkcs11"
	otherPath = "/opt/holdfast-pkcs11"
)

// library matches the files in what ldd says.
var library = regexp.MustCompile(`/\S+\.so\S*`)

func newRoot(t *testing.T) *root {
	r := &root{t, filepath.Join(t.TempDir(), "root")}
	softhsm := pkcs11test.New(t)
	softhsm.Token(t)
	for path, from := range map[string]string{"/bin/busybox": signertest.Require(t, "busybox", "busybox"), helper: pkcs11test.Helper(t), softhsm.Module: softhsm.Module} {
		r.copy(path, from)
	}
	for _, name := range []string{helper, softhsm.Module} { // and the libraries of both
		out, err := exec.Command("ldd", r.path(name)).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", name, err)
		}
		for _, file := range library.FindAllString(string(out), -1) {
			if !strings.HasPrefix(file, r.dir) {
				r.copy(file, file)
			}
		}
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "netgo,osusergo", "-o", r.path(inRoot), clitest.Package)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.CopyFS(r.path("/tokens"), os.DirFS(filepath.Join(softhsm.Dir, "tokens"))); err != nil {
		t.Fatal(err)
	}
	r.write("/etc/softhsm/softhsm2.conf", "directories.tokendir = /tokens\nobjectstore.backend = file\n")
	r.write("/pin", pkcs11test.PIN)
	if err := errors.Join(os.Chmod(r.path("/pin"), 0o600), os.Mkdir(r.path("/proc"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *root) path(name string) string { return filepath.Join(r.dir, name) }

func (r *root) write(name, text string) {
	r.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.path(name)), 0o755), os.WriteFile(r.path(name), []byte(text), 0o755)); err != nil {
		r.Fatal(err)
	}
}

func (r *root) copy(name, from string) {
	r.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		r.Fatal(err)
	}
	r.write(name, string(data))
}

// sh runs a script of busybox's shell in the root folder, without the environment of the
// test.
func (r *root) sh(script string, env ...string) (stdout, stderr string, code int) {
	r.Helper()
	cmd := exec.Command("/bin/busybox", "sh", "-c", script)
	cmd.Dir, cmd.Env = "/", append([]string{"PATH=/usr/bin:/bin"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: r.dir, Unshareflags: syscall.CLONE_NEWNS}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		r.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// The static program signs with SoftHSM by the helper in a root folder that has little
// else. Without the helper, one sentence says what is missing.
func TestStaticInRootFolder(t *testing.T) {
	signertest.Require(t, "busybox", "busybox")
	signertest.Require(t, "softhsm", "softhsm2-util")
	if os.Geteuid() != 0 {
		t.Skip("only root changes the root folder")
	}
	r := newRoot(t)
	f, err := elf.Open(r.path(inRoot))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program without cgo needs a dynamic linker")
		}
	}
	module := softHSMModule(r)
	const proc = "busybox mount -t proc proc /proc && "
	signs := func(name, script string, env ...string) {
		t.Helper()
		stdout, stderr, code := r.sh(script, env...)
		block, _ := pem.Decode([]byte(stdout))
		if code != 0 || block == nil {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
			return
		}
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || request.CheckSignature() != nil {
			t.Errorf("%s: %v, %v", name, err, request.CheckSignature())
		}
	}
	fails := func(name, script, text, hint string, env ...string) {
		t.Helper()
		stdout, stderr, code := r.sh(script, env...)
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if stdout != "" || code != 5 || len(lines) != 2 || !strings.Contains(lines[0], text) || !strings.Contains(lines[1], hint) {
			t.Errorf("%s: exit code %d, %q, %q, want %q and %q", name, code, stdout, stderr, text, hint)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(r.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, code := r.sh(proc + "holdfast generate --private-key pkcs11:object=app --pin-source file:/pin --pkcs11-lib " + module); code != 0 {
		t.Fatalf("generate: exit code %d, %q", code, stderr)
	}
	csr := "exec holdfast csr --subject CN=app --private-key pkcs11:object=app --pin-source file:/pin --pkcs11-lib " + module
	signs("in libexec", proc+csr)
	r.copy(otherPath, pkcs11test.Helper(t))
	signs("by the variable, without /proc", csr, "HOLDFAST_PKCS11_HELPER="+otherPath)
	fails("without /proc", csr, "the folder of this program is not known", "set HOLDFAST_PKCS11_HELPER")
	remove(helper)
	fails("without the helper", proc+csr, "the helper holdfast-pkcs11 was not found in /usr/bin or "+filepath.Dir(helper), "install -m 755 holdfast-pkcs11 '/usr/bin'")
	r.copy("/usr/bin/holdfast-pkcs11", pkcs11test.Helper(t))
	signs("beside the program", proc+csr)
	linker := regexp.MustCompile(`/\S*/ld-linux\S*`).FindString(interpreter(t, r.path(otherPath)))
	remove(linker)
	fails("without a C library", proc+csr, "start /usr/bin/holdfast-pkcs11", "needs a C library")
}

// softHSMModule returns the path of SoftHSM's module in a root folder.
func softHSMModule(r *root) (path string) {
	r.Helper()
	err := filepath.WalkDir(r.dir, func(name string, _ fs.DirEntry, err error) error {
		if filepath.Base(name) == "libsofthsm2.so" {
			path = strings.TrimPrefix(name, r.dir)
		}
		return err
	})
	if err != nil || path == "" {
		r.Fatalf("found %q, error %v", path, err)
	}
	return path
}

// interpreter returns the dynamic linker that a program names.
func interpreter(t *testing.T, name string) string {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := f.Section(".interp").Data()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(text), "\x00")
}
