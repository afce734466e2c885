package emulator

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The AWS CLI can call the control plane, with an ARN in the path too.
func TestControlWithCLI(t *testing.T) {
	const program = "/usr/bin/aws"
	if _, err := os.Stat(program); err != nil {
		t.Skip("the AWS CLI is not installed")
	}
	w := &testEnv{ca: newRoot(t, caTemplate("Root"))}
	w.startEmpty(t, Config{Now: time.Now})
	admin := w.server.Administrator()
	folder := t.TempDir()
	crl := filepath.Join(folder, "ca.crl")
	if err := os.WriteFile(crl, w.ca.crlPEM(t), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	aws := func(args ...string) object {
		t.Helper()
		c := exec.CommandContext(ctx, program, append([]string{"rolesanywhere", "--endpoint-url", w.url, "--output", "json"}, args...)...)
		c.Env = []string{"HOME=" + folder, "PATH=" + os.Getenv("PATH"), "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
			"AWS_ACCESS_KEY_ID=" + admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + admin.SecretAccessKey}
		b, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", args[0], err, b)
		}
		out := make(object)
		if len(b) > 0 {
			if err := json.Unmarshal(b, &out); err != nil {
				t.Fatalf("%s: %v: %s", args[0], err, b)
			}
		}
		return out
	}
	source, err := json.Marshal(w.anchorInput()["source"])
	if err != nil {
		t.Fatal(err)
	}
	arn := aws("create-trust-anchor", "--name", "a b", "--enabled", "--source", string(source), "--tags", "key=a,value=b").object("trustAnchor").string("trustAnchorArn")
	aws("tag-resource", "--resource-arn", arn, "--tags", "key=c,value=d e")
	aws("untag-resource", "--resource-arn", arn, "--tag-keys", "a")
	if got := aws("list-tags-for-resource", "--resource-arn", arn).list("tags"); len(got) != 1 || got[0].string("value") != "d e" {
		t.Errorf("tags are %v", got)
	}
	list := aws("import-crl", "--name", "list", "--crl-data", "fileb://"+crl, "--trust-anchor-arn", arn).object("crl")
	if list["enabled"] != false {
		t.Errorf("CRL is %v", list)
	}
	if got := aws("disable-trust-anchor", "--trust-anchor-id", arn).object("trustAnchor"); got["enabled"] != false || got.string("name") != "a b" {
		t.Errorf("trust anchor is %v", got)
	}
	for range 3 {
		aws("create-profile", "--name", "p", "--role-arns", testRole)
	}
	if got := aws("list-profiles", "--page-size", "1").list("profiles"); len(got) != 3 {
		t.Errorf("%d profiles", len(got))
	}
}
