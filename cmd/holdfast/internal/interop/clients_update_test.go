package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// TestUpdateAWSClients lets AWS's own clients use what holdfast update wrote
// into files that hold much besides.
func TestUpdateAWSClients(t *testing.T) {
	clients := awsClients(t)
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	url, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	want := "arn:aws:sts::111122223333:assumed-role/demo/" + clitest.Serial(t, filepath.Join(dir, "cert.pem"))
	for name, content := range map[string]string{
		"new":          "",
		"other":        "# mine\r\n[default]\r\naws_access_key_id = AKIAOLD # old\r\naws_secret_access_key = x\r\n[b]\r\ns3 =\r\n  a = b",
		"indented":     "[app] # mine\n\tAWS_ACCESS_KEY_ID=AKIAOLD\n\tregion : eu-west-1\n",
		"with an old":  "[app]\naws_session_token = old\naws_security_token = older\naws_secret_access_key =\n\n\n[b]\n",
		"old, at last": "[b]\nx = y\n[app]\naws_session_token = old",
	} {
		file := filepath.Join(dir, name)
		env := append(os.Environ(), "HOME="+dir, "AWS_EC2_METADATA_DISABLED=true",
			"AWS_SHARED_CREDENTIALS_FILE="+file, "AWS_CONFIG_FILE="+filepath.Join(dir, "none"), "AWS_PROFILE=app", "AWS_DEFAULT_REGION=us-east-1")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		update := exec.Command("holdfast", append([]string{"update", "--once", "--profile", "app",
			"--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem")}, strings.Fields(flags)...)...)
		update.Env = env
		if out, err := update.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, c := range clients {
			if c.name == "js" && name == "indented" {
				continue // it knows neither keys in capitals nor colons
			}
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.wantCaller(t, url, nil, env, want)
			})
		}
	}
}
