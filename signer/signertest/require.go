package signertest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Require returns the path of a program that a test runs. If the program is not
// installed, Require skips the test. If the environment variable
// HOLDFAST_REQUIRE, a comma-separated list, contains name, Require fails the
// test instead, so that no test is skipped unnoticed on a machine that has all
// programs.
func Require(tb testing.TB, name, program string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	Skip(tb, name, err)
	return ""
}

// Skip ends the test for a reason, as [Require] does if a program is missing:
// it fails the test if HOLDFAST_REQUIRE contains name, and skips it otherwise.
func Skip(tb testing.TB, name string, reason error) {
	tb.Helper()
	if Required(name) {
		tb.Fatalf("HOLDFAST_REQUIRE lists %s: %v", name, reason)
	}
	tb.Skipf("%s: %v", name, reason)
}

// Required reports whether HOLDFAST_REQUIRE contains name.
func Required(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("HOLDFAST_REQUIRE"), ","), name)
}
