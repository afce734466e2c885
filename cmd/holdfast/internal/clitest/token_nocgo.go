//go:build !cgo

package clitest

import (
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TokenIdentities needs PKCS #11, which needs cgo.
func TokenIdentities(testing.TB, *signertest.CA) []Identity { return nil }
