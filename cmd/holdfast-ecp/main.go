// Command holdfast-ecp lets the client libraries of Google sign with a key of
// Holdfast. They run it and speak to it through its standard streams; see
// docs/google.md.
package main

import (
	"context"
	"os"

	"github.com/holdfast-dev/holdfast/cmd/holdfast-ecp/internal/ecp"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	os.Exit(ecp.Process{
		Stdin:     os.Stdin,
		Stdout:    ecp.ProtocolOut(),
		Stderr:    os.Stderr,
		LookupEnv: os.LookupEnv,
		Store:     all.New(),
	}.Run(context.Background(), os.Args[1:]))
}
