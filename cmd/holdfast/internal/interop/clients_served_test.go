package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// twoRoles is a configuration of the emulator with roles that can be told apart.
const twoRoles = `
[[trust_anchors]]
certificate_files = ["ca.pem"]
[[roles]]
arn = "arn:aws:iam::111122223333:role/first"
[[roles]]
arn = "arn:aws:iam::111122223333:role/second"
`

// serveRoles is a configuration of serve with the same. The second role has a
// port of its own.
func serveRoles(url string, port int) string {
	var b strings.Builder
	for _, name := range []string{"first", "second"} {
		fmt.Fprintf(&b, `
[[role]]
name = %q
certificate = "cert.pem"
private_key = "key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/%s"
endpoint = %q
`, name, name, url)
	}
	fmt.Fprintf(&b, "port = %d\n", port)
	return b.String()
}

// TestAWSClientsServed lets AWS's own clients find credentials in each way that
// serve and exec offer.
func TestAWSClientsServed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the clients are Debian's")
	}
	clients := awsClients(t)
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("emulator.toml", twoRoles)
	url, _, stop, err := clitest.RunEmulator(dir, "--config", "emulator.toml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	port := clitest.FreePort(t)
	s := clitest.StartServe(t, t.TempDir(), nil, "--config", write("roles.toml", serveRoles(url, port)), "--status-listen", "127.0.0.1:0")
	clitest.WaitReady(t, s)

	token := "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + s.TokenValue()
	session := []string{
		"--endpoint", url, "--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem"),
		"--trust-anchor-arn", "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001",
		"--profile-arn", "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001",
		"--role-arn", "arn:aws:iam::111122223333:role/second",
	}
	home := t.TempDir()
	// Keys that no client may use: exec has to hide them.
	aws := filepath.Join(home, ".aws")
	if err := os.Mkdir(aws, 0o700); err != nil {
		t.Fatal(err)
	}
	wrong := "[default]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n"
	if err := os.WriteFile(filepath.Join(aws, "credentials"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"boto.cfg": "[Credentials]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n",
		"legacy":   "AWSAccessKeyId=AKIAWRONG\nAWSSecretKey=wrong\n",
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	misleading := []string{
		"BOTO_CONFIG=" + filepath.Join(home, "boto.cfg"), "AWS_CREDENTIAL_FILE=" + filepath.Join(home, "legacy"),
		"HOME=" + home, "AWS_ACCESS_KEY_ID=AKIAWRONG", "AWS_SECRET_ACCESS_KEY=wrong", "AWS_SESSION_TOKEN=wrong",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/wrong", "AWS_WEB_IDENTITY_TOKEN_FILE=/wrong", "AWS_ROLE_ARN=wrong", "AWS_PROFILE=wrong",
	}
	hidden := []string{"HOME=" + t.TempDir()}
	t.Run("ways", func(t *testing.T) {
		for _, way := range []struct {
			name   string
			role   string
			only   func(awsClient) bool // nil: all
			prefix []string
			env    []string
		}{
			{"container", "first", nil, nil, append(hidden, token, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.URL+"/credentials")},
			{"container-prefix", "second", nil, nil, append(hidden, token, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.URL+"/roles/second/credentials")},
			{"token-file", "second", func(c awsClient) bool { return c.tokenFile }, nil, append(hidden, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+s.Token, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.URL+"/roles/second/credentials")},
			{"imds", "second", nil, nil, append(hidden, "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:"+strconv.Itoa(port)+"/")},
			{"imds-prefix", "second", func(c awsClient) bool { return c.imdsPath }, nil, append(hidden, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+s.URL+"/roles/second/")},
			{"exec", "second", nil, append(append([]string{"holdfast", "exec"}, session...), "--"), misleading},
			{"exec-env", "second", nil, append(append([]string{"holdfast", "exec", "--env"}, session...), "--"), misleading},
		} {
			want := "arn:aws:sts::111122223333:assumed-role/" + way.role + "/" + clitest.Serial(t, filepath.Join(dir, "cert.pem"))
			for _, c := range clients {
				if way.only != nil && !way.only(c) {
					continue
				}
				t.Run(way.name+"/"+c.name, func(t *testing.T) {
					t.Parallel()
					c.wantCaller(t, url, way.prefix, way.env, want)
				})
			}
		}
		for _, c := range clients { // no credentials, rather than the first role's
			t.Run("imds-path-left-out/"+c.name, func(t *testing.T) {
				t.Parallel()
				if c.imdsPath {
					return
				}
				args := c.args(t, url)
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Env = append([]string{"AWS_REGION=us-east-1", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + s.URL + "/roles/second/"}, hidden...)
				if out, err := cmd.Output(); err == nil {
					t.Errorf("caller is %q", out)
				}
			})
		}
	})
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.End(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if _, err := os.Stat(s.Token); err == nil {
		t.Error("the token file is still there")
	}
}
