package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var _ keystore.Attester = Backend{}

// newClaimingCard returns a card with a key that has the values of CKA_LOCAL,
// CKA_NEVER_EXTRACTABLE and CKA_ALWAYS_SENSITIVE; nil: it does not have the
// attribute.
func newClaimingCard(t *testing.T, values ...[]byte) *fakeToken {
	t.Helper()
	token := newCard(t)
	for i, v := range values {
		token.objects[1].values[claimed[i].kind] = v
	}
	return token
}

// checkReleased checks that no session and no module is open.
func (b *fixture) checkReleased(t *testing.T, left int) {
	t.Helper()
	if !b.finalized || b.opened-b.closed != left || len(b.table.byPath) != 0 {
		t.Errorf("finalized: %t; %d sessions opened, %d closed", b.finalized, b.opened, b.closed)
	}
}

// An attribute without the value of a CK_BBOOL claims nothing.
func TestAttest(t *testing.T) {
	no, yes := []byte{0}, []byte{1}
	for _, test := range []struct {
		values [][]byte
		want   string
	}{
		{[][]byte{yes, yes, yes}, "[{CKA_LOCAL true} {CKA_NEVER_EXTRACTABLE true} {CKA_ALWAYS_SENSITIVE true}]"},
		{[][]byte{no, no, no}, "[{CKA_LOCAL false} {CKA_NEVER_EXTRACTABLE false} {CKA_ALWAYS_SENSITIVE false}]"},
		{[][]byte{yes, no, yes}, "[{CKA_LOCAL true} {CKA_NEVER_EXTRACTABLE false} {CKA_ALWAYS_SENSITIVE true}]"},
		{[][]byte{nil, yes, no}, "[{CKA_NEVER_EXTRACTABLE true} {CKA_ALWAYS_SENSITIVE false}]"},
		{[][]byte{yes, nil, nil}, "[{CKA_LOCAL true}]"},
		{nil, "[]"},
		{[][]byte{{}, {2}, {0xff}}, "[]"},
		{[][]byte{{1, 0}, {1, 0, 0, 0}, yes}, "[{CKA_ALWAYS_SENSITIVE true}]"},
	} {
		for _, removable := range []bool{false, true} {
			token := newClaimingCard(t, test.values...)
			token.removable = removable
			b := newFixture(t, token)
			p := person{pin: fakePIN}
			a, err := attest(t.Context(), b.configOf(t, "pkcs11:object=key", &p), b.table)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(a.Claims); got != test.want {
				t.Errorf("%v: %s, want %s", test.values, got, test.want)
			}
			if !signer.SamePublicKey(a.Public, signertest.Key(t, "p256").Public()) || a.TPM != nil || a.Device != `token "card", Test Fake, serial number serial of card` {
				t.Errorf("%+v", a)
			}
			if logins, signatures := p.takePrompts(t); logins != 1 || signatures != 0 || b.called("sign") != 0 || b.maxOpen != 1 {
				t.Errorf("%d prompts for logins, %d for signatures, %d signatures, %d sessions", logins, signatures, b.called("sign"), b.maxOpen)
			}
			b.checkReleased(t, 0)
		}
	}
}

// Attest asks a person for no more than Open does, also for a key that needs its
// PIN for each signature, and on a device with a PIN pad.
func TestAttestPrompts(t *testing.T) {
	for flags, pads := range map[uint]int{0: 0, cktFlagProtectedPath: 1} {
		token := newClaimingCard(t, []byte{1})
		token.flags |= flags
		token.objects[1].values[ckaAlwaysAuthenticate] = []byte{1}
		b := newFixture(t, token)
		p := person{pin: fakePIN}
		if _, err := attest(t.Context(), b.configOf(t, "pkcs11:", &p), b.table); err != nil {
			t.Error(err)
		}
		if logins, signatures := p.takePrompts(t); logins != 1-pads || signatures != 0 || token.nilPINLogins != pads || token.logins != 1 {
			t.Errorf("%d prompts for logins, %d for signatures, %d on the device", logins, signatures, token.nilPINLogins)
		}
	}
	denied := errors.New("nobody is there")
	token := newCard(t)
	token.flags |= cktFlagProtectedPath
	b := newFixture(t, token)
	cfg := Config{Module: b.path, permit: func(keystore.Prompt) error { return denied }}
	if _, err := attest(t.Context(), cfg, b.table); !errors.Is(err, denied) || token.nilPINLogins != 0 {
		t.Errorf("error %v after %d prompts on the device", err, token.nilPINLogins)
	}
}

// No other key of the module uses a card while Attest reads from it.
func TestAttestLocksCard(t *testing.T) {
	for _, removable := range []bool{false, true} {
		token := newClaimingCard(t, []byte{1})
		token.removable = removable
		b := newFixture(t, token)
		mod := b.mustOpenModule(t)
		var locked []bool
		b.before = func(call string, _ int, _ []byte) Error {
			if call == "attributes" {
				locked = append(locked, mod.card.held)
			}
			return 0
		}
		p := person{pin: fakePIN}
		if _, err := attest(t.Context(), b.configOf(t, "pkcs11:", &p), b.table); err != nil {
			t.Fatal(err)
		}
		if last := locked[len(locked)-1]; last != removable || mod.card.held {
			t.Errorf("removable %t: locked while it reads: %t, and after that: %t", removable, last, mod.card.held)
		}
	}
}

// A reference that Open refuses is refused with the same error.
func TestAttestRefusesAsOpen(t *testing.T) {
	for _, test := range []struct {
		uri, pin string
		spoil    func(*fakeToken)
		want     error
	}{
		{"pkcs11:object=key", "000000", nil, signer.ErrPINIncorrect},
		{"pkcs11:object=key", "", nil, signer.ErrPINRequired},
		{"pkcs11:object=key", fakePIN, func(token *fakeToken) { token.wrong = token.tries }, signer.ErrPINLocked},
		{"pkcs11:object=other", fakePIN, nil, signer.ErrNotFound},
		{"pkcs11:token=other", fakePIN, nil, signer.ErrUnavailable},
		{"pkcs11:", fakePIN, func(token *fakeToken) { token.addKey(signertest.NewKey(t, "p256"), "b", "\x02") }, signer.ErrAmbiguous},
		{"pkcs11:", fakePIN, func(token *fakeToken) { token.objects = token.objects[1:] }, errNoPublicKey},
	} {
		var said [2]string
		for i, run := range []func(b *fixture, cfg Config) error{
			func(b *fixture, cfg Config) error { _, err := open(t.Context(), cfg, b.table); return err },
			func(b *fixture, cfg Config) error { _, err := attest(t.Context(), cfg, b.table); return err },
		} {
			token := newClaimingCard(t, []byte{1}, []byte{1}, []byte{1})
			if test.spoil != nil {
				test.spoil(token)
			}
			b := newFixture(t, token)
			p := person{pin: test.pin}
			err := run(b, b.configOf(t, test.uri, &p))
			if !errors.Is(err, test.want) {
				t.Errorf("%s: error %v, want %v", test.uri, err, test.want)
			}
			said[i] = fmt.Sprint(err, "\n", strings.ReplaceAll(signer.Hint(err), b.path, ""), "\n", token.wrong, b.called("login"))
			b.checkReleased(t, 0)
		}
		if said[0] != said[1] {
			t.Errorf("%s: Attest says %s, but Open says %s", test.uri, said[1], said[0])
		}
	}
}

// An error while the claims are read keeps its meaning, and is not an attribute
// that the module does not know.
func TestAttestErrors(t *testing.T) {
	uri := "pkcs11:object=key"
	opened := newFixture(t, newCard(t))
	opened.mustOpen(t, uri, Config{PIN: fixedPIN(fakePIN)})
	for _, test := range []struct {
		call string
		nth  int
		code Error
		want error // besides code; nil: none
		left int   // sessions
	}{
		{"attributes", opened.called("attributes") + 1, ckrDeviceRemoved, signer.ErrUnavailable, 0},
		{"attributes", opened.called("attributes") + 1, ckrTokenNotPresent, signer.ErrUnavailable, 0},
		{"attributes", opened.called("attributes") + 1, ckrDeviceError, signer.ErrUnavailable, 0},
		{"attributes", opened.called("attributes") + 1, ckrGeneralError, signer.ErrUnavailable, 0},
		{"attributes", opened.called("attributes") + 1, ckrSessionHandleInvalid, signer.ErrUnavailable, 0},
		{"attributes", opened.called("attributes") + 1, ckrObjectHandleInvalid, signer.ErrUnavailable, 0},
		{"attributes", opened.called("attributes") + 1, ckrFunctionFailed, nil, 0},
		{"attributes", opened.called("attributes") + 1, ckrUserNotLoggedIn, nil, 0},
		{"attributes", opened.called("attributes") + 1, 0x80000001, nil, 0},
		{"closeSession", 1, ckrFunctionFailed, nil, 1},
		{"finalize", 1, ckrFunctionFailed, nil, 0},
	} {
		b := newFixture(t, newClaimingCard(t, []byte{1}, []byte{1}, []byte{1}))
		b.before = func(call string, n int, _ []byte) Error {
			if call == test.call && n == test.nth {
				return test.code
			}
			return 0
		}
		p := person{pin: fakePIN}
		a, err := attest(t.Context(), b.configOf(t, uri, &p), b.table)
		if !errors.Is(err, test.code) || test.want != nil && !errors.Is(err, test.want) || a.Public != nil || a.Claims != nil {
			t.Errorf("%s, %v: %+v, error %v", test.call, test.code, a, err)
		}
		if test.call == "attributes" && !strings.Contains(err.Error(), `token "card": `) {
			t.Errorf("error %v does not name the token", err)
		}
		if logins, _ := p.takePrompts(t); logins != 1 {
			t.Errorf("%s, %v: %d prompts", test.call, test.code, logins)
		}
		if b.opened-b.closed != test.left || len(b.table.byPath) != 0 {
			t.Errorf("%s, %v: %d sessions opened, %d closed", test.call, test.code, b.opened, b.closed)
		}
	}
}

// A token has no endorsement key; nobody is asked for a PIN to learn that.
func TestAttestWithEndorsementKey(t *testing.T) {
	call := keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
		t.Error("asked for a PIN")
		return nil, signer.ErrPINRequired
	}}}
	_, err := Backend{}.Attest(t.Context(), keystore.Ref{Scheme: "pkcs11", Rest: "token=card"}, keystore.P256, call)
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "a token has no endorsement key") {
		t.Errorf("error %v", err)
	}
}

// The text about a token is printable, whatever the token contains.
func TestTokenText(t *testing.T) {
	for _, test := range []struct {
		info tokenInfo
		want string
	}{
		{tokenInfo{label: "prod    ", manufacturer: "SoftHSM project ", model: "SoftHSM v2      ", serial: "0123456789abcdef"}, `token "prod", SoftHSM project SoftHSM v2, serial number 0123456789abcdef`},
		{tokenInfo{label: "prod\x00\x00", manufacturer: "", model: "v2\x00", serial: " "}, `token "prod", v2`},
		{tokenInfo{}, `token ""`},
		{tokenInfo{label: "schlüssel", manufacturer: "a\nb", model: "\x1b[31m", serial: "\xff\u202e"}, `token "schlüssel", a\nb \x1b[31m, serial number \xff\u202e`},
	} {
		got := test.info.text()
		if got != test.want || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
