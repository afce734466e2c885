//go:build linux && cgo

package interop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestFaults uses SoftHSM through a module that injects faults.
func TestFaults(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	cc := signertest.Require(t, "cc", "cc")
	if !inOwnProcess(t) {
		return
	}
	tok := softHSM(t, "")
	f := &faults{file: filepath.Join(t.TempDir(), "rules")}
	t.Setenv("FAULT_MODULE", tok.uri.ModulePath)
	t.Setenv("FAULT_RULES", f.file)
	f.set(t)
	tok.uri.ModulePath = pkcs11test.FaultModule(t, cc, t.TempDir())
	ref := tok.ref("p256", "")
	tok.generate(t, ref, keystore.P256)

	t.Run("SessionsFail", func(t *testing.T) { f.sessionsFail(t, tok, ref) })
	t.Run("Errors", func(t *testing.T) { f.errors(t, tok, ref) })
	t.Run("Claims", func(t *testing.T) { f.claims(t, tok, ref) })
	t.Run("Hang", func(t *testing.T) { f.hang(t, tok, ref) })
}

// faults controls testdata/fault.c through a file with rules.
type faults struct {
	file       string
	generation int
}

// set replaces the rules. They have the syntax in testdata/fault.c, without the
// generation.
func (f *faults) set(t *testing.T, rules ...string) {
	t.Helper()
	f.generation++
	var b strings.Builder
	fmt.Fprintf(&b, "%d none 1 0 return 0\n", f.generation)
	for _, r := range rules {
		fmt.Fprintf(&b, "%d %s\n", f.generation, r)
	}
	writeFile(t, f.file+".new", b.String())
	if err := os.Rename(f.file+".new", f.file); err != nil {
		t.Fatal(err)
	}
}

// sessionsFail checks that all signatures are made and correct, no matter which
// session is lost in which call.
func (f *faults) sessionsFail(t *testing.T, tok token, ref keystore.Ref) {
	key := tok.open(t, ref, 2)
	// With twice as many faults, one signature in 100,000 would fail ten
	// times in a row, and the key would return an error.
	f.set(t,
		"C_Sign 53 0 close 0",             // the session is lost
		"C_Sign 499 0 remove 0",           // all sessions and the login are lost
		"C_SignInit 101 0 return 0xb3",    // CKR_SESSION_HANDLE_INVALID
		"C_SignInit 131 0 return 0x32",    // CKR_DEVICE_REMOVED
		"C_OpenSession 23 0 return 0x32",  // while reconnecting
		"C_FindObjects 29 0 return 0xb3",  // while reconnecting
		"C_GetSlotList 31 0 return 0x190", // CKR_CRYPTOKI_NOT_INITIALIZED
	)
	const goroutines, signatures = 8, 1000
	var lost atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range signatures {
				if err := signMessage(key, fmt.Sprintf("message %d of goroutine %d", i, g)); err != nil && lost.Add(1) <= 5 {
					t.Errorf("signature %d of goroutine %d: %v", i, g, err)
				}
			}
		})
	}
	wg.Wait()
	if n := lost.Load(); n > 0 {
		t.Errorf("%d of %d signatures lost", n, goroutines*signatures)
	}
	f.set(t)
	if err := key.Close(); err != nil {
		t.Error(err)
	}
}

// errors checks the error of each fault, and that the key works again after it.
func (f *faults) errors(t *testing.T, tok token, ref keystore.Ref) {
	for _, c := range []struct {
		name, rule string
		open, sign error // nil: none
		any        bool  // Sign may return any error
	}{
		{"removed", "C_SignInit 1 0 return 0x32", nil, signer.ErrUnavailable, false},
		{"removed permanently", "C_SignInit 1 0 remove 0", nil, signer.ErrUnavailable, false},
		{"session lost", "C_Sign 1 0 return 0xb3", nil, signer.ErrUnavailable, false},
		{"no slots", "C_GetSlotList 1 0 none 0", signer.ErrUnavailable, nil, false},
		{"no session", "C_OpenSession 1 0 return 0x31", signer.ErrUnavailable, nil, false},
		{"no mechanism", "C_SignInit 1 0 return 0x70", nil, errors.ErrUnsupported, false},
		{"empty signature", "C_Sign 1 0 length 0", nil, nil, true},
		{"odd signature", "C_Sign 1 0 length 63", nil, nil, true},
		{"attribute of 4 GiB less 16", "C_GetAttributeValue 1 0 length 0xfffffff0", nil, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.set(t)
			key := tok.open(t, ref, 2)
			f.set(t, c.rule)
			s, err := backend.Open(t.Context(), ref, tok.call())
			if !errors.Is(err, c.open) {
				t.Errorf("Open: error %v, want %v", err, c.open)
			}
			if err == nil {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
			err = signMessage(key, "message")
			if c.any && err == nil || !c.any && !errors.Is(err, c.sign) {
				t.Errorf("Sign: error %v, want %v", err, c.sign)
			}
			f.set(t)
			if err := signMessage(key, "message"); err != nil {
				t.Errorf("Sign after the fault: %v", err)
			}
			if err := key.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// claims checks that an attribute that the module does not know is left out of the
// claims, and that no other error is taken for that.
func (f *faults) claims(t *testing.T, tok token, ref keystore.Ref) {
	const local, neverExtractable, alwaysSensitive = "{CKA_LOCAL true}", "{CKA_NEVER_EXTRACTABLE true}", "{CKA_ALWAYS_SENSITIVE true}"
	for _, c := range []struct {
		rule string // the values are CKA_LOCAL, CKA_NEVER_EXTRACTABLE and CKA_ALWAYS_SENSITIVE
		want []string
		err  error
	}{
		{"none 1 0 return 0", []string{local, neverExtractable, alwaysSensitive}, nil},
		{"C_GetAttributeValue 1 0 invalid 0x163", []string{neverExtractable, alwaysSensitive}, nil},
		{"C_GetAttributeValue 1 0 invalid 0x164", []string{local, alwaysSensitive}, nil},
		{"C_GetAttributeValue 1 0 invalid 0x165", []string{local, neverExtractable}, nil},
		{"C_GetAttributeValue 1 0 sensitive 0x164", []string{local, alwaysSensitive}, nil},
		{"C_GetAttributeValue 1 0 unavailable 0x163", []string{neverExtractable, alwaysSensitive}, nil},
		{"C_GetAttributeValue 1 0 unavailable 0x165", []string{local, neverExtractable}, nil},
		{"C_GetAttributeValue 1 0 return 0x32", nil, signer.ErrUnavailable},
		{"C_GetAttributeValue 1 0 remove 0", nil, signer.ErrUnavailable},
	} {
		f.set(t, c.rule)
		a, err := backend.Attest(t.Context(), ref, "", tok.call())
		if got := fmt.Sprint(a.Claims); !errors.Is(err, c.err) || got != fmt.Sprint(c.want) {
			t.Errorf("%s: %s, error %v, want %s, error %v", c.rule, got, err, c.want, c.err)
		}
	}
	f.set(t)
}

// hang checks that one signature that hangs in the module does not block
// others.
func (f *faults) hang(t *testing.T, tok token, ref keystore.Ref) {
	key := tok.open(t, ref, 2)
	f.set(t, "C_Sign 1 1 await 0")
	const goroutines = 4
	signed := make(chan error, goroutines)
	for range goroutines {
		go func() { signed <- signMessage(key, "message") }()
	}
	ended := func(n int, within time.Duration) int {
		timeout := time.After(within)
		for i := range n {
			select {
			case err := <-signed:
				if err != nil {
					t.Error(err)
				}
			case <-timeout:
				return i
			}
		}
		return n
	}
	if n := ended(goroutines-1, time.Minute); n != goroutines-1 {
		t.Errorf("%d signatures were made while one hangs, want %d", n, goroutines-1)
	} else if ended(1, 20*time.Millisecond) != 0 {
		t.Error("no signature hangs")
	}
	f.set(t)
	if !t.Failed() && ended(1, time.Minute) != 1 {
		t.Error("the signature still hangs")
	}
	if err := key.Close(); err != nil {
		t.Error(err)
	}
}
