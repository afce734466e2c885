package journal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const tries = 8

// appendSome tries to write the numbers from 1 to tries, and prints which of them were
// acknowledged. It uses one thread, because strace counts the calls of each.
func appendSome(folder string) error {
	runtime.LockOSThread()
	j, _, err := Open(folder)
	if err != nil {
		return err
	}
	for n := range tries {
		if err := j.Append([]Row{put("a", fmt.Sprint(n+1), "1")}); err == nil {
			fmt.Print(n+1, " ")
		}
	}
	return j.Close()
}

// System calls that write fail. No commit is acknowledged that is not in the file, or that
// follows a commit whose rest could not be removed.
func TestSystemCallsFail(t *testing.T) {
	strace := signertest.Require(t, "strace", "strace")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(folder string, trace ...string) (string, error) {
		cmd := exec.Command(strace, slices.Concat([]string{"-f", "-qq", "-o", os.DevNull}, trace, []string{self})...)
		cmd.Env = append(os.Environ(), "JOURNAL_SOME="+folder)
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := run(newFolder(t)); err != nil {
		signertest.Skip(t, "strace", errors.New(out))
	}
	for name, tt := range map[string]struct {
		inject       []string
		acknowledged string
		also         string // is in the file, too
	}{
		// The first two calls of fsync are those of Open.
		"fsync once":               {[]string{"inject=fsync:error=EIO:when=5"}, "1 2 4 5 6 7 8", ""},
		"fsync":                    {[]string{"inject=fsync:error=EIO:when=5+"}, "1 2", ""},
		"write once":               {[]string{"inject=pwrite64:error=ENOSPC:when=3"}, "1 2 4 5 6 7 8", ""},
		"write and truncate":       {[]string{"inject=pwrite64:error=EIO:when=3", "inject=ftruncate:error=EIO"}, "1 2", ""},
		"fsync once, and truncate": {[]string{"inject=fsync:error=EIO:when=5", "inject=ftruncate:error=EIO"}, "1 2", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := newFolder(t)
			var trace []string
			for _, inject := range tt.inject {
				trace = append(trace, "-e", inject)
			}
			out, err := run(folder, trace...)
			if err != nil || out != tt.acknowledged {
				t.Errorf("acknowledged are %q, %v, want %q", out, err, tt.acknowledged)
			}
			j, tables := open(t, folder)
			defer closeJournal(t, j)
			var got []string
			for n := range tries {
				if _, ok := tables["a"][fmt.Sprint(n+1)]; ok {
					got = append(got, fmt.Sprint(n+1))
				}
			}
			if want := strings.TrimSpace(tt.acknowledged + " " + tt.also); strings.Join(got, " ") != want {
				t.Errorf("the file has %v, want %s", got, want)
			}
		})
	}
}
