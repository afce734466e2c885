// Command step-ca is step-ca without its cloud back ends and hardware keys: the
// same authority and the same handlers, with two thirds of the packages and
// without libpcsclite. It is a separate module, so that Holdfast does not depend
// on step-ca.
//
//	step-ca CA.JSON
//
// It ends with its standard input.
package main

import (
	"io"
	"log"
	"os"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
	_ "github.com/smallstep/certificates/cas/softcas"
)

func main() {
	c, err := config.LoadConfiguration(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server, err := ca.New(c)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(server.Run())
}
