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

// An unsealer is a backend that also gives secrets.
type unsealer struct {
	*backend
	unseal func(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error)
}

func (u unsealer) Unseal(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error) {
	return u.unseal(ctx, ref, call)
}

// sealing is a Store with one Unsealer, of the scheme "vault".
func sealing(unseal func(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error)) *keystore.Store {
	return keystore.New(&backend{name: "plain", schemes: []string{"plain"}}, unsealer{&backend{name: "vault", schemes: []string{"vault"}}, unseal})
}

func giving(secret string) func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) {
	return func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) { return []byte(secret), nil }
}

// What is unsealed is a PIN by the same rules as what is read.
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
			pinFunc, err := sealing(giving(test.secret)).PINSource(refOf(t, "vault:a/b"), keystore.Options{})
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

func TestPINSourceUnsealsWithEachCall(t *testing.T) {
	secret, calls := "", 0
	pinFunc, err := sealing(func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) {
		calls++
		return []byte(secret), nil
	}).PINSource(refOf(t, "vault:a"), keystore.Options{})
	if err != nil || calls != 0 {
		t.Fatalf("%d calls before anybody asked, error %v", calls, err)
	}
	for _, secret = range []string{"1", "2", "3"} {
		pin, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPIN})
		if err != nil || string(pin) != secret {
			t.Errorf("got %q, error %v, want %q", pin, err, secret)
		}
		clear(pin) // it is the caller's
	}
	if _, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPIN, LastTry: true}); !errors.Is(err, signer.ErrPINRequired) || calls != 3 {
		t.Errorf("last try: error %v after %d calls", err, calls)
	}
}

func TestPINSourceThatDoesNotUnseal(t *testing.T) {
	cause := signer.WithHint(signer.ErrUnavailable, "its own hint")
	pinFunc, err := sealing(func(context.Context, keystore.Ref, keystore.Call) ([]byte, error) { return nil, cause }).
		PINSource(refOf(t, "vault:a"), keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pin, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPIN})
	if pin != nil || !errors.Is(err, signer.ErrPINRequired) || !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) != "its own hint" {
		t.Errorf("got %q, error %v, hint %q", pin, err, signer.Hint(err))
	}
}

// An unsealer gets what the caller gave, but nobody to ask, and no other
// unsealer: a secret is not sealed by a secret that is sealed.
func TestUnsealerAsksNobody(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	opts := keystore.Options{
		PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
			t.Error("somebody was asked")
			return []byte("asked"), nil
		},
		LookupEnv: func(name string) (string, bool) { return "in " + name, true },
	}
	calls := 0
	store := sealing(func(got context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error) {
		calls++
		if want := (keystore.Ref{Scheme: "vault", Rest: "a;b%20"}); ref != want {
			t.Errorf("got %#v, want %#v", ref, want)
		}
		if got.Value(key{}) != "value" {
			t.Error("the context is another")
		}
		if call.PIN != nil {
			t.Error("there is somebody to ask")
		}
		for _, source := range []string{"vault:inner", "VAULT:inner", "plain:inner"} {
			if _, err := call.PINSource(refOf(t, source)); err == nil {
				t.Errorf("%s is taken inside", source)
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

// Without a Store, or with one that does not know the scheme, only files and
// variables are read.
func TestPINSourceWithoutUnsealer(t *testing.T) {
	store := sealing(giving("sword"))
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

// A backend that is opened by a Store can read its pin-source attribute.
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
	store := keystore.New(token, unsealer{&backend{name: "vault", schemes: []string{"vault"}}, giving("sword")})
	if _, err := store.Open(t.Context(), refOf(t, "token:x"), keystore.Options{}); !errors.Is(err, signer.ErrClosed) || !bytes.Equal(pin, []byte("sword")) {
		t.Errorf("got %q, error %v", pin, err)
	}
}
