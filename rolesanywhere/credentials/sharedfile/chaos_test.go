//go:build unix

package sharedfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// TestMain lets this test binary also be the processes that the tests kill.
func TestMain(m *testing.M) {
	if role := os.Getenv("SHAREDFILE_CHILD"); role != "" {
		if err := child(role, os.Args[1], os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child writes numbered credentials into a profile, starting with first, and
// prints each number after it is written. role is the count; 0 means no limit.
// With role "full", it writes one and runs into a file size limit.
func child(role, path, profile, first string) error {
	n, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	count, _ := strconv.Atoi(role)
	if role == "full" { // like a full disk
		count = 1
		signal.Ignore(unix.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: 4096}); err != nil {
			return err
		}
	}
	f := File{Path: path, Profile: profile, Wait: time.Minute}
	fmt.Println("ready")
	for i := n; count == 0 || i < n+count; i++ {
		if err := f.Write(context.Background(), numbered(i)); err != nil {
			return err
		}
		fmt.Println(i)
	}
	return nil
}

func numbered(i int) credentials.Credentials {
	c := fresh
	c.AccessKeyID = fmt.Sprintf("ASIA%d", i)
	c.SecretAccessKey = fmt.Sprintf("secret/%d", i)
	// As long as a real token, so that the file has more than one disk
	// block.
	c.SessionToken = fmt.Sprintf("token/%d/%s", i, strings.Repeat("x", 4000))
	return c
}

// rounds returns few, or many if HOLDFAST_CHAOS is set.
func rounds(few, many int) int {
	if os.Getenv("HOLDFAST_CHAOS") != "" {
		return many
	}
	return few
}

// startChild runs child as a process and returns a scanner of its output after
// the line "ready".
func startChild(role, path, profile string, first int) (*exec.Cmd, *bufio.Scanner, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, path, profile, strconv.Itoa(first))
	cmd.Env = append(os.Environ(), "SHAREDFILE_CHILD="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	out := bufio.NewScanner(pipe)
	if !out.Scan() {
		return nil, nil, fmt.Errorf("the child did not start: %w", cmd.Wait())
	}
	return cmd, out, nil
}

// chaosFile returns a file with 8 profiles to be updated and other profiles
// between them.
func chaosFile(numbers [8]int) string {
	var b strings.Builder
	b.WriteString("# Mine. Do not lose it.\r\n[default]\naws_access_key_id = AKIAKEEP # =\n\n")
	for i, n := range numbers {
		c := numbered(n)
		fmt.Fprintf(&b, "[p%d]\nregion=r%d\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n\n[q%d]\ns3 =\n  k = v\n",
			i, i, c.AccessKeyID, c.SecretAccessKey, c.SessionToken, i)
	}
	return b.String() + "[last]\nkey = without end"
}

// readChaosFile returns the numbers in path, which must contain a chaosFile.
func readChaosFile(t *testing.T, path string) (numbers [8]int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	i := 0
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "aws_access_key_id = ASIA"); ok && i < len(numbers) {
			numbers[i], _ = strconv.Atoi(strings.TrimSpace(n))
			i++
		}
	}
	if string(data) != chaosFile(numbers) {
		t.Errorf("the file is damaged: numbers %v\n%.2000q", numbers, data)
	}
	return numbers
}

// TestChaosKill kills updaters of different profiles, one after the other, at
// random points during their writes.
func TestChaosKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	var numbers [8]int
	writeFile(t, path, chaosFile(numbers))
	midWrite, written := 0, 0
	const maxLife = 50 * time.Millisecond // enough for some writes
	for round := range rounds(60, 1000) {
		if t.Failed() {
			break
		}
		p := round % len(numbers)
		cmd, out, err := startChild("0", path, fmt.Sprintf("p%d", p), numbers[p]+1)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(rand.N(maxLife), func() { _ = cmd.Process.Kill() })
		reported := numbers[p]
		for out.Scan() {
			reported, _ = strconv.Atoi(out.Text())
		}
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("the child was not killed: %v", cmd.ProcessState)
		}
		if left, _ := filepath.Glob(path + ".holdfast.*.tmp"); len(left) > 0 {
			midWrite++
		}
		after := readChaosFile(t, path)
		if after[p] != reported && after[p] != reported+1 {
			t.Fatalf("round %d: the child reported %d last, the file contains %d", round, reported, after[p])
		}
		written += after[p] - numbers[p]
		numbers[p] = after[p]
		if after != numbers {
			t.Fatalf("round %d: another profile changed: %v, want %v", round, after, numbers)
		}
	}
	t.Logf("%d writes; %d processes were killed during a write", written, midWrite)
	if midWrite == 0 {
		t.Error("no process was killed during a write")
	}
	if err := (File{Path: path, Profile: "p0"}).Write(t.Context(), numbered(numbers[0])); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, chaosFile(numbers))
}

// TestChaosConcurrent lets 8 processes update 8 profiles concurrently. Half of
// the processes are killed and restarted. No reported write is lost.
func TestChaosConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	var numbers [8]int
	writeFile(t, path, chaosFile(numbers))
	stop := make(chan struct{})
	var updaters, reader sync.WaitGroup
	reader.Go(func() {
		for {
			readChaosFile(t, path)
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	writes, lives := rounds(4, 50), rounds(2, 20)
	for p := range numbers {
		updaters.Go(func() {
			first := 1
			for life := range lives {
				cmd, out, err := startChild(strconv.Itoa(writes), path, fmt.Sprintf("p%d", p), first)
				if err != nil {
					t.Error(err)
					return
				}
				last := first + writes - 1
				for out.Scan() {
					n, _ := strconv.Atoi(out.Text())
					if first = n + 1; p%2 == 1 && life < lives-1 && n >= last-rand.N(writes) {
						_ = cmd.Process.Kill()
					}
				}
				if err := cmd.Wait(); err != nil && p%2 == 0 {
					t.Errorf("updater %d: %v", p, err)
				}
			}
			numbers[p] = first - 1
		})
	}
	updaters.Wait()
	close(stop)
	reader.Wait()
	if got := readChaosFile(t, path); got != numbers {
		t.Errorf("the file contains %v, the updaters wrote %v", got, numbers)
	}
	wantFile(t, path, chaosFile(numbers))
	t.Logf("numbers %v", numbers)
}

// TestDiskFull limits the file size, which has the same effect as a full disk.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	var numbers [8]int
	writeFile(t, path, chaosFile(numbers))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, path, "p1", "7")
	cmd.Env = append(os.Environ(), "SHAREDFILE_CHILD=full")
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("full disk: %v", err)
	}
	if !strings.Contains(string(out), path) {
		t.Errorf("the error does not name the file:\n%s", out)
	}
	wantFile(t, path, chaosFile(numbers))
}
