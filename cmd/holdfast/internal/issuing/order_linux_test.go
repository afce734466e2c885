package issuing_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// After a power cut, an event is on the disk if its result is: the index is
// flushed before the result has its name, and then the result and its folder.
func TestOrderOnDisk(t *testing.T) {
	strace := signertest.Require(t, "strace", "strace")
	dir := newCA(t)
	for _, c := range []struct {
		result string
		args   []string
	}{
		{"ca/certificates/[0-9a-f]+.pem", []string{"ca", "issue", "--csr", "app.csr", "--subject", "CN=app"}},
		{"ca/crl.pem", []string{"ca", "crl"}},
	} {
		log := filepath.Join(t.TempDir(), "log")
		args := append([]string{"-f", "-qq", "-y", "-e", "trace=pwrite64,fsync,rename,renameat,renameat2", "-o", log, "holdfast"}, c.args...)
		cmd := exec.Command(strace, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil && strings.Contains(string(out), "strace:") {
			signertest.Skip(t, "strace", errors.New(string(out)))
		} else if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		place := 0
		for _, step := range []string{
			`pwrite64\(\d+<.*/ca/index.jsonl>`, `fsync\(\d+<.*/ca/index.jsonl>`,
			`fsync\(\d+<.*/ca/(certificates/)?\.holdfast-[0-9a-f]+>`, `rename.*"` + c.result + `"`, `fsync\(\d+<.*/ca(/certificates)?>`,
		} {
			found := regexp.MustCompile(step).FindIndex(data[place:])
			if found == nil {
				t.Errorf("holdfast %s: no %s after the steps before it:\n%s", strings.Join(c.args, " "), step, data)
				break
			}
			place += found[1]
		}
	}
}
