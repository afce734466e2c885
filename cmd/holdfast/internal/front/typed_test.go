package front

import (
	"context"
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestTypedPINs(t *testing.T) {
	asked := 0
	ask := func(_ context.Context, p keystore.Prompt) ([]byte, error) {
		asked++
		if p.Optional {
			return nil, nil
		}
		return []byte("1234"), nil
	}
	var typed TypedPINs
	pin := typed.Before(ask)
	login := keystore.Prompt{What: keystore.AskPIN, Ref: keystore.Ref{Scheme: "pkcs11", Rest: "token=a"}}
	if got, err := pin(t.Context(), login); err != nil || string(got) != "1234" || asked != 1 {
		t.Fatalf("%q, %v", got, err)
	} else {
		clear(got) // as the caller does
	}
	typed.Stop()
	if got, err := pin(t.Context(), login); err != nil || string(got) != "1234" || asked != 1 {
		t.Errorf("again: %q, %v, asked %d times", got, err, asked)
	}
	for name, change := range map[string]func(*keystore.Prompt){
		"another token":    func(p *keystore.Prompt) { p.Ref.Rest = "token=b" },
		"another kind":     func(p *keystore.Prompt) { p.What = keystore.AskPassword },
		"wrong PIN before": func(p *keystore.Prompt) { p.FewTries = true },
		"the last try":     func(p *keystore.Prompt) { p.LastTry = true },
		"unknown tries":    func(p *keystore.Prompt) { p.TriesUnknown = true },
		"each signature":   func(p *keystore.Prompt) { p.PerSignature = true },
	} {
		p := login
		change(&p)
		if got, err := pin(t.Context(), p); !errors.Is(err, signer.ErrPINRequired) || got != nil || asked != 1 {
			t.Errorf("%s: %q, %v, asked %d times", name, got, err, asked)
		}
	}
	optional := login
	optional.Ref.Rest, optional.Optional = "token=c", true
	if got, err := pin(t.Context(), optional); got != nil || err != nil {
		t.Errorf("optional: %q, %v", got, err)
	}
}
