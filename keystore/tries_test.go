package keystore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A counter is a backend that counts tries and loads modules.
type counter struct{ *backend }

func (counter) Tries(_ context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Tries, error) {
	if _, err := call.PINValue("1234")(context.Background(), keystore.Prompt{What: keystore.AskPIN}); err != nil {
		return nil, err
	}
	return []keystore.Tries{{Device: ref.Rest, Left: 3}}, nil
}

func (counter) Modules(ref keystore.Ref) ([]keystore.Module, error) {
	return []keystore.Module{{Path: "/m.so", Ref: ref}}, nil
}

func TestTries(t *testing.T) {
	store := keystore.New(counter{&backend{name: "card", schemes: []string{"card"}}}, &backend{name: "other", schemes: []string{"other"}})
	card, other := keystore.Ref{Scheme: "card", Rest: "a"}, keystore.Ref{Scheme: "other", Rest: "a"}
	tries, err := store.Tries(t.Context(), card, keystore.Options{})
	if err != nil || len(tries) != 1 || tries[0].Device != "a" {
		t.Errorf("%v, %v", tries, err)
	}
	if _, err := store.Tries(t.Context(), other, keystore.Options{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	var refErr *keystore.RefError
	if _, err := store.Tries(t.Context(), keystore.Ref{Scheme: "none", Rest: "a"}, keystore.Options{}); !errors.As(err, &refErr) {
		t.Errorf("%v", err)
	}
	if modules, err := store.Modules(card); err != nil || len(modules) != 1 || modules[0].Ref != card {
		t.Errorf("%v, %v", modules, err)
	}
	if modules, err := store.Modules(other); err != nil || len(modules) != 0 {
		t.Errorf("%v, %v", modules, err)
	}
	if name, err := store.BackendOf(t.Context(), card, keystore.Options{}); err != nil || name != "card" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestTriesText(t *testing.T) {
	for _, test := range []struct {
		tries keystore.Tries
		want  string
	}{
		{keystore.Tries{Device: "d", Left: 0, Used: true}, "d: locked, no try is left"},
		{keystore.Tries{Device: "d", Left: 1}, "d: one try is left"},
		{keystore.Tries{Device: "d", Left: 31, Recovers: time.Minute}, "d: 31 tries are left"},
		{keystore.Tries{Device: "d", Left: -1, Used: true}, "d: an incorrect PIN was entered since the last login"},
		{keystore.Tries{Device: "d", Left: -1}, "d: no failed tries"},
	} {
		if got := test.tries.String(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.tries, got, test.want)
		}
	}
}

// Permit is asked before every way to get a PIN. If it refuses, no source is read.
func TestPermit(t *testing.T) {
	refused := errors.New("refused")
	asked := 0
	var kinds []string
	opts := keystore.Options{
		PIN:       func(context.Context, keystore.Prompt) ([]byte, error) { asked++; return []byte("1"), nil },
		LookupEnv: func(string) (string, bool) { asked++; return "1", true },
		Permit: func(p keystore.Prompt) error {
			kinds = append(kinds, p.What)
			if p.What == keystore.AskPassword {
				return nil
			}
			return refused
		},
	}
	open := func(_ context.Context, _ keystore.Ref, call keystore.Call) (signer.Signer, error) {
		source, err := call.PINSource(keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "PIN"})
		if err != nil {
			return nil, err
		}
		for _, f := range []keystore.PINFunc{call.PIN, source, call.PINValue("1")} {
			if _, err := f(t.Context(), keystore.Prompt{What: keystore.AskPIN}); !errors.Is(err, refused) {
				t.Errorf("%v", err)
			}
			if pin, err := f(t.Context(), keystore.Prompt{What: keystore.AskPassword}); err != nil || string(pin) != "1" {
				t.Errorf("%q, %v", pin, err)
			}
		}
		return nil, refused
	}
	store := keystore.New(&backend{name: "card", schemes: []string{"card"}, open: open})
	if _, err := store.Open(t.Context(), keystore.Ref{Scheme: "card", Rest: "a"}, opts); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	want := slices.Repeat([]string{keystore.AskPIN, keystore.AskPassword}, 3)
	if !slices.Equal(kinds, want) || asked != 2 {
		t.Errorf("%q, the sources were read %d times", kinds, asked)
	}
}
