package signertest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// openSSL35Folder is what script/test-deps makes.
const openSSL35Folder = "openssl-3.5-1"

var findOpenSSL35 = sync.OnceValues(func() (string, error) {
	path, err := exec.LookPath("openssl")
	if err == nil && knowsMLDSA(path) {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path, err = exec.LookPath(filepath.Join(cache, "holdfast-test", openSSL35Folder, "openssl"))
	if err != nil {
		return "", fmt.Errorf("no openssl in PATH knows ML-DSA, and script/test-deps openssl-3.5 was not run: %w", err)
	}
	if !knowsMLDSA(path) {
		return "", errors.New(path + " does not know ML-DSA")
	}
	return path, nil
})

func knowsMLDSA(openssl string) bool {
	out, err := exec.Command(openssl, "list", "-signature-algorithms").Output()
	return err == nil && bytes.Contains(out, []byte("ML-DSA"))
}

// OpenSSL35 returns the path of an openssl that knows ML-DSA, which is version
// 3.5 or later: the one in PATH, or else the one that script/test-deps unpacked
// into the cache folder of the user. Without either it skips the test like
// [Require], under the name openssl-3.5.
func OpenSSL35(tb testing.TB) string {
	tb.Helper()
	path, err := findOpenSSL35()
	if err != nil {
		Skip(tb, "openssl-3.5", err)
	}
	return path
}

// IssueMLDSA lets [OpenSSL35] make certificates with keys of a parameter set,
// such as ML-DSA-65, in PEM files in dir: root.pem is a self-signed CA, and
// cert.pem is a certificate for an end entity "client" that this CA issued. Both
// are valid for 24 hours, starting one hour ago. key.pem is the private key of
// cert.pem in one of the forms of RFC 9881, section 6, by OpenSSL's name:
// seed-only, priv-only or seed-priv. root-key.pem is that of the CA, in the same
// form.
func IssueMLDSA(tb testing.TB, dir, set, form string) {
	tb.Helper()
	openssl := OpenSSL35(tb)
	start := time.Now().UTC().Add(-time.Hour)
	genpkey := []string{"genpkey", "-algorithm", set, "-provparam", "ml-dsa.output_formats=" + form, "-out"}
	req := []string{"req", "-x509", "-new", "-config", "", // an empty configuration
		"-not_before", start.Format("20060102150405Z"), "-not_after", start.AddDate(0, 0, 1).Format("20060102150405Z")}
	for _, args := range [][]string{
		append(genpkey, "root-key.pem"),
		append(req, "-key", "root-key.pem", "-out", "root.pem", "-subj", "/CN=root", "-addext", "subjectKeyIdentifier=hash",
			"-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
		append(genpkey, "key.pem"),
		append(req, "-CA", "root.pem", "-CAkey", "root-key.pem", "-key", "key.pem", "-out", "cert.pem", "-subj", "/CN=client",
			"-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature"),
	} {
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			tb.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
