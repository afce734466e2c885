package pkcs11

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// soon is far longer than a bounded call may take after its context ends.
const soon = 20 * time.Second

// A muteModule stops to answer in one function, and ends a context then.
type muteModule struct {
	*fixture
	token  *fakeToken
	ctx    context.Context
	answer func() // lets the module answer again
}

// newMute returns a module that is mute in the nth call of a function.
func newMute(t *testing.T, function string, nth int, cause error) muteModule {
	t.Helper()
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	m := muteModule{fixture: newFixture(t, token), token: token}
	ctx, end := context.WithCancelCause(t.Context())
	m.ctx = ctx
	answered := make(chan struct{})
	m.answer = sync.OnceFunc(func() { close(answered) })
	t.Cleanup(m.answer)
	mute := func() { end(cause); <-answered }
	calls := 0
	switch function {
	case "load":
		load := m.table.load
		m.table.load = func(path string) (module, error) { mute(); return load(path) }
	default:
		m.before = func(call string, _ int, _ []byte) Error {
			if call == function {
				if calls++; calls == nth {
					mute()
				}
			}
			return 0
		}
	}
	return m
}

// waitUntil waits for the end of calls in the background.
func (m muteModule) waitUntilFinalized(t *testing.T) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		m.table.mu.Lock()
		left := len(m.table.byPath)
		m.table.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Since(begin) > soon {
			t.Fatal("the module is still in use after it has answered")
		}
	}
}

func (m muteModule) config(t *testing.T, uri string) Config {
	t.Helper()
	u, err := ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	return Config{URI: u, Module: m.path, PIN: fixedPIN(fakePIN)}
}

// A module that does not answer holds no operation for longer than its context.
func TestMuteModule(t *testing.T) {
	gen := ecGenerator(ckmECKeyPairGen, ckkEC, p256OID)
	for _, test := range []struct {
		function string
		nth      int
		run      func(m muteModule, cfg Config) error
	}{
		{"load", 1, openMute}, {"slots", 1, openMute}, {"tokenInfo", 1, openMute}, {"openSession", 1, openMute},
		{"login", 1, openMute}, {"find", 1, openMute}, {"attributes", 2, openMute},
		{"load", 1, listMute}, {"login", 1, listMute}, {"attributes", 1, listMute}, {"closeSession", 1, listMute},
		{"login", 1, attestMute}, {"attributes", 4, attestMute}, {"closeSession", 1, attestMute},
		{"generateKeyPair", 1, func(m muteModule, cfg Config) error {
			cfg.URI.Object = "new"
			_, err := generate(m.ctx, cfg, gen, m.table)
			return err
		}},
		{"createObject", 1, func(m muteModule, cfg Config) error {
			_, err := install(m.ctx, cfg, only(issue(t, signertest.Key(t, "p256"))), m.table)
			return err
		}},
	} {
		t.Run(test.function, func(t *testing.T) {
			t.Parallel()
			m := newMute(t, test.function, test.nth, context.DeadlineExceeded)
			begin := time.Now()
			err := test.run(m, m.config(t, "pkcs11:token=card"))
			if took := time.Since(begin); took > soon {
				t.Errorf("it took %v", took)
			}
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) ||
				!strings.Contains(err.Error(), m.path) || !strings.Contains(err.Error(), "does not answer") || signer.Hint(err) == "" {
				t.Errorf("error %v, hint %q", err, signer.Hint(err))
			}
			m.answer()
			m.waitUntilFinalized(t)
			if test.function != "login" && m.token.wrong != 0 {
				t.Errorf("%d tries were used", m.token.wrong)
			}
		})
	}
}

// An operation that a module can hold up, with the context of m.
var muteOperations = map[string]func(t *testing.T, m muteModule, cfg Config) error{
	"Open": func(_ *testing.T, m muteModule, cfg Config) error {
		k, err := open(m.ctx, cfg, m.table)
		if err == nil {
			err = k.Close()
		}
		return err
	},
	"List":   func(_ *testing.T, m muteModule, cfg Config) error { return listMute(m, cfg) },
	"Attest": func(_ *testing.T, m muteModule, cfg Config) error { return attestMute(m, cfg) },
	"Generate": func(_ *testing.T, m muteModule, cfg Config) error {
		cfg.URI.Object = "new"
		k, err := generate(m.ctx, cfg, ecGenerator(ckmECKeyPairGen, ckkEC, p256OID), m.table)
		if err == nil {
			err = k.Close()
		}
		return err
	},
	"Install": func(t *testing.T, m muteModule, cfg Config) error {
		_, err := install(m.ctx, cfg, only(issue(t, signertest.Key(t, "p256"))), m.table)
		return err
	},
	"CheckCertificates": func(t *testing.T, m muteModule, cfg Config) error {
		cfg.URI.Object = "key"
		return checkCertificates(m.ctx, cfg, only(issue(t, signertest.Key(t, "p256"))).Certificates, m.table)
	},
}

// Whichever call of the module does not return, each operation does, soon after its
// context, and generates no key later.
func TestMuteInEachCall(t *testing.T) {
	for name, run := range muteOperations {
		calls := 0
		counted := newMute(t, "none", 0, nil)
		counted.ctx = t.Context()
		counted.before = func(string, int, []byte) Error { calls++; return 0 }
		if err := run(t, counted, counted.config(t, "pkcs11:token=card")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		counted.waitUntilFinalized(t)
		if calls < 5 {
			t.Errorf("%s makes %d calls", name, calls)
		}
		for at := range calls {
			m := newMute(t, "none", 0, nil)
			ctx, end := context.WithCancelCause(t.Context())
			m.ctx = ctx
			n := 0
			var function string
			answer := make(chan struct{})
			m.before = func(call string, _ int, _ []byte) Error {
				if call == "generateKeyPair" && function != "" {
					t.Errorf("%s/%d: a key is generated although nobody waits for it", name, at)
				}
				if n++; n == at+1 {
					function = call
					end(context.DeadlineExceeded)
					<-answer
				}
				return 0
			}
			t.Run(fmt.Sprintf("%s/%d", name, at), func(t *testing.T) {
				t.Parallel()
				begin := time.Now()
				err := run(t, m, m.config(t, "pkcs11:token=card"))
				took := time.Since(begin)
				close(answer)
				m.waitUntilFinalized(t)
				t.Logf("%s: it took %v", function, took)
				if took > soon {
					t.Error("it took too long")
				}
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
					t.Errorf("%s: error %v, hint %q", function, err, signer.Hint(err))
				}
			})
		}
	}
}

// With a context that has ended, nothing calls the module.
func TestEndedContext(t *testing.T) {
	stop := errors.New("stop")
	for name, run := range muteOperations {
		m := newMute(t, "load", 1, nil)
		ctx, end := context.WithCancelCause(t.Context())
		end(stop)
		m.ctx = ctx
		m.table.load = func(string) (module, error) { t.Errorf("%s loads the module", name); return nil, ckrGeneralError }
		if err := run(t, m, m.config(t, "pkcs11:token=card")); !errors.Is(err, stop) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Close ends the signatures that wait for their turn, and does not wait for ever for
// the one that the module does not end, whatever their contexts.
func TestCloseDuringMuteSignature(t *testing.T) {
	for _, card := range []bool{false, true} {
		t.Run(fmt.Sprint(card), func(t *testing.T) {
			t.Parallel()
			token := newFakeToken("card")
			token.addKey(signertest.Key(t, "p256"), "key", "\x01")
			token.removable = card
			b := newFixture(t, token)
			k, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN), MaxSessions: 1})
			if err != nil {
				t.Fatal(err)
			}
			begun, answer := make(chan struct{}, 10), make(chan struct{})
			token.onSign = func() { begun <- struct{}{}; <-answer }
			first, others := make(chan error), make(chan error)
			go func() { first <- signOnce(k) }()
			<-begun
			for range 5 {
				go func() { others <- signOnce(k) }()
			}
			for uses := 0; uses != 6; time.Sleep(time.Millisecond) {
				k.mu.Lock()
				uses = k.uses
				k.mu.Unlock()
			}
			closed := make(chan error)
			go func() { closed <- k.Close() }()
			for range 5 {
				if err := <-others; !errors.Is(err, signer.ErrClosed) {
					t.Errorf("Sign while another one hangs: error %v", err)
				}
			}
			begin := time.Now()
			err = <-closed
			t.Logf("Close took %v", time.Since(begin))
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), "stays initialized") ||
				!strings.Contains(err.Error(), b.path) || signer.Hint(err) == "" {
				t.Errorf("Close: error %v, hint %q", err, signer.Hint(err))
			}
			close(answer)
			if err := <-first; err != nil {
				t.Errorf("the signature that took long: %v", err)
			}
			muteModule{fixture: b}.waitUntilFinalized(t)
			if b.opened != b.closed {
				t.Errorf("%d sessions opened, %d closed", b.opened, b.closed)
			}
			if err := k.Close(); err != nil {
				t.Errorf("the second Close: %v", err)
			}
		})
	}
}

// Close returns while another key of the module is being opened and the module hangs.
func TestCloseDuringMuteOpen(t *testing.T) {
	for _, function := range []string{"openSession", "login", "find"} {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			token := newFakeToken("card")
			token.addKey(signertest.Key(t, "p256"), "key", "\x01")
			b := newFixture(t, token)
			k, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
			if err != nil {
				t.Fatal(err)
			}
			begun, answer := make(chan struct{}), make(chan struct{})
			b.mu.Lock()
			token.loggedIn = false // so that the next key logs in
			b.before = func(call string, _ int, _ []byte) Error {
				if call == function {
					b.before = nil
					close(begun)
					b.mu.Unlock() // a module can serve one call while another one hangs
					<-answer
					b.mu.Lock()
				}
				return 0
			}
			b.mu.Unlock()
			ctx, end := context.WithCancel(t.Context())
			opened := make(chan error)
			go func() {
				u, err := ParseURI("pkcs11:")
				if err == nil {
					_, err = open(ctx, Config{URI: u, Module: b.path, PIN: fixedPIN(fakePIN)}, b.table)
				}
				opened <- err
			}()
			<-begun
			if err := k.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			end()
			if err := <-opened; !errors.Is(err, context.Canceled) {
				t.Errorf("Open: %v", err)
			}
			close(answer)
			muteModule{fixture: b}.waitUntilFinalized(t)
		})
	}
}

func openMute(m muteModule, cfg Config) error { _, err := open(m.ctx, cfg, m.table); return err }
func attestMute(m muteModule, cfg Config) error {
	_, err := attest(m.ctx, cfg, m.table)
	return err
}
func listMute(m muteModule, cfg Config) error { _, err := list(m.ctx, cfg, m.table); return err }

// A PIN is not sent once nobody waits for the login any more.
func TestMuteModuleGetsNoPINLate(t *testing.T) {
	for _, function := range []string{"slots", "openSession", "loggedIn"} {
		m := newMute(t, function, 1, context.Canceled)
		if err := openMute(m, m.config(t, "pkcs11:")); !errors.Is(err, context.Canceled) || errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("%s: error %v", function, err)
		}
		m.answer()
		m.waitUntilFinalized(t)
		if n := m.called("login"); n != 0 {
			t.Errorf("%s: %d logins after the caller gave up", function, n)
		}
	}
}

// Neither a signature nor Close waits for a module that does not answer, nor do
// the signatures that wait for the session or for the card.
func TestMuteSignature(t *testing.T) {
	for _, card := range []bool{false, true} {
		token := newFakeToken("card")
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		token.removable = card
		b := newFixture(t, token)
		k, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN), MaxSessions: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancelCause(t.Context())
		answer := make(chan struct{})
		var signatures int
		token.onSign = func() { signatures++; end(context.DeadlineExceeded); <-answer }
		errs := make(chan error)
		for range 3 {
			go func() {
				sig, err := k.SignContext(ctx, nil, digestOf(0), crypto.SHA256)
				if sig != nil {
					err = errors.New("it signed")
				}
				errs <- err
			}()
		}
		mute := 0
		for range 3 {
			err := <-errs
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("card %t: error %v", card, err)
			}
			if strings.Contains(err.Error(), "does not answer") {
				mute++
				for _, part := range []string{`"card"`, "slot 0", b.path} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("card %t: error %v does not name %s", card, err, part)
					}
				}
				if !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
					t.Errorf("card %t: error %v, hint %q", card, err, signer.Hint(err))
				}
			}
		}
		if mute != 1 {
			t.Errorf("card %t: %d signatures were in the module, want 1", card, mute)
		}
		if err := k.Close(); err != nil {
			t.Errorf("card %t: Close: %v", card, err)
		}
		if _, err := k.SignContext(t.Context(), nil, digestOf(0), crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
			t.Errorf("card %t: after Close: error %v", card, err)
		}
		b.mu.Lock()
		if b.finalized {
			t.Errorf("card %t: the module was finalized during a call", card)
		}
		b.mu.Unlock()
		close(answer)
		muteModule{fixture: b}.waitUntilFinalized(t)
		if signatures != 1 || b.opened != b.closed {
			t.Errorf("card %t: %d signatures, %d sessions opened, %d closed", card, signatures, b.opened, b.closed)
		}
	}
}

// After the module has answered, the key signs again, but not in the session of
// the signature that nobody waited for.
func TestSessionAfterMuteSignature(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN), MaxSessions: 1})
	used := k.conn.Load().firstSession
	ctx, end := context.WithCancel(t.Context())
	answer := make(chan struct{})
	token.onSign = func() { end(); <-answer }
	if _, err := k.SignContext(ctx, nil, digestOf(0), crypto.SHA256); !errors.Is(err, context.Canceled) || errors.Is(err, signer.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	close(answer)
	token.onSign = nil
	if err := signOnce(k); err != nil {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions[used] != nil || len(b.sessions) != 1 || token.logins != 1 {
		t.Errorf("sessions %v after %d logins; session %d must be closed", b.sessions, token.logins, used)
	}
}

// If the module stops to answer in Close itself, Close returns an error.
func TestMuteClose(t *testing.T) {
	for _, function := range []string{"closeSession", "finalize"} {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			m := newMute(t, function, 1, nil)
			k, err := open(t.Context(), m.config(t, "pkcs11:"), m.table)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Close(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), m.path) {
				t.Errorf("Close: error %v", err)
			}
			m.answer()
			m.waitUntilFinalized(t)
		})
	}
}

func TestNeedsPerson(t *testing.T) {
	for _, test := range []struct{ pad, always, lost, want bool }{
		{}, {always: true}, {lost: true}, {pad: true}, {pad: true, always: true, want: true}, {pad: true, lost: true, want: true},
	} {
		token := newCard(t)
		if test.pad {
			token.flags |= cktFlagProtectedPath
		}
		if test.always {
			token.objects[1].values[ckaAlwaysAuthenticate] = []byte{1}
		}
		b := newFixture(t, token)
		k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		if test.lost {
			b.remove(0)
			if err := signOnce(k); !errors.Is(err, signer.ErrUnavailable) {
				t.Errorf("%+v: error %v", test, err)
			}
		}
		if got := signer.NeedsPerson(k); got != test.want {
			t.Errorf("%+v: NeedsPerson is %t", test, got)
		}
	}
}

func TestEither(t *testing.T) {
	type key struct{}
	for _, first := range []bool{true, false} {
		for _, waits := range []bool{true, false} {
			cause := errors.New("cause")
			a, endA := context.WithCancelCause(context.WithValue(t.Context(), key{}, "a"))
			b, endB := context.WithCancel(t.Context())
			e := &either{Context: a, other: b}
			if e.Err() != nil || context.Cause(e) != nil || e.Value(key{}) != "a" {
				t.Errorf("before: %v, %v", e.Err(), context.Cause(e))
			}
			child, cancel := context.WithCancel(t.Context())
			if waits {
				child, cancel = context.WithCancel(e)
			}
			want := context.Canceled
			if first {
				want = cause
				endA(cause)
			} else {
				endB()
			}
			if waits {
				<-e.Done()
				<-child.Done()
			}
			if e.Err() != context.Canceled || context.Cause(e) != want {
				t.Errorf("first %t, waits %t: %v, %v", first, waits, e.Err(), context.Cause(e))
			}
			cancel()
			endA(nil)
			endB()
			e.end()
			<-e.Done()
		}
	}
}

// What still waits for an either at its end ends, too: package context panics if a
// context is done without an error.
func TestEitherEnds(t *testing.T) {
	e := &either{Context: t.Context(), other: t.Context()}
	child, cancel := context.WithCancel(e)
	defer cancel()
	e.end()
	if <-child.Done(); child.Err() != context.Canceled || e.Err() != context.Canceled {
		t.Errorf("error %v of the child, %v", child.Err(), e.Err())
	}
}
