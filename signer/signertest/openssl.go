package signertest

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	option := []string{"-provparam", "ml-dsa.output_formats=" + form}
	OpenSSLCA(tb, dir, "root", "root", set, option...)
	OpenSSLLeaf(tb, dir, "root", "cert", set, append(option, "-subj", "/CN=client")...)
	if err := os.Rename(filepath.Join(dir, "cert-key.pem"), filepath.Join(dir, "key.pem")); err != nil {
		tb.Fatal(err)
	}
}

// OpenSSLCA lets [OpenSSL35] make a private key, NAME-key.pem in dir, and a
// certificate of a CA for it, NAME.pem, which it returns. algorithm is that of the
// key: a parameter set of ML-DSA, rsa:2048 or ec, which is P-256. The CA with the
// files ISSUER.pem and ISSUER-key.pem issues the certificate; if issuer is name, it
// is self-signed. The subject is CN=NAME, unless args, which are arguments of openssl
// req, have another one; the same is true for the extensions. The certificate is
// valid for 24 hours, starting one hour ago.
func OpenSSLCA(tb testing.TB, dir, issuer, name, algorithm string, args ...string) *x509.Certificate {
	tb.Helper()
	return openSSLCertificate(tb, dir, issuer, name, algorithm, args,
		"subjectKeyIdentifier=hash", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
}

// OpenSSLLeaf is [OpenSSLCA] for the certificate of an end entity.
func OpenSSLLeaf(tb testing.TB, dir, issuer, name, algorithm string, args ...string) *x509.Certificate {
	tb.Helper()
	return openSSLCertificate(tb, dir, issuer, name, algorithm, args, "basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature")
}

func openSSLCertificate(tb testing.TB, dir, issuer, name, algorithm string, args []string, extensions ...string) *x509.Certificate {
	tb.Helper()
	start := time.Now().UTC().Add(-time.Hour)
	command := []string{"req", "-x509", "-newkey", algorithm, "-noenc", "-config", "", // an empty configuration
		"-keyout", name + "-key.pem", "-out", name + ".pem", "-subj", "/CN=" + name,
		"-not_before", start.Format(openSSLTime), "-not_after", start.AddDate(0, 0, 1).Format(openSSLTime)}
	if algorithm == "ec" {
		command = append(command, "-pkeyopt", "ec_paramgen_curve:P-256")
	}
	if issuer != name {
		command = append(command, "-CA", issuer+".pem", "-CAkey", issuer+"-key.pem")
	}
	for _, e := range extensions {
		extension, _, _ := strings.Cut(e, "=")
		if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, extension+"=") }) {
			command = append(command, "-addext", e)
		}
	}
	runOpenSSL(tb, dir, append(command, args...)...)
	data, err := os.ReadFile(filepath.Join(dir, name+".pem"))
	if err != nil {
		tb.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		tb.Fatalf("%s.pem is not in PEM", name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// openSSLTime is the layout of times in arguments of OpenSSL.
const openSSLTime = "20060102150405Z"

// OpenSSLCRL lets [OpenSSL35] make a revocation list of a CA of [OpenSSLCA], in PEM,
// that lists certs. It is valid for 24 hours.
func OpenSSLCRL(tb testing.TB, dir, issuer string, certs ...*x509.Certificate) []byte {
	tb.Helper()
	var index strings.Builder // the database of openssl ca
	for _, c := range certs {
		fmt.Fprintf(&index, "R\t%s\t%s\t%s\tunknown\t/CN=revoked\n", c.NotAfter.UTC().Format(openSSLTime[2:]), c.NotBefore.UTC().Format(openSSLTime[2:]),
			strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes())))
	}
	const config = "[ca]\ndefault_ca = it\n[it]\ndatabase = crl.index\ncrlnumber = crl.number\ndefault_md = default\ndefault_crl_days = 1\n" +
		"crl_extensions = of_version_2\n[of_version_2]\nauthorityKeyIdentifier = keyid:always\n"
	for name, text := range map[string]string{"crl.cnf": config, "crl.index": index.String(), "crl.number": "01"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	runOpenSSL(tb, dir, "ca", "-gencrl", "-config", "crl.cnf", "-cert", issuer+".pem", "-keyfile", issuer+"-key.pem", "-out", "crl.pem")
	list, err := os.ReadFile(filepath.Join(dir, "crl.pem"))
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func runOpenSSL(tb testing.TB, dir string, args ...string) {
	tb.Helper()
	cmd := exec.Command(OpenSSL35(tb), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
