package doctor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// inUse is the source of a module with a token, which does what is inserted when a
// session is opened. It prints when it is loaded.
const inUse = `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef unsigned long ul;
#ifndef QUIET
__attribute__((constructor)) static void print(void) { printf("hello {\"state\":"); fflush(stdout); }
#endif
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
	{"hang of C_OpenSession", inUseWith("", "for (;;) pause()"), "does not answer"},
	{"hang", `#include <unistd.h>
unsigned long C_GetFunctionList(void **list) { for (;;) pause(); }`, "did not answer within"},
	{"constructor", `#include <unistd.h>
__attribute__((constructor)) static void hang(void) { for (;;) pause(); }
unsigned long C_GetFunctionList(void **list) { return 5; }`, "did not answer within"},
	{"refuse", `unsigned long C_GetFunctionList(void **list) { return 5; }`, "cannot be loaded"},
}

// helperScripts are programs in the place of the helper.
var helperScripts = map[string]string{
	"old":    "#!/bin/sh\necho holdfast-pkcs11 v0.0.1\n",
	"other":  "#!/bin/sh\necho 1\n",
	"broken": "#!/bin/sh\nexit 1\n",
	"silent": "#!/bin/sh\ntest $# -eq 1 && exec sleep 60\n",
}

// doctor says in which process a module runs, and why a helper is not used.
func TestModulePlace(t *testing.T) {
	cc := signertest.Require(t, "cc", "cc")
	helper := pkcs11test.Helper(t)
	s := newScene(t)
	s.write("m.c", inUseWith("", ""))
	s.tool(cc, "-shared", "-fPIC", "-w", "-DQUIET", "-o", "m.so", "m.c")
	for name, text := range helperScripts {
		s.write(name+"/"+name, text)
		mode(name+"/"+name, 0o700)(s)
	}
	s.write("world/helper", "")
	mode("world/helper", 0o757)(s)
	s.write("roles.toml", "[[role]]\nname = \"app\"\ncertificate = \"{dir}/cert.pem\"\nprivate_key = \"pkcs11:token=x;object=k?module-path={dir}/m.so\"\n"+
		"trust_anchor_arn = \""+anchorARN+"\"\nprofile_arn = \""+profileARN+"\"\nrole_arn = \""+roleARN+"\"\n")
	flags := "--certificate {dir}/cert.pem --private-key pkcs11:token=x;object=k?module-path={dir}/m.so --module-timeout 60s " + sessionFlags
	const warns = "warning"
	for _, test := range []struct{ helper, args, state, seen, hint string }{
		{"", flags, "ok", "into the process that signs: {dir}/m.so", ""},
		{"{helper}", flags, "ok", "into the process that signs: {dir}/m.so", ""},
		{"{helper}", flags + " --pkcs11-isolation off", "ok", "into the process that signs: {dir}/m.so", ""},
		{"{helper}", flags + " --pkcs11-isolation auto", "ok", "into the helper process {helper} (", ""},
		{"{helper}", flags + " --pkcs11-isolation on", "ok", "into the helper process {helper} (", ""},
		{"{helper}", "--config {dir}/roles.toml --module-timeout 60s", "ok", "into the helper process {helper} (", ""},
		{"", "--config {dir}/roles.toml --module-timeout 60s", "ok", "into the process that signs: {dir}/m.so", ""},
		{"{dir}/other/other", "--config {dir}/roles.toml --module-timeout 60s", warns, "does not print its version", "install holdfast-pkcs11"},
		{"{dir}/world/helper", flags + " --pkcs11-isolation auto", warns, "the helper process is not used: HOLDFAST_PKCS11_HELPER: the helper {dir}/world/helper is refused: the program {dir}/world/helper can be written by other users (mode 0757)", "chmod go-w"},
		{"{dir}/none", flags + " --pkcs11-isolation auto", warns, "{dir}/none: no such file", "unset it"},
		{"{dir}/other/other", flags + " --pkcs11-isolation auto", warns, "the helper {dir}/other/other does not print its version", "install holdfast-pkcs11"},
		{"{dir}/broken/broken", flags + " --pkcs11-isolation auto", warns, "does not print its version", "install holdfast-pkcs11"},
		{"{dir}/silent/silent", flags + " --pkcs11-isolation auto", warns, "did not print its version within 10s", "install holdfast-pkcs11"},
	} {
		fill := strings.NewReplacer("{helper}", helper)
		env := []string{"HOLDFAST_PKCS11_HELPER=" + fill.Replace(s.expand(test.helper))}
		lines := s.examine(setup{args: test.args, env: env}).of("modules")
		if len(lines) == 0 || lines[0].State != test.state || !strings.Contains(lines[0].Seen, fill.Replace(s.expand(test.seen))) || !strings.Contains(lines[0].Hint, test.hint) {
			t.Errorf("helper %s, %s: %+v", test.helper, test.args, lines)
			continue
		}
		why := lines[len(lines)-1].Seen
		if test.state == "ok" && strings.HasPrefix(test.args, "--config") && !strings.Contains(why, "auto is the default of serve, update, exec and ssh-agent, and holdfast-pkcs11 is ") {
			t.Errorf("helper %s, %s: %s", test.helper, test.args, why)
		}
	}
}

// doctor says which setting decides in which process a module runs.
func TestModulePlaceReason(t *testing.T) {
	cc := signertest.Require(t, "cc", "cc")
	helper := "HOLDFAST_PKCS11_HELPER=" + pkcs11test.Helper(t)
	s := newScene(t)
	s.write("m.c", inUseWith("", ""))
	s.tool(cc, "-shared", "-fPIC", "-w", "-DQUIET", "-o", "m.so", "m.c")
	const isolation = "HOLDFAST_PKCS11_ISOLATION="
	for _, test := range []struct {
		env              []string
		attribute, flags string
		seen             string
	}{
		{nil, "", "", "run there, because no setting says otherwise, and this build can load modules itself"},
		{[]string{helper}, "", " --pkcs11-isolation on", "because --pkcs11-isolation is on"},
		{[]string{helper, isolation + "off"}, "", " --pkcs11-isolation auto", "because --pkcs11-isolation is auto, and holdfast-pkcs11 is installed"},
		{[]string{isolation + "auto"}, "", "", "because the environment variable HOLDFAST_PKCS11_ISOLATION is auto, and holdfast-pkcs11 is not installed"},
		{[]string{helper, isolation + "on"}, "&isolation=off", " --pkcs11-isolation on", "because the reference has isolation=off"},
		{[]string{"HOLDFAST_PKCS11_HELPER=/none"}, "&isolation=auto", "", "because the reference has isolation=auto, and holdfast-pkcs11 cannot be used"},
	} {
		args := "--certificate {dir}/cert.pem --private-key pkcs11:token=x;object=k?module-path={dir}/m.so" + test.attribute + " --module-timeout 60s " + sessionFlags + test.flags
		lines := s.examine(setup{args: args, env: test.env}).of("modules")
		if len(lines) < 2 || !strings.HasSuffix(lines[len(lines)-1].Seen, test.seen) {
			t.Errorf("%s: %+v", test.seen, lines)
		}
	}
}

// A helper that cannot be used is the fault, not the module.
func TestUnusableHelper(t *testing.T) {
	cc := signertest.Require(t, "cc", "cc")
	s := newScene(t)
	s.write("m.c", inUseWith("", ""))
	s.tool(cc, "-shared", "-fPIC", "-w", "-DQUIET", "-o", "m.so", "m.c")
	s.write("other/other", helperScripts["other"])
	mode("other/other", 0o700)(s)
	s.write("group/helper", "")
	s.write("data/holdfast-pkcs11", "")
	mode("data/holdfast-pkcs11", 0o644)(s)
	const show = "holdfast version --verbose"
	mode("group/helper", 0o775)(s)
	args := "--certificate {dir}/cert.pem --private-key pkcs11:token=x;object=k?module-path={dir}/m.so --pkcs11-isolation on --module-timeout 60s " + sessionFlags
	for helper, want := range map[string]struct{ seen, hint, command string }{
		"/bin/cat":                   {"/bin/cat is not a holdfast-pkcs11, or cannot run here: it did not answer", "unset it", show},
		"{dir}/data/holdfast-pkcs11": {"HOLDFAST_PKCS11_HELPER: {dir}/data/holdfast-pkcs11 is not executable (mode 0644)", "chmod +x", "chmod +x {dir}/data/holdfast-pkcs11"},
		"{dir}/none":                 {"HOLDFAST_PKCS11_HELPER: stat {dir}/none: no such file", "unset it", show},
		"{dir}/group/helper":         {"HOLDFAST_PKCS11_HELPER: the helper {dir}/group/helper is refused: the program {dir}/group/helper can be written by its group (mode 0775)", "chmod go-w", "chmod go-w {dir}/group/helper"},
		"{dir}/other/other":          {"{dir}/other/other is not a holdfast-pkcs11", "unset it", show},
	} {
		want.command = s.expand(want.command)
		args := args
		if helper == "/bin/cat" { // it stays silent
			args = strings.Replace(args, "60s", "2s", 1)
		}
		env := []string{"HOLDFAST_PKCS11_HELPER=" + s.expand(helper)}
		lines := s.examine(setup{args: args, env: env}).of("key")
		if len(lines) != 1 || lines[0].State != "fault" || !strings.HasPrefix(lines[0].Seen, s.expand(want.seen)) || !strings.Contains(lines[0].Hint, want.hint) || lines[0].Command != want.command {
			t.Errorf("%s: %+v", helper, lines)
		}
		s.check(setup{args: args, env: env, check: "key", seen: s.expand(want.seen), code: 5})
	}
	lines := s.examine(setup{args: strings.Replace(args, "--pkcs11-isolation on", "", 1), env: []string{"HOLDFAST_PKCS11_ISOLATION=1"}}).of("key")
	if len(lines) != 1 || lines[0].State != "fault" || !strings.Contains(lines[0].Hint, "unset it") || lines[0].Command != "unset HOLDFAST_PKCS11_ISOLATION" {
		t.Errorf("a wrong variable: %+v", lines)
	}
	lines = s.examine(setup{args: strings.Replace(args, "--pkcs11-isolation on", "--pkcs11-isolation yes", 1)}).of("key")
	if len(lines) != 1 || lines[0].State != "fault" || !strings.Contains(lines[0].Command, "--pkcs11-isolation auto") || strings.Contains(lines[0].Command, "yes") {
		t.Errorf("a wrong flag: %+v", lines)
	}
}

// A module that ends its helper process is the fault.
func TestModulesInHelper(t *testing.T) {
	cc := signertest.Require(t, "cc", "cc")
	env := []string{"HOLDFAST_PKCS11_HELPER=" + pkcs11test.Helper(t)}
	for _, m := range []struct{ name, source, seen string }{
		{"abort", inUseWith("abort()", ""), "ends its process when it is loaded (signal: aborted"},
		{"exit", inUseWith("exit(0)", ""), "ends its process when it is loaded"},
		{"exit with a code", inUseWith("exit(3)", ""), "ends its process when it is loaded (exit status 3)"},
		{"abort of C_OpenSession", inUseWith("", "abort()"), "its process ended: signal: aborted"},
	} {
		t.Run(m.name, func(t *testing.T) {
			s := newScene(t)
			s.write("m.c", m.source)
			s.tool(cc, "-shared", "-fPIC", "-w", "-DQUIET", "-o", "m.so", "m.c")
			args := "--certificate {dir}/cert.pem --private-key pkcs11:token=x;object=k?module-path={dir}/m.so&isolation=on --module-timeout 60s " + sessionFlags
			s.check(setup{args: args, env: env, check: "key", seen: "m.so", code: 5})
			if lines := s.examine(setup{args: args, env: env}).of("key"); len(lines) != 1 || !strings.Contains(lines[0].Seen, m.seen) || !strings.Contains(lines[0].Hint, "another version of the module") {
				t.Errorf("%+v", lines)
			}
		})
	}
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
			if strings.Contains(m.seen, "does not answer") {
				timeout += " --timeout 2s"
			}
			args := fmt.Sprintf("--certificate {dir}/cert.pem --private-key pkcs11:token=x;object=k?module-path={dir}/m.so --module-timeout %s %s", timeout, sessionFlags)
			s.check(setup{args: args, check: "key", seen: "m.so " + m.seen, command: "pkcs11-tool --module {dir}/m.so", code: 5})
			if lines := s.examine(setup{args: args}).of("rules"); len(lines) != 1 || lines[0].State != "ok" {
				t.Errorf("the certificate was not checked: %+v", lines)
			}
			seen := m.seen
			if strings.Contains(seen, "is used") || strings.Contains(seen, "does not answer") {
				seen = "can be loaded"
			}
			if lines := s.examine(setup{args: args}).of("modules"); len(lines) == 0 || !strings.Contains(lines[0].Seen, seen) {
				t.Errorf("%+v", lines)
			}
		})
	}
}
