// Package pkcs11test creates PKCS #11 tokens for tests.
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

// The PINs of a token that [SoftHSM.Token] creates. They protect only test
// keys.
const (
	PIN   = "2468-user"
	SOPIN = "1357-officer"
)

// A SoftHSM is a SoftHSM 2 installation with a separate token folder. This
// process and its children find the folder through the environment variable
// SOFTHSM2_CONF.
type SoftHSM struct {
	Module string // path of libsofthsm2.so
	Dir    string // contains softhsm2.conf and the tokens
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

// Find returns a SoftHSM whose tokens are in a new folder in dir, and sets
// SOFTHSM2_CONF. SoftHSM reads this variable once, when it is initialized.
// Therefore a test binary calls Find once, in TestMain, and keeps dir until it
// exits. The second result is false if softhsm2-util is not installed. If it is
// installed without the module, Find returns an error.
func Find(dir string) (*SoftHSM, bool, error) {
	h, ok, err := locate(dir)
	if !ok || err != nil {
		return nil, false, err
	}
	return h, true, os.Setenv("SOFTHSM2_CONF", h.conf())
}

// New returns a SoftHSM with an empty folder that is removed at the end of the
// test. No other test in the process may use SoftHSM at the same time. The test
// fails if SoftHSM is not installed; to skip it instead, call
// signertest.Require(tb, "softhsm", "softhsm2-util") first.
func New(tb testing.TB) *SoftHSM {
	tb.Helper()
	h, ok, err := locate(tb.TempDir())
	if !ok || err != nil {
		tb.Fatalf("SoftHSM: installed %t, error %v", ok, err)
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
	return nil, false, fmt.Errorf("%s is installed, but its module is not (searched %s)", util, strings.Join(modulePatterns, ", "))
}

// labels counts tokens, so that each one in the process has a unique label.
var labels struct {
	sync.Mutex
	n int
}

// Token creates a token with a unique label and returns its URI, which contains
// the path of the module. The user PIN is [PIN].
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
