// Package pkcs11test makes tokens for tests.
package pkcs11test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The PINs of a [Token]. They guard keys of tests alone.
const (
	PIN   = "2468-user"
	SOPIN = "1357-officer"
)

// A SoftHSM is a folder with tokens of its own, used by this process and its
// children through the environment variable SOFTHSM2_CONF.
type SoftHSM struct {
	Module string // path of libsofthsm2.so
	Dir    string // holds softhsm2.conf and the tokens
	util   string
}

var modulePatterns = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/*/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// Find returns SoftHSM with an empty folder below dir, and sets SOFTHSM2_CONF.
// SoftHSM reads that once, when it is initialized; so a test binary calls Find
// once, in TestMain, and keeps the folder until it ends. The second result is
// false if softhsm2-util is not installed; that it is there without its module
// is an error.
func Find(dir string) (*SoftHSM, bool, error) {
	h, ok, err := locate(dir)
	if !ok || err != nil {
		return nil, false, err
	}
	return h, true, os.Setenv("SOFTHSM2_CONF", h.conf())
}

// New returns SoftHSM with an empty folder until the test ends, for a test that
// has the process for itself: nothing else in it may use SoftHSM meanwhile. The
// test fails without SoftHSM; signertest.Require(tb, "softhsm", "softhsm2-util")
// skips it.
func New(tb testing.TB) *SoftHSM {
	tb.Helper()
	h, ok, err := locate(tb.TempDir())
	if !ok || err != nil {
		tb.Fatalf("no SoftHSM: installed %t, error %v", ok, err)
	}
	tb.Setenv("SOFTHSM2_CONF", h.conf())
	return h
}

func (h *SoftHSM) conf() string { return filepath.Join(h.Dir, "softhsm2.conf") }

func locate(dir string) (*SoftHSM, bool, error) {
	util, err := exec.LookPath("softhsm2-util")
	if err != nil {
		return nil, false, nil
	}
	for _, pattern := range modulePatterns {
		found, _ := filepath.Glob(pattern)
		if len(found) == 0 {
			continue
		}
		h := &SoftHSM{Module: found[0], Dir: dir, util: util}
		tokens := filepath.Join(dir, "tokens")
		text := "directories.tokendir = " + tokens + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
		if err := os.MkdirAll(tokens, 0o700); err != nil {
			return nil, false, err
		}
		if err := os.WriteFile(h.conf(), []byte(text), 0o600); err != nil {
			return nil, false, err
		}
		return h, true, nil
	}
	return nil, false, fmt.Errorf("%s is there, but none of %s", util, strings.Join(modulePatterns, ", "))
}

// labels keeps the tokens of one process apart.
var labels struct {
	sync.Mutex
	n int
}

// Token makes a token with a label of its own and returns its URI with the
// module's path. Its PIN is [PIN].
func (h *SoftHSM) Token(tb testing.TB) string {
	tb.Helper()
	labels.Lock()
	labels.n++
	label := fmt.Sprintf("token-%d-%d", os.Getpid(), labels.n)
	labels.Unlock()
	cmd := exec.Command(h.util, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SOPIN)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	return "pkcs11:token=" + label + "?module-path=" + strings.ReplaceAll(h.Module, " ", "%20")
}
