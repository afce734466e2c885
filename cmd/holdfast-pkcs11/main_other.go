//go:build !windows && !((darwin || linux) && (amd64 || arm64))

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "holdfast-pkcs11 does not support this platform; build holdfast with CGO_ENABLED=1")
	os.Exit(2)
}
