//go:build windows || ((darwin || linux) && (amd64 || arm64))

// Command holdfast-pkcs11 runs a PKCS #11 module for holdfast, in a process of its own.
// holdfast starts it; it is of no use to people.
package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"slices"

	"github.com/holdfast-dev/holdfast/pkcs11/isolated"
)

// version is the version of a release that is built from a source archive. The Makefile
// and script/build-all set it from HOLDFAST_VERSION.
var version string

const usage = "holdfast-pkcs11 runs a PKCS #11 module for holdfast, which starts it; it is not for use by people"

const exitUsage = 2

func main() {
	switch info, err := os.Stdin.Stat(); {
	case slices.Equal(os.Args[1:], []string{"--version"}):
		fmt.Println("holdfast-pkcs11", ownVersion())
	case len(os.Args) > 1, err != nil, info.Mode()&os.ModeCharDevice != 0: // such as a terminal
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(exitUsage)
	default:
		os.Exit(isolated.Main(ownVersion()))
	}
}

func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return cmp.Or(version, info.Main.Version, "(devel)")
}
