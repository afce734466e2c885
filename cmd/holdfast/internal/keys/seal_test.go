package keys

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

// Without a terminal, the hint names the flag that seal has.
func TestSealWithoutTerminal(t *testing.T) {
	var stderr bytes.Buffer
	a := front.App{
		Stdout: &bytes.Buffer{}, Stderr: &stderr, LookupEnv: func(string) (string, bool) { return "", false },
		OpenTTY: func() (front.TTY, error) { return nil, errors.New("none") },
		Store:   all.New(), Commands: []front.Command{{Name: "seal", New: Seal}},
	}
	code := a.Run(t.Context(), []string{"seal", "--to", "tpm:path=sealed.pem"})
	if s := stderr.String(); code != front.ExitPIN || !strings.Contains(s, "--secret-source file:PATH") || strings.Contains(s, "--pin-source") {
		t.Errorf("exit code %d: %s", code, s)
	}
}
