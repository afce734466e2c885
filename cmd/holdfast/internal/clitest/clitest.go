// Package clitest has what the tests of several rooms need to run the program as
// people and AWS's clients do: as a process. Only external test packages import
// it, since it contains the whole program.
package clitest

import (
	"os"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/cli"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

// Package is the import path of the program, for go build.
const Package = "github.com/holdfast-dev/holdfast/cmd/holdfast"

func holdfast() { os.Exit(cli.Main(all.Backends()...)) }
