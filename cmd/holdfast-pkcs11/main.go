// Command holdfast-pkcs11 runs a PKCS #11 module for holdfast, in a process of its own.
// holdfast starts it; it is of no use to people.
package main

import (
	"os"

	"github.com/holdfast-dev/holdfast/pkcs11/isolated"
)

func main() { os.Exit(isolated.Main("")) }
