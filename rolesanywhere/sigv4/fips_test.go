package sigv4

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

const fipsVariable = "HOLDFAST_TEST_FIPS_SIGV4"

// TestFIPSMode signs in a process in which only approved algorithms are allowed.
func TestFIPSMode(t *testing.T) {
	if os.Getenv(fipsVariable) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFIPSMode$", "-test.v")
		cmd.Env = append(os.Environ(), fipsVariable+"=1", "GODEBUG=fips140=only")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for secret, refused := range map[string]bool{"ten bytes.": false, "too short": true} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		err = Sign(r, nil, credentials.Credentials{AccessKeyID: "ASIA", SecretAccessKey: secret}, "sts", "us-east-1", time.Unix(0, 0))
		if errors.Is(err, errors.ErrUnsupported) != refused || (err != nil) != refused || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%d bytes: error %v", len(secret), err)
		}
	}
}
