package front

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"time"
)

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
