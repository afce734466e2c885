package bench

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// faultBudgets are the page faults of commands beyond those of the floor: a program that
// links the same libraries and only says hello (testdata/floor). docs/performance.md says
// where they come from.
var faultBudgets = []struct {
	name   string
	budget int
}{
	{"version", 40},
	{"cold", 158},
	{"cached", 88},
}

// Where a page fault is dear, such as in virtual machines within virtual machines, the
// time of a call follows their number, which does not depend on the load of the machine.
// The least of several runs counts, because threads of the runtime start at different
// times.
func TestFaults(t *testing.T) {
	dir, args, _ := benchSession(t)
	holdfast, floor := staticBinary(t, dir, "../.."), staticBinary(t, dir, "./testdata/floor")
	call := withKey(args, dir, "p256")
	cached := append(slices.Clone(call), "--cache")
	lines := map[string][]string{"version": {holdfast, "version"}, "cold": append([]string{holdfast}, call...), "cached": append([]string{holdfast}, cached...)}
	// The runtime prepares all processors, and starts threads for those that are idle.
	env := []string{"GOMAXPROCS=2", "HOME=" + dir, "XDG_CACHE_HOME=" + filepath.Join(dir, "cache")}
	minimum := leastFaults(t, env, []string{floor}, 0)
	t.Logf("floor: %d page faults", minimum)
	for _, b := range faultBudgets {
		if n := leastFaults(t, env, lines[b.name], minimum+b.budget); n > minimum+b.budget {
			t.Errorf("%s: %d page faults, %d more than the floor, want at most %d more", b.name, n, n-minimum, b.budget)
		} else {
			t.Logf("%s: %d page faults, %d more than the floor", b.name, n, n-minimum)
		}
	}
}

// What a command does not use, it does not initialize: no package of Holdfast has code
// that runs before main. GODEBUG=inittrace=1 prints the packages that have (package
// runtime, "Environment Variables").
func TestNothingIsInitialized(t *testing.T) {
	holdfast := staticBinary(t, t.TempDir(), "../..")
	cmd := exec.Command(holdfast, "version")
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	const module = "github.com/holdfast-dev/holdfast/"
	var found []string
	for line := range strings.Lines(stderr.String()) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], module) {
			found = append(found, strings.TrimPrefix(fields[1], module))
		}
	}
	if want := []string{"cmd/holdfast/internal/mainstack"}; !slices.Equal(found, want) {
		t.Errorf("packages with code that runs at start: %q, want %q; a map or a call in a package variable needs it, and package lookup has tables that need none", found, want)
	}
}

// staticBinary builds a static binary without the race detector, as in the releases.
func staticBinary(t testing.TB, dir, pkg string) string {
	t.Helper()
	out := filepath.Join(dir, "static-"+strings.Trim(strings.ReplaceAll(pkg, "/", "-"), ".-"))
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s", "-o", out, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	return out
}

// leastFaults returns the least number of page faults of several runs of a command, and of
// many if it is above a limit: a call with several threads rarely needs only its least.
func leastFaults(t testing.TB, env, line []string, limit int) int {
	t.Helper()
	const few, many = 20, 200
	least := -1
	for i := 0; i < few || i < many && limit > 0 && least > limit; i++ {
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Env = env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || len(out) == 0 {
			t.Fatalf("%s: %v\n%s", line, err, &stderr)
		}
		if faults, _ := faultsOf(cmd.ProcessState); least < 0 || faults < least {
			least = faults
		}
	}
	return least
}

// faultsOf returns the page faults of a process that has ended.
func faultsOf(p *os.ProcessState) (n int, ok bool) {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, false
	}
	return int(usage.Minflt), true
}
