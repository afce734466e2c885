package renewing_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// shortLife is how long the certificates of a year live.
const shortLife = 4 * time.Second

// renewals is how often a certificate is renewed in a row: a year in a minute.
func renewals() int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 100
	}
	return 5
}

// A year is a machine whose certificate lives for seconds, an emulator that gives a
// session for each new certificate, and a CA.
type year struct {
	*testing.T
	dir, arns string
	asked     func() int      // requests to the CA
	issued    func() []string // serial numbers of its certificates in their order, after the first one; nil: unknown
	log       clitest.LockedBuffer
}

// newYear begins in a folder with cert.pem, key.pem and the certificate of the CA.
func newYear(t *testing.T, dir, anchor string) *year {
	t.Helper()
	_, arns, stop, err := clitest.RunEmulator(dir, "--trust-anchor", anchor, "--events", "events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	// It writes the serial number of the certificate in use, and how many sessions
	// there have been with it.
	script(t, dir, "told", `serial=$(openssl x509 -in "$HOLDFAST_CERTIFICATE" -noout -serial | sed 's/serial=0*//')
echo "$serial $(grep -ci "\"serialNumber\":\"0*$serial\"" events.jsonl)" >> used`)
	return &year{T: t, dir: dir, arns: arns}
}

func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := clitest.WriteProgram(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n")); err != nil {
		t.Fatal(err)
	}
}

// newCA makes a CA of Holdfast, and a pair whose certificate lives for seconds.
func newCA(t *testing.T, dir string) {
	t.Helper()
	run(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--out", "app.csr")
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", shortLife.String(), "--out", "cert.pem")
}

// fields returns the fields of the lines of a file, which may be missing.
func fields(dir, name string) (lines [][]string) {
	data, _ := os.ReadFile(filepath.Join(dir, name))
	for line := range strings.Lines(string(data)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

// serials returns the serial numbers in the index of the CA, without the first one.
func serials(t *testing.T, dir string) (all []string) {
	t.Helper()
	var list []struct{ Serial string }
	if err := json.Unmarshal([]byte(run(t, dir, "ca", "list", "--json")), &list); err != nil || len(list) == 0 {
		t.Fatalf("%d certificates, %v", len(list), err)
	}
	for _, c := range list[1:] {
		all = append(all, strings.TrimLeft(c.Serial, "0"))
	}
	return all
}

// pass renews the certificate until that was done often enough.
func (y *year) pass(args ...string) {
	y.Helper()
	all := append([]string{"renew", "--loop", "--certificate", "cert.pem", "--private-key", "key.pem", "--deploy-command", "./told"}, strings.Fields(y.arns)...)
	cmd := exec.Command("holdfast", append(all, args...)...)
	cmd.Dir, cmd.Stderr = y.dir, &y.log
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		y.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	count := func() int { return strings.Count(y.log.String(), "the certificate was renewed") }
	limit := time.After(time.Duration(renewals()) * 30 * time.Second)
	for count() < renewals() {
		select {
		case err := <-done:
			y.Fatalf("it ended: %v: %s", err, &y.log)
		case <-limit:
			y.Errorf("%d renewals: %s", count(), &y.log)
			_ = cmd.Process.Kill()
			<-done
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		y.Fatal(err)
	}
	if err := <-done; err != nil {
		y.Errorf("%v: %s", err, &y.log)
	}
	y.check(time.Since(begin))
}

// check examines what was logged, asked, issued and used.
func (y *year) check(took time.Duration) {
	y.Helper()
	// On a machine that is too slow, a certificate ends before it is in use. At the
	// end of the program one can be on its way.
	unused := 1
	waits := 0
	for line := range strings.Lines(y.log.String()) {
		switch {
		case strings.Contains(line, "was not renewed") && strings.Contains(line, "expired"):
			unused++
		case strings.Contains(line, "the renewal waits for the CA"):
			waits++
		case strings.Contains(line, "ERROR"), strings.Contains(line, "WARN"):
			y.Error(line)
		}
	}
	// The shortest pause is a twentieth of what is left of the life.
	if pause := shortLife / 50; time.Duration(waits)*pause > took {
		y.Errorf("it looked %d times for an answer in %v", waits, took)
	}
	var used []string
	for _, line := range fields(y.dir, "used") {
		if len(line) != 2 || line[1] != "1" {
			y.Errorf("%q: there was not one session before the use", line)
			continue
		}
		used = append(used, strings.ToLower(line[0]))
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(used))); len(used) < renewals() || len(distinct) != len(used) {
		y.Errorf("%d certificates were in use, %d of them different", len(used), len(distinct))
	}
	sessions := 0
	for _, e := range eventsOf(y.T, y.dir, "CreateSession") {
		if e.ErrorCode == "" {
			sessions++
		}
	}
	counts := map[string]int{"requests": y.asked(), "sessions": sessions}
	if y.issued != nil {
		issued := y.issued()
		counts["certificates of the CA"] = len(issued)
		next := 0
		for _, serial := range used {
			found := slices.Index(issued[next:], serial)
			if found < 0 {
				y.Fatalf("%s is not in %q, after %d", serial, issued, next)
			}
			next += found + 1
		}
	}
	for what, n := range counts {
		if n < len(used) || n > len(used)+unused {
			y.Errorf("%d %s for %d renewals", n, what, len(used))
		}
	}
	y.Logf("%d renewals in %v: %v; %d waits, %d ended before their use", len(used), took.Round(time.Second), counts, waits, unused-1)
}

// ownYear is a year with a CA of Holdfast, which counts the requests in a file.
func ownYear(t *testing.T) *year {
	dir := t.TempDir()
	newCA(t, dir)
	y := newYear(t, dir, "ca/ca.pem")
	y.issued = func() []string { return serials(t, dir) }
	y.asked = func() int { return len(fields(dir, "asked")) }
	t.Cleanup(func() {
		if !t.Failed() {
			run(t, dir, "ca", "check")
		}
	})
	return y
}

// The own CA, by a program that confirms each request.
func TestYearWithCommand(t *testing.T) {
	t.Parallel()
	y := ownYear(t)
	script(t, y.dir, "get", "echo x >> asked; exec holdfast ca issue --csr - --accept-csr-names --lifetime "+shortLife.String())
	y.pass("--way", "command", "--", "./get")
}

// The own CA, by a program that gets signed requests.
func TestYearWithSignedRequests(t *testing.T) {
	t.Parallel()
	y := ownYear(t)
	script(t, y.dir, "get", "echo x >> asked; exec holdfast ca issue --renew - --allow-expired 1h --lifetime "+shortLife.String())
	y.pass("--way", "command", "--signed", "--", "./get")
}

// The own CA, by a folder.
func TestYearWithFolder(t *testing.T) {
	t.Parallel()
	y := ownYear(t)
	requests := filepath.Join(y.dir, "requests")
	if err := os.Mkdir(requests, 0o700); err != nil {
		t.Fatal(err)
	}
	count := func(pattern string) int {
		names, err := filepath.Glob(filepath.Join(requests, pattern))
		if err != nil {
			t.Error(err)
		}
		return len(names)
	}
	// The machine removes a request that has an answer.
	y.asked = func() int {
		if n := count("*.rejected"); n > 0 {
			t.Errorf("%d requests were refused", n)
		}
		return count("*.pem")
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if count("*.p7") == 0 {
				continue
			}
			cmd := exec.Command("holdfast", "ca", "issue", "--renew-folder", "requests", "--allow-expired", "1h", "--lifetime", "10s") // the pause until it is seen is a second
			cmd.Dir = y.dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}()
	defer func() { <-ended }()
	defer close(done)
	y.pass("--way", "folder", "--requests", "requests", "--trust-anchor", "ca/ca.pem")
}

// Where step-ca allows it, a machine that is too slow renews the certificate after its
// end, too.
func TestYearWithStepCA(t *testing.T) {
	t.Parallel()
	server := stepcatest.Start(t, shortLife)
	g := newGate(t, server.URL)
	dir := t.TempDir()
	enroll(t, dir, server, stepcatest.AfterExpiry, g)
	y := newYear(t, dir, "root.pem")
	before := g.passed.Load()
	y.asked = func() int { return int(g.passed.Load() - before) }
	y.pass("--way", "step-ca", "--ca-url", g.url(), "--ca-roots", "root.pem")
}

// enroll makes a key and gets its first certificate from step-ca.
func enroll(t *testing.T, dir string, server *stepcatest.CA, provisioner string, g *gate) {
	t.Helper()
	for name, data := range map[string][]byte{"root.pem": signertest.CertPEM(server.Root.Cert), "token": []byte(server.Token(t, provisioner, "app"))} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--dns", "app", "--out", "app.csr")
	run(t, dir, "enroll", "--way", "step-ca", "--ca-url", g.url(), "--ca-roots", "root.pem", "--csr", "app.csr", "--token-source", "file:token", "--out", "cert.pem")
}
