//go:build linux && cgo

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// isolatedToken makes a token with a key behind the faulty module in the helper.
func isolatedToken(t *testing.T) (token, *faults) {
	t.Helper()
	cc := signertest.Require(t, "cc", "cc")
	pkcs11test.UseHelper(t)
	tok := softHSM(t, "")
	f := &faults{file: filepath.Join(t.TempDir(), "rules")}
	t.Setenv("FAULT_MODULE", tok.uri.ModulePath)
	t.Setenv("FAULT_RULES", f.file)
	f.set(t)
	tok.uri.ModulePath = pkcs11test.FaultModule(t, cc, t.TempDir())
	tok.uri.Isolation = pkcs11.IsolationOn
	tok.generate(t, tok.ref("p256", ""), keystore.P256)
	return tok, f
}

// The helper cannot be dumped, by a debugger or as a core, and knows neither the variable
// of the PIN nor a PIN as an argument. What the module needs is there.
func TestHelperProcess(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	if !inOwnProcess(t) {
		return
	}
	tok, f := isolatedToken(t)
	t.Setenv("A_TEST_PIN", tok.pin)
	tok.uri.PINSource = "env:A_TEST_PIN"
	f.set(t, "C_Sign 1 0 status 0")
	key, err := backend.Open(t.Context(), tok.ref("p256", ""), keystore.Call{Options: keystore.Options{LookupEnv: os.LookupEnv}})
	if err != nil {
		t.Fatal(err)
	}
	if err := signMessage(key, "message"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.file + ".status")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, want := range []string{
		"dumpable 0", "core 0 0", "arguments " + pkcs11test.Helper(t) + " ",
		"environment FAULT_RULES=" + f.file, "environment SOFTHSM2_CONF=" + os.Getenv("SOFTHSM2_CONF"),
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q", want)
		}
	}
	for _, secret := range []string{"A_TEST_PIN", tok.pin} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the helper was started with %s", secret)
		}
	}
	if err := key.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, time.Minute, func() error { return noChildren("holdfast-pkcs11") })
}

// helperPID returns the only helper of this process.
func helperPID(t *testing.T) int {
	t.Helper()
	err := noChildren("holdfast-pkcs11")
	var pid int
	if _, scanErr := fmt.Sscanf(fmt.Sprint(err), "process %d,", &pid); scanErr != nil {
		t.Fatalf("no helper: %v", err)
	}
	return pid
}

func resident(t *testing.T, pid int) (mib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

// A module that leaks fills the memory of its helper. At its limit that ends, and
// another one signs, in less memory.
func TestModuleLeaks(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	if !inOwnProcess(t) {
		return
	}
	tok, f := isolatedToken(t)
	key := tok.open(t, tok.ref("p256", ""), 2)
	first, own := helperPID(t), resident(t, os.Getpid())
	var limit unix.Rlimit
	if err := unix.Prlimit(first, unix.RLIMIT_DATA, nil, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = 512 << 20
	if err := unix.Prlimit(first, unix.RLIMIT_DATA, &limit, nil); err != nil {
		t.Fatal(err)
	}
	f.set(t, "C_Sign 1 0 leak 33554432")
	highest, signatures := 0, 0
	for ; signatures < 100 && unix.Kill(first, 0) == nil; signatures++ {
		if err := signMessage(key, "message"); err != nil {
			t.Fatalf("signature %d: %v", signatures, err)
		}
		if pid := helperPID(t); pid == first {
			highest = resident(t, pid)
		}
	}
	second := helperPID(t)
	if second == first {
		t.Fatalf("the helper has %d MiB and continues", highest)
	}
	t.Logf("the helper ended after %d signatures with %d MiB; the next one has %d MiB", signatures, highest, resident(t, second))
	if grown := resident(t, os.Getpid()) - own; grown > 64 {
		t.Errorf("this process has grown by %d MiB", grown)
	}
	f.set(t)
	if err := key.Close(); err != nil {
		t.Error(err)
	}
}

// A length of a module that is more than it may be is an error that names the function, and
// a code of C_GetFunctionList has its text. The helper continues.
func TestFaultyLengths(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	if !inOwnProcess(t) {
		return
	}
	tok, f := isolatedToken(t)
	ref := tok.ref("p256", "")
	key := tok.open(t, ref, 2)
	const huge = "0x4000000000000000"
	for _, c := range []struct {
		rule, want string
		call       func() error
	}{
		{"C_Sign 1 0 length " + huge, "C_Sign: the module is faulty: it returned the length 4611686018427387904, which is more than 1024", func() error { return signMessage(key, "message") }},
		{"C_GetSlotList 1 0 length " + huge, "C_GetSlotList: the module is faulty", nil},
		{"C_GetSlotList 2 0 length 4000", "C_GetSlotList: the module is faulty", nil}, // of the list itself
		{"C_FindObjects 1 0 length 4097", "C_FindObjects: the module is faulty", nil},
		{"C_GetAttributeValue 1 0 length " + huge, "C_GetAttributeValue: the module is faulty", nil},
		{"C_GetAttributeValue 1 0 length 524289", "C_GetAttributeValue: the module is faulty", nil},
	} {
		f.set(t, c.rule)
		if c.call == nil {
			c.call = func() error {
				s, err := backend.Open(t.Context(), ref, tok.call())
				if err == nil {
					err = s.Close()
				}
				return err
			}
		}
		if err := c.call(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "memory") {
			t.Errorf("%s: error %v, want %q", c.rule, err, c.want)
		}
	}
	f.set(t)
	if err := signMessage(key, "message"); err != nil {
		t.Error(err)
	}
	if err := key.Close(); err != nil {
		t.Error(err)
	}
	f.set(t, "C_GetFunctionList 1 0 return 5")
	if _, err := backend.Open(t.Context(), ref, tok.call()); err == nil || !strings.Contains(err.Error(), "cannot be loaded") || !strings.Contains(err.Error(), "C_GetFunctionList: general error (CKR 0x5)") {
		t.Errorf("error %v", err)
	}
	f.set(t)
}
