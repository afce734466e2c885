//go:build !cgo

package main

import (
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// tokenIdentities needs PKCS #11, which needs cgo.
func tokenIdentities(testing.TB, *signertest.CA) []clientIdentity { return nil }

func bareToken(*testing.B, string) (line, env []string) { return nil, nil }
