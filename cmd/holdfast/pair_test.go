//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A brittleKey fails to sign while err is set, and counts how often it is closed.
type brittleKey struct {
	signer.Signer
	err    error
	during func() // called in Sign, unless nil
	closed atomic.Int64
}

func (k *brittleKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.during != nil {
		k.during()
	}
	if k.err != nil {
		return nil, k.err
	}
	if k.closed.Load() > 0 {
		return nil, signer.ErrClosed
	}
	return k.Signer.Sign(rand, digest, opts)
}

func (k *brittleKey) Close() error {
	k.closed.Add(1)
	return nil
}

// An opener says what a pairSource opens next.
type opener struct {
	t     *testing.T
	ca    *signertest.CA
	key   *brittleKey // what open returns
	err   error       // or this
	opens int
	until time.Time // end of the certificates that new makes; zero: the CA's choice
}

func (o *opener) new(kind string) *brittleKey {
	o.t.Helper()
	key := signertest.NewKey(o.t, kind)
	leaf := o.ca.Issue(o.t, key, func(c *x509.Certificate) {
		if !o.until.IsZero() {
			c.NotAfter = o.until
		}
	})
	bound, err := signer.Bind(signer.FromKey(key), []*x509.Certificate{leaf})
	if err != nil {
		o.t.Fatal(err)
	}
	o.key, o.err = &brittleKey{Signer: bound}, nil
	return o.key
}

func (o *opener) open(context.Context) (signer.Signer, error) {
	o.opens++
	if o.err != nil {
		return nil, o.err
	}
	return o.key, nil
}

func newOpener(t *testing.T) (*opener, *pairSource) {
	t.Helper()
	o := &opener{t: t, ca: signertest.NewCA(t, "root")}
	o.new("p256")
	up := newUpstream(t, o.ca.Cert, time.Hour)
	config := rolesanywhere.Config{Endpoint: up.URL, TrustAnchorARN: up.args[3], ProfileARN: up.args[5], RoleARN: up.args[7], Now: time.Now, Timeout: 30 * time.Second}
	s, err := newPairSource(t.Context(), o.open, config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return o, s
}

func (o *opener) renew(s *pairSource, want error, opens int) {
	o.t.Helper()
	if _, err := s.Credentials(o.t.Context()); !errors.Is(err, want) {
		o.t.Errorf("error %v, want %v", err, want)
	}
	if o.opens != opens {
		o.t.Errorf("opened %d times, want %d", o.opens, opens)
	}
}

// A device that is away is closed and opened anew; a PIN that it refuses then
// is not tried again unless somebody asks for it.
func TestPairOfADeviceThatIsAway(t *testing.T) {
	o, s := newOpener(t)
	first := o.key
	o.renew(s, nil, 1)
	first.err = fmt.Errorf("gone: %w", signer.ErrUnavailable)
	o.renew(s, signer.ErrUnavailable, 1)
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	o.err = signer.ErrUnavailable
	o.renew(s, signer.ErrUnavailable, 2)
	o.renew(s, signer.ErrUnavailable, 3)
	o.err = fmt.Errorf("wrong: %w", signer.ErrPINIncorrect)
	o.renew(s, signer.ErrPINIncorrect, 4)
	o.renew(s, signer.ErrPINIncorrect, 4)
	o.renew(s, signer.ErrPINIncorrect, 4)
	second := o.new("rsa2048")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.renew(s, nil, 5)
	s.Close()
	if a, b := first.closed.Load(), second.closed.Load(); a != 1 || b != 1 {
		t.Errorf("closed %d and %d times", a, b)
	}
}

// A pair that is exchanged in the middle of its use is closed after that.
func TestPairIsExchangedInUse(t *testing.T) {
	o, s := newOpener(t)
	first := o.key
	first.during = func() {
		second := o.new("p256")
		if err := s.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		second.during = nil
		if n := first.closed.Load(); n != 0 {
			t.Error("closed while it was in use")
		}
		first.during = nil
	}
	o.renew(s, nil, 2)
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	s.Close()
	if n := o.key.closed.Load(); n != 1 {
		t.Errorf("the second: closed %d times", n)
	}
}

// A source that is closed closes its pair at once, also in the middle of a use,
// and once, and takes no other any more.
func TestPairIsClosedInUse(t *testing.T) {
	o, s := newOpener(t)
	first := o.key
	first.during = func() {
		s.Close()
		if n := first.closed.Load(); n != 1 {
			t.Errorf("closed %d times while it was in use", n)
		}
	}
	o.renew(s, signer.ErrClosed, 1)
	second := o.new("p256")
	if err := s.Reload(t.Context()); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("reload: %v", err)
	}
	if a, b := first.closed.Load(), second.closed.Load(); a != 1 || b != 1 {
		t.Errorf("closed %d and %d times", a, b)
	}
}

// A pair that cannot be used is closed, and the one before stays.
func TestPairIsChecked(t *testing.T) {
	o, s := newOpener(t)
	first := o.key
	bad := o.new("p256")
	bad.Signer = signer.FromKey(signertest.NewKey(t, "p256")) // without a certificate
	var refused *rolesanywhere.CertificateError
	if err := s.Reload(t.Context()); !errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
	if a, b := first.closed.Load(), bad.closed.Load(); a != 0 || b != 1 {
		t.Errorf("closed %d and %d times", a, b)
	}
	o.renew(s, nil, 2)
	s.Close()
}

// A certificate that has expired is looked for anew before each renewal, and the
// new one is used.
func TestPairThatHasExpired(t *testing.T) {
	o, s := newOpener(t)
	o.renew(s, nil, 1)
	first := o.key
	end := first.Chain()[0].NotAfter
	s.config.Now = func() time.Time { return end.Add(time.Second) } // clients have the true time
	second := o.new("p256")
	o.renew(s, nil, 2)
	if a, b := first.closed.Load(), second.closed.Load(); a != 0 || b != 1 {
		t.Errorf("not renewed: closed %d and %d times", a, b)
	}
	o.until = end.AddDate(1, 0, 0)
	o.new("p256")
	// The new pair's client has the wrong time, and takes nothing for valid.
	o.renew(s, rolesanywhere.ErrUnreachable, 3)
	o.renew(s, rolesanywhere.ErrUnreachable, 3)
	if n := first.closed.Load(); n != 1 {
		t.Errorf("renewed: closed %d times", n)
	}
	s.Close()
}

// Of files that change, a reload takes what is whole and fits.
func TestPairTakesRenewedFiles(t *testing.T) {
	dir := t.TempDir()
	ca := writeFiles(t, dir, "p256")
	_, flags, stop, err := runEmulator(dir, "--trust-anchor", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	a := app{stderr: io.Discard, log: slog.New(slog.DiscardHandler), typed: new(typedPINs), now: time.Now, lookupEnv: func(string) (string, bool) { return "", false }, openTTY: func() (tty, error) {
		t.Error("asked on the terminal")
		return nil, errors.New("no terminal")
	}}
	var session sessionFlags
	var cmd cobra.Command
	session.add(&cmd)
	if err := errors.Join(cmd.ParseFlags(strings.Fields(flags)), session.resolve(&cmd, a), session.connect(a)); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	id := identityFlags{identity: identityTexts{Certificate: certFile, Key: keyFile}}
	r, err := a.openRole(t.Context(), roleSetup{name: "r", id: id, session: session})
	if err != nil {
		t.Fatal(err)
	}
	s := r.source
	defer s.Close()
	a.typed.stop()

	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(key crypto.Signer) []byte { return signertest.CertPEM(ca.Issue(t, key, nil), ca.Cert) }
	second, third := signertest.Key(t, "rsa2048"), signertest.NewKey(t, "p256")
	for _, step := range []struct {
		name  string
		setup func()
		taken bool
	}{
		{"as they were", func() {}, true},
		{"another key", func() { write(certFile, issue(second)); write(keyFile, signertest.KeyPEM(t, second)) }, true},
		{"certificate renewed", func() { write(certFile, issue(second)) }, true},
		{"certificate for a key that is not there yet", func() { write(certFile, issue(third)) }, false},
		{"key torn", func() { write(keyFile, signertest.KeyPEM(t, third)[:50]) }, false},
		{"key encrypted", func() { write(keyFile, encryptedKey(t, third)) }, false},
		{"key there", func() { write(keyFile, signertest.KeyPEM(t, third)) }, true},
		{"certificate expired", func() {
			write(certFile, signertest.CertPEM(ca.Issue(t, third, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }), ca.Cert))
		}, false},
		{"certificate gone", func() {
			if err := os.Remove(certFile); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		step.setup()
		before := s.current.key
		if err := s.Reload(t.Context()); (err == nil) != step.taken {
			t.Errorf("%s: taken: %t, want %t: %v", step.name, err == nil, step.taken, err)
		}
		if _, err := s.Credentials(t.Context()); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if _, err := before.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); step.taken && !errors.Is(err, signer.ErrClosed) {
			t.Errorf("%s: the old key is not closed: %v", step.name, err)
		}
	}
}

// encryptedKey needs a password that nobody gives.
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

// A key whose Close hangs does not keep its source from being closed.
func TestPairThatHangsAtTheEnd(t *testing.T) {
	o, s := newOpener(t)
	never := make(chan struct{})
	defer close(never)
	s.current.key = stuckKey{o.key, never}
	done := make(chan struct{})
	go func() {
		s.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(20 * hangs):
		t.Error("Close does not return")
	}
}

// A stuckKey is closed when it is let go.
type stuckKey struct {
	signer.Signer
	letGo <-chan struct{}
}

func (k stuckKey) Close() error {
	<-k.letGo
	return nil
}

func TestStamp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	names := []string{path}
	last := stampOf(names)
	for _, step := range []struct {
		name    string
		do      func() error
		changed bool
	}{
		{"nothing", func() error { return nil }, false},
		{"made", func() error { return os.WriteFile(path, []byte("a"), 0o600) }, true},
		{"read", func() error { _, err := os.ReadFile(path); return err }, false},
		{"longer", func() error { return os.WriteFile(path, []byte("ab"), 0o600) }, true},
		{"touched", func() error { return os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)) }, true},
		{"replaced", func() error { // by one of the same size and time
			other := path + ".new"
			return errors.Join(os.WriteFile(other, []byte("cd"), 0o600), os.Chtimes(other, time.Time{}, time.Unix(1e9, 0)), os.Rename(other, path))
		}, true},
		{"removed", func() error { return os.Remove(path) }, true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		now := stampOf(names)
		if now.equal(last) == step.changed {
			t.Errorf("%s: changed %t", step.name, !step.changed)
		}
		last = now
	}
}
