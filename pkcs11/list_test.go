package pkcs11

import (
	"context"
	"errors"
	"fmt"
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
func TestListWithErrors(t *testing.T) {
	const all = "token key certificate"
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
		spoil func(b *fixture, second *fakeToken)
		want  string // entries of the second token; the others are complete
		err   error  // nil: none
		names string // the culprit in the text of err
	}{
		{"nothing", func(*fixture, *fakeToken) {}, all, nil, ""},
		{"slot", nth("tokenInfo", 2, ckrDeviceError), "", ckrDeviceError, "slot 1"},
		{"removed before it was asked", nth("tokenInfo", 2, ckrTokenNotPresent), "", nil, ""},
		{"session", nth("openSession", 2, ckrDeviceError), "token", ckrDeviceError, `"second"`},
		{"wrong PIN", func(_ *fixture, second *fakeToken) { second.pin = "another" }, "token certificate", signer.ErrPINIncorrect, `"second"`},
		{"PIN locked", func(_ *fixture, second *fakeToken) { second.wrong = second.tries }, "token certificate", signer.ErrPINLocked, `"second"`},
		{"removed before the login", nth("loggedIn", 2, ckrDeviceRemoved), "token", ckrDeviceRemoved, `"second"`},
		{"keys", nth("find", 4, ckrFunctionFailed), "token", ckrFunctionFailed, `"second"`},
		{"one key", func(_ *fixture, second *fakeToken) {
			second.addPrivate(signertest.Key(t, "p384"), "x", "\x02").broken = ckrGeneralError
		}, all, ckrGeneralError, `"second": a private key`},
		{"one certificate", func(_ *fixture, second *fakeToken) { second.addCertificate([]byte("x"), "odd", "\x02") }, all, errAny, "object=odd"},
		{"an attribute certificate", func(_ *fixture, second *fakeToken) {
			second.addCertificate([]byte("x"), "odd", "\x02").values[ckaCertificateType] = ulongBytes(1)
		}, all, nil, ""},
		{"closing the session", nth("closeSession", 2, ckrFunctionFailed), all, ckrFunctionFailed, `"second"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			second := newListedToken(t, "second")
			b := newFixture(t, newListedToken(t, "first"), second, newListedToken(t, "third"))
			test.spoil(b, second)
			b.renumber(second)
			p := person{pin: fakePIN}
			entries, err := list(t.Context(), b.configOf(t, "pkcs11:", &p), b.table)
			got := kindsByToken(t, entries)
			for token, want := range map[string]string{"first": all, "second": test.want, "third": all} {
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

// After an interrupt there is no prompt for the PIN of the next token.
func TestListStopsWhenCanceled(t *testing.T) {
	b := newFixture(t, newListedToken(t, "first"), newListedToken(t, "second"))
	ctx, cancel := context.WithCancel(t.Context())
	prompts := 0
	cfg := b.configOf(t, "pkcs11:", &person{})
	cfg.PIN = func(ctx context.Context, _ keystore.Prompt) ([]byte, error) {
		prompts++
		cancel()
		return nil, fmt.Errorf("%w: %w", ctx.Err(), signer.ErrPINRequired)
	}
	entries, err := list(ctx, cfg, b.table)
	if prompts != 1 || !errors.Is(err, context.Canceled) || kindsByToken(t, entries)["second"] != "" || !b.finalized {
		t.Errorf("%d prompts, %v, error %v", prompts, entries, err)
	}
}
