package renewing_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	privateCA = "arn:aws:acm-pca:us-east-1:111122223333:certificate-authority/00000000-0000-0000-0000-000000000001"
	template  = "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1"
)

// newPrivateCA makes a CA and a certificate in a folder and runs an emulator that
// issues certificates with the key of the CA.
func newPrivateCA(t *testing.T, dir, kind, lifetime string, args ...string) (url string, arns []string) {
	t.Helper()
	run(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", kind, "--plaintext-key", "--subject", "CN=CA")
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--dns", "app.example.com", "--out", "app.csr")
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--accept-csr-names", "--lifetime", lifetime, "--out", "cert.pem")
	url, flags, stop, err := clitest.RunEmulator(dir, append([]string{"--trust-anchor", "ca/ca.pem", "--private-ca-key", "ca-key.pem", "--events", "events.jsonl"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return url, strings.Fields(flags)
}

// An eventOfPrivateCA is a line of the event log.
type eventOfPrivateCA struct {
	EventName, ErrorCode string
	UserIdentity         struct{ ARN string }
	RequestParameters    struct {
		IdempotencyToken, SigningAlgorithm, SerialNumber string
		Validity                                         struct{ Value int }
	}
	ResponseElements struct {
		CredentialSet  []struct{ Credentials struct{ AccessKeyID string } }
		CertificateArn string
	}
}

func eventsOf(t *testing.T, dir, name string) (events []eventOfPrivateCA) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e eventOfPrivateCA
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.EventName == name {
			events = append(events, e)
		}
	}
	return events
}

// A certificate is renewed with sessions that it gets itself, and each new one gets
// the next session.
func TestPrivateCA(t *testing.T) {
	t.Parallel()
	for kind, algorithm := range map[string]string{"p256": "SHA256WITHECDSA", "rsa2048": "SHA256WITHRSA"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			url, arns := newPrivateCA(t, dir, kind, "30d", "--in-progress", "1")
			renew := append([]string{"renew", "--way", "private-ca", "--ca-arn", privateCA, "--ca-url", url, "--certificate", "cert.pem", "--private-key", "key.pem"}, arns...)
			if stderr := fails(t, dir, renew...); !strings.Contains(stderr, "it is another identity: key usage") || !strings.Contains(stderr, "--allow-change") {
				t.Error(stderr)
			}
			used := serialOf(t, filepath.Join(dir, "cert.pem"))
			for i := range 3 {
				args := renew
				if i == 0 {
					args = append(args, "--allow-change")
				}
				before := serialOf(t, filepath.Join(dir, "cert.pem"))
				if out := run(t, dir, args...); !strings.HasPrefix(out, "renewed      CN=app\n") {
					t.Error(out)
				}
				issued := eventsOf(t, dir, "IssueCertificate")
				last := issued[len(issued)-1]
				if last.ErrorCode != "" || last.RequestParameters.Validity.Value != 30 || last.RequestParameters.SigningAlgorithm != algorithm || len(last.RequestParameters.IdempotencyToken) != 32 ||
					!strings.HasSuffix(last.UserIdentity.ARN, "/"+before) {
					t.Errorf("%+v; the certificate was %s", last, before)
				}
				if used = serialOf(t, filepath.Join(dir, "cert.pem")); used == before {
					t.Error("the certificate is the old one")
				}
			}
			sessions := eventsOf(t, dir, "CreateSession")
			if last := sessions[len(sessions)-1]; last.ErrorCode != "" || last.RequestParameters.SerialNumber != used {
				t.Errorf("%+v; the certificate is %s", last, used)
			}
			run(t, dir, append([]string{"credential-process", "--certificate", "cert.pem", "--private-key", "key.pem"}, arns...)...)
			out, err := exec.Command(signertest.Require(t, "openssl", "openssl"), "verify", "-CAfile", filepath.Join(dir, "ca/ca.pem"), filepath.Join(dir, "cert.pem")).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// What AWS refuses is refused with a way out, and the certificate stays.
func TestPrivateCARefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url, arns := newPrivateCA(t, dir, "p256", "30d")
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--accept-csr-names", "--lifetime", "1s", "--out", "old.pem")
	awaitEnd(t, filepath.Join(dir, "old.pem"))
	before := serialOf(t, filepath.Join(dir, "cert.pem"))
	for name, c := range map[string]struct {
		args  []string
		wants []string
	}{
		"no CA":             {[]string{"--ca-url", url}, []string{"needs ca_arn", "--ca-arn"}},
		"no role":           {[]string{"--ca-arn", privateCA, "--trust-anchor-arn=", "--profile-arn=", "--role-arn="}, []string{"needs a session", "--role-arn"}},
		"no ARN":            {[]string{"--ca-arn", "x", "--ca-url", url}, []string{`"x" is not the ARN of a CA`, "aws acm-pca list-certificate-authorities"}},
		"another CA":        {[]string{"--ca-arn", strings.Replace(privateCA, "0001", "0002", 1), "--ca-url", url}, []string{"ResourceNotFoundException", "--ca-arn"}},
		"another account":   {[]string{"--ca-arn", strings.Replace(privateCA, "111122223333", "444455556666", 1), "--ca-url", url}, []string{"not authorized to perform: acm-pca:IssueCertificate", "acm-pca:GetCertificate for arn:aws:acm-pca"}},
		"another algorithm": {[]string{"--ca-arn", privateCA, "--ca-url", url, "--ca-algorithm", "SHA256WITHRSA"}, []string{"cannot be used with key type EC_prime256v1", "--ca-algorithm"}},
		"too long":          {[]string{"--ca-arn", privateCA, "--ca-url", url, "--ca-days", "36500"}, []string{"exceeds that of the certificate authority", "--ca-days"}},
		"another template":  {[]string{"--ca-arn", privateCA, "--ca-url", url, "--ca-template", "arn:aws:acm-pca:::template/OCSPSigningCertificate/V1"}, []string{"InvalidArgsException", "--ca-template"}},
		"nobody":            {[]string{"--ca-arn", privateCA, "--ca-url", "http://127.0.0.1:1"}, []string{"connection refused"}},
		"expired":           {[]string{"--ca-arn", privateCA, "--ca-url", url, "--certificate", "old.pem"}, []string{"expired", "aws acm-pca issue-certificate"}},
	} {
		args := append([]string{"renew", "--way", "private-ca", "--certificate", "cert.pem", "--private-key", "key.pem"}, arns...)
		stderr := fails(t, dir, append(args, c.args...)...)
		for _, want := range append(c.wants, "\nhint: ") {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %s, want %q", name, stderr, want)
			}
		}
	}
	if serialOf(t, filepath.Join(dir, "cert.pem")) != before {
		t.Error("the certificate has changed")
	}
}

// Each call can fail at any time. The same request is sent again, and brings the same
// certificate.
func TestPrivateCAFails(t *testing.T) {
	t.Parallel()
	for status, code := range map[string]string{"503": "ServiceUnavailableException", "429": "ThrottlingException"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			url, arns := newPrivateCA(t, dir, "p256", "30d", "--error-rate", "0.3", "--error-status", status)
			renew := append([]string{"renew", "--way", "private-ca", "--allow-change", "--ca-arn", privateCA, "--ca-url", url, "--certificate", "cert.pem", "--private-key", "key.pem"}, arns...)
			before := serialOf(t, filepath.Join(dir, "cert.pem"))
			failures := 0
			for ; ; failures++ { // each call fails with a probability of 0.3
				cmd := clitest.PlainCommand(t, renew...)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if err == nil {
					break
				}
				want := front.ExitRefused // of the last session, as for other commands
				if strings.Contains(string(out), "AWS Private CA") {
					want = front.ExitUnreachable
				}
				if failures > 100 || cmd.ProcessState.ExitCode() != want || !strings.Contains(string(out), code) || strings.Count(string(out), "\nhint: ") != 1 {
					t.Fatalf("%d failures, %v: %s", failures, err, out)
				}
				if serialOf(t, filepath.Join(dir, "cert.pem")) != before {
					t.Fatalf("the certificate has changed: %s", out)
				}
			}
			if serialOf(t, filepath.Join(dir, "cert.pem")) == before {
				t.Error("the certificate is the old one")
			}
			issued := make(map[string]bool)
			for _, e := range eventsOf(t, dir, "IssueCertificate") {
				if e.ErrorCode == "" {
					issued[e.ResponseElements.CertificateArn] = true
				}
			}
			if len(issued) != 1 {
				t.Errorf("%d certificates", len(issued))
			}
			t.Logf("%d renewals failed", failures)
		})
	}
}

// serve renews a certificate that is due, and gets credentials with the new one.
func TestServeWithPrivateCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url, _ := newPrivateCA(t, dir, "p256", "20s")
	first := serialOf(t, filepath.Join(dir, "cert.pem"))
	writeRole(t, dir, url, fmt.Sprintf(`way = "private-ca"
ca_arn = %q
ca_url = %q
ca_template = %q
ca_days = 7
allow_change = true
`, privateCA, url, template))
	s := clitest.StartServe(t, dir, []string{"HOME=" + dir}, "--config", "roles.toml", "--status-listen", "127.0.0.1:0")
	clitest.Eventually(t, "the renewal", func() bool { return strings.Contains(s.Log.String(), "the certificate was renewed") })
	clitest.WaitReady(t, s)
	now := serialOf(t, filepath.Join(dir, "cert.pem"))
	if now == first {
		t.Error("the certificate is the first one")
	}
	clitest.Eventually(t, "a session with the new certificate", func() bool {
		sessions := eventsOf(t, dir, "CreateSession")
		return sessions[len(sessions)-1].RequestParameters.SerialNumber == now
	})
	if got := clitest.Metric(t, s, `holdfast_certificate_renewal_overdue{role="app"}`); got != "0" {
		t.Errorf("overdue: %s", got)
	}
	if issued := eventsOf(t, dir, "IssueCertificate"); len(issued) != 1 || issued[0].RequestParameters.Validity.Value != 7 {
		t.Errorf("%+v", issued)
	}
}
