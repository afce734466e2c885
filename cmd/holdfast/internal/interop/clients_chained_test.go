//go:build unix

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	firstRole  = "arn:aws:iam::111122223333:role/first"
	secondRole = "arn:aws:iam::444455556666:role/second"
)

// chainedRoles is a configuration of the emulator with a role that only the first
// one can assume, with a tag, an external ID and the source identity of the
// certificate. The third role wants the transitive tag.
const chainedRoles = `
[[trust_anchors]]
certificate_files = ["ca.pem"]
[[roles]]
arn = "` + firstRole + `"
[[roles]]
arn = "` + secondRole + `"
trust_policy = '''{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + firstRole + `"},
	"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
	"Condition":{"StringEquals":{"sts:ExternalId":"e-1","aws:RequestTag/Team":"blue"},"StringLike":{"aws:SourceIdentity":"*","aws:PrincipalTag/x509Issuer/CN":"intermediate"}}}}'''
[[roles]]
arn = "arn:aws:iam::444455556666:role/third"
trust_policy = '''{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + secondRole + `"},
	"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
	"Condition":{"StringEquals":{"aws:PrincipalTag/Team":"blue"},"StringLike":{"aws:SourceIdentity":"*"}}}}'''
`

// A chained is an emulator with the roles of chainedRoles.
type chained struct {
	dir, url string
	first    []string // flags for the first role
	second   []string // and further ones for the second
}

func newChained(t *testing.T, args ...string) chained {
	t.Helper()
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	if err := os.WriteFile(filepath.Join(dir, "emulator.toml"), []byte(chainedRoles), 0o600); err != nil {
		t.Fatal(err)
	}
	url, _, stop, err := clitest.RunEmulator(dir, append([]string{"--config", "emulator.toml", "--events", "events"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c := chained{dir: dir, url: url, first: []string{
		"--endpoint", url, "--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem"),
		"--trust-anchor-arn", "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001",
		"--profile-arn", "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001",
		"--role-arn", firstRole,
	}}
	c.second = append(slices.Clone(c.first), "--sts-endpoint", url, "--assume-role-arn", secondRole, "--assume-role-external-id", "e-1",
		"--assume-role-tag", "Team=blue", "--assume-role-transitive-tag-key", "Team", "--assume-role-session-name", "me")
	return c
}

// count returns how many events of the emulator have a name. It leaves out those of the
// AssumeRole within CreateSession.
func (c chained) count(t *testing.T, name string) int {
	t.Helper()
	events, err := os.ReadFile(filepath.Join(c.dir, "events"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(events) {
		if bytes.Contains(line, []byte(`"eventName":"`+name+`"`)) && !bytes.Contains(line, []byte(`"type":"AWSService"`)) {
			n++
		}
	}
	return n
}

// config writes a configuration of AWS clients with a credential process, and
// returns the environment that selects it.
func (c chained) config(t *testing.T, flags []string, more string) []string {
	t.Helper()
	holdfast, err := exec.LookPath("holdfast")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("[profile app]\nregion = us-east-1\ncredential_process = %s credential-process %s\n%s", holdfast, quoteAll(flags), more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"HOME=" + c.dir, "XDG_CACHE_HOME=" + filepath.Join(c.dir, "cache"), "AWS_CONFIG_FILE=" + file,
		"AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(c.dir, "none"), "AWS_PROFILE=app", "AWS_EC2_METADATA_DISABLED=true"}
}

// The AWS CLI gets the credentials of a second role in each way that Holdfast
// offers.
func TestAWSCLIChained(t *testing.T) {
	client := awsCLI
	c := newChained(t)
	s := clitest.StartServe(t, t.TempDir(), nil, append(slices.Clone(c.second), "--status-listen", "127.0.0.1:0")...)
	clitest.WaitReady(t, s)
	file := filepath.Join(c.dir, "credentials")
	update := exec.Command("holdfast", append([]string{"update", "--once", "--profile", "app"}, c.second...)...)
	update.Env = append(os.Environ(), "AWS_SHARED_CREDENTIALS_FILE="+file)
	if out, err := update.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	home := "HOME=" + t.TempDir()
	for _, way := range []struct {
		name        string
		runs        int
		prefix, env []string
	}{
		{"credential-process", 1, nil, c.config(t, c.second, "")},
		{"cache", 2, nil, c.config(t, append(slices.Clone(c.second), "--cache"), "")},
		{"container", 1, nil, []string{home, "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + s.TokenValue(), "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + s.URL + "/credentials"}},
		{"imds", 1, nil, []string{home, "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + s.URL + "/"}},
		{"exec", 1, append(append([]string{"holdfast", "exec"}, c.second...), "--"), []string{home}},
		{"exec-env", 1, append(append([]string{"holdfast", "exec", "--env"}, c.second...), "--"), []string{home}},
		{"update", 1, nil, []string{home, "AWS_SHARED_CREDENTIALS_FILE=" + file, "AWS_CONFIG_FILE=" + filepath.Join(c.dir, "none"), "AWS_PROFILE=app", "AWS_EC2_METADATA_DISABLED=true"}},
	} {
		for range way.runs {
			t.Run(way.name, func(t *testing.T) {
				client.wantCaller(t, c.url, way.prefix, way.env, "arn:aws:sts::444455556666:assumed-role/second/me")
			})
		}
	}
	const sessions = 6 // one for serve and for update, and one for each way without them
	if first, second := c.count(t, "CreateSession"), c.count(t, "AssumeRole"); first != second || first != sessions {
		t.Errorf("%d sessions of the first role and %d of the second, want %d of each", first, second, sessions)
	}
}

// assumeRole runs "aws sts assume-role" as the first or the second role.
func (c chained) assumeRole(t *testing.T, flags []string, args ...string) (out map[string]any, stderr string) {
	t.Helper()
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	cmd := exec.Command(aws, append([]string{"sts", "assume-role", "--endpoint-url", c.url, "--output", "json"}, args...)...)
	cmd.Env = append(c.config(t, flags, ""), "PATH="+os.Getenv("PATH"), "GORACE="+clitest.QuickExit, "AWS_DEFAULT_REGION=us-east-1")
	var failure strings.Builder
	cmd.Stderr = &failure
	data, err := cmd.Output()
	if err != nil {
		return nil, failure.String()
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return out, ""
}

// The AWS CLI calls AssumeRole of the emulator itself.
func TestAWSCLIAssumesRole(t *testing.T) {
	c := newChained(t)
	second := []string{"--role-arn", secondRole, "--role-session-name", "cli", "--external-id", "e-1"}
	tags := []string{"--tags", "Key=Team,Value=blue", "Key=Cost center,Value=a/b", "--transitive-tag-keys", "Team"}
	out, failure := c.assumeRole(t, c.first, append(slices.Clone(second), tags...)...)
	user, _ := out["AssumedRoleUser"].(map[string]any)
	source, _ := out["SourceIdentity"].(string)
	if failure != "" || user["Arn"] != "arn:aws:sts::444455556666:assumed-role/second/cli" || !strings.HasPrefix(source, "CN=") {
		t.Errorf("%v\n%s", out, failure)
	}
	// The transitive tag and the source identity of Holdfast's second role.
	out, failure = c.assumeRole(t, c.second, "--role-arn", "arn:aws:iam::444455556666:role/third", "--role-session-name", "cli")
	if failure != "" || out["SourceIdentity"] != source {
		t.Errorf("%v\n%s", out, failure)
	}
	for _, test := range []struct {
		name  string
		flags []string
		args  []string
		want  string
	}{
		{"two hours", c.first, append([]string{"--duration-seconds", "7200"}, append(slices.Clone(second), tags...)...), "(ValidationError)|1 hour session limit for roles assumed by role chaining"},
		{"no tag", c.first, second, "(AccessDenied)|is not authorized to perform: sts:AssumeRole on resource: " + secondRole},
		{"another source identity", c.first, append([]string{"--source-identity", "me"}, append(slices.Clone(second), tags...)...), "(AccessDenied)|source identity is already set"},
		{"a tag that is passed on", c.second, []string{"--role-arn", firstRole, "--role-session-name", "cli", "--tags", "Key=team,Value=red"}, "(InvalidParameterValue)|conflicts with a transitive tag key"},
	} {
		_, failure := c.assumeRole(t, test.flags, test.args...)
		for want := range strings.SplitSeq(test.want, "|") {
			if !strings.Contains(failure, want) {
				t.Errorf("%s: %q does not contain %q", test.name, failure, want)
			}
		}
	}
}

const boto3Assume = `
import boto3, sys
base = boto3.Session(profile_name="app")
sts = base.client("sts", endpoint_url=sys.argv[1], region_name="us-east-1")
out = sts.assume_role(RoleArn=sys.argv[2], RoleSessionName="boto", ExternalId="e-1", DurationSeconds=900,
	Tags=[{"Key": "Team", "Value": "blue"}], TransitiveTagKeys=["team"])
c = out["Credentials"]
sts = boto3.client("sts", endpoint_url=sys.argv[1], region_name="us-east-1",
	aws_access_key_id=c["AccessKeyId"], aws_secret_access_key=c["SecretAccessKey"], aws_session_token=c["SessionToken"])
print(sts.get_caller_identity()["Arn"], (c["Expiration"] - __import__("datetime").datetime.now(c["Expiration"].tzinfo)).total_seconds() <= 900)
`

func TestBoto3AssumesRole(t *testing.T) {
	python := signertest.Require(t, "boto3", "/usr/bin/python3")
	c := newChained(t)
	cmd := exec.Command(python, "-c", boto3Assume, c.url, secondRole)
	cmd.Env = append(c.config(t, c.first, ""), "PATH="+os.Getenv("PATH"), "GORACE="+clitest.QuickExit)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "arn:aws:sts::444455556666:assumed-role/second/boto True\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// While clients ask without a pause, the sessions of both roles are renewed. No
// client gets credentials that have expired or that STS refuses.
func TestChainedRenewalUnderLoad(t *testing.T) {
	c := newChained(t, "--session-lifetime", "4s")
	s := clitest.StartServe(t, t.TempDir(), nil, append(slices.Clone(c.second), "--status-listen", "127.0.0.1:0")...)
	clitest.WaitReady(t, s)
	const renewals = 3
	var mu sync.Mutex
	seen := make(map[string]bool)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for end := time.Now().Add(time.Minute); time.Now().Before(end); {
				resp, body := clitest.Ask(t, "GET", s.URL+"/credentials", "Authorization", s.TokenValue())
				var doc struct {
					AccessKeyId, SecretAccessKey, Token string
					Expiration                          time.Time
				}
				if err := json.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != 200 || !doc.Expiration.After(time.Now()) {
					t.Errorf("status %d, %v: expires at %v, now %v", resp.StatusCode, err, doc.Expiration, time.Now())
					return
				}
				mu.Lock()
				known := seen[doc.AccessKeyId]
				seen[doc.AccessKeyId] = true
				n := len(seen)
				mu.Unlock()
				if !known {
					creds := credentials.Credentials{AccessKeyID: doc.AccessKeyId, SecretAccessKey: doc.SecretAccessKey, SessionToken: doc.Token}
					id, err := emulator.GetCallerIdentity(t.Context(), nil, c.url, creds, time.Now())
					if err != nil || id.ARN != "arn:aws:sts::444455556666:assumed-role/second/me" {
						t.Errorf("%v, %v", id, err)
					}
				}
				if n > renewals {
					return
				}
			}
			t.Error("not renewed within a minute")
		})
	}
	clients.Wait()
	if first, second := c.count(t, "CreateSession"), c.count(t, "AssumeRole"); first < len(seen) || second < len(seen) || second > first {
		t.Errorf("%d sessions of the first role, %d of the second, and %d were served", first, second, len(seen))
	}
}
