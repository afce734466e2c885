//go:build unix

package emulator

import (
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
)

// Opening a pipe would wait for a writer.
func TestDistributionPointIsPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newPointEnv(t, Config{}, fileURL(path))
	checkRefused(t, w.do(t, call{}), http.StatusForbidden, codeAccessDenied, msgRevocation)
}
