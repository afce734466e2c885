package tpm

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// A goneTPM records commands and returns an error.
type goneTPM struct{ commands [][]byte }

func (r *goneTPM) Send(command []byte) ([]byte, error) {
	r.commands = append(r.commands, command)
	return nil, busError(io.EOF)
}

// Only commands that create RSA keys have a long timeout.
func TestTimeouts(t *testing.T) {
	var r goneTPM
	var errs []error
	both := func(hierarchy tpm2.TPMHandle, area tpm2.TPMTPublic) {
		_, err := tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(area)}.Execute(&r)
		_, err2 := tpm2.Create{ParentHandle: hierarchy, InPublic: tpm2.New2B(area)}.Execute(&r)
		errs = append(errs, err, err2)
	}
	for _, kind := range []tpm2.TPMTPublic{primaryTemplate(true), rsaTemplate(2048), rsaTemplate(3072), primaryTemplate(false), eccTemplate(tpm2.TPMECCNistP256)} {
		both(tpm2.TPMRHOwner, kind)
	}
	_, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81000001)}.Execute(&r)
	for _, err := range append(errs, err) {
		if !errors.Is(err, errBus) {
			t.Fatal(err)
		}
	}
	for i, want := range []time.Duration{
		defaultTimeouts.rsaCreation, defaultTimeouts.rsaCreation, defaultTimeouts.rsaCreation, defaultTimeouts.rsaCreation, defaultTimeouts.rsaCreation, defaultTimeouts.rsaCreation,
		defaultTimeouts.response, defaultTimeouts.response, defaultTimeouts.response, defaultTimeouts.response, defaultTimeouts.response,
	} {
		if got := defaultTimeouts.forCommand(r.commands[i]); got != want {
			t.Errorf("command %d: %v, want %v: %x", i, got, want, r.commands[i])
		}
	}
	if got := defaultTimeouts.forCommand(nil); got != defaultTimeouts.response {
		t.Errorf("no command: %v", got)
	}
}
