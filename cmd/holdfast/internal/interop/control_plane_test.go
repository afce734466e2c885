package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each script creates seven trust anchors from a file, lists them by pages of three, and
// expects the errors of an unknown ID, of a damaged certificate and of an altered token.
const boto3Control = `
import boto3, sys
client = boto3.client("rolesanywhere", endpoint_url=sys.argv[1])
with open(sys.argv[2]) as f:
    pem = f.read()
def source(data):
    return {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": data}}
made = {client.create_trust_anchor(name=f"python-{i}", source=source(pem))["trustAnchor"]["trustAnchorId"] for i in range(7)}
listed, pages = [], 0
for page in client.get_paginator("list_trust_anchors").paginate(pageSize=3):
    pages += 1
    listed += [a["trustAnchorId"] for a in page["trustAnchors"]]
assert len(listed) == len(set(listed)) and made <= set(listed) and pages >= 3, (made, listed, pages)
def fails(error, f, **args):
    try:
        f(**args)
    except error as e:
        return e
    raise SystemExit(f"{f} did not fail")
ex = client.exceptions
fails(ex.ResourceNotFoundException, client.get_trust_anchor, trustAnchorId="00000000-0000-0000-0000-0000000000ff")
fails(ex.ValidationException, client.create_trust_anchor, name="x", source=source("x"))
token = client.list_trust_anchors(pageSize=1)["nextToken"]
fails(ex.ValidationException, client.list_trust_anchors, nextToken=token[:-1] + ("0" if token[-1] != "0" else "1"))
`

const sdkJSControl = `
const ra = require("@aws-sdk/client-rolesanywhere"), fs = require("fs");
const client = new ra.RolesAnywhereClient({ endpoint: process.argv[1] });
const source = data => ({ sourceType: "CERTIFICATE_BUNDLE", sourceData: { x509CertificateData: data } });
const fails = (name, command) => client.send(command).then(
	() => { throw new Error(name + " was expected"); }, err => { if (err.name !== name) throw err; });
(async () => {
	const pem = fs.readFileSync(process.argv[2], "utf8"), made = new Set();
	for (let i = 0; i < 7; i++) {
		const out = await client.send(new ra.CreateTrustAnchorCommand({ name: "js-" + i, source: source(pem) }));
		made.add(out.trustAnchor.trustAnchorId);
	}
	let pages = 0;
	for await (const page of ra.paginateListTrustAnchors({ client }, { pageSize: 3 })) {
		pages++;
		for (const a of page.trustAnchors) made.delete(a.trustAnchorId);
	}
	if (made.size > 0 || pages < 3) throw new Error("not listed: " + [...made] + ", pages " + pages);
	await fails("ResourceNotFoundException", new ra.GetTrustAnchorCommand({ trustAnchorId: "00000000-0000-0000-0000-0000000000ff" }));
	await fails("ValidationException", new ra.CreateTrustAnchorCommand({ name: "x", source: source("x") }));
	const { nextToken } = await client.send(new ra.ListTrustAnchorsCommand({ pageSize: 1 }));
	await fails("ValidationException", new ra.ListTrustAnchorsCommand({ nextToken: nextToken + "0" }));
})().catch(err => { console.error(err); process.exitCode = 1; });
`

// controlPlaneSDK builds the program in testdata/control-plane.
func controlPlaneSDK(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "control-plane")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "testdata/control-plane"
	if out, err := build.CombinedOutput(); err != nil {
		t.Logf("building with the AWS SDK for Go: %v\n%s", err, out) // Require says the rest
	}
	return signertest.Require(t, "aws-sdk-go", program)
}

// The AWS SDKs create and list trust anchors by pages, and get typed errors. The one for Go
// also finds the events.
func TestControlPlane(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	url, env, _, stop, err := clitest.RunControlPlane(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	for name, program := range map[string]func(t *testing.T) []string{
		"go": func(t *testing.T) []string { return []string{controlPlaneSDK(t), "walk", url, "ca.pem"} },
		"boto3": func(t *testing.T) []string {
			return []string{signertest.Require(t, "boto3", "/usr/bin/python3"), "-c", boto3Control, url, "ca.pem"}
		},
		"js": func(t *testing.T) []string {
			return []string{clitest.JS(t), "-e", sdkJSControl, url, "ca.pem"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runControl(t, dir, env, program(t)...)
		})
	}
}

// runControl runs a client of the control plane and returns what it prints.
func runControl(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "AWS_REGION=us-east-1", "NODE_NO_WARNINGS=1"}, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	return string(out)
}

// TestOperations compares docs/emulator.md with the service models of the AWS SDK for
// Go, and with what the emulator does: an operation that the page calls implemented
// never gets the error of an unknown one, and every other operation does.
func TestOperations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	root := signertest.NewCA(t, "root")
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("root.pem", signertest.CertPEM(root.Cert))
	write("root.key", signertest.KeyPEM(t, root.Key))
	url, env, _, stop, err := clitest.RunControlPlane(dir, "--trust-anchor", "root.pem", "--private-ca-key", "root.key")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	unknown := []string{"UnknownOperationException", "InvalidAction"}
	done, refused := make(map[string][]string), make(map[string][]string)
	for line := range strings.Lines(runControl(t, dir, env, controlPlaneSDK(t), "operations", url)) {
		f := strings.Fields(line)
		if f[0] == "acm-pca" { // the SDK speaks another protocol with it
			f[2] = jsonCode(t, url, env, "ACMPrivateCA."+f[1])
		}
		if slices.Contains(unknown, f[2]) {
			refused[f[0]] = append(refused[f[0]], f[1])
		} else {
			done[f[0]] = append(done[f[0]], f[1])
		}
	}
	page, err := os.ReadFile("../../../../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range []struct{ id, name string }{
		{"rolesanywhere", "IAM Roles Anywhere"}, {"iam", "IAM"}, {"sts", "STS"}, {"cloudtrail", "CloudTrail"}, {"acm-pca", "AWS Private CA"},
	} {
		for _, row := range []struct {
			what  string
			names []string
		}{{"implemented", done[service.id]}, {"unknown", refused[service.id]}} {
			if len(row.names) == 0 {
				continue
			}
			want := fmt.Sprintf("| %s | %s | %d | %s |", service.name, row.what, len(row.names), strings.Join(row.names, ", "))
			if !strings.Contains(string(page), "\n"+want+"\n") {
				t.Errorf("docs/emulator.md needs this row:\n%s", want)
			}
		}
	}
	if n := len(regexp.MustCompile(`(?m)^\| [^|]* \| (implemented|unknown) \| `).FindAll(page, -1)); n != len(done)+len(refused) {
		t.Errorf("the table has %d rows, want %d", n, len(done)+len(refused))
	}
	if n := len(done["rolesanywhere"]); n < 30 || len(refused["rolesanywhere"]) > 0 {
		t.Errorf("%d operations of Roles Anywhere, without %v", n, refused["rolesanywhere"])
	}
}

// jsonCode calls an operation in the protocol JSON 1.1 and returns the code of the
// error.
func jsonCode(t *testing.T, url string, env []string, target string) string {
	t.Helper()
	var c credentials.Credentials
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "AWS_ACCESS_KEY_ID":
			c.AccessKeyID = value
		case "AWS_SECRET_ACCESS_KEY":
			c.SecretAccessKey = value
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if err := sigv4.Sign(r, []byte("{}"), c, "acm-pca", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		Type string `json:"__type"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Type
}
