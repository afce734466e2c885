package bench

import (
	"cmp"
	"context"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/vending"
	"github.com/holdfast-dev/holdfast/keystore/all"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// benchSession runs an emulator in this process and returns the folder of a
// PKI that it trusts and the arguments that reach it.
func benchSession(b testing.TB) (dir string, args []string, ca *signertest.CA) {
	b.Helper()
	dir = b.TempDir()
	ca = signertest.NewCA(b, "root")
	files := map[string][]byte{"ca.pem": signertest.CertPEM(ca.Cert)}
	for _, kind := range []string{"p256", "rsa2048"} {
		key := signertest.Key(b, kind)
		files[kind+".pem"] = signertest.CertPEM(ca.Issue(b, key, nil))
		files[kind+".key"] = signertest.KeyPEM(b, key)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	s, err := emulator.New(emulator.Config{TrustAnchors: []emulator.TrustAnchor{{Certificates: files["ca.pem"]}}})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(s)
	b.Cleanup(server.Close)
	return dir, []string{
		"credential-process", "--endpoint", server.URL,
		"--trust-anchor-arn", s.TrustAnchorARNs()[0], "--profile-arn", s.ProfileARNs()[0], "--role-arn", s.RoleARNs()[0],
	}, ca
}

func withKey(args []string, dir, kind string) []string {
	return append(args[:len(args):len(args)],
		"--certificate", filepath.Join(dir, kind+".pem"), "--private-key", filepath.Join(dir, kind+".key"))
}

// BenchmarkCredentialProcess is the whole command in this process, with the
// emulator's work on the other side.
func BenchmarkCredentialProcess(b *testing.B) {
	dir, args, _ := benchSession(b)
	a := front.App{
		Stdout: io.Discard, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Now: time.Now, OpenTTY: front.OpenTTY, Store: all.New(),
		Commands: []front.Command{{Name: "credential-process", New: vending.CredentialProcess, DefaultSignals: true}},
	}
	for _, kind := range []string{"p256", "rsa2048"} {
		line := withKey(args, dir, kind)
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				if code := a.Run(context.Background(), line); code != 0 {
					b.Fatalf("exit code %d", code)
				}
			}
		})
	}
}

const hello = `package main

import "os"

func main() { os.Stdout.WriteString("hello\n") }
`

// BenchmarkColdProcess starts processes in turn, so that the machine's changes
// of speed hit all alike: a program that only says hello, as the floor,
// holdfast with each kind of key and, if it is in PATH, aws_signing_helper with
// the same arguments. It reports medians in milliseconds, the least page faults
// on Linux and, where GNU time is installed, the peak memory in MiB.
func BenchmarkColdProcess(b *testing.B) {
	dir, args, ca := benchSession(b)
	bin := func(name, pkg, cgo string) string {
		out := filepath.Join(dir, "built-"+name)
		build := exec.Command("go", "build", "-trimpath", "-tags", "netgo,osusergo", "-ldflags=-s", "-o", out, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if msg, err := build.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, msg)
		}
		return installed(b, out, filepath.Join(dir, name))
	}
	source := filepath.Join(dir, "hello.go")
	if err := os.WriteFile(source, []byte(hello), 0o600); err != nil {
		b.Fatal(err)
	}
	holdfast := bin("holdfast", "../..", "0")
	type program struct {
		name   string
		line   []string
		env    []string
		took   []time.Duration
		faults int // the least; 0: not counted
	}
	programs := []program{
		{name: "hello", line: []string{bin("hello", source, "0")}},
		{name: "version", line: []string{holdfast, "version"}},
		{name: "p256", line: append([]string{holdfast}, withKey(args, dir, "p256")...)},
		{name: "rsa2048", line: append([]string{holdfast}, withKey(args, dir, "rsa2048")...)},
	}
	for _, id := range fileIdentities(b, dir) {
		programs = append(programs, program{name: id.Name, line: slices.Concat([]string{holdfast}, args, id.Flags)})
	}
	cached := []string{"XDG_CACHE_HOME=" + filepath.Join(dir, "cache")}
	addCached := func(p program, flag string) {
		p.name, p.line, p.env = p.name+strings.TrimPrefix(flag, "-"), append(slices.Clone(p.line), flag), append(slices.Clone(p.env), cached...)
		programs = append(programs, p)
	}
	addCached(programs[2], "--cache")
	if runtime.GOOS == "linux" {
		addCached(programs[2], "--cache=keyring")
	}
	for _, id := range clitest.TokenIdentities(b, ca) {
		line := slices.Concat([]string{bin("holdfast-cgo", "../..", "1")}, args, id.Flags)
		programs = append(programs, program{name: id.Name, line: line, env: id.Env})
		addCached(programs[len(programs)-1], "--cache")
		bin("holdfast-pkcs11", "../../../holdfast-pkcs11", "0")
		isolated := program{name: id.Name + "-isolated", line: append(slices.Clone(line), "--pkcs11-isolation", "on"), env: id.Env}
		programs = append(programs, isolated)
	}
	if line, env := bareToken(b, dir); line != nil {
		programs = append(programs, program{name: "softhsm-bare", line: line, env: env})
	}
	for _, id := range clitest.TPMIdentities(b, ca) {
		line := slices.Concat([]string{holdfast}, args, id.Flags)
		programs = append(programs, program{name: id.Name, line: line, env: id.Env})
	}
	if helper, err := exec.LookPath("aws_signing_helper"); err != nil {
		b.Log("aws_signing_helper is not in PATH: it is not compared")
	} else {
		helper = installed(b, helper, filepath.Join(dir, "aws_signing_helper"))
		for _, p := range slices.Clone(programs) {
			line := append([]string{helper}, helperArguments(b, p.line[1:])...)
			cmd := exec.Command(line[0], line[1:]...)
			cmd.Env = append([]string{"HOME=" + dir}, p.env...)
			if out, err := cmd.CombinedOutput(); err != nil || len(p.line) == 1 {
				reason, _, _ := strings.Cut(string(out), "\n")
				b.Logf("aws_signing_helper is not compared for %s: %v: %s", p.name, err, reason)
				continue
			}
			programs = append(programs, program{name: "helper-" + p.name, line: line, env: p.env})
		}
	}
	for b.Loop() {
		for i := range programs {
			p := &programs[i]
			cmd := exec.Command(p.line[0], p.line[1:]...)
			cmd.Env = append([]string{"HOME=" + dir}, p.env...)
			begin := time.Now()
			out, err := cmd.Output()
			p.took = append(p.took, time.Since(begin))
			if err != nil || len(out) == 0 && p.name != "softhsm-bare" {
				b.Fatalf("%s: %v, %d bytes", p.name, err, len(out))
			}
			if n, ok := faultsOf(cmd.ProcessState); ok && (p.faults == 0 || n < p.faults) {
				p.faults = n
			}
		}
	}
	b.ReportMetric(0, "ns/op") // of no meaning for the round
	for _, p := range programs {
		slices.Sort(p.took)
		b.ReportMetric(float64(p.took[len(p.took)/2].Microseconds())/1000, strings.ToLower(p.name)+"-ms")
		if p.faults > 0 {
			b.ReportMetric(float64(p.faults), strings.ToLower(p.name)+"-faults")
		}
		if mib, ok := peakMemory(b, dir, p.line, p.env); ok {
			b.ReportMetric(mib, p.name+"-MiB")
		}
	}
}

// installed copies a program, as an installer does, and returns the name of the copy. The
// linker of Go maps the file that it writes, so that Linux keeps it in single pages. Such
// a program starts up to a fifth more slowly than its copy.
func installed(b *testing.B, from, to string) string {
	b.Helper()
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		b.Fatal(err)
	}
	if err := cmp.Or(out.Chmod(0o755), out.Close()); err != nil { // holdfast refuses a helper that others can write
		b.Fatal(err)
	}
	return to
}

// helperArguments writes holdfast's arguments as aws_signing_helper expects them: it takes
// passwords only in arguments, and the PIN of a token only in its URI.
func helperArguments(b *testing.B, args []string) []string {
	b.Helper()
	args = slices.Clone(args)
	for i, arg := range args {
		if handle, ok := strings.CutPrefix(arg, "tpm:handle="); ok {
			args[i] = "handle:" + handle
			args = append(args, "--no-tpm-key-password")
		}
	}
	source := slices.Index(args, "--pin-source")
	if source < 0 {
		return args
	}
	data, err := os.ReadFile(strings.TrimPrefix(args[source+1], "file:"))
	if err != nil {
		b.Fatal(err)
	}
	pin := strings.TrimSpace(string(data))
	args = slices.Delete(args, source, source+2)
	if certificate := slices.Index(args, "--certificate") + 1; strings.HasPrefix(args[certificate], "pkcs11:") {
		args[certificate] += "&pin-value=" + pin
		return args
	}
	flag := "--pkcs8-password"
	key := args[slices.Index(args, "--private-key")+1]
	if data, err = os.ReadFile(key); err == nil && strings.Contains(string(data), "TSS2") {
		flag = "--tpm-key-password"
	}
	return append(args, flag, pin)
}

// fileIdentities puts the P-256 key in dir into files with a password, and into PKCS #12.
func fileIdentities(b *testing.B, dir string) []clitest.Identity {
	b.Helper()
	openssl := signertest.Require(b, "openssl", "openssl")
	key, cert, pin := filepath.Join(dir, "p256.key"), filepath.Join(dir, "p256.pem"), filepath.Join(dir, "password")
	if err := os.WriteFile(pin, []byte("a password\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	encrypted, pfx := filepath.Join(dir, "encrypted.key"), filepath.Join(dir, "p256.p12")
	for _, line := range [][]string{
		{"pkcs8", "-topk8", "-in", key, "-passout", "file:" + pin, "-out", encrypted},
		// aws_signing_helper reads only the older algorithms.
		{"pkcs12", "-export", "-inkey", key, "-in", cert, "-passout", "pass:", "-out", pfx,
			"-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"},
	} {
		if out, err := exec.Command(openssl, line...).CombinedOutput(); err != nil {
			b.Fatalf("openssl %s: %v\n%s", line[0], err, out)
		}
	}
	return []clitest.Identity{
		{Name: "p256-encrypted", Flags: []string{"--certificate", cert, "--private-key", encrypted, "--pin-source", "file:" + pin}},
		{Name: "p256-pkcs12", Flags: []string{"--certificate", pfx}},
	}
}

// peakMemory lets GNU time start the program: on Linux a process counts the
// memory of the one that started it as its own, and time's is small.
func peakMemory(b *testing.B, dir string, line, env []string) (mib float64, ok bool) {
	b.Helper()
	gnuTime, err := exec.LookPath("/usr/bin/time")
	if err != nil {
		return 0, false
	}
	file := filepath.Join(dir, "peak")
	cmd := exec.Command(gnuTime, append([]string{"-f", "%M", "-o", file}, line...)...)
	cmd.Env = append([]string{"HOME=" + dir}, env...)
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	kib, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024, true
}

// BenchmarkParts is what the command does before it sends anything.
func BenchmarkParts(b *testing.B) {
	dir, _, _ := benchSession(b)
	a := front.App{Store: all.New()}
	b.Run("command-and-flags", func(b *testing.B) {
		for b.Loop() {
			vending.CredentialProcess(a)
		}
	})
	for _, kind := range []string{"p256", "rsa2048"} {
		b.Run("open-"+kind, func(b *testing.B) {
			id, err := keystore.ParseIdentity(filepath.Join(dir, kind+".pem"), filepath.Join(dir, kind+".key"))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s, err := all.New().OpenIdentity(b.Context(), id, keystore.Options{})
				if err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
		})
	}
}
