// Command holdfast obtains AWS credentials with hardware-backed keys through
// IAM Roles Anywhere.
package main

import (
	"os"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/cli"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() { os.Exit(cli.Main(all.Backends()...)) }
