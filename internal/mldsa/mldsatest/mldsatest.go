// Package mldsatest has known answers of ML-DSA for tests.
//
// vectors.json.gz is a selection from the project Wycheproof
// (https://github.com/C2SP/wycheproof, testvectors_v1, commit
// dac1dd4729fd1f8dd9e1e9f3dce51d783da6c166 of 2026-08-18), in another form.
// script/mldsa-vectors.go made it. Wycheproof has the Apache License 2.0, like
// Holdfast.
package mldsatest

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"testing"
)

//go:embed vectors.json.gz
var vectors []byte

// A Group has the tests of one key. A private key is in Seed, Expanded, both or, in
// groups of tests of verification, neither. Keys of the wrong size are among them.
type Group struct {
	Set      string // such as "ML-DSA-44"
	Public   []byte `json:",omitempty"`
	Seed     []byte `json:",omitempty"`
	PKCS8    []byte `json:",omitempty"` // of Seed
	Expanded []byte `json:",omitempty"`
	Tests    []Test
}

// A Test is a signature to make, if it has a hash, or to verify.
type Test struct {
	Comment   string
	Flags     []string `json:",omitempty"`
	Valid     bool     `json:",omitempty"`
	Message   []byte   `json:",omitempty"`
	Context   []byte   `json:",omitempty"`
	Mu        []byte   `json:",omitempty"` // instead of the message and the context (FIPS 204, algorithm 7)
	Random    []byte   `json:",omitempty"` // without it, the signature is deterministic
	Signature []byte   `json:",omitempty"`
	Hash      []byte   `json:",omitempty"` // the SHA-256 of the signature
}

// Groups returns the groups of all parameter sets.
func Groups(tb testing.TB) (groups []Group) {
	tb.Helper()
	r, err := gzip.NewReader(bytes.NewReader(vectors))
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.NewDecoder(r).Decode(&groups); err != nil {
		tb.Fatal(err)
	}
	return groups
}
