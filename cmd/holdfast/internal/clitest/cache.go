package clitest

import (
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Caches are the flags of the caches that this machine has.
func Caches(t *testing.T) []string {
	t.Helper()
	flags := []string{"--cache"}
	_, err := credentials.OpenKeyring("holdfast-test:")
	if err == nil {
		return append(flags, "--cache=keyring")
	}
	if signertest.Required("keyring") {
		t.Errorf("HOLDFAST_REQUIRE lists keyring: %v", err)
	}
	return flags
}
