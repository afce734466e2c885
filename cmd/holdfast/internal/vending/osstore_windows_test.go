package vending_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/winstore/winstoretest"
)

// credential-process, as a separate process, finds keys and certificates in the
// Windows certificate stores, and an emulator accepts its signatures.
func TestCredentialProcessWithWindowsStores(t *testing.T) {
	dir := t.TempDir()
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), signertest.CertPEM(ca.Root()), 0o600); err != nil {
		t.Fatal(err)
	}
	url, session, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	t.Log("emulator on ", url)

	key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
	place := func(t *testing.T, store, name string, machine bool, info winstoretest.KeyInfo, key crypto.Signer, lifetime time.Duration) {
		t.Helper()
		winstoretest.Add(t, store, machine, ca.Issue(t, key, func(c *x509.Certificate) {
			c.Subject.CommonName, c.Subject.Organization = name, []string{"Example Inc."}
			c.NotAfter = c.NotBefore.Add(lifetime)
		}), &info)
		winstoretest.Add(t, store, machine, ca.Cert, nil)
	}
	want := func(t *testing.T, code int, hint string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "holdfast", append(append([]string{"credential-process"}, strings.Fields(session)...), args...)...)
		cmd.Dir = dir
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
			t.Errorf("%q: %v, want exit code %d\n%s", args, err, code, &stderr)
			return
		}
		if !strings.Contains(stderr.String(), hint) {
			t.Errorf("%q: no %q in\n%s", args, hint, &stderr)
		}
		if code != 0 {
			return
		}
		var document struct{ AccessKeyId, SecretAccessKey, SessionToken string }
		if err := json.Unmarshal(stdout.Bytes(), &document); err != nil || document.AccessKeyId == "" || document.SessionToken == "" {
			t.Errorf("%q: no credentials, error %v", args, err)
		}
	}

	t.Run("machine", func(t *testing.T) {
		name := winstoretest.Name()
		info := winstoretest.CryptoAPI(t, key, winstoretest.Enhanced, winstoretest.KeyExchange, true)
		place(t, "MY", name, true, info, key, time.Hour*24)
		selector := "Key=x509Subject,Value=CN=" + name + `,O=Example Inc. Key=x509Issuer,Value=CN=issuer`
		want(t, 0, "", "--certificate", "winstore:location=machine;store=MY;subject=CN="+name)
		want(t, 0, "", "--cert-selector", selector, "--system-store-name", `LocalMachine\My`)
		json := `[{"Key": "x509Subject", "Value": "CN=` + name + `"}]`
		if err := os.WriteFile(filepath.Join(dir, "selector.json"), []byte(json), 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, 0, "", "--cert-selector", "file://selector.json", "--system-store-name", `LocalMachine\My`)
		want(t, front.ExitNotFound, name, "--certificate", "winstore:location=machine;subject=CN="+name+";serial=1")

		place(t, "MY", name, true, info, key, time.Hour*48)
		want(t, front.ExitNotFound, "sha256=", "--cert-selector", selector, "--system-store-name", `LocalMachine\My`)
		want(t, 0, "", "--cert-selector", selector, "--system-store-name", `LocalMachine\My`, "--use-latest-expiring-certificate")
		want(t, 0, "", "--certificate", "winstore:location=machine;subject=CN="+name, "--use-latest-expiring-certificate")
	})
	t.Run("user", func(t *testing.T) {
		store := winstoretest.Store(t, false)
		place(t, store, "app", false, winstoretest.CryptoAPI(t, key, winstoretest.AES, winstoretest.Signature, false), key, time.Hour*24)
		want(t, 0, "", "--cert-selector", "Key=x509Subject,Value=CN=app", "--system-store-name", store)
		want(t, 0, "", "--system-store-name", store, "--use-latest-expiring-certificate")
		want(t, front.ExitNotFound, "certutil", "--certificate", "winstore:store=none")
		want(t, front.ExitNotFound, "location=machine", "--certificate", "winstore:store="+store+";subject=CN=other")
		want(t, front.ExitUsage, "location", "--certificate", "winstore:label=app")
	})
	t.Run("CNG", func(t *testing.T) {
		key := signertest.Key(t, "p256")
		info := winstoretest.CNG(t, key, true)
		store := winstoretest.Store(t, true)
		place(t, store, "app", true, info, key, time.Hour*24)
		want(t, 0, "", "--certificate", "winstore:location=machine;store="+store+";subject=CN=app")
		want(t, 0, "", "--certificate", "winstore:location=machine;store="+store+";key="+info.Container+";provider=software")
		want(t, front.ExitUnavailable, "provider=software", "--certificate", "winstore:location=machine;key="+info.Container) // there is no TPM
	})
}
