package signertest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Require returns the path of a program that a test runs. If there is none it
// skips the test, or ends it as failed when the environment variable
// HOLDFAST_REQUIRE, a list separated by commas, holds name. So a machine that
// is set up for all tests cannot lose one unnoticed.
func Require(tb testing.TB, name, program string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	Skip(tb, name, err)
	return ""
}

// Skip is what [Require] does if there is no program, for any reason. It ends
// the test.
func Skip(tb testing.TB, name string, reason error) {
	tb.Helper()
	if Required(name) {
		tb.Fatalf("HOLDFAST_REQUIRE lists %s: %v", name, reason)
	}
	tb.Skipf("%s: %v", name, reason)
}

// Required reports whether HOLDFAST_REQUIRE holds name.
func Required(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("HOLDFAST_REQUIRE"), ","), name)
}
