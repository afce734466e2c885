package rotate_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A reload uses changed files only if they are complete and match each other.
func TestRenewedFiles(t *testing.T) {
	dir := t.TempDir()
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(key crypto.Signer) []byte { return signertest.CertPEM(ca.Issue(t, key, nil), ca.Cert) }
	first, second, third := signertest.Key(t, "p256"), signertest.Key(t, "rsa2048"), signertest.NewKey(t, "p256")
	write(certFile, issue(first))
	write(keyFile, signertest.KeyPEM(t, first))

	store := keystore.New(file.Backend{})
	refs, err := keystore.ParseIdentity(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	var latest signer.Signer // the key opened last
	id := identity(t, rotate.Config{
		Open: func(ctx context.Context) (signer.Signer, error) {
			key, err := store.OpenIdentity(ctx, refs, keystore.Options{})
			latest = key
			return key, err
		},
		Check: func(key signer.Signer) error {
			if end := key.Chain()[0].NotAfter; time.Now().After(end) {
				return errExpired
			}
			return nil
		},
	})
	current := latest
	for _, step := range []struct {
		name  string
		setup func()
		used  bool
	}{
		{"unchanged", func() {}, true},
		{"another key", func() { write(certFile, issue(second)); write(keyFile, signertest.KeyPEM(t, second)) }, true},
		{"certificate renewed", func() { write(certFile, issue(second)) }, true},
		{"certificate for a key that is not yet written", func() { write(certFile, issue(third)) }, false},
		{"key partly written", func() { write(keyFile, signertest.KeyPEM(t, third)[:50]) }, false},
		{"key encrypted", func() { write(keyFile, encryptedKey(t, third)) }, false},
		{"key written", func() { write(keyFile, signertest.KeyPEM(t, third)) }, true},
		{"certificate expired", func() {
			write(certFile, signertest.CertPEM(ca.Issue(t, third, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }), ca.Cert))
		}, false},
		{"certificate removed", func() {
			if err := os.Remove(certFile); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		step.setup()
		if err := id.Reload(t.Context()); (err == nil) != step.used {
			t.Errorf("%s: reloaded: %t, want %t: %v", step.name, err == nil, step.used, err)
		}
		if err := use(t.Context(), id); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if step.used {
			if _, err := current.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
				t.Errorf("%s: the old key is not closed: %v", step.name, err)
			}
			current = latest
		}
	}
}

// encryptedKey returns key encrypted with a password that the test does not
// configure.
func encryptedKey(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	cmd := exec.Command(signertest.Require(t, "openssl", "openssl"), "pkcs8", "-topk8", "-passout", "pass:x")
	cmd.Stdin = bytes.NewReader(signertest.KeyPEM(t, key))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A watched is an Identity whose Run is running in a synctest bubble.
type watched struct {
	*opener
	*rotate.Identity
	file    string
	reloads int // calls of Config.Reloaded
	log     bytes.Buffer
}

// Write appends p to the log.
func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *watched) wantLog(parts ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, part := range parts {
		if !strings.Contains(w.log.String(), part) {
			w.t.Errorf("%q is not in the log:\n%s", part, &w.log)
		}
	}
}

func watch(t *testing.T, dir string, test func(w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{opener: newOpener(t), file: filepath.Join(dir, "cert.pem")}
		w.write("the first")
		running, stop := context.WithCancel(t.Context())
		id, err := rotate.New(t.Context(), rotate.Config{
			Open:  w.open,
			Files: []string{filepath.Join(dir, "key.pem"), w.file},

			PINFiles: []string{filepath.Join(dir, "pin")},
			Reloaded: func(ctx context.Context) {
				if ctx != running {
					t.Error("Reloaded is not called with the context of Run")
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				w.reloads++
			},
			Logger: slog.New(slog.NewTextHandler(w, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.Identity = id
		done := make(chan error, 1)
		go func() { done <- id.Run(running) }()
		test(w)
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
		id.Close()
	})
}

// write writes the file. Callers pass texts of different lengths.
func (w *watched) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) remove() {
	w.t.Helper()
	if err := os.Remove(w.file); err != nil {
		w.t.Fatal(err)
	}
}

// after waits for d and checks how many times the key was opened and reloaded.
func (w *watched) after(d time.Duration, opens, reloads int) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.opens != opens || w.reloads != reloads {
		w.t.Errorf("opened %d times, %d reloads; want %d and %d", w.opens, w.reloads, opens, reloads)
	}
}

func TestRunWatchesFiles(t *testing.T) {
	watch(t, t.TempDir(), func(w *watched) {
		w.after(time.Hour, 1, 0)
		for n := range 10 { // no reload while the file is still changing
			w.write(strings.Repeat("x", 100+n))
			w.after(2*time.Second, 1, 0)
		}
		w.after(4*time.Second, 2, 1)
		w.after(time.Hour, 2, 1)
		w.remove()
		w.after(5*time.Second, 3, 2)
		w.wantLog(`level=INFO msg="reloaded key and certificate" certificate_serial=097a not_after=`)
		wantStats(t, w.Identity, 2, 0)
	})
}

// A failed reload is retried when the files change and once a minute.
func TestRunRetries(t *testing.T) {
	watch(t, t.TempDir(), func(w *watched) {
		w.fail(signer.WithHint(errors.New("incomplete"), "wait"))
		w.write("partly written")
		w.after(5*time.Second, 2, 0)
		w.after(10*time.Minute, 12, 0)
		w.write("partly written again")
		w.after(5*time.Second, 13, 0)
		w.wantLog(`level=WARN msg="could not reload key and certificate" error=incomplete hint=wait`)
		wantStats(t, w.Identity, 0, 12)
		w.new("p256")
		w.after(time.Minute+5*time.Second, 14, 1)
		w.after(time.Hour, 14, 1)
	})
}

// If files return to a state that failed to load before a successful reload,
// that state is tried again without delay.
func TestRunRetriesEarlierState(t *testing.T) {
	watch(t, t.TempDir(), func(w *watched) {
		w.fail(errors.New("there is no file"))
		w.remove()
		w.after(5*time.Second, 2, 0)
		w.new("p256")
		w.write("it is there")
		w.after(5*time.Second, 3, 1)
		w.fail(errors.New("there is no file"))
		w.remove()
		w.after(5*time.Second, 4, 1)
	})
}

// An incorrect PIN is tried again when the files change or on request, but not
// once a minute.
func TestRunWithIncorrectPIN(t *testing.T) {
	for _, pinErr := range []error{signer.ErrPINIncorrect, signer.ErrPINLocked} {
		watch(t, t.TempDir(), func(w *watched) {
			w.fail(fmt.Errorf("no: %w", pinErr))
			w.write("changed")
			w.after(time.Hour, 2, 0)
			w.write("changed again")
			w.after(time.Hour, 3, 0)
			w.RequestReload()
			w.after(0, 4, 0)
			w.new("p256")
			w.after(time.Hour, 4, 0)
			w.RequestReload()
			w.after(0, 5, 1)
		})
	}
}

// Requests made during a reload cause one more reload.
func TestRequests(t *testing.T) {
	watch(t, t.TempDir(), func(w *watched) {
		w.onOpen = func() {
			w.onOpen = nil
			for range 10 {
				w.RequestReload()
			}
		}
		w.RequestReload()
		w.after(0, 3, 2)
	})
}

// A requested reload that failed is repeated with growing pauses until a reload succeeds.
func TestRequestRepeated(t *testing.T) {
	watch(t, t.TempDir(), func(w *watched) {
		w.fail(signer.ErrUnavailable)
		w.RequestReload()
		w.after(0, 2, 0)
		for n, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			w.after(pause*time.Second-1, 2+n, 0)
			w.after(1, 3+n, 0)
		}
		w.RequestReload() // begins again
		w.after(0, 11, 0)
		w.after(time.Second, 12, 0)
		w.new("p256")
		w.after(2*time.Second, 13, 1)
		w.after(time.Hour, 13, 1)

		w.fail(signer.ErrUnavailable)
		w.RequestReload()
		w.after(0, 14, 1)
		w.new("p256")
		if err := w.Reload(w.t.Context()); err != nil { // by somebody else
			t.Error(err)
		}
		w.after(time.Hour, 15, 1)
	})
	for _, err := range []error{signer.ErrPINRequired, signer.ErrTryCounted, signer.ErrPINIncorrect, signer.ErrPINLocked} {
		watch(t, t.TempDir(), func(w *watched) {
			w.fail(signer.ErrUnavailable)
			w.RequestReload()
			w.after(0, 2, 0)
			w.fail(err)
			w.after(time.Hour, 3, 0)
		})
	}
}

// If Acquire has reopened the key, Run does not reload it for an earlier change
// of the files.
func TestRunAfterAcquire(t *testing.T) {
	watch(t, t.TempDir(), func(w *watched) {
		w.key.err = signer.ErrUnavailable
		w.use(w.Identity, signer.ErrUnavailable, 1)
		w.new("p256")
		w.write("changed")
		w.use(w.Identity, nil, 2)
		w.after(time.Hour, 2, 0)
	})
}

// If a file changes while the key is opened for the first time, Run reloads the
// key.
func TestChangeWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{opener: newOpener(t), file: filepath.Join(t.TempDir(), "cert.pem")}
		w.write("the first")
		w.onOpen = func() {
			w.onOpen = nil
			w.write("changed")
		}
		id, err := rotate.New(t.Context(), rotate.Config{Open: w.open, Files: []string{w.file}})
		if err != nil {
			t.Fatal(err)
		}
		defer id.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := id.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || w.opens != 2 {
			t.Errorf("%v; opened %d times, want 2", err, w.opens)
		}
	})
}
