package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	Problem   string `json:"-"`                        // why there is no Version of the Helper
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
		if p.Version, err = HelperVersion(ctx, in.Program); err != nil {
			p.Problem = err.Error()
		}
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

// versionTime bounds the time until a helper prints its version, as long as that until it
// greets: the machine can be busy.
const versionTime = 10 * time.Second

// HelperVersion returns the version that the program of a helper for PKCS #11 modules
// prints. The error names the program; it is [context.DeadlineExceeded] if the program does
// not end within 10 seconds.
func HelperVersion(ctx context.Context, program string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	child := exec.CommandContext(ctx, program, "--version")
	child.WaitDelay = 100 * time.Millisecond // a child of its own can keep the pipe
	var stdout firstBytes
	child.Stdout = &stdout
	err := child.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("the helper %s did not print its version within %v: %w", program, versionTime, ctx.Err())
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return "", fmt.Errorf("the helper %s does not print its version, as holdfast-pkcs11 does: %w", program, err)
	}
	name, version, _ := strings.Cut(strings.TrimSpace(stdout.String()), " ")
	if name != "holdfast-pkcs11" {
		return "", fmt.Errorf("the helper %s does not print its version, as holdfast-pkcs11 does", program)
	}
	return OneLine(version), nil
}

// unreleased is the version of a program that was built without a repository.
const unreleased = "(devel)"

// DifferentReleases reports whether two versions are known and differ.
func DifferentReleases(a, b string) bool { return a != b && a != unreleased && b != unreleased }

// firstBytes keeps the first bytes that are written to it.
type firstBytes struct{ bytes.Buffer }

// Write implements [io.Writer].
func (b *firstBytes) Write(data []byte) (int, error) {
	const most = 1 << 10
	_, _ = b.Buffer.Write(data[:min(len(data), max(0, most-b.Len()))]) // never fails
	return len(data), nil
}
