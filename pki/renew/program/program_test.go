//go:build unix

package program_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/program"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func request(t *testing.T) renew.Request {
	t.Helper()
	key := signertest.Key(t, "p256")
	cert := signertest.NewCA(t, "CA").Issue(t, key, nil)
	s, err := signer.Bind(signer.FromKey(key), []*x509.Certificate{cert}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewRequest(rand.Reader, s, pki.NamesOf(cert))
	if err != nil {
		t.Fatal(err)
	}
	return renew.Request{Old: s, CSR: csr, Token: strings.Repeat("0a", 16), Attempt: 3}
}

// OpenSSL is the CA of this program.
func TestOpenSSL(t *testing.T) {
	signertest.Require(t, "openssl", "openssl")
	dir := t.TempDir()
	ca := signertest.NewCA(t, "CA of the program")
	for name, data := range map[string][]byte{"ca.pem": signertest.CertPEM(ca.Cert), "ca.key": signertest.KeyPEM(t, ca.Key)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	p := program.Program{
		Args: []string{"sh", "-c", `cd "$1" && openssl x509 -req -CA ca.pem -CAkey ca.key -days 1 && cat ca.pem && echo "$HOLDFAST_ATTEMPT $HOLDFAST_TOKEN $HOLDFAST_SUBJECT $HOLDFAST_NOT_AFTER" >&2`, "sh", dir},
		Env:  []string{"PATH=" + os.Getenv("PATH")}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	r := request(t)
	certs, err := p.Renew(t.Context(), r)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if len(certs) != 2 || !signer.SamePublicKey(certs[0].PublicKey, r.Old.Public()) || !certs[1].Equal(ca.Cert) {
		t.Errorf("%d certificates", len(certs))
	}
	old := r.Old.Chain()[0]
	if want := "3 " + r.Token + " " + old.Subject.String() + " " + old.NotAfter.UTC().Format(time.RFC3339); !strings.Contains(log.String(), want) {
		t.Errorf("%s\nlacks %s", &log, want)
	}
}

// A program that wants the request signed gets it as CMS.
func TestSigned(t *testing.T) {
	signertest.Require(t, "openssl", "openssl")
	r := request(t)
	p := program.Program{Args: []string{"sh", "-c", "openssl cms -verify -noverify -inform PEM -out /dev/null >&2; exit 5"}, Env: []string{"PATH=" + os.Getenv("PATH")}, Signed: true}
	var log bytes.Buffer
	p.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if _, err := p.Renew(t.Context(), r); !errors.As(err, new(*renew.WaitError)) || !strings.Contains(log.String(), "CMS Verification successful") {
		t.Errorf("%v\n%s", err, &log)
	}
	r.Old = signer.FromKey(signertest.Key(t, "p256"))
	if _, err := p.Renew(t.Context(), r); !errors.Is(err, signer.ErrNoCertificate) {
		t.Error(err)
	}
}

func TestAnswers(t *testing.T) {
	r := request(t)
	wait := func(seconds int) func(error) bool {
		return func(err error) bool {
			var w *renew.WaitError
			return errors.As(err, &w) && w.After == time.Duration(seconds)*time.Second
		}
	}
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	says := func(text string) func(error) bool {
		return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
	}
	for name, c := range map[string]struct {
		script string
		good   func(error) bool
	}{
		"rejected":               {"echo unknown machine >&2; exit 2", is(renew.ErrRejected)},
		"its reason":             {"echo first >&2; echo unknown machine >&2; exit 2", says("unknown machine")},
		"its reason with a hint": {"echo unknown machine >&2; echo hint: ask >&2; exit 2", says("refuses to renew the certificate: unknown machine")},
		"holdfast":               {"echo holdfast: unknown machine >&2; exit 2", says("refuses to renew the certificate: unknown machine")},
		"only a hint":            {"echo hint: ask >&2; exit 2", says("hint: ask")},
		"unreachable":            {"exit 3", is(renew.ErrUnreachable)},
		"wait":                   {"echo 90; exit 5", wait(90)},
		"wait, time unknown":     {"exit 5", wait(0)},
		"wait, no number":        {"echo soon; exit 5", wait(0)},
		"wait, negative":         {"echo -90; exit 5", wait(0)},
		"another exit code":      {"echo broken >&2; exit 1", says("exit status 1: broken")},
		"killed":                 {"kill -9 $$", says("signal: killed")},
		"no output":              {"cat >/dev/null", says("no certificate in PEM")},
		"the request":            {"cat", says("not a certificate")},
		"damaged":                {"printf -- '-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\\n'", says("damaged")},
		"endless output":         {"exec yes", says("more than 1024 KiB")},
		"endless errors":         {"exec yes >&2", says("more than 1024 KiB")},
		"a child with the pipes": {"sleep 1000 & exit 3", is(renew.ErrUnreachable)},
	} {
		t.Run(name, func(t *testing.T) {
			p := program.Program{Args: []string{"/bin/sh", "-c", c.script}, Env: []string{"PATH=" + os.Getenv("PATH")}}
			certs, err := p.Renew(t.Context(), r)
			if certs != nil || !c.good(err) {
				t.Errorf("%d certificates, %v", len(certs), err)
			}
		})
	}
	for name, c := range map[string]struct {
		p    program.Program
		want string
	}{
		"no program":   {program.Program{}, "no program"},
		"not found":    {program.Program{Args: []string{"/nowhere/renew"}}, "no such file"},
		"no end":       {program.Program{Args: []string{"/bin/sh", "-c", "exec sleep 1000"}, Env: []string{"PATH=" + os.Getenv("PATH")}, Timeout: 100 * time.Millisecond}, "did not end within 100ms"},
		"not a script": {program.Program{Args: []string{t.TempDir()}}, "permission denied"},
	} {
		if _, err := c.p.Renew(t.Context(), r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (program.Program{Args: []string{"/bin/sh", "-c", "exit 0"}}).Renew(ctx, r); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A program that succeeds and leaves a child with its output has succeeded.
func TestChildWithTheOutput(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "start")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nsleep 1000 &\necho $! > pid\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	err := program.Program{Args: []string{path}, Env: os.Environ()}.Run(t.Context(), nil)
	pid, readErr := os.ReadFile("pid")
	if err != nil || readErr != nil {
		t.Fatal(err, readErr)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	child, err := os.FindProcess(n)
	if err == nil {
		err = child.Kill()
	}
	if err != nil {
		t.Errorf("the child does not run any more: %v", err)
	}
}
