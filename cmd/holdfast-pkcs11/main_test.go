//go:build windows || ((darwin || linux) && (amd64 || arm64))

package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const asProgram = "HOLDFAST_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(t *testing.T, stdin io.Reader, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestForPeople(t *testing.T) {
	null, err := os.Open(os.DevNull) // a character device, as a terminal is one
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, test := range []struct {
		stdin io.Reader
		args  []string
	}{{null, nil}, {strings.NewReader(""), []string{"--help"}}, {strings.NewReader(""), []string{"/usr/lib/module.so"}}, {strings.NewReader(""), []string{"--version", "x"}}} {
		stdout, stderr, code := program(t, test.stdin, test.args...)
		if stdout != "" || stderr != usage+"\n" || code != exitUsage {
			t.Errorf("%q: printed %q and %q, exit code %d", test.args, stdout, stderr, code)
		}
	}
}

func TestVersion(t *testing.T) {
	stdout, stderr, code := program(t, nil, "--version")
	if !strings.HasPrefix(stdout, "holdfast-pkcs11 ") || strings.Count(stdout, "\n") != 1 || stderr != "" || code != 0 {
		t.Errorf("printed %q and %q, exit code %d", stdout, stderr, code)
	}
}

// A program that closes the pipe at once gets the greeting and the exit code 0.
func TestHelper(t *testing.T) {
	stdout, stderr, code := program(t, strings.NewReader(""))
	if stdout == "" || stderr != "" || code != 0 {
		t.Errorf("printed %q and %q, exit code %d", stdout, stderr, code)
	}
}
