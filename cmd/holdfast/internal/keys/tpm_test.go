package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// TestTPM obtains credentials with TPM keys, and with a key on a token whose
// PIN is sealed by a TPM.
func TestTPM(t *testing.T) {
	extend := signertest.Require(t, "tpm2-tools", "tpm2_pcrextend")
	signertest.Require(t, "swtpm", "swtpm")
	emulator := tpmtest.Start(t)
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	dir := t.TempDir()
	write := func(name string, data []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const password = "key-7531"
	givePIN := func(pin string) keystore.PINFunc {
		return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }
	}
	generate := func(rest, pin string) {
		t.Helper()
		key, err := tpm.Backend{}.Generate(t.Context(), keystore.Ref{Scheme: "tpm", Rest: rest + ";device=" + emulator.Path},
			keystore.KeySpec{Type: keystore.P256}, keystore.Call{Options: keystore.Options{PIN: givePIN(pin)}})
		if err != nil {
			t.Fatal(err)
		}
		defer key.Close()
		_, name, _ := strings.Cut(rest, "=")
		write(filepath.Base(name)+".crt", signertest.CertPEM(append([]*x509.Certificate{ca.Issue(t, key, nil)}, ca.Chain()...)...), nil)
	}
	generate("path="+filepath.Join(dir, "plain"), "")
	generate("path="+filepath.Join(dir, "guarded"), password)
	generate("handle=0x81010002", password)
	generate("handle=0x81010003", "")
	pcrs := []tpm.PCRs{{Hash: crypto.SHA256, Numbers: []uint{16}}}
	sealed, err := tpm.Seal(t.Context(), tpm.CreateConfig{Device: emulator.Path, PCRs: pcrs}, []byte(password))
	write("sealed", sealed, err)
	tokenPIN, err := tpm.Seal(t.Context(), tpm.CreateConfig{Device: emulator.Path, PCRs: pcrs}, []byte(pkcs11test.PIN))
	write("token", tokenPIN, err)
	write("pin", []byte(password+"\n"), nil)
	var both []byte
	for _, name := range []string{"plain.crt", "plain"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, data...)
	}
	write("both", both, nil)
	write("ca.pem", signertest.CertPEM(ca.Root()), nil)

	_, session, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	env := append(os.Environ(), "TPM_DEVICE="+emulator.Path, "KEY="+string(both))
	run := func(t *testing.T, session string, args ...string) (code int, stdout, stderr string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "holdfast", slices.Concat([]string{"credential-process"}, args, strings.Fields(session))...)
		cmd.Dir, cmd.Env = dir, env
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
	type command struct {
		name, session string
		args          []string
		code          int
		after         int // exit code after the PCR changed
	}
	key := func(name, cert, key string, code, after int, more ...string) command {
		return command{name, session, append([]string{"--certificate", cert, "--private-key", key}, more...), code, after}
	}
	commands := []command{
		key("a path", "plain.crt", "plain", 0, 0),
		{"key and certificates in one file", session, []string{"--certificate", "both"}, 0, 0},
		key("a variable", "plain.crt", "env:KEY", 0, 0),
		key("path=", "plain.crt", "tpm:path=plain", 0, 0),
		key("password in a file", "guarded.crt", "guarded", 0, 0, "--pin-source", "file:pin"),
		key("password in the reference's file", "guarded.crt", "tpm:path=guarded;pin-source=file:pin", 0, 0),
		key("password by flag", "guarded.crt", "guarded", 0, 0, "--tpm-key-password", password),
		key("sealed password", "guarded.crt", "guarded", 0, front.ExitPIN, "--pin-source", "tpm:path=sealed"),
		key("handle, sealed password", "0x81010002.crt", "handle:81010002", 0, front.ExitPIN, "--pin-source", "tpm:path=sealed"),
		key("handle, password by flag", "0x81010002.crt", "handle:0x81010002", 0, 0, "--tpm-key-password", password),
		key("handle", "0x81010003.crt", "tpm:handle=0x81010003", 0, 0),
		key("handle, no password", "0x81010003.crt", "handle:81010003", 0, 0, "--no-tpm-key-password"),
		key("another key's certificate", "plain.crt", "tpm:handle=0x81010003", front.ExitOther, front.ExitOther),
		key("no such handle", "plain.crt", "tpm:handle=0x81010009", front.ExitNotFound, front.ExitNotFound),
		key("no such file", "plain.crt", "tpm:path=none", front.ExitNotFound, front.ExitNotFound),
		key("no such device", "plain.crt", "tpm:path=plain;device=/dev/none", front.ExitUnavailable, front.ExitUnavailable),
		key("sealed data as a key", "plain.crt", "sealed", front.ExitUnavailable, front.ExitUnavailable),
		key("a sealed password for a sealed password", "guarded.crt", "guarded", front.ExitPIN, front.ExitPIN, "--pin-source", "tpm:path=sealed;pin-source=tpm:path%3Dsealed"),
	}
	for _, id := range clitest.TokenIdentities(t, ca) {
		_, session, stop, err := clitest.RunEmulator(id.Dir, "--trust-anchor", "ca.pem")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		env = append(env, id.Env...)
		i := slices.Index(id.Flags, "--pin-source")
		args := slices.Concat(id.Flags[:i], []string{"--pin-source", "tpm:path=" + filepath.Join(dir, "token")}, id.Flags[i+2:])
		commands = append(commands, command{id.Name + ", sealed PIN", session, args, 0, front.ExitPIN})
	}
	check := func(t *testing.T, c command, want int) {
		t.Helper()
		code, stdout, stderr := run(t, c.session, c.args...)
		if code != want {
			t.Errorf("exit code %d, want %d\n%s", code, want, stderr)
		}
		if (stdout != "") != (want == 0) {
			t.Errorf("standard output %q", stdout)
		}
		if want != 0 && !strings.Contains(stderr, "\nhint: ") {
			t.Errorf("no hint: %s", stderr)
		}
		if strings.Contains(stderr, password) || strings.Contains(stderr, pkcs11test.PIN) {
			t.Errorf("standard error has the secret: %s", stderr)
		}
		t.Log(stderr)
	}
	for _, c := range commands {
		t.Run(c.name, func(t *testing.T) { check(t, c, c.code) })
	}
	cmd := exec.CommandContext(t.Context(), extend, "16:sha256="+strings.Repeat("00", 32))
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+emulator.TCTI())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range commands {
		t.Run("PCR changed/"+c.name, func(t *testing.T) { check(t, c, c.after) })
	}
}
