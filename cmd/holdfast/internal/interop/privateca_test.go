package interop

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The AWS CLI gets a certificate from the private CA of the emulator, with a session
// of Holdfast.
func TestAWSCLIPrivateCA(t *testing.T) {
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	dir := t.TempDir()
	holdfast := func(args ...string) {
		t.Helper()
		cmd := exec.Command("holdfast", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("holdfast %q: %v: %s", args, err, out)
		}
	}
	holdfast("ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	holdfast("generate", "--private-key", "key.pem")
	holdfast("csr", "--private-key", "key.pem", "--subject", "CN=app", "--dns", "app.example.com", "--out", "app.csr")
	holdfast("ca", "issue", "--csr", "app.csr", "--accept-csr-names", "--out", "cert.pem")
	url, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca/ca.pem", "--private-ca-key", "ca-key.pem", "--in-progress", "1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	ca := "arn:aws:acm-pca:us-east-1:111122223333:certificate-authority/00000000-0000-0000-0000-000000000001"
	call := func(action string, args ...string) (out struct{ CertificateArn, Certificate, CertificateChain string }, failure string) {
		t.Helper()
		args = append([]string{aws, "acm-pca", action, "--endpoint-url", url, "--output", "json", "--certificate-authority-arn", ca}, args...)
		exec := exec.Command("holdfast", append(append([]string{"exec", "--certificate", "cert.pem", "--private-key", "key.pem"}, append(strings.Fields(flags), "--")...), args...)...)
		exec.Dir = dir
		exec.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=" + clitest.QuickExit, "AWS_DEFAULT_REGION=us-east-1"}
		var stderr strings.Builder
		exec.Stderr = &stderr
		data, err := exec.Output()
		if err != nil {
			return out, stderr.String()
		}
		if err := json.Unmarshal(data, &out); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		return out, ""
	}
	issue := []string{"--csr", "fileb://app.csr", "--signing-algorithm", "SHA256WITHECDSA", "--validity", "Value=30,Type=DAYS", "--idempotency-token", "t",
		"--template-arn", "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1"}
	issued, failure := call("issue-certificate", issue...)
	if again, _ := call("issue-certificate", issue...); failure != "" || again != issued {
		t.Fatalf("%v and %v: %s", issued, again, failure)
	}
	if _, failure := call("get-certificate", "--certificate-arn", issued.CertificateArn); !strings.Contains(failure, "RequestInProgressException") {
		t.Error(failure)
	}
	got, failure := call("get-certificate", "--certificate-arn", issued.CertificateArn)
	if failure != "" || !strings.HasPrefix(got.Certificate, "-----BEGIN CERTIFICATE-----\n") {
		t.Fatalf("%v: %s", got, failure)
	}
	for name, text := range map[string]string{"new.pem": got.Certificate + "\n", "chain.pem": got.CertificateChain + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	holdfast("verify", "--certificate", "new.pem", "--private-key", "key.pem", "--trust-anchor", "chain.pem")
	for code, args := range map[string][]string{
		"InvalidArgsException":  {"--csr", "fileb://app.csr", "--signing-algorithm", "SHA256WITHRSA", "--validity", "Value=30,Type=DAYS"},
		"MalformedCSRException": {"--csr", "fileb://cert.pem", "--signing-algorithm", "SHA256WITHECDSA", "--validity", "Value=30,Type=DAYS"},
		"ValidationException":   {"--csr", "fileb://app.csr", "--signing-algorithm", "SHA256WITHECDSA", "--validity", "Value=9000,Type=DAYS"},
	} {
		if _, failure := call("issue-certificate", args...); !strings.Contains(failure, "("+code+")") {
			t.Errorf("%s: %s", code, failure)
		}
	}
}

// The AWS SDK for Go gets a certificate for the administrator. It speaks RPC v2 CBOR.
func TestSDKPrivateCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holdfast := func(args ...string) {
		t.Helper()
		cmd := exec.Command("holdfast", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("holdfast %q: %v: %s", args, err, out)
		}
	}
	holdfast("generate", "--private-key", "key.pem")
	holdfast("csr", "--private-key", "key.pem", "--subject", "CN=app", "--out", "app.csr")
	url, env := startWithPrivateCA(t, dir, "--in-progress", "1")
	cert := runControl(t, dir, env, controlPlaneSDK(t), "issue", url, "app.csr")
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	holdfast("verify", "--certificate", "cert.pem", "--private-key", "key.pem", "--trust-anchor", "root.pem")
}
