package renew_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A bench is a pair, a CA that renews it, and a clock.
type bench struct {
	*testing.T
	now    time.Time
	ca     *signertest.CA
	key    signer.Signer
	chain  []*x509.Certificate // in use
	state  string
	asked  []renew.Request
	answer func(renew.Request) ([]*x509.Certificate, error) // nil: a good one
	life   time.Duration
	config renew.Config
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, now: time.Now().UTC().Truncate(time.Second), ca: signertest.NewCA(t, "CA"), key: signer.FromKey(signertest.Key(t, "p256")),
		state: filepath.Join(t.TempDir(), "app.renew"), life: 90 * 24 * time.Hour}
	b.chain = []*x509.Certificate{b.issue(nil)}
	b.config = renew.Config{Way: b, StateFile: b.state, Now: func() time.Time { return b.now },
		Open: func(context.Context) (signer.Signer, error) {
			return signer.WithCertificates(signer.FromKey(signertest.Key(t, "p256")), signer.Certificates{Chain: b.chain}), nil
		},
		Install: func(_ context.Context, _ *x509.Certificate, _ string, chain []*x509.Certificate) error {
			b.chain = chain
			return nil
		}}
	return b
}

// issue issues a certificate that the CA backdates by an hour.
func (b *bench) issue(change func(*x509.Certificate)) *x509.Certificate {
	b.Helper()
	return b.ca.Issue(b, signertest.Key(b, "p256"), func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = b.now.Add(-time.Hour), b.now.Add(b.life)
		if change != nil {
			change(c)
		}
	})
}

func (b *bench) Renew(_ context.Context, r renew.Request) ([]*x509.Certificate, error) {
	b.asked = append(b.asked, r)
	if b.answer != nil {
		return b.answer(r)
	}
	request, err := pki.ParseRequest(r.CSR)
	if err != nil {
		b.Errorf("request: %v", err)
	} else if !bytes.Equal(request.RawSubject, b.chain[0].RawSubject) || !signer.SamePublicKey(request.PublicKey, b.key.Public()) {
		b.Errorf("the request is for %v", request.Subject)
	}
	return []*x509.Certificate{b.issue(nil)}, nil
}

// renew renews the certificate, or returns the error.
func (b *bench) renew() error {
	b.Helper()
	before := b.chain[0]
	c, err := renew.New(b.config).Renew(b.Context())
	if err == nil && (!c.Equal(b.chain[0]) || c.Equal(before)) {
		b.Error("the certificate in use is not the new one")
	}
	if err != nil && !b.chain[0].Equal(before) {
		b.Error("the certificate has changed in spite of an error")
	}
	return err
}

func (b *bench) status() renew.Status {
	b.Helper()
	s, err := renew.New(b.config).Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// A certificate is due after two thirds of the time since it was obtained, plus
// up to a twentieth, also if the CA backdates it by half of its life.
func TestDue(t *testing.T) {
	b := newBench(t)
	b.life = 2 * time.Hour
	b.config.AllowChange = true // it lives much shorter than the first one
	if err := b.renew(); err != nil {
		t.Fatal(err)
	}
	s := b.status()
	if after := s.Due.Sub(b.now); after < 80*time.Minute || after > 86*time.Minute {
		t.Errorf("due after %v", after)
	}
	if left := s.Certificate.NotAfter.Sub(s.Overdue); left != 20*time.Minute {
		t.Errorf("overdue %v before the end", left)
	}
	if again := b.status(); again.Due != s.Due {
		t.Errorf("due at %v, and then at %v", s.Due, again.Due)
	}
	other := renew.Schedule{Obtained: b.now, NotAfter: s.Certificate.NotAfter, Key: signertest.Key(t, "p384").Public()}
	if other.Due().Equal(s.Due) {
		t.Error("certificates of two keys are due at the same time")
	}
}

func TestPause(t *testing.T) {
	now := time.Now()
	for life, want := range map[time.Duration][2]time.Duration{ // first, and after many failures
		90 * 24 * time.Hour: {time.Minute, 12 * time.Hour}, 24 * time.Hour: {time.Minute, 72 * time.Minute}, 100 * time.Second: {time.Second, 5 * time.Second}, time.Second: {time.Second, time.Second},
	} {
		s := renew.Schedule{Obtained: now, NotAfter: now.Add(life)}
		if got := [2]time.Duration{s.Pause(1), s.Pause(1000)}; got != want {
			t.Errorf("%v: %v, want %v", life, got, want)
		}
		for n := 1; n < 50; n++ {
			if s.Pause(n) > s.Pause(n+1) || s.Pause(n) <= 0 {
				t.Errorf("%v: %v after %d failures, then %v", life, s.Pause(n), n, s.Pause(n+1))
			}
		}
	}
}

// A certificate that must not replace the one in use is refused, and the next try
// asks again.
func TestUnfit(t *testing.T) {
	b := newBench(t)
	other := signertest.Key(t, "p384")
	for name, c := range map[string]struct {
		certs func() []*x509.Certificate
		want  string
	}{
		"none":        {func() []*x509.Certificate { return nil }, "no certificate"},
		"another key": {func() []*x509.Certificate { return []*x509.Certificate{b.ca.Issue(t, other, nil)} }, "another key"},
		"another subject": {func() []*x509.Certificate {
			return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.Subject.CommonName = "evil" })}
		}, "another identity"},
		"another DNS name": {func() []*x509.Certificate {
			return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.DNSNames = []string{"evil.example"} })}
		}, "another identity"},
		"expired": {func() []*x509.Certificate {
			return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotAfter = b.now.Add(-time.Minute) })}
		}, "expired"},
		"not valid yet": {func() []*x509.Certificate {
			return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotBefore = b.now.Add(2 * time.Hour) })}
		}, "not valid before"},
		"the same": {func() []*x509.Certificate { return b.chain }, "that is in use"},
		"a life of a second": {func() []*x509.Certificate {
			return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotAfter = b.now.Add(time.Second) })}
		}, "it lives for 1s"},
		"an older one": {func() []*x509.Certificate {
			return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotBefore = b.chain[0].NotBefore.Add(-time.Second) })}
		}, "issued before"},
	} {
		t.Run(name, func(t *testing.T) {
			b.asked = nil
			b.answer = func(renew.Request) ([]*x509.Certificate, error) { return c.certs(), nil }
			err := b.renew()
			if !errors.Is(err, renew.ErrUnfit) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if s := b.status(); s.Failures == 0 || !s.Next.After(b.now) || !strings.Contains(s.Problem, c.want) {
				t.Errorf("%+v", s)
			}
			b.answer = nil
			if err := b.renew(); err != nil {
				t.Error(err)
			}
			if len(b.asked) != 2 || b.asked[0].Token == b.asked[1].Token {
				t.Errorf("%d requests", len(b.asked))
			}
			if s := b.status(); s.Failures != 0 || s.Problem != "" {
				t.Errorf("%+v", s)
			}
		})
	}
	b.config.Check = func(_ context.Context, _, renewed signer.Signer) error {
		if renewed.Chain()[0].Equal(b.chain[0]) {
			t.Error("the old certificate is checked")
		}
		return fmt.Errorf("%w: AWS refuses it", renew.ErrUnfit)
	}
	if err := b.renew(); !errors.Is(err, renew.ErrUnfit) || !strings.Contains(err.Error(), "AWS refuses it") {
		t.Error(err)
	}
}

// After an interruption the same request is sent again, and a certificate that
// was obtained is not asked for again.
func TestInterrupted(t *testing.T) {
	b := newBench(t)
	b.answer = func(renew.Request) ([]*x509.Certificate, error) { return nil, renew.ErrUnreachable }
	for range 2 {
		if err := b.renew(); !errors.Is(err, renew.ErrUnreachable) {
			t.Fatal(err)
		}
	}
	b.answer = func(renew.Request) ([]*x509.Certificate, error) { return nil, &renew.WaitError{After: 5 * time.Minute} }
	if err := b.renew(); !errors.As(err, new(*renew.WaitError)) {
		t.Fatal(err)
	}
	if s := b.status(); s.Failures != 2 || !s.Next.Equal(s.Due) { // the due time is later
		t.Errorf("%+v", s)
	}
	b.answer = nil
	install := b.config.Install
	b.config.Install = func(context.Context, *x509.Certificate, string, []*x509.Certificate) error {
		return errors.New("disk full")
	}
	if err := b.renew(); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatal(err)
	}
	b.config.Install = install
	if err := b.renew(); err != nil {
		t.Fatal(err)
	}
	if len(b.asked) != 4 {
		t.Errorf("asked %d times, want 4", len(b.asked))
	}
	for i, r := range b.asked {
		if r.Token != b.asked[0].Token || !bytes.Equal(r.CSR, b.asked[0].CSR) || r.Attempt != i+1 || len(r.Token) != 32 {
			t.Errorf("request %d: token %s, attempt %d", i, r.Token, r.Attempt)
		}
	}
	// A request that the CA refused is not sent again.
	b.answer = func(renew.Request) ([]*x509.Certificate, error) { return nil, renew.ErrRejected }
	for range 2 {
		if err := b.renew(); !errors.Is(err, renew.ErrRejected) {
			t.Fatal(err)
		}
	}
	if n := len(b.asked); b.asked[n-1].Token == b.asked[n-2].Token {
		t.Error("a refused request was sent again")
	}
}

// A certificate of a CA whose clock is ahead is kept, and used when it is valid.
func TestClockOfTheCA(t *testing.T) {
	b := newBench(t)
	b.answer = func(renew.Request) ([]*x509.Certificate, error) {
		return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotBefore = b.now.Add(time.Minute) })}, nil
	}
	for range 2 {
		if err := b.renew(); err == nil || errors.Is(err, renew.ErrUnfit) || !strings.Contains(err.Error(), "not valid before") || signer.Hint(err) == "" {
			t.Fatalf("%v, hint %q", err, signer.Hint(err))
		}
	}
	b.now = b.now.Add(time.Minute)
	if err := b.renew(); err != nil || len(b.asked) != 1 {
		t.Errorf("%d requests, %v", len(b.asked), err)
	}
}

// A new key takes the place of the old one with its certificate. After an interruption
// in the installation, it is repeated for the same key, and the CA is not asked again.
func TestRekey(t *testing.T) {
	b := newBench(t)
	keys, made := []string{"p256", "p384"}, 1 // the key in use is keys[0]
	open := func(kind string) signer.Signer { return signer.FromKey(signertest.Key(t, kind)) }
	b.config.Open = func(context.Context) (signer.Signer, error) {
		return signer.WithCertificates(open(keys[0]), signer.Certificates{Chain: b.chain}), nil
	}
	b.config.Key = func(_ context.Context, old signer.Signer, _ string) (signer.Signer, string, error) {
		if !signer.SamePublicKey(old.Public(), b.chain[0].PublicKey) {
			t.Error("another key is to be replaced")
		}
		if made >= len(keys) {
			return nil, "", errors.New("no more keys")
		}
		return open(keys[made]), keys[made], nil
	}
	b.answer = func(r renew.Request) ([]*x509.Certificate, error) {
		if !signer.SamePublicKey(r.Old.Public(), signertest.Key(t, "p256").Public()) {
			t.Error("the old key does not vouch for the new one")
		}
		request, err := pki.ParseRequest(r.CSR)
		if err != nil || !signer.SamePublicKey(request.PublicKey, signertest.Key(t, "p384").Public()) {
			t.Errorf("the request is not for the new key, %v", err)
		}
		return []*x509.Certificate{b.ca.Issue(t, signertest.Key(t, "p384"), func(c *x509.Certificate) { c.NotAfter = b.now.Add(b.life) })}, nil
	}
	var installed []string
	interrupt := errors.New("interrupted")
	b.config.Install = func(_ context.Context, _ *x509.Certificate, name string, chain []*x509.Certificate) error {
		installed = append(installed, name)
		if len(installed) == 1 {
			return interrupt // before it has an effect
		}
		b.chain, keys[0] = chain, name
		if len(installed) == 2 {
			return interrupt // after that
		}
		return nil
	}
	r := renew.New(b.config)
	for range 2 {
		if _, err := r.Renew(t.Context()); !errors.Is(err, interrupt) {
			t.Fatal(err)
		}
	}
	s := b.status()
	if !s.Undeployed || !s.Obtained.Equal(b.now) || s.IsDue(b.now) {
		t.Errorf("%+v", s)
	}
	if err := r.Deploy(t.Context()); err != nil || len(installed) != 3 || len(b.asked) != 1 {
		t.Errorf("installed %q, asked %d times, %v", installed, len(b.asked), err)
	}
	if s := b.status(); s.Undeployed || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	if err := r.Deploy(t.Context()); err != nil || len(installed) != 3 {
		t.Errorf("installed %q, %v", installed, err)
	}
}

// Nothing is asked before it is written down. A state that is damaged or of another
// version counts as none.
func TestState(t *testing.T) {
	b := newBench(t)
	for name, text := range map[string]string{
		"no JSON": "{", "a later version": `{"version": 2}`, "large": strings.Repeat(" ", 2<<20),
	} {
		if err := os.WriteFile(b.state, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := b.status(); !s.Obtained.Equal(b.chain[0].NotBefore) {
			t.Errorf("%s: %+v", name, s)
		}
		if err := b.renew(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s := b.status(); !s.Obtained.Equal(b.now) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	b.asked = nil
	if err := os.WriteFile(b.state, []byte(`{"version": 1, "certificate": "00", "failures": 7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := b.status(); s.Failures != 0 {
		t.Errorf("the state of another certificate is used: %+v", s)
	}
	other := `{"version": 1, "certificate": "00", "subject": "CN=other", "pending": {"csr": "AA==", "token": "x"}}`
	if err := os.WriteFile(b.state, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if err := b.renew(); err != nil || !strings.Contains(log.String(), "belongs to another certificate") || !strings.Contains(log.String(), "CN=other") {
		t.Error(err, log.String())
	}
	b.asked = nil
	b.config.StateFile = filepath.Join(t.TempDir(), "none", "state")
	if err := b.renew(); err == nil {
		t.Error("no error without a folder")
	}
	if len(b.asked) != 0 {
		t.Errorf("asked %d times", len(b.asked))
	}
}

// A certificate that ends with the one in use is no renewal when that is due: the CA
// ends, too. The alarm comes in time.
func TestEndOfTheCA(t *testing.T) {
	b := newBench(t)
	if err := b.renew(); err != nil {
		t.Fatal(err)
	}
	end := b.chain[0].NotAfter
	b.answer = func(renew.Request) ([]*x509.Certificate, error) {
		return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotAfter = end })}, nil
	}
	b.now = b.status().Due.Add(-24 * time.Hour)
	if err := b.renew(); err != nil {
		t.Errorf("before it is due: %v", err)
	}
	for i := range 3 {
		b.now = b.status().Due.Add(time.Duration(i) * time.Hour)
		if err := b.renew(); !errors.Is(err, renew.ErrUnfit) || !strings.Contains(err.Error(), "at the same time") || signer.Hint(err) == "" {
			t.Errorf("%v, hint %q", err, signer.Hint(err))
		}
	}
	b.now = end.Add(-time.Hour)
	if !b.status().IsOverdue(b.now) {
		t.Error("no alarm")
	}
}

// Two processes do not renew at the same time.
func TestOneAtATime(t *testing.T) {
	b := newBench(t)
	var second error
	b.answer = func(r renew.Request) ([]*x509.Certificate, error) {
		_, second = renew.New(b.config).Renew(t.Context())
		return []*x509.Certificate{b.issue(nil)}, nil
	}
	if err := b.renew(); err != nil {
		t.Error(err)
	}
	if !errors.Is(second, renew.ErrInProgress) {
		t.Errorf("the second renewal: %v", second)
	}
}

// A clock that was wrong for some time does not keep the certificate from being
// renewed afterwards, and costs no certificate.
func TestWrongClock(t *testing.T) {
	b := newBench(t)
	if err := b.renew(); err != nil {
		t.Fatal(err)
	}
	right, due := b.now, b.status().Due
	b.now = right.Add(5 * 365 * 24 * time.Hour) // the CA issues with the right time
	b.answer = func(renew.Request) ([]*x509.Certificate, error) {
		return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = right, right.Add(b.life) })}, nil
	}
	for range 5 {
		if err := b.renew(); !errors.Is(err, renew.ErrUnfit) {
			t.Fatal(err)
		}
	}
	b.answer, b.now = nil, due.Add(time.Hour)
	if s := b.status(); s.Next.After(b.now) {
		t.Errorf("the next try is at %v, %v after now", s.Next, s.Next.Sub(b.now))
	}
	if err := b.renew(); err != nil {
		t.Error(err)
	}
	// A clock that is behind.
	b.now = right.Add(-365 * 24 * time.Hour)
	if s := b.status(); s.Next.Before(b.now) || s.IsOverdue(b.now) {
		t.Errorf("%+v", s)
	}
}

// Config.Deploy is called until it succeeds, and again after an interruption
// between the installation and the state.
func TestDeploy(t *testing.T) {
	b := newBench(t)
	calls, fail := 0, true
	b.config.Deploy = func(_ context.Context, c *x509.Certificate) error {
		if calls++; fail {
			return errors.New("reload failed")
		}
		if !c.Equal(b.chain[0]) {
			t.Error("another certificate is deployed")
		}
		return nil
	}
	r := renew.New(b.config)
	if c, err := r.Renew(t.Context()); c == nil || err == nil || !strings.Contains(err.Error(), "reload failed") {
		t.Errorf("%v, %v", c, err)
	}
	if !b.status().Undeployed || !r.Last().Undeployed {
		t.Error("the state does not say that nobody was told")
	}
	fail = false
	for range 2 {
		if err := renew.New(b.config).Deploy(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if calls != 2 || b.status().Undeployed {
		t.Errorf("%d calls", calls)
	}
	// Killed after the installation.
	install := b.config.Install
	b.config.Install = func(ctx context.Context, old *x509.Certificate, name string, chain []*x509.Certificate) error {
		return errors.Join(install(ctx, old, name, chain), errors.New("killed"))
	}
	if _, err := renew.New(b.config).Renew(t.Context()); err == nil {
		t.Error("no error")
	}
	b.config.Install = install
	if s := b.status(); !s.Undeployed || s.Obtained.Before(b.now.Add(-time.Minute)) || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	if err := renew.New(b.config).Deploy(t.Context()); err != nil || calls != 3 || len(b.asked) != 2 {
		t.Errorf("%v, %d calls, asked %d times", err, calls, len(b.asked))
	}
}

// A check that could not be made is made again with the same certificate.
func TestCheckAgain(t *testing.T) {
	b := newBench(t)
	down := errors.New("AWS is down")
	b.config.Check = func(context.Context, signer.Signer, signer.Signer) error { return down }
	for range 2 {
		if err := b.renew(); !errors.Is(err, down) || errors.Is(err, renew.ErrUnfit) {
			t.Error(err)
		}
	}
	b.config.Check = nil
	if err := b.renew(); err != nil || len(b.asked) != 1 {
		t.Errorf("%v, asked %d times", err, len(b.asked))
	}
}
