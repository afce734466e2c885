package front

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A PKCS11 says where PKCS #11 modules can run.
type PKCS11 struct {
	InProcess bool   `json:"in_process"`
	Helper    string `json:"helper,omitempty"`         // the path of its program
	Version   string `json:"helper_version,omitempty"` // that it prints
	Error     string `json:"helper_error,omitempty"`   // why there is none
	Hint      string `json:"hint,omitempty"`           // of the error
}

// PKCS11 asks the backend, and starts the helper to ask for its version. It returns nil if
// there is no backend for PKCS #11.
func (a App) PKCS11(ctx context.Context) *PKCS11 {
	_, hereErr := a.isolation("pkcs11:?isolation=off")
	in, err := a.isolation("pkcs11:?isolation=on")
	p := &PKCS11{InProcess: hereErr == nil, Helper: in.Program}
	switch {
	case err != nil:
		_, p.Hint = Explain(err)
		if own := new(signer.Error); errors.As(err, &own) { // without the reference, which nobody gave
			err = own.Err
		}
		p.Error = OneLine(err.Error())
	case in.Program == "":
		return nil
	default:
		p.Version = HelperVersion(ctx, in.Program)
	}
	return p
}

func (a App) isolation(reference string) (keystore.Isolation, error) {
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return keystore.Isolation{}, err
	}
	return a.Store.Isolation(ref, a.Options(nil))
}

// HelperVersion returns the version that the program of a helper for PKCS #11 modules
// prints, or "" if it does not print one within [HangTimeout].
func HelperVersion(ctx context.Context, program string) string {
	ctx, cancel := context.WithTimeout(ctx, HangTimeout)
	defer cancel()
	child := exec.CommandContext(ctx, program, "--version")
	child.WaitDelay = 100 * time.Millisecond // a child of its own can keep the pipe
	var stdout firstBytes
	child.Stdout = &stdout
	if err := child.Run(); err != nil {
		return ""
	}
	name, version, _ := strings.Cut(strings.TrimSpace(stdout.String()), " ")
	if name != "holdfast-pkcs11" {
		return ""
	}
	return OneLine(version)
}

// firstBytes keeps the first bytes that are written to it.
type firstBytes struct{ bytes.Buffer }

// Write implements [io.Writer].
func (b *firstBytes) Write(data []byte) (int, error) {
	const most = 1 << 10
	_, _ = b.Buffer.Write(data[:min(len(data), max(0, most-b.Len()))]) // never fails
	return len(data), nil
}
