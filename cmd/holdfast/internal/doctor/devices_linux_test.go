package doctor_test

import (
	"bytes"
	"context"
	"fmt"
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
		if lines := r.of("key"); len(lines) != 2 || !strings.Contains(lines[0].Seen, "no incorrect PIN was entered") || lines[1].Seen != "the key made a signature" {
			t.Errorf("%s: %+v", id.Name, lines)
		}
		if lines := r.of("modules"); len(lines) != 1 || lines[0].State != "ok" {
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
		s.write("sealed", "-----BEGIN TSS2 PRIVATE KEY-----\nMIGH\n-----END TSS2 PRIVATE KEY-----\n")
		s.check(setup{args: with(id.Flags, "--pin-source", "tpm:path={dir}/sealed;device={dir}/none") + patient, check: "tpm", seen: "the PIN cannot be read", command: "--use-pin", code: 5})
		s.check(setup{args: wrong + " --use-pin", check: "key", seen: "incorrect", command: "--pin-source prompt", code: 4})
		if n := counted(t, ref); !n.Used {
			t.Errorf("%s: the device counted no try: %v", id.Name, n)
		}
		for _, args := range []string{right, right + " --use-pin"} {
			s.check(setup{args: args, check: "key", seen: "an incorrect", command: "--use-pin --pin-source prompt", code: 4})
		}
		login(t, ref, valueOf(id.Flags, "--pin-source"))
		s.checkGood(setup{args: right + " --use-pin"})

		s.check(setup{args: strings.Replace(right, "object=", "object=no-", 1) + " --use-pin", check: "key", seen: "no", command: "holdfast list", code: 3})
		s.check(setup{args: strings.Replace(right, "token=", "token=no-", 1), check: "key", seen: "no token that is present matches", command: "holdfast list", code: 5})
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
		s.check(setup{args: right, check: "key", seen: "none", command: "holdfast list", code: 5})
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
		if l, _ := r.first("fault"); l.Check != "key" || !strings.Contains(l.Seen, "authorization failed") || !strings.Contains(l.Command, "--pin-source prompt") || r.Code != 4 {
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

// inUse is the source of a module with a token, which does what is inserted when a
// session is opened. It prints when it is loaded.
const inUse = `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef unsigned long ul;
__attribute__((constructor)) static void print(void) { printf("hello {\"state\":"); fflush(stdout); }
static ul unsupported() { return 0x54; }
static ul fine() { return 0; }
static ul initialize() { INITIALIZE; return 0; }
static ul info(unsigned char *p) { memset(p, 0, 76); p[0] = 2; p[1] = 40; return 0; }
static ul slots(unsigned char present, ul *list, ul *n) { if (list) list[0] = 0; *n = 1; return 0; }
static ul slot(ul s, unsigned char *p) { memset(p, ' ', 96); *(ul *)(p + 96) = 1; return 0; }
static ul token(ul s, unsigned char *p) {
	memset(p, ' ', 96); memcpy(p, "x", 1);
	ul *q = (ul *)(p + 96); q[0] = 0x40c;
	for (int i = 1; i < 11; i++) q[i] = 100;
	return 0;
}
static ul session() { SESSION; return 5; }
static struct { unsigned char version[2]; void *f[68]; } list;
ul C_GetFunctionList(void **p) {
	list.version[0] = 2; list.version[1] = 40;
	for (int i = 0; i < 68; i++) list.f[i] = unsupported;
	list.f[0] = initialize; list.f[1] = fine; list.f[2] = info; list.f[3] = C_GetFunctionList;
	list.f[4] = slots; list.f[5] = slot; list.f[6] = token; list.f[12] = session;
	*p = &list; return 0;
}`

func inUseWith(initialize, session string) string {
	return strings.NewReplacer("INITIALIZE", initialize, "SESSION", session).Replace(inUse)
}

// modules are sources of PKCS #11 modules that do not work.
var modules = []struct{ name, source, seen string }{
	{"abort", `#include <stdlib.h>
unsigned long C_GetFunctionList(void **list) { abort(); }`, "crashes when it is loaded"},
	{"abort with a message", `#include <stdio.h>
#include <stdlib.h>
unsigned long C_GetFunctionList(void **list) { fprintf(stderr, "holdfast: fake\n"); abort(); }`, "crashes when it is loaded"},
	{"segv", `unsigned long C_GetFunctionList(void **list) { *(volatile int *)0 = 1; return 0; }`, "crashes when it is loaded"},
	{"exit", `#include <unistd.h>
unsigned long C_GetFunctionList(void **list) { _exit(0); }`, "ends the process when it is loaded"},
	{"exit of C_Initialize", inUseWith("exit(0)", ""), "ends the process when it is loaded"},
	{"exit with a code", inUseWith("exit(3)", ""), "ends the process when it is loaded (exit status 3)"},
	{"exit of C_OpenSession", inUseWith("", "exit(0)"), "ends the process (exit status 0) when it is used"},
	{"abort of C_OpenSession", inUseWith("", "abort()"), "crashes when it is used"},
	{"hang", `#include <unistd.h>
unsigned long C_GetFunctionList(void **list) { for (;;) pause(); }`, "did not answer within"},
	{"constructor", `#include <unistd.h>
__attribute__((constructor)) static void hang(void) { for (;;) pause(); }
unsigned long C_GetFunctionList(void **list) { return 5; }`, "did not answer within"},
	{"refuse", `unsigned long C_GetFunctionList(void **list) { return 5; }`, "cannot be loaded"},
}

// A module that crashes, hangs or ends the process does not take doctor along,
// which names it.
func TestModules(t *testing.T) {
	cc := signertest.Require(t, "cc", "cc")
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.write("m.c", m.source)
			s.tool(cc, "-shared", "-fPIC", "-w", "-o", "m.so", "m.c")
			timeout := "60s"
			if strings.Contains(m.seen, "did not answer") {
				timeout = "2s"
			}
			args := fmt.Sprintf("--certificate {dir}/cert.pem --private-key pkcs11:token=x;object=k?module-path={dir}/m.so --module-timeout %s %s", timeout, sessionFlags)
			s.check(setup{args: args, check: "key", seen: "m.so " + m.seen, command: "pkcs11-tool --module {dir}/m.so", code: 5})
			if lines := s.examine(setup{args: args}).of("rules"); len(lines) != 1 || lines[0].State != "ok" {
				t.Errorf("the certificate was not checked: %+v", lines)
			}
			seen := m.seen
			if strings.Contains(seen, "is used") {
				seen = "can be loaded"
			}
			if lines := s.examine(setup{args: args}).of("modules"); len(lines) != 1 || !strings.Contains(lines[0].Seen, seen) {
				t.Errorf("%+v", lines)
			}
		})
	}
}
