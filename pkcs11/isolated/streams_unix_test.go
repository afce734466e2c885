//go:build (darwin || linux) && (amd64 || arm64)

package isolated

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// streamsVariable makes the test binary a process that takes its streams, leaves them when
// it has read something, and ends with its standard input.
const streamsVariable = "HOLDFAST_TEST_STREAMS"

func init() {
	if os.Getenv(streamsVariable) == "" {
		return
	}
	closeInherited()
	in, out, err := takeStreams()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("a module prints this")
	_, _ = out.WriteString("answer")
	_, _ = in.Read(make([]byte, 1))
	leaveStreams()
	fmt.Println("nobody reads this")
	_, _ = out.WriteString("left")
	_, _ = io.Copy(io.Discard, in)
	os.Exit(0)
}

// Whoever reads standard error of the program does not wait for the helper after the end of
// the program, and nobody who has the other end of a file that is open by mistake waits at
// all. The helper survives what its module prints then.
func TestLeaveStreams(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), streamsVariable+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	inherited, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	cmd.ExtraFiles = []*os.File{end}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(inherited); len(text) != 0 || err != nil { // while the process runs
		t.Errorf("an inherited pipe has %q, error %v", text, err)
	}
	if _, err := stdin.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(stderr); string(text) != "a module prints this\n" || err != nil { // while the process runs
		t.Errorf("standard error is %q, error %v", text, err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(stdout); string(text) != "answerleft" || err != nil {
		t.Errorf("the answers are %q, error %v", text, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
