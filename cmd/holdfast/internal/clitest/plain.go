package clitest

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// PlainCommand returns a command of the program without the race detector, with
// which a command takes three times as much processor time. It is for tests that run
// many commands and examine the files that these leave behind. The programs that the
// command runs find the same holdfast in PATH. Tests of serve and other services,
// where goroutines meet, use the program that [Main] puts there.
func PlainCommand(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	program, err := plain()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
	return cmd
}

// packageFolder is where go test starts the tests, in the module. A test may be in
// another folder when it is the first that needs a program.
var packageFolder, errPackageFolder = os.Getwd()

// plain returns the path of the program without the race detector. It is in the folder
// of the programs, which is removed at the end.
var plain = sync.OnceValues(func() (string, error) {
	program, err := exec.LookPath("holdfast")
	if err = cmp.Or(err, errPackageFolder); err != nil || !raceDetector {
		return program, err
	}
	program = filepath.Join(filepath.Dir(program), "plain", filepath.Base(program))
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Dir(program)+string(os.PathSeparator), Package)
	build.Dir = packageFolder
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
})
