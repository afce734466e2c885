// Package stepcatest runs step-ca for tests. Each server is a process of the
// program in testdata, with a root, an issuer and a database of its own.
package stepcatest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The provisioners of a server. They differ in whether their certificates are
// renewed.
const (
	Provisioner = "default"      // before they expire
	AfterExpiry = "after-expiry" // also afterwards
	NoRenewal   = "no-renewal"   // never
)

// A CA is a step-ca server. Its methods are safe for concurrent use.
type CA struct {
	URL   string
	Roots *x509.CertPool
	Root  *signertest.CA

	// Issuer issues the certificates. A test can use it for certificates that
	// step-ca would not issue, such as one that has expired.
	Issuer *signertest.CA

	key  *ecdsa.PrivateKey // of the provisioners
	stop func()
}

// startTime is how long a server may take to start on a busy machine.
const startTime = 2 * time.Minute

// Start starts a server that is stopped at the end of the test. Its certificates
// are valid for life, and one minute before they are issued. Without the program,
// the test is skipped; see [Build].
func Start(tb testing.TB, life time.Duration) *CA {
	tb.Helper()
	program := Build(tb)
	root := signertest.NewCA(tb, "Root of step-ca")
	ca := &CA{Root: root, Issuer: root.Intermediate(tb, "Issuer of step-ca"), Roots: x509.NewCertPool(),
		key: signertest.NewKey(tb, "p256").(*ecdsa.PrivateKey)}
	ca.Roots.AddCert(root.Cert)
	dir := tb.TempDir()
	for name, data := range map[string][]byte{
		"root.pem": signertest.CertPEM(root.Cert), "issuer.pem": signertest.CertPEM(ca.Issuer.Cert), "issuer.key": signertest.KeyPEM(tb, ca.Issuer.Key),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	// Another process can take the port between the search for a free one and
	// its use.
	const tries = 5
	for n := 1; ; n++ {
		log, err := ca.run(tb, program, dir, life)
		switch {
		case err == nil:
			tb.Cleanup(ca.Stop)
			return ca
		case n == tries:
			tb.Fatalf("step-ca: %v\n%s", err, log)
		}
	}
}

// Stop stops the server, without a farewell to its clients.
func (ca *CA) Stop() { ca.stop() }

// run starts the process and waits until it listens. log is what it has printed.
func (ca *CA) run(tb testing.TB, program, dir string, life time.Duration) (log string, err error) {
	tb.Helper()
	address := freeAddress(tb)
	ca.URL = "https://" + address
	config, err := json.Marshal(ca.config(dir, address, life))
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(dir, "ca.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, file)
	cmd.Env = append(os.Environ(), "STEPPATH="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	ended := make(chan struct{})
	ca.stop = func() {
		_ = stdin.Close()
		cancel()
		<-ended
	}
	timer := time.AfterFunc(startTime, cancel)
	lines, serving := bufio.NewScanner(stderr), false
	var text strings.Builder
	for !serving && lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		serving = strings.Contains(lines.Text(), "Serving HTTPS on")
	}
	go func() {
		_, _ = io.Copy(io.Discard, stderr)
		_ = cmd.Wait()
		close(ended)
	}()
	if timer.Stop() && serving {
		return "", nil
	}
	ca.stop()
	return text.String(), fmt.Errorf("it does not serve: %v", cmd.ProcessState)
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// config is the configuration of the server.
func (ca *CA) config(dir, address string, life time.Duration) map[string]any {
	provisioner := func(name string, claims map[string]any) map[string]any {
		claims["minTLSCertDuration"], claims["defaultTLSCertDuration"], claims["maxTLSCertDuration"] = "1s", life.String(), "8760h"
		return map[string]any{"type": "JWK", "name": name, "key": ca.publicJWK(), "claims": claims}
	}
	return map[string]any{
		"address": address, "dnsNames": []string{"127.0.0.1"}, "logger": map[string]string{"format": "text"},
		"root": filepath.Join(dir, "root.pem"), "crt": filepath.Join(dir, "issuer.pem"), "key": filepath.Join(dir, "issuer.key"),
		"db": map[string]string{"type": "badgerv2", "dataSource": filepath.Join(dir, "db")},
		"authority": map[string]any{"provisioners": []any{
			provisioner(Provisioner, map[string]any{}),
			provisioner(AfterExpiry, map[string]any{"allowRenewalAfterExpiry": true}),
			provisioner(NoRenewal, map[string]any{"disableRenewal": true}),
		}},
	}
}
