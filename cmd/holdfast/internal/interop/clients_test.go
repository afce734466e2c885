package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// An awsClient prints the ARN that STS at a URL knows it by.
type awsClient struct {
	name      string
	tokenFile bool // knows AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
	imdsPath  bool // heeds the path of AWS_EC2_METADATA_SERVICE_ENDPOINT
	args      func(t *testing.T, url string) []string
}

var awsCLI = awsClient{"awscli", false, true, func(t *testing.T, url string) []string {
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	return []string{aws, "sts", "get-caller-identity", "--endpoint-url", url, "--query", "Arn", "--output", "text"}
}}

// awsClients are AWS's own.
func awsClients(t *testing.T) []awsClient {
	t.Helper()
	sdkGo := clitest.BuildCallerGo(t, "testdata/aws-sdk-go")
	return []awsClient{
		awsCLI,
		{"boto3", false, true, func(t *testing.T, url string) []string {
			return []string{signertest.Require(t, "boto3", "/usr/bin/python3"), "-c", clitest.CallerBoto3, url}
		}},
		{"js", true, false, func(t *testing.T, url string) []string {
			return clitest.CallerJS(t, url)
		}},
		{"go", true, false, func(t *testing.T, url string) []string {
			return []string{signertest.Require(t, "aws-sdk-go", sdkGo), url}
		}},
	}
}

// wantCaller runs a client, behind a prefix such as "holdfast exec", with
// nothing in its environment but env.
func (c awsClient) wantCaller(t *testing.T, url string, prefix, env []string, want string) {
	t.Helper()
	args := slices.Concat(prefix, c.args(t, url))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "NODE_NO_WARNINGS=1", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_METADATA_SERVICE_TIMEOUT=30", // seconds, on a machine that is busy
	}, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if got := strings.TrimSpace(string(out)); got != want {
		t.Errorf("caller is %q, want %q", got, want)
	}
}

// run lets the client fetch credentials from holdfast by its
// credential_process setting and use them.
func (c awsClient) run(t *testing.T, id clitest.Identity, url, flags string) {
	t.Helper()
	holdfast, err := exec.LookPath("holdfast")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[profile app]\nregion = us-east-1\ncredential_process = %s credential-process %s %s\n", holdfast, quoteAll(id.Flags), flags)
	if err := os.WriteFile(filepath.Join(id.Dir, "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "arn:aws:sts::111122223333:assumed-role/demo/" + clitest.Serial(t, filepath.Join(id.Dir, "cert.pem"))
	c.wantCaller(t, url, nil, append([]string{
		"HOME=" + id.Dir,
		"AWS_CONFIG_FILE=" + filepath.Join(id.Dir, "config"),
		"AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(id.Dir, "none"),
		"AWS_PROFILE=app", "AWS_EC2_METADATA_DISABLED=true",
	}, id.Env...), want)
}

// TestAWSClients lets AWS's own clients fetch credentials from holdfast by
// their credential_process setting and use them.
func TestAWSClients(t *testing.T) {
	clients := awsClients(t)
	for _, id := range clientIdentities(t) {
		url, flags, stop, err := clitest.RunEmulator(id.Dir, "--trust-anchor", "ca.pem")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		for _, c := range clients {
			t.Run(id.Name+"/"+c.name, func(t *testing.T) { c.run(t, id, url, flags) })
		}
	}
}

func clientIdentities(t *testing.T) []clitest.Identity {
	t.Helper()
	var all []clitest.Identity
	for _, kind := range []string{"p256", "rsa2048"} {
		dir := t.TempDir()
		clitest.WriteFiles(t, dir, kind)
		all = append(all, clitest.Identity{Name: kind, Dir: dir, Flags: []string{
			"--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem"),
		}})
	}
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	return slices.Concat(all, clitest.TokenIdentities(t, ca), clitest.TPMIdentities(t, ca))
}

// quoteAll puts arguments into the double quotes that all clients understand.
func quoteAll(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = strconv.Quote(a)
	}
	return strings.Join(quoted, " ")
}
