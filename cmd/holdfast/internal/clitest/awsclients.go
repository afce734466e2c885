package clitest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// CallerBoto3 prints the ARN that STS at the URL in its argument knows it by.
const CallerBoto3 = `
import boto3, sys
sts = boto3.client("sts", endpoint_url=sys.argv[1], region_name="us-east-1")
print(sts.get_caller_identity()["Arn"])
`

// callerJS does the same. Like boto3 it gives a metadata service a second, unless told
// otherwise.
const callerJS = `
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
new STSClient({ endpoint: process.argv[1], timeout: 30000 }).send(new GetCallerIdentityCommand({})).then(
	out => console.log(out.Arn), err => { console.error(err); process.exitCode = 1; });
`

// sdkJS is what script/test-deps installs.
const sdkJS = "aws-sdk-js-3.888.0-2"

// Cached returns the path of a program that script/test-deps puts into the cache folder
// of the user; see [signertest.Require].
func Cached(t testing.TB, name, program string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return signertest.Require(t, name, filepath.Join(cache, "holdfast-test", program))
}

// JS returns the command of the AWS SDK for JavaScript, which runs a script after -e.
func JS(t testing.TB) string { return Cached(t, "aws-sdk-js", sdkJS+"/run") }

// CallerJS returns a command of the AWS SDK for JavaScript that prints the ARN that STS
// at the URL knows it by.
func CallerJS(t testing.TB, url string) []string { return []string{JS(t), "-e", callerJS, url} }

// BuildCallerGo builds a program with the AWS SDK for Go, of the module in a folder, that
// does the same. Its argument is the URL.
func BuildCallerGo(t testing.TB, module string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "aws-sdk-go")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		t.Logf("building with the AWS SDK for Go: %v\n%s", err, out) // Require says the rest
	}
	return path
}
