//go:build linux

package daemon_test

import (
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// With --hold, a request of the container endpoint waits for the first credentials; one
// of the metadata service does not.
func TestServeHolds(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	asked := make(chan struct{}, 100)
	s.Up.Break(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		w.WriteHeader(http.StatusForbidden)
	})
	s.Served = clitest.StartServe(t, s.Dir, nil, append([]string{
		"--certificate", "cert.pem", "--private-key", "key.pem", "--hold", "10s", "--status-listen", "127.0.0.1:0",
	}, s.Up.Args...)...)
	<-asked
	_, token := clitest.Ask(t, "PUT", s.URL+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if resp, body := clitest.Ask(t, "GET", s.URL+"/latest/meta-data/iam/security-credentials/demo", "X-aws-ec2-metadata-token", token); resp.StatusCode == http.StatusOK {
		t.Errorf("the metadata service: %q", body)
	}
	healed := make(chan struct{})
	go func() {
		defer close(healed)
		<-asked // the request that is held does not cause it
		s.Up.Heal()
	}()
	status, key, _ := clitest.CredentialsOf(t, s.Served, "/credentials")
	<-healed
	if status != http.StatusOK || key == "" {
		t.Errorf("status %d", status)
	}
}

// A time that is out of range is refused.
func TestServeHoldUsage(t *testing.T) {
	for _, hold := range []string{"-1s", "11s"} {
		if out, err := exec.Command("holdfast", "serve", "--hold", hold).CombinedOutput(); err == nil {
			t.Errorf("--hold %s is accepted: %s", hold, out)
		}
	}
}
