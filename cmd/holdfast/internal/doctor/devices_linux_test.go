package doctor_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// The module timeout of tests is long: no test depends on being fast.
const patient = " --module-timeout 60s"

// counted returns the counts of the devices of a reference.
func counted(t *testing.T, reference string) keystore.Tries {
	t.Helper()
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		t.Fatal(err)
	}
	tries, err := all.New().Tries(t.Context(), ref, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil || len(tries) != 1 {
		t.Fatalf("%v, %v", tries, err)
	}
	return tries[0]
}

// login logs in as a person who types the PIN of a source.
func login(t *testing.T, reference, source string) {
	t.Helper()
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := os.ReadFile(strings.TrimPrefix(source, "file:"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := all.New().Open(t.Context(), ref, keystore.Options{LookupEnv: os.LookupEnv, PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
		return bytes.TrimSpace(pin), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// with replaces the value of a flag.
func with(flags []string, name, value string) string {
	var words []string
	for i, w := range flags {
		if i > 0 && flags[i-1] == name {
			w = value
		}
		words = append(words, w)
	}
	return strings.Join(words, " ") + " " + sessionFlags
}

func valueOf(flags []string, name string) string {
	for i, w := range flags {
		if w == name {
			return flags[i+1]
		}
	}
	return ""
}

// A key of a token is opened only with --use-pin, however the PIN is given. A
// wrong PIN costs a try only then.
func TestToken(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	for _, id := range clitest.TokenIdentities(t, ca) {
		s := &scene{TB: t, dir: id.Dir, env: id.Env}
		s.write("wrong", "0000-wrong\n")
		ref := valueOf(id.Flags, "--certificate")
		right := with(id.Flags, "", "") + patient
		wrong := with(id.Flags, "--pin-source", "file:{dir}/wrong") + patient

		r := s.checkGood(setup{args: right + " --use-pin"})
		if lines := r.of("key"); len(lines) != 2 || !strings.Contains(lines[0].Seen, "no failed tries") || lines[1].Seen != "the key made a signature" {
			t.Errorf("%s: %+v", id.Name, lines)
		}
		if lines := r.of("modules"); len(lines) != 2 || lines[0].State != "ok" {
			t.Errorf("%s: %+v", id.Name, lines)
		}
		for _, args := range []string{
			right, wrong,
			strings.Replace(with([]string{"--certificate", ref}, "", ""), "?", "?pin-source=file:{dir}/wrong&", 1) + patient,
			strings.Replace(with([]string{"--certificate", ref}, "", ""), "?", "?pin-value=0000-wrong&", 1) + patient,
			with([]string{"--certificate", ref}, "", "") + patient,
		} {
			r := s.checkGood(setup{args: args})
			lines := r.of("key")
			if len(lines) != 1 || lines[0].State != "skipped" || !strings.Contains(lines[0].Seen, "needs its PIN") || !strings.Contains(lines[0].Command, "--use-pin") || strings.Contains(r.raw, "0000-wrong") {
				t.Errorf("%s, %s: %+v", id.Name, args, lines)
			}
			if lines := r.of("rules"); len(lines) != 1 || lines[0].State != "ok" {
				t.Errorf("%s: the certificate was not checked: %+v", id.Name, lines)
			}
			if n := counted(t, ref); n.Used {
				t.Fatalf("%s, %s: a try was used: %v", id.Name, args, n)
			}
		}
		s.checkPipe(setup{args: "--certificate /dev/fd/3 --private-key " + ref + " --pin-source " + valueOf(id.Flags, "--pin-source") + " " + sessionFlags + patient})
		s.write("sealed", "-----BEGIN TSS2 PRIVATE KEY-----\nMIGH\n-----END TSS2 PRIVATE KEY-----\n")
		s.check(setup{args: with(id.Flags, "--pin-source", "tpm:path={dir}/sealed;device={dir}/none") + patient, check: "tpm", seen: "the PIN cannot be read", command: "--use-pin", code: 5})
		s.check(setup{args: wrong + " --use-pin", check: "key", seen: "the PIN in {dir}/wrong is incorrect", command: "${EDITOR:-vi} +1 {dir}/wrong", code: 4})
		if n := counted(t, ref); !n.Used {
			t.Errorf("%s: the device counted no try: %v", id.Name, n)
		}
		s.check(setup{args: right, check: "key", seen: "an incorrect", command: "--use-pin --pin-source prompt", code: 4})
		s.check(setup{args: right + " --use-pin", check: "key", seen: "the stored PIN was not used. A wrong PIN was entered before", command: "--use-pin --pin-source prompt", code: 4})
		login(t, ref, valueOf(id.Flags, "--pin-source"))
		s.checkGood(setup{args: right + " --use-pin"})

		s.check(setup{args: strings.Replace(right, "object=", "object=no-", 1) + " --use-pin", check: "key", seen: "no", command: "holdfast list", code: 3})
		s.check(setup{args: strings.Replace(right, "token=", "token=no-", 1), check: "key", seen: "no token matches the reference", command: "holdfast list", code: 5})
	}
}

// checkPipe examines a key in a token with a certificate from a pipe, which only one
// process can read.
func (s *scene) checkPipe(c setup) {
	s.Helper()
	cert, err := os.ReadFile(s.path("cert.pem"))
	if err != nil {
		s.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close()
	if _, err := w.Write(cert); err != nil { // it fits into the buffer of the pipe
		s.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.Fatal(err)
	}
	cmd := s.command(c)
	cmd.ExtraFiles = []*os.File{r}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "ok       rules") {
		s.Errorf("%v: %s", err, out)
	}
}

// Keys in a TPM are good, and not those of another one.
func TestTPM(t *testing.T) {
	ids := clitest.TPMIdentities(t, signertest.NewCA(t, "root"))
	for _, id := range ids {
		s := &scene{TB: t, dir: id.Dir, env: id.Env}
		right := with(id.Flags, "", "")
		r := s.checkGood(setup{args: right + " --use-pin --trust-anchor {dir}/ca.pem"})
		if lines := r.of("tpm"); len(lines) != 1 || lines[0].State != "ok" || !strings.Contains(lines[0].Seen, "tries are left") {
			t.Errorf("%s: %+v", id.Name, lines)
		}
		s.checkGood(setup{args: right})
		if valueOf(id.Flags, "--private-key") != "tpm:handle=0x81010002" {
			other := tpmtest.Start(t)
			s.env = []string{"TPM_DEVICE=" + other.Path}
			s.check(setup{args: right + " --use-pin", check: "key", seen: "another TPM", command: "holdfast list", code: 3})
		}
		s.env = []string{"TPM_DEVICE=" + filepath.Join(id.Dir, "none")}
		s.check(setup{args: right, check: "key", seen: "none", command: "ls -l {dir}/none", code: 5})
	}
}

// A TPM counts a wrong password only with --use-pin.
func TestTriesOfTPM(t *testing.T) {
	signertest.Require(t, "swtpm", "swtpm")
	ids := clitest.TPMIdentities(t, signertest.NewCA(t, "root"))
	for _, id := range ids {
		if valueOf(id.Flags, "--pin-source") == "" {
			continue
		}
		t.Setenv("TPM_DEVICE", strings.TrimPrefix(id.Env[0], "TPM_DEVICE="))
		left := func() int { return counted(t, "tpm:handle=0x81010002").Left }
		before := left()
		s := &scene{TB: t, dir: id.Dir, env: id.Env}
		s.write("wrong", "wrong\n")
		wrong := with(id.Flags, "--pin-source", "file:{dir}/wrong")
		r := s.checkGood(setup{args: wrong})
		if lines := r.of("key"); len(lines) != 1 || lines[0].State != "skipped" || !strings.Contains(lines[0].Seen, "TPM key password") {
			t.Errorf("%s: %+v", id.Name, lines)
		}
		if n := left(); n != before {
			t.Fatalf("%s: %d tries left, %d before", id.Name, n, before)
		}
		r = s.examine(setup{args: wrong + " --use-pin"})
		if l, _ := r.first("fault"); l.Check != "key" || !strings.Contains(l.Seen, "the TPM key password in "+s.path("wrong")+" is incorrect: ") || !strings.Contains(l.Seen, "authorization failed") || !strings.HasPrefix(l.Command, "${EDITOR:-vi}") || r.Code != 4 {
			t.Errorf("%s: %+v", id.Name, l)
		}
		if n := left(); n != before-1 {
			t.Errorf("%s: %d tries left, %d before", id.Name, n, before)
		}
	}
}

// A locked TPM is the first fault.
func TestLockedTPM(t *testing.T) {
	signertest.Require(t, "swtpm", "swtpm")
	tool := signertest.Require(t, "tpm2-tools", "tpm2_dictionarylockout")
	ids := clitest.TPMIdentities(t, signertest.NewCA(t, "root"))
	for _, id := range ids {
		if valueOf(id.Flags, "--pin-source") == "" {
			continue
		}
		device := strings.TrimPrefix(id.Env[0], "TPM_DEVICE=")
		run := func(args ...string) {
			t.Helper()
			cmd := exec.Command(tool, args...)
			cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI=swtpm:path="+device)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		s := &scene{TB: t, dir: id.Dir, env: id.Env}
		s.write("wrong", "wrong\n")
		for range 2 { // of three tries
			s.examine(setup{args: with(id.Flags, "--pin-source", "file:{dir}/wrong") + " --use-pin"})
		}
		r := s.examine(setup{args: with(id.Flags, "", "")})
		if l, _ := r.first("warning", "fault"); l.State != "warning" || !strings.Contains(l.Seen, "one try is left") || !strings.Contains(l.Command, "--pin-source prompt") {
			t.Errorf("%+v", l)
		}
		run("--setup-parameters", "--max-tries", "2", "--recovery-time", "10000", "--lockout-recovery-time", "10000")
		s.check(setup{args: with(id.Flags, "", ""), check: "key", seen: "counted 2 tries", command: "tpm2_dictionarylockout --clear-lockout", code: 4})
		r = s.examine(setup{args: with(id.Flags, "", "")})
		if l := r.of("tpm"); len(l) != 1 || l[0].State != "skipped" || !strings.Contains(l[0].Seen, "locked, no try is left; see key") {
			t.Errorf("%+v", l)
		}
		for _, free := range ids { // keys without a password still work
			if valueOf(free.Flags, "--pin-source") != "" {
				continue
			}
			r := (&scene{TB: t, dir: free.Dir, env: free.Env}).examine(setup{args: with(free.Flags, "", "")})
			if l := r.of("tpm"); r.Code != 0 || len(l) != 1 || l[0].State != "warning" || !strings.Contains(l[0].Seen, "locked") {
				t.Errorf("%s: %+v", free.Name, l)
			}
		}
	}
}
