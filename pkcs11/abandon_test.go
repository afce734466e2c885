package pkcs11

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Only a call that can be for the work that nobody waits for, and that takes long, ends the
// helper: not one that began before the work did, nor one after the work has ended.
func TestAbandon(t *testing.T) {
	for _, test := range []struct {
		name   string
		before bool // the call began before the work
		late   bool // it begins after the work was given up
		ends   bool // the work ends soon after it was given up
		want   bool // the helper is ended
	}{
		{name: "its own call", want: true},
		{name: "a later call of the same work", late: true, want: true},
		{name: "the call of another, which is older", before: true},
		{name: "another call, after the work has ended", ends: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHelper("module", nil, nil, func() {})
				call := func() {
					h.mu.Lock()
					defer h.mu.Unlock()
					h.pending[1] = pendingCall{time.Now(), nil}
				}
				if test.before {
					call()
				}
				time.Sleep(time.Second)
				work, done := time.Now(), make(chan struct{})
				if !test.before && !test.late {
					call()
				}
				time.Sleep(time.Second)
				h.abandon(abandoned{work, done})
				if test.late {
					time.Sleep(time.Second)
					call()
				}
				if test.ends {
					time.Sleep(time.Second)
					close(done)
				}
				time.Sleep(3 * hungAfter)
				h.mu.Lock()
				ended := h.reason != nil
				h.mu.Unlock()
				if ended != test.want {
					t.Errorf("the helper is ended: %t, want %t", ended, test.want)
				}
				close(h.ended) // ends the watch
			})
		})
	}
}

// Helpers that cannot be started are not started again and again.
func TestRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, starts, fail := newRemote(), 0, true
		failure := errors.New("cannot be started")
		r.start = func() (*helper, error) {
			starts++
			if fail {
				return nil, failure
			}
			return newHelper("module", nil, nil, func() {}), nil
		}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if _, err := r.helper(); !errors.Is(err, failure) {
				t.Fatalf("error %v", err)
			}
		}
		if starts < 5 || starts > 10 {
			t.Errorf("%d starts in 20 s", starts)
		}
		fail = false
		time.Sleep(maxPause)
		if h, err := r.helper(); h == nil || err != nil {
			t.Errorf("error %v after the pause", err)
		}
	})
}

// The program of the helper is checked at each start: it gets PINs.
func TestHelperIsCheckedAgain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows protects the folders of programs")
	}
	program := filepath.Join(t.TempDir(), helperName)
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(program, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := isolate("/none.so", program, nil, func(abandoner) {}, func() {})
	if !errors.As(err, new(*helperError)) {
		t.Errorf("error %v", err)
	}
}

// The environment of the helper is that of the programs of keys.
func TestHelperEnvironment(t *testing.T) {
	t.Setenv("TSS2_LOG", "all+NONE")
	t.Setenv("SECRET_OF_ANOTHER_KEY", "1")
	for _, test := range []struct {
		environ []string
		source  string
		want    []string
	}{
		{[]string{"A=1", "PIN=2"}, "env:PIN", []string{"A=1", "TSS2_LOG=all+NONE"}},
		{[]string{"A=1", "TSS2_LOG=old"}, "", []string{"A=1", "TSS2_LOG=all+NONE"}},
		{[]string{}, "/run/pin", []string{"TSS2_LOG=all+NONE"}},
	} {
		got := slices.DeleteFunc(Config{URI: URI{PINSource: test.source}, environ: test.environ}.helperEnv(), func(v string) bool {
			return len(v) > 20 && v[:20] == "TPM2_PKCS11_LOG_LEVE"
		})
		if !slices.Equal(got, test.want) {
			t.Errorf("%q with %s: %q, want %q", test.environ, test.source, got, test.want)
		}
	}
	if got := (Config{}).helperEnv(); !slices.Contains(got, "SECRET_OF_ANOTHER_KEY=1") {
		t.Error("without the environment of programs, the helper does not get that of this process")
	}
}
