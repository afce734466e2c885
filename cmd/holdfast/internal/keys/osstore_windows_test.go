package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	_ "crypto/sha512" // for SHA-384 and SHA-512
	"crypto/x509"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/winstore/winstoretest"
)

// sign-string signs with keys in the Windows certificate stores, and
// read-certificate-data lists their certificates, with the flags of
// aws_signing_helper.
func TestWindowsStores(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	run := func(t *testing.T, code int, args ...string) (stdout, stderr string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "holdfast", args...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
			t.Fatalf("%q: %v, want exit code %d\n%s", args, err, code, &errs)
		}
		return out.String(), errs.String()
	}
	digests := map[string]crypto.Hash{"SHA256": crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512}
	digest := func(name string, public []byte) []byte {
		sum := sha256.Sum256(append([]byte("IAM RA"), public...))
		h := digests[name].New()
		h.Write(append([]byte("AWS Roles Anywhere Credential Helper Signing Test1"), sum[:]...))
		return h.Sum(nil)
	}
	issue := func(t *testing.T, store, name string, machine bool, key crypto.Signer, info *winstoretest.KeyInfo) *x509.Certificate {
		t.Helper()
		c := ca.Issue(t, key, func(c *x509.Certificate) { c.Subject.CommonName = name })
		winstoretest.Add(t, store, machine, c, info)
		return c
	}
	entry := func(n int, c *x509.Certificate) string {
		return fmt.Sprintf("%d) Hex Fingerprint: %x\nSubject: %s\nIssuer: CN=root\nSerial Number: %X\n\n", n, sha1.Sum(c.Raw), c.Subject, c.SerialNumber)
	}

	t.Run("RSA", func(t *testing.T) {
		key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
		store := winstoretest.Store(t, false)
		info := winstoretest.CryptoAPI(t, key, winstoretest.AES, winstoretest.Signature, false)
		c := issue(t, store, "app", false, key, &info)
		issue(t, store, "other", false, key, nil) // without a private key
		for _, flags := range [][]string{
			{"--cert-selector", "Key=x509Subject,Value=CN=app", "--system-store-name", store},
			{"--certificate", "winstore:store=" + store + ";subject=CN=app"},
		} {
			for name, hash := range digests {
				out, _ := run(t, 0, append([]string{"sign-string", "--format", "bin", "--digest", name}, flags...)...)
				if err := rsa.VerifyPKCS1v15(&key.PublicKey, hash, digest(name, x509.MarshalPKCS1PublicKey(&key.PublicKey)), []byte(out)); err != nil {
					t.Errorf("%s, %q: %v", name, flags, err)
				}
				// The other formats have the same signature: RSA PKCS #1 is not random.
				text, _ := run(t, 0, append([]string{"sign-string", "--format", "text", "--digest", name}, flags...)...)
				document, _ := run(t, 0, append([]string{"sign-string", "--digest", name}, flags...)...)
				if hex := fmt.Sprintf("%x", out); strings.TrimSpace(text) != hex || !strings.Contains(document, hex) {
					t.Errorf("%s, %q: %s, %s, want %s", name, flags, text, document, hex)
				}
			}
		}
		for _, flags := range [][]string{
			{"--system-store-name", store},
			{"--cert-selector", "Key=x509Subject,Value=CN=app", "--system-store-name", store},
			{"--certificate", "winstore:store=" + store},
		} {
			if out, _ := run(t, 0, append([]string{"read-certificate-data"}, flags...)...); out != "Matching identities\n"+entry(1, c) {
				t.Errorf("%q: %s", flags, out)
			}
		}
		out, _ := run(t, 0, "read-certificate-data", "--cert-selector", "Key=x509Subject,Value=CN=none", "--system-store-name", store)
		if out != "No matching identities\n" {
			t.Errorf("no match: %q", out)
		}
		if _, errs := run(t, front.ExitUsage, "read-certificate-data", "--certificate", "cert.pem", "--system-store-name", store); !strings.Contains(errs, "--system-store-name") {
			t.Errorf("%s", errs)
		}
	})
	t.Run("ECDSA", func(t *testing.T) {
		key := signertest.Key(t, "p256").(*ecdsa.PrivateKey)
		info := winstoretest.CNG(t, key, true)
		store := winstoretest.Store(t, true)
		c := issue(t, store, "app", true, key, &info)
		public, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for name := range digests {
			out, _ := run(t, 0, "sign-string", "--format", "bin", "--digest", name, "--cert-selector", "Key=x509Subject,Value=CN=app", "--system-store-name", `LocalMachine\`+store)
			if !ecdsa.VerifyASN1(&key.PublicKey, digest(name, public), []byte(out)) {
				t.Errorf("%s: the signature is not valid", name)
			}
		}
		if out, _ := run(t, 0, "read-certificate-data", "--system-store-name", `LocalMachine\`+store); out != "Matching identities\n"+entry(1, c) {
			t.Error(out)
		}
		// A store of the machine is not among those of the user.
		_, _ = run(t, front.ExitNotFound, "read-certificate-data", "--system-store-name", store)
	})
}
