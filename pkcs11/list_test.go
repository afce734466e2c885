package pkcs11

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// newListedToken returns a token with a key and its certificate.
func newListedToken(t *testing.T, label string) *fakeToken {
	t.Helper()
	token := newFakeToken(label)
	key := signertest.Key(t, "p256")
	token.addKey(key, "app", "\x01")
	token.addCertificate(issue(t, key).Raw, "app", "\x01")
	return token
}

// kindsByToken returns the kinds of entries for each token label, such as
// "token key".
func kindsByToken(t *testing.T, entries []keystore.Entry) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, e := range entries {
		u, err := ParseURI(e.Ref.String())
		if err != nil {
			t.Fatal(err)
		}
		all[u.Token] = strings.TrimSpace(all[u.Token] + " " + string(e.Kind))
	}
	return all
}

// If a token fails, the others are still listed, and the error names the token.
// Private keys are listed only if the URI matches one token.
func TestListWithErrors(t *testing.T) {
	const every, one = "pkcs11:", "pkcs11:token=second"
	const all, public = "token key certificate", "token certificate"
	nth := func(call string, n int, e Error) func(*fixture, *fakeToken) {
		return func(b *fixture, _ *fakeToken) {
			b.before = func(c string, i int, _ []byte) Error {
				if c == call && i == n {
					return e
				}
				return 0
			}
		}
	}
	for _, test := range []struct {
		name  string
		uri   string
		spoil func(b *fixture, second *fakeToken)
		want  string // entries of the second token; the others are complete
		err   error  // nil: none
		names string // the culprit in the text of err
	}{
		{"nothing", every, func(*fixture, *fakeToken) {}, public, nil, ""},
		{"nothing, and one token", one, func(*fixture, *fakeToken) {}, all, nil, ""},
		{"slot", every, nth("tokenInfo", 2, ckrDeviceError), "", ckrDeviceError, "slot 1"},
		{"removed before it was asked", every, nth("tokenInfo", 2, ckrTokenNotPresent), "", nil, ""},
		{"session", every, nth("openSession", 2, ckrDeviceError), "token", ckrDeviceError, `"second"`},
		{"wrong PIN", one, func(_ *fixture, second *fakeToken) { second.pin = "another" }, "token certificate", signer.ErrPINIncorrect, `"second"`},
		{"PIN locked", one, func(_ *fixture, second *fakeToken) { second.wrong = second.tries }, "token certificate", signer.ErrPINLocked, `"second"`},
		{"removed before the login", one, nth("loggedIn", 1, ckrDeviceRemoved), "token", ckrDeviceRemoved, `"second"`},
		{"keys", every, nth("find", 3, ckrFunctionFailed), "token", ckrFunctionFailed, `"second"`},
		{"one key", one, func(_ *fixture, second *fakeToken) {
			second.addPrivate(signertest.Key(t, "p384"), "x", "\x02").broken = ckrGeneralError
		}, all, ckrGeneralError, `"second": a private key`},
		{"one certificate", every, func(_ *fixture, second *fakeToken) { second.addCertificate([]byte("x"), "odd", "\x02") }, public, errAny, "object=odd"},
		{"an attribute certificate", every, func(_ *fixture, second *fakeToken) {
			second.addCertificate([]byte("x"), "odd", "\x02").values[ckaCertificateType] = ulongBytes(1)
		}, public, nil, ""},
		{"closing the session", every, nth("closeSession", 2, ckrFunctionFailed), public, ckrFunctionFailed, `"second"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			second := newListedToken(t, "second")
			b := newFixture(t, newListedToken(t, "first"), second, newListedToken(t, "third"))
			test.spoil(b, second)
			b.renumber(second)
			p := person{pin: fakePIN}
			entries, err := list(t.Context(), b.configOf(t, test.uri, &p), b.table)
			got, others := kindsByToken(t, entries), public
			if test.uri == one {
				others = ""
			}
			for token, want := range map[string]string{"first": others, "second": test.want, "third": others} {
				if got[token] != want {
					t.Errorf("%s: listed %q, want %q", token, got[token], want)
				}
			}
			switch {
			case (err != nil) != (test.err != nil), err != nil && !strings.Contains(err.Error(), test.names):
				t.Errorf("error %v, want %v with %s", err, test.err, test.names)
			case test.err != errAny && !errors.Is(err, test.err):
				t.Errorf("error %v, want %v", err, test.err)
			}
			if err != nil && strings.Count(err.Error(), "token ") > 1 {
				t.Errorf("the error names the token twice: %v", err)
			}
			p.takePrompts(t) // checks that the PINs are cleared
			if !b.finalized || len(b.table.byPath) != 0 || test.name != "closing the session" && b.opened != b.closed {
				t.Errorf("finalized: %t; %d sessions opened, %d closed", b.finalized, b.opened, b.closed)
			}
		})
	}
}

var errAny = errors.New("any")

// After an interrupt the next token is not read.
func TestListStopsWhenCanceled(t *testing.T) {
	b := newFixture(t, newListedToken(t, "first"), newListedToken(t, "second"))
	ctx, cancel := context.WithCancel(t.Context())
	b.before = func(call string, _ int, _ []byte) Error {
		if call == "openSession" {
			cancel()
		}
		return 0
	}
	p := person{pin: fakePIN}
	entries, err := list(ctx, b.configOf(t, "pkcs11:", &p), b.table)
	if prompts, _ := p.takePrompts(t); prompts != 0 || !errors.Is(err, context.Canceled) || kindsByToken(t, entries)["second"] != "" || !b.finalized {
		t.Errorf("%d prompts, %v, error %v", prompts, entries, err)
	}
}

// A PIN goes to a token only if no other token matches, because each token
// would count it as a try.
func TestListSendsThePINToOneToken(t *testing.T) {
	for uri, logins := range map[string]int{
		"pkcs11:": 0, "pkcs11:model=Fake": 0, "pkcs11:?pin-value=bad": 0, "pkcs11:token=first": 1, "pkcs11:token=first?pin-value=bad": 1,
	} {
		first, second := newListedToken(t, "first"), newListedToken(t, "second")
		b := newFixture(t, first, second)
		ref, err := keystore.ParseRef(uri)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		cfg, err := configFor(ref, keystore.Call{Options: keystore.Options{
			PIN:    func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("bad"), nil },
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Module = b.path
		entries, err := list(t.Context(), cfg, b.table)
		if first.wrong != logins || second.wrong != 0 || b.called("login") != logins {
			t.Errorf("%s: %d and %d tries, %d logins, want %d", uri, first.wrong, second.wrong, b.called("login"), logins)
		}
		warned := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "2 tokens match "+uri[:len("pkcs11:")]) && strings.Contains(log.String(), "select one with token=")
		if warned != (logins == 0) || strings.Contains(log.String(), "bad") {
			t.Errorf("%s: log %q", uri, &log)
		}
		if logins == 0 && (err != nil || kindsByToken(t, entries)["second"] != "token certificate") || logins == 1 && !errors.Is(err, signer.ErrPINIncorrect) {
			t.Errorf("%s: %v, error %v", uri, entries, err)
		}
	}
}

// Without a PIN, List says that keys may be hidden, but only if a token shows
// none until a login.
func TestListSaysThatKeysMayBeHidden(t *testing.T) {
	visible := newListedToken(t, "visible")
	for _, o := range visible.objects {
		o.private = false
	}
	free := newListedToken(t, "free")
	free.flags &^= cktFlagLoginRequired
	first, second := newListedToken(t, "first"), newListedToken(t, "second")
	for _, test := range []struct {
		tokens []*fakeToken
		pin    bool
		want   []string // parts of the warning; none: no warning
	}{
		{[]*fakeToken{first}, false, []string{"keys may be hidden", "pkcs11:token=first;", "and let Options.PIN ask"}},
		{[]*fakeToken{visible, first, second}, false, []string{"pkcs11:token=first;", "pkcs11:token=second;"}},
		{[]*fakeToken{visible}, false, nil},
		{[]*fakeToken{free}, false, nil},
		{[]*fakeToken{first}, true, nil},
	} {
		b := newFixture(t, test.tokens...)
		var log strings.Builder
		cfg := Config{Module: b.path, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		if test.pin {
			cfg.PIN = fixedPIN(fakePIN)
		}
		if _, err := list(t.Context(), cfg, b.table); err != nil {
			t.Error(err)
		}
		for _, part := range test.want {
			if !strings.Contains(strings.ReplaceAll(log.String(), `\"`, `"`), part) {
				t.Errorf("%q is not in the log: %s", part, &log)
			}
		}
		if len(test.want) == 0 && log.Len() > 0 {
			t.Errorf("unexpected log: %s", &log)
		}
	}
}
