package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// An unsealer is a backend that also unseals secrets.
type unsealer struct {
	*backend
	unseal func(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error)
}

func (u unsealer) Unseal(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error) {
	return u.unseal(ctx, ref, call)
}

// newVaultStore returns a Store with one Unsealer, of the scheme "vault".
func newVaultStore(unseal func(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error)) *keystore.Store {
	return keystore.New(&backend{name: "plain", schemes: []string{"plain"}}, unsealer{&backend{name: "vault", schemes: []string{"vault"}}, unseal})
}

func unsealTo(secret string) func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) {
	return func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) { return []byte(secret), nil }
}

// The rules for a PIN in a file also apply to an unsealed PIN.
func TestPINSourceUnseals(t *testing.T) {
	longest := strings.Repeat("9", 1024)
	for _, test := range []struct {
		name, secret string
		pin          string // "": refused
	}{
		{"plain", "sword", "sword"},
		{"line end", "sword\n", "sword"},
		{"Windows line end", "sword\r\n", "sword"},
		{"byte order mark", "\ufeffsword", "sword"},
		{"longest", longest, longest},
		{"empty", "", ""},
		{"only a line end", "\n", ""},
		{"two lines", "sword\nfish", ""},
		{"NUL", "sword\x00fish", ""},
		{"too large", longest + "9", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			pinFunc, err := newVaultStore(unsealTo(test.secret)).PINSource(refOf(t, "vault:a/b"), keystore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			pin, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPIN})
			if string(pin) != test.pin || (err == nil) != (test.pin != "") {
				t.Errorf("got %q, error %v", pin, err)
			}
			if err != nil && (!errors.Is(err, signer.ErrPINRequired) || strings.Contains(err.Error(), "sword") || !strings.Contains(err.Error(), "vault:a/b")) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestPINSourceUnsealsEachTime(t *testing.T) {
	secret, calls := "", 0
	pinFunc, err := newVaultStore(func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) {
		calls++
		return []byte(secret), nil
	}).PINSource(refOf(t, "vault:a"), keystore.Options{})
	if err != nil || calls != 0 {
		t.Fatalf("unsealed %d times before the PIN was needed, error %v", calls, err)
	}
	for _, secret = range []string{"1", "2", "3"} {
		pin, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPIN})
		if err != nil || string(pin) != secret {
			t.Errorf("got %q, error %v, want %q", pin, err, secret)
		}
		clear(pin) // the caller owns it
	}
	if _, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPIN, LastTry: true}); !errors.Is(err, signer.ErrPINRequired) || calls != 3 {
		t.Errorf("last try: error %v after %d calls", err, calls)
	}
}

func TestPINSourceUnsealFails(t *testing.T) {
	cause := signer.WithHint(signer.ErrUnavailable, "its own hint")
	pinFunc, err := newVaultStore(func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) { return nil, cause }).
		PINSource(refOf(t, "vault:a"), keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pin, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPIN})
	if pin != nil || !errors.Is(err, signer.ErrPINRequired) || !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) != "its own hint" {
		t.Errorf("got %q, error %v, hint %q", pin, err, signer.Hint(err))
	}
}

// An Unsealer gets the caller's options without the PINFunc. It cannot use
// another Unsealer: the password of a sealed secret cannot itself be sealed.
func TestUnsealerCannotAskForPIN(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	opts := keystore.Options{
		PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
			t.Error("the PINFunc was called")
			return []byte("asked"), nil
		},
		LookupEnv: func(name string) (string, bool) { return "in " + name, true },
	}
	calls := 0
	store := newVaultStore(func(got context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error) {
		calls++
		if want := (keystore.Ref{Scheme: "vault", Rest: "a;b%20"}); ref != want {
			t.Errorf("got %#v, want %#v", ref, want)
		}
		if got.Value(key{}) != "value" {
			t.Error("got another context")
		}
		if call.PIN != nil {
			t.Error("got a PINFunc")
		}
		for _, source := range []string{"vault:inner", "VAULT:inner", "plain:inner"} {
			if _, err := call.PINSource(refOf(t, source)); err == nil {
				t.Errorf("accepted %s inside Unseal", source)
			}
		}
		inner, err := call.PINSource(refOf(t, "env:PIN"))
		if err != nil {
			return nil, err
		}
		return inner(got, keystore.Prompt{What: keystore.AskTPMKey})
	})
	pinFunc, err := store.PINSource(refOf(t, "vault:a;b%20"), opts)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := pinFunc(ctx, keystore.Prompt{What: keystore.AskPIN})
	if string(pin) != "in PIN" || err != nil || calls != 1 {
		t.Errorf("got %q, error %v after %d calls", pin, err, calls)
	}
}

// Without a Store, or if the Store has no Unsealer for the scheme, a pin-source
// is a file or a variable.
func TestPINSourceWithoutUnsealer(t *testing.T) {
	store := newVaultStore(unsealTo("sword"))
	for name, source := range map[string]func(keystore.Ref, keystore.Options) (keystore.PINFunc, error){
		"call": func(ref keystore.Ref, opts keystore.Options) (keystore.PINFunc, error) {
			return keystore.Call{Options: opts}.PINSource(ref)
		},
		"store": store.PINSource,
	} {
		for ref, ok := range map[string]bool{
			"vault:s3cret": name == "store", "plain:s3cret": false, "tpm:path=s3cret": false, "pass:s3cret": false, "env:PIN": true,
		} {
			pinFunc, err := source(refOf(t, ref), keystore.Options{})
			if (err == nil) != ok || (pinFunc != nil) != ok {
				t.Errorf("%s: %s: error %v", name, ref, err)
			}
			var refErr *keystore.RefError
			if err != nil && (!errors.As(err, &refErr) || strings.Contains(err.Error(), "s3cret") || signer.Hint(err) == "") {
				t.Errorf("%s: %s: error %v, hint %q", name, ref, err, signer.Hint(err))
			}
		}
	}
}

// A backend that a Store calls can read its pin-source attribute.
func TestPINSourceOfAReference(t *testing.T) {
	var pin []byte
	token := &backend{name: "token", schemes: []string{"token"}, open: func(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
		pinFunc, err := call.PINSource(refOf(t, "vault:a"))
		if err != nil {
			return nil, err
		}
		pin, err = pinFunc(ctx, keystore.Prompt{What: keystore.AskPIN})
		return nil, errors.Join(err, signer.ErrClosed)
	}}
	store := keystore.New(token, unsealer{&backend{name: "vault", schemes: []string{"vault"}}, unsealTo("sword")})
	if _, err := store.Open(t.Context(), refOf(t, "token:x"), keystore.Options{}); !errors.Is(err, signer.ErrClosed) || !bytes.Equal(pin, []byte("sword")) {
		t.Errorf("got %q, error %v", pin, err)
	}
}
