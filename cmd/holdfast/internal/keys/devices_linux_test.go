package keys_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// run runs a command in the environment of an identity and returns its output.
func run(t *testing.T, id clitest.Identity, name string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = id.Dir
	cmd.Env = append(os.Environ(), id.Env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %q: %w\n%s", name, args, err, &stderr)
	}
	return out, err
}

func mustRun(t *testing.T, id clitest.Identity, name string, args ...string) []byte {
	t.Helper()
	out, err := run(t, id, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// OpenSSL verifies the signatures that devices make.
func TestSignStringWithDevices(t *testing.T) {
	signertest.Require(t, "openssl", "openssl")
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	for _, id := range slices.Concat(clitest.TokenIdentities(t, ca), clitest.TPMIdentities(t, ca)) {
		t.Run(id.Name, func(t *testing.T) {
			write := func(name string, data []byte) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(id.Dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("public.pem", mustRun(t, id, "openssl", "x509", "-in", "cert.pem", "-pubkey", "-noout"))
			var public []byte
			if strings.Contains(id.Name, "rsa") {
				public = mustRun(t, id, "openssl", "rsa", "-pubin", "-in", "public.pem", "-RSAPublicKey_out", "-outform", "DER")
			} else {
				public = mustRun(t, id, "openssl", "ec", "-pubin", "-in", "public.pem", "-outform", "DER", "-conv_form", "uncompressed")
				public = public[len(public)-65:]
			}
			sum := sha256.Sum256(append([]byte("IAM RA"), public...))
			write("text", append([]byte("AWS Roles Anywhere Credential Helper Signing Test1"), sum[:]...))
			signed := 0
			for _, digest := range []string{"SHA256", "SHA384", "SHA512"} {
				signature, err := run(t, id, "holdfast", append([]string{"sign-string", "--format", "bin", "--digest", digest}, id.Flags...)...)
				if err != nil && strings.HasPrefix(id.Name, "tpm") && digest == "SHA512" {
					t.Logf("not every TPM has SHA-512: %v", err)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				write("signature", signature)
				mustRun(t, id, "openssl", "dgst", "-"+strings.ToLower(digest), "-verify", "public.pem", "-signature", "signature", "text")
				signed++
			}
			if signed < 2 {
				t.Errorf("%d signatures", signed)
			}
		})
	}
}

// A PIN in --certificate is also for --private-key in the same token.
func TestSignStringWithThePINOfTheCertificate(t *testing.T) {
	for _, id := range clitest.TokenIdentities(t, signertest.NewCA(t, "root")) {
		t.Run(id.Name, func(t *testing.T) {
			key := id.Flags[1]
			pin := strings.TrimSpace(string(mustRun(t, id, "cat", "pin")))
			for _, attribute := range []string{"pin-value=" + pin, "pin-source=file:" + filepath.Join(id.Dir, "pin")} {
				mustRun(t, id, "holdfast", "sign-string", "--certificate", key+"&"+attribute, "--private-key", key)
			}

			// The PIN of --pin-source comes first, and no other token gets it.
			_, err := run(t, id, "holdfast", "sign-string", "--certificate", key+"&pin-value="+pin, "--private-key", key, "--pin-source", "file:"+filepath.Join(id.Dir, "missing"))
			if err == nil || !strings.Contains(err.Error(), "missing: no such file") {
				t.Errorf("with a --pin-source: %v", err)
			}
			other := strings.Replace(key, "pkcs11:", "pkcs11:manufacturer=SoftHSM%20project;", 1)
			_, err = run(t, id, "holdfast", "sign-string", "--certificate", key+"&pin-value="+pin, "--private-key", other)
			if err == nil || !strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "hint: give the PIN with --pin-source") {
				t.Errorf("with another token: %v", err)
			}
		})
	}
}

func TestReadCertificateDataOfToken(t *testing.T) {
	signertest.Require(t, "openssl", "openssl")
	for _, id := range clitest.TokenIdentities(t, signertest.NewCA(t, "root")) {
		t.Run(id.Name, func(t *testing.T) {
			uri := id.Flags[1]
			out := string(mustRun(t, id, "holdfast", "read-certificate-data", "--certificate", uri))
			der := mustRun(t, id, "openssl", "x509", "-in", "cert.pem", "-outform", "DER")
			if want := fmt.Sprintf("Matching identities\n1) Hex Fingerprint: %x\nSubject: ", sha1.Sum(der)); !strings.HasPrefix(out, want) {
				t.Errorf("%s\nwant\n%s", out, want)
			}
			_, after, _ := strings.Cut(out, "\nURI: ")
			printed, _, _ := strings.Cut(after, "\n")
			if again := string(mustRun(t, id, "holdfast", "read-certificate-data", "--certificate", printed)); again != out {
				t.Errorf("with the printed URI:\n%s\nwant\n%s", again, out)
			}

			// The module can come from the environment, which the flag overrides.
			uri, module, _ := strings.Cut(uri, "?module-path=")
			other := id
			other.Env = append(id.Env[:len(id.Env):len(id.Env)], "PKCS11_MODULE_PATH="+module)
			if got := string(mustRun(t, other, "holdfast", "read-certificate-data", "--certificate", uri)); got != out {
				t.Errorf("with PKCS11_MODULE_PATH:\n%s\nwant\n%s", got, out)
			}
			if _, err := run(t, other, "holdfast", "read-certificate-data", "--certificate", uri, "--pkcs11-lib", "/none.so"); err == nil || !strings.Contains(err.Error(), "/none.so") {
				t.Errorf("with another --pkcs11-lib: %v", err)
			}

			if got := string(mustRun(t, other, "holdfast", "read-certificate-data", "--certificate", strings.Replace(uri, "object=", "object=no", 1))); got != "No matching identities\n" {
				t.Errorf("no such object: %q", got)
			}
			for reference, wrong := range map[string]string{"pkcs11:token=none": "token", strings.Replace(uri, ";", ";slot-id=987654;", 1): "slot-id"} {
				_, err := run(t, other, "holdfast", "read-certificate-data", "--certificate", reference)
				if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), ": no token or key store matches\nhint: the attribute "+wrong+" does not match; use one of the tokens that are present: 'pkcs11:") {
					t.Errorf("%s: %v", reference, err)
				}
			}
		})
	}
}
