//go:build linux && cgo

package badinput

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/ptytest"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
)

// removalCases have the card pulled at each step.
func removalCases(*testing.T, *pki) (all []tokenInput) {
	pulled := func(function string) badInput {
		return badInput{
			name:    "card pulled at " + function,
			setup:   write("rules", []byte("1 "+function+" 1 0 remove 0\n")),
			env:     []string{"PKCS11SPY={fault}", "FAULT_MODULE={module}", "FAULT_RULES={dir}/rules"},
			code:    front.ExitUnavailable,
			culprit: "token=app",
		}
	}
	for _, step := range []struct {
		function string
		logins   int // that came before, or were it
	}{
		{"C_GetSlotList", 0}, {"C_GetTokenInfo", 0}, {"C_OpenSession", 0}, {"C_GetSessionInfo", 0}, {"C_Login", 1},
		{"C_FindObjectsInit", 1}, {"C_FindObjects", 1}, {"C_FindObjectsFinal", 1}, {"C_GetAttributeValue", 1},
		// A card that is found again, and gone at the next signature, each time.
		{"C_SignInit", 10}, {"C_Sign", 10},
	} {
		all = append(all, tokenInput{badInput: pulled(step.function), logins: step.logins})
	}
	// A person types the PIN to open the key, once more when the card is back,
	// and once for the signature; the token gets it each time.
	for _, c := range []struct {
		name            string
		setup           func(*scene)
		prompts, logins int
	}{
		{"PIN typed", func(*scene) {}, 2, 10},
		{"PIN typed for each signature", setBool(storedAlways, 1), 3, 20},
	} {
		in := pulled("C_Sign")
		var prompts atomic.Int32
		in.name += ", " + c.name
		in.args = []string{"--pin-source", "prompt"}
		in.setup = steps(in.setup, c.setup, typist(&prompts))
		all = append(all, tokenInput{badInput: in, logins: c.logins, after: func(s *scene) {
			if n := int(prompts.Load()); n != c.prompts {
				s.Errorf("%d prompts, want %d", n, c.prompts)
			}
		}})
	}
	return all
}

// typist is a person at a terminal, who types the PIN whenever asked.
func typist(prompts *atomic.Int32) func(*scene) {
	return func(s *scene) {
		master, slave := ptytest.New(s)
		s.tty = slave
		go func() {
			var shown []byte
			buf := make([]byte, 256)
			for {
				n, err := master.Read(buf)
				if err != nil { // the program has ended
					return
				}
				shown = append(shown, buf[:n]...)
				if bytes.HasSuffix(shown, []byte(": ")) {
					prompts.Add(1)
					shown = nil
					_, _ = master.WriteString(pkcs11test.PIN + "\r")
				}
			}
		}()
	}
}
