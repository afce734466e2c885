// Package clitest has what the tests of several packages need to run the program as
// people and AWS's clients do: as a process. Only external test packages import
// it, since it contains the whole program.
package clitest

import (
	"fmt"
	"io"
	"os"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/cli"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

// Package is the import path of the program, for go build.
const Package = "github.com/holdfast-dev/holdfast/cmd/holdfast"

func holdfast() { os.Exit(cli.Main(all.Backends()...)) }

// heldHoldfast is holdfast that says that it is ready, and begins when its
// standard input ends.
func heldHoldfast() {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	holdfast()
}
