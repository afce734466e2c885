package issuing_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	anchorARN  = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
	profileARN = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
	roleARN    = "arn:aws:iam::111122223333:role/app"
)

// controlPlane answers the calls of the commands, as far as the AWS CLI looks at
// the answers. sent returns what was sent last to a path.
func controlPlane(t *testing.T) (endpoint string, sent func(path string) string) {
	bodies := make(map[string]string)
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		bodies[r.URL.Path] = string(body)
		switch r.URL.Path {
		case "/trustanchors":
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"trustAnchor":{"trustAnchorArn":%q}}`, anchorARN)
		case "/profiles":
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"profile":{"profileArn":%q}}`, profileARN)
		default: // IAM
			w.Header().Set("Content-Type", "text/xml")
			fmt.Fprintf(w, `<CreateRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><CreateRoleResult><Role><Arn>%s</Arn></Role></CreateRoleResult></CreateRoleResponse>`, roleARN)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func(path string) string {
		mu.Lock()
		defer mu.Unlock()
		return bodies[path]
	}
}

// The AWS CLI runs the commands that ca init prints. With the trust policy in
// them, only the machine that they name gets credentials.
func TestAWSCommands(t *testing.T) {
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	dir := newCA(t)
	commands := mustRun(t, dir, "ca", "init", "--dir", "second CA", "--private-key", "second.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=Émile: CA")
	endpoint, sent := controlPlane(t)
	bin := t.TempDir()
	wrapper := fmt.Sprintf("#!/bin/sh\nexec %s --endpoint-url %s \"$@\"\n", aws, endpoint)
	if err := clitest.WriteProgram(filepath.Join(bin, "aws"), []byte(wrapper)); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("sh", "-c", commands, "aws-commands.sh", "app")
	run.Dir = dir
	run.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret"}
	if out, err := run.CombinedOutput(); err != nil || string(out) != "--trust-anchor-arn "+anchorARN+"\n--profile-arn "+profileARN+"\n--role-arn "+roleARN+"\n" {
		t.Fatalf("%v: %s", err, out)
	}
	form, err := url.ParseQuery(sent("/"))
	if err != nil || form.Get("Action") != "CreateRole" || !strings.Contains(form.Get("AssumeRolePolicyDocument"), anchorARN) {
		t.Errorf("%v, %v", form, err)
	}
	if out, err := exec.Command("sh", "-c", strings.ReplaceAll(commands, "aws ", "false "), "aws-commands.sh", "app").CombinedOutput(); err == nil || len(out) > 0 {
		t.Errorf("without a trust anchor: %v: %s", err, out)
	}
	if out, err := exec.Command("sh", "-c", commands, "aws-commands.sh", `a"b`).CombinedOutput(); err == nil || !strings.Contains(string(out), "quotation mark") {
		t.Errorf("a quotation mark: %v: %s", err, out)
	}
	second := exec.Command("sh", "-c", strings.ReplaceAll(commands, "create-trust-anchor", "false"), "aws-commands.sh", "second")
	second.Dir, second.Env = dir, append(run.Env, "TRUST_ANCHOR_ARN="+anchorARN)
	if out, err := second.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "--trust-anchor-arn "+anchorARN+"\n") {
		t.Errorf("a second machine: %v: %s", err, out)
	}
	again := exec.Command("sh", "-c", commands, "aws-commands.sh", "app.example.com")
	again.Dir, again.Env = t.TempDir(), run.Env
	if out, err := again.CombinedOutput(); err != nil || !strings.Contains(sent("/profiles"), `"name": "app-example-com"`) {
		t.Errorf("%v: %s; %s", err, out, sent("/profiles"))
	}
	var anchor struct {
		Name    string
		Enabled bool
		Source  struct {
			SourceType string
			SourceData struct{ X509CertificateData string }
		}
	}
	if err := json.Unmarshal([]byte(sent("/trustanchors")), &anchor); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, "second CA", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if got := anchor.Source.SourceData.X509CertificateData; strings.TrimSpace(got) != strings.TrimSpace(string(want)) || !anchor.Enabled || anchor.Name != "-mile- CA" {
		t.Errorf("%+v", anchor)
	}

	if err := os.WriteFile(filepath.Join(dir, "trust-policy.json"), []byte(form.Get("AssumeRolePolicyDocument")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", filepath.Join("second CA", "ca.pem"), "--trust-policy", "trust-policy.json")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for name, ok := range map[string]bool{"app": true, "other": false} {
		cert := mustRun(t, dir, "ca", "issue", "--dir", "second CA", "--csr", "app.csr", "--subject", "CN="+name)
		if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte(cert), 0o600); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"credential-process", "--certificate", "cert.pem", "--private-key", "app.pem"}, strings.Fields(flags)...)
		if out, _, err := runIn(t, dir, 0, args...); (err == nil) != ok {
			t.Errorf("CN=%s: %v: %s", name, err, out)
		}
	}
}
