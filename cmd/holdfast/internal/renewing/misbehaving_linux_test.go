package renewing_test

import (
	"crypto"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A victim is a pair in a folder whose CA issues what a test wants: the program get
// runs the program wrong as long as there is one.
type victim struct {
	*testing.T
	dir    string
	root   *signertest.CA
	issuer *signertest.CA
	key    crypto.Signer
}

func newVictim(t *testing.T) *victim {
	v := &victim{T: t, dir: t.TempDir(), root: signertest.NewCA(t, "Root"), key: signertest.Key(t, "p256")}
	v.issuer = v.root.Intermediate(t, "Issuer")
	v.write("root.pem", signertest.CertPEM(v.root.Cert))
	v.write("key.pem", signertest.KeyPEM(t, v.key))
	v.write("cert.pem", v.chain(v.issuer, v.key, nil))
	script(t, v.dir, "get", "[ ! -e wrong ] || exec ./wrong; cat new.pem")
	return v
}

func (v *victim) write(name string, data []byte) {
	v.Helper()
	if err := os.WriteFile(filepath.Join(v.dir, name), data, 0o600); err != nil {
		v.Fatal(err)
	}
}

func (v *victim) read(name string) string {
	v.Helper()
	data, err := os.ReadFile(filepath.Join(v.dir, name))
	if err != nil {
		v.Fatal(err)
	}
	return string(data)
}

// chain returns a new certificate for a key, and that of its issuer.
func (v *victim) chain(issuer *signertest.CA, key crypto.Signer, change func(*x509.Certificate)) []byte {
	return signertest.CertPEM(issuer.Issue(v, key, change), issuer.Cert)
}

// renew runs one renewal. It is interrupted if the file asked appears.
func (v *victim) renew() (code int, stderr string) {
	v.Helper()
	cmd := clitest.PlainCommand(v, append([]string{"renew", "--way", "command"}, append(pair, "--", "./get")...)...)
	cmd.Dir = v.dir
	var text strings.Builder
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		v.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	for {
		select {
		case <-done:
			return cmd.ProcessState.ExitCode(), text.String()
		case <-time.After(20 * time.Millisecond):
			if os.Remove(filepath.Join(v.dir, "asked")) == nil {
				_ = cmd.Process.Signal(unix.SIGINT)
			}
		}
	}
}

// Whatever a CA answers, the old pair works afterwards, one message and one hint say
// what is wrong, and the next renewal with a CA that works succeeds.
func TestCAMisbehaves(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	changed := func(change func(*x509.Certificate)) func() []byte {
		return func() []byte { return v.chain(v.issuer, v.key, change) }
	}
	now := time.Now()
	twin := signertest.NewCA(t, "Root").Intermediate(t, "Issuer")
	for _, c := range []struct {
		name, wrong string        // the program; "": it prints the answer
		answer      func() []byte // nil: there is none
		code        int
		told, hint  string // regular expressions
	}{
		{name: "another key", answer: func() []byte { return v.chain(v.issuer, signertest.Key(t, "p384"), nil) }, told: "not used: .*key", hint: "for the key and the names in the request"},
		{name: "another subject", answer: changed(func(c *x509.Certificate) { c.Subject.CommonName = "other" }), told: `another identity: subject: "CN=other" instead of "CN=client"`, hint: "--allow-change"},
		{name: "more names", answer: changed(func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }), told: `another identity: DNS names: "other.example" instead of none`, hint: "--allow-change"},
		{name: "another usage", answer: changed(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), told: "another identity: key usage", hint: "--allow-change"},
		{name: "another extended usage", answer: changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), told: "another identity: extended key usage", hint: "--allow-change"},
		{name: "expired", answer: changed(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), told: "it expired at 20", hint: "a validity that includes now"},
		{name: "not valid yet", answer: changed(func(c *x509.Certificate) { c.NotBefore = now.Add(3 * time.Hour) }), told: "it is not valid before 20", hint: "a validity that includes now"},
		{name: "another CA", answer: func() []byte { return v.chain(signertest.NewCA(t, "Other"), v.key, nil) }, told: `another identity: issuer: "CN=Other" instead of "CN=Issuer"`, hint: "--allow-change"},
		{name: "another CA with the same names", answer: func() []byte { return v.chain(twin, v.key, nil) }, told: `it leads to another CA with the name "CN=Root"`, hint: "--allow-change"},
		{name: "the chain of another CA", answer: func() []byte { return signertest.CertPEM(v.issuer.Issue(t, v.key, nil), twin.Cert) }, told: `not used: it comes without the certificate of its issuer "CN=Issuer"`, hint: "the certificates of the issuers"},
		{name: "no intermediate", answer: func() []byte { return signertest.CertPEM(v.issuer.Issue(t, v.key, nil)) }, told: `not used: it comes without the certificate of its issuer "CN=Issuer"`, hint: "the certificates of the issuers"},
		{name: "only the CA", answer: func() []byte { return signertest.CertPEM(v.issuer.Cert) }, told: "not used: .*another key", hint: "for the key and the names in the request"},
		{name: "the old certificate", answer: func() []byte { return []byte(v.read("cert.pem")) }, told: "it is the certificate that is in use", hint: "a validity that includes now"},
		{name: "garbage", wrong: "head -c 5000 /dev/urandom", told: "contains no certificate in PEM", hint: "only certificates in PEM"},
		{name: "nothing", wrong: "exit 0", told: "contains no certificate in PEM", hint: "only certificates in PEM"},
		{name: "half", answer: func() []byte { return v.chain(v.issuer, v.key, nil)[:300] }, told: "contains no certificate in PEM", hint: "only certificates in PEM"},
		{name: "without an end", wrong: "exec yes", told: "it writes more than 1024 KiB", hint: "only certificates in PEM"},
		{name: "refused", wrong: "echo unknown machine >&2; exit 2", code: front.ExitRefused, told: "the CA refuses to renew the certificate: unknown machine", hint: "the next try makes another request"},
		{name: "away", wrong: "echo no route >&2; exit 3", code: front.ExitUnreachable, told: "the CA cannot be reached: no route", hint: "the next try sends the same request"},
		{name: "later", wrong: "echo 7200; exit 5", code: front.ExitUnavailable, told: "has not issued the certificate yet; it asks to wait for 2h0m0s", hint: "run the command again later"},
		{name: "failure", wrong: "echo error 500 >&2; exit 1", told: "exit status 1: error 500", hint: "."},
		{name: "killed", wrong: "kill -KILL $$", told: "signal: killed", hint: "."},
		{name: "hanging", wrong: "touch asked; exec sleep 1000", told: "context canceled", hint: "interrupted; run the command again"},
	} {
		v.fails(c.name, c.wrong, c.answer, c.code, c.told, c.hint)
	}
}

func (v *victim) fails(name, wrong string, answer func() []byte, code int, told, hint string) {
	v.Helper()
	if answer != nil {
		v.write("answer.pem", answer())
		wrong = "cat answer.pem"
	}
	if code == 0 {
		code = front.ExitOther
	}
	script(v.T, v.dir, "wrong", wrong)
	before := v.read("cert.pem")
	got, stderr := v.renew()
	v.Logf("%s: %d\n%s", name, got, stderr)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if got != code || !regexp.MustCompile("^holdfast: .*"+told).MatchString(lines[0]) {
		v.Errorf("%s: exit code %d, want %d and %q: %s", name, got, code, told, stderr)
	}
	if len(lines) != 2 || !regexp.MustCompile("^hint: .*"+hint).MatchString(lines[1]) {
		v.Errorf("%s: want the hint %q: %s", name, hint, stderr)
	}
	if v.read("cert.pem") != before {
		v.Errorf("%s: the certificate has changed", name)
	}
	verify := append([]string{"verify", "--trust-anchor", "root.pem"}, pair...)
	run(v.T, v.dir, verify...)
	if err := os.Remove(filepath.Join(v.dir, "wrong")); err != nil {
		v.Fatal(err)
	}
	v.write("new.pem", v.chain(v.issuer, v.key, nil))
	if got, stderr := v.renew(); got != 0 || v.read("cert.pem") == before {
		v.Errorf("%s: the next renewal: %d, %s", name, got, stderr)
	}
	run(v.T, v.dir, verify...)
}

// A certificate for a shorter time is used, the end is told, and it is due earlier.
func TestShorterLife(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	end := time.Now().Add(time.Hour).UTC()
	v.write("new.pem", v.chain(v.issuer, v.key, func(c *x509.Certificate) { c.NotAfter = end }))
	out := run(t, v.dir, append([]string{"renew", "--way", "command"}, append(pair, "--", "./get")...)...)
	if want := "\nexpires      " + end.Format("2006-01-02 15:04 UTC") + "\n"; !strings.Contains(out, want) {
		t.Errorf("%s lacks %q", out, want)
	}
	if out := run(t, v.dir, append([]string{"renew", "--status", "--json"}, pair...)...); !strings.Contains(out, `"not_after":"`+end.Format("2006-01-02T15:04")) || !strings.Contains(out, `"overdue":false`) {
		t.Error(out)
	}
}

// loop runs renew --loop until the end of the test.
func loop(t *testing.T, dir string, args ...string) *clitest.LockedBuffer {
	t.Helper()
	cmd := exec.Command("holdfast", append(append([]string{"renew", "--loop"}, pair...), args...)...)
	cmd.Dir = dir
	log := new(clitest.LockedBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGINT)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%v: %s", err, log)
		}
	})
	return log
}
