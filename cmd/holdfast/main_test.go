package main

import (
	"bufio"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// The scripts and the AWS clients run this test binary under the name holdfast.
func TestMain(m *testing.M) {
	commands := testCommands()
	commands["gate"] = gate
	testscript.Main(m, commands)
}

// quickExit keeps the race detector from waiting a second at the end of every
// process.
const quickExit = "atexit_sleep_ms=0"

func TestScripts(t *testing.T) {
	openssl := filepath.Dir(signertest.Require(t, "openssl", "openssl"))
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", quickExit)
			env.Values[scriptKey{}] = &scriptState{tb: env.T().(testing.TB)}
			env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+openssl)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"emulator": startEmulator,
			"pki":      writePKI,
			"tpm":      startTPM,
			"certify":  certify,
		},
	})
}

// startEmulator runs "holdfast emulator" with further flags for the rest of the
// script, as a process of its own, and sets $URL, and $SESSION to the flags
// that reach it.
func startEmulator(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! emulator")
	}
	url, flags, stop, err := runEmulator(ts.MkAbs("."), args...)
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("URL", url)
	ts.Setenv("SESSION", flags)
}

// A scriptState is what one script's commands share.
type scriptState struct {
	tb testing.TB
	ca *signertest.CA // of the last pki
}

type scriptKey struct{}

// startTPM runs a TPM for the rest of the script and names it by $TPM_DEVICE.
func startTPM(ts *testscript.TestScript, neg bool, _ []string) {
	if neg {
		ts.Fatalf("unsupported: ! tpm")
	}
	tb := ts.Value(scriptKey{}).(*scriptState).tb
	signertest.Require(tb, "swtpm", "swtpm")
	ts.Setenv("TPM_DEVICE", tpmtest.Start(tb).Path)
}

// certify issues a certificate for a public key in PEM.
func certify(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certify PUBLIC CERTIFICATE")
	}
	block, _ := pem.Decode([]byte(ts.ReadFile(args[0])))
	if block == nil {
		ts.Fatalf("%s has no PEM block", args[0])
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	ts.Check(err)
	ca := ts.Value(scriptKey{}).(*scriptState).ca
	chain := []*x509.Certificate{ca.Issue(scriptTB{ts: ts}, publicKey{pub: pub}, nil), ca.Cert}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), signertest.CertPEM(chain...), 0o600))
}

// A publicKey is a key to certify, which is elsewhere.
type publicKey struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (k publicKey) Public() crypto.PublicKey { return k.pub }

func runEmulator(dir string, args ...string) (url, flags string, stop func(), err error) {
	cmd := exec.Command("holdfast", append([]string{"emulator", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", "", nil, err
	}
	stop = func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // as on Windows
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "listening on "):
			url = strings.TrimPrefix(line, "listening on ")
		case strings.HasPrefix(line, "--"):
			flags += line + " "
		case strings.HasPrefix(line, "use with"):
			return url, "--endpoint " + url + " " + strings.TrimSpace(flags), stop, nil
		}
	}
	stop()
	return "", "", nil, lines.Err()
}

// writePKI makes ca.pem, cert.pem, key.pem, intermediate.pem and other.key in
// the script's folder, with a key of the kind given.
func writePKI(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pki KIND")
	}
	tb := scriptTB{ts: ts}
	ts.Value(scriptKey{}).(*scriptState).ca = writeFiles(tb, ts.MkAbs("."), args[0])
}

// scriptTB lets the test CA fail a script.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (scriptTB) Helper()                         {}
func (tb scriptTB) Fatal(args ...any)            { tb.ts.Fatalf("%v", args) }
func (tb scriptTB) Fatalf(f string, args ...any) { tb.ts.Fatalf(f, args...) }

func writeFiles(tb testing.TB, dir, kind string) *signertest.CA {
	root := signertest.NewCA(tb, "root")
	ca := root.Intermediate(tb, "intermediate")
	key := signertest.Key(tb, kind)
	for name, data := range map[string][]byte{
		"ca.pem":           signertest.CertPEM(root.Cert),
		"intermediate.pem": signertest.CertPEM(ca.Cert),
		"cert.pem":         signertest.CertPEM(ca.Issue(tb, key, nil), ca.Cert),
		"key.pem":          signertest.KeyPEM(tb, key),
		"other.key":        signertest.KeyPEM(tb, signertest.NewKey(tb, "p256")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return ca
}
