//go:build linux && cgo

package main

import "testing"

// removalCases have the card pulled at each step.
func removalCases(*testing.T, *pki) (all []tokenInput) {
	for _, step := range []struct {
		function string
		logins   int // that came before, or were it
	}{
		{"C_GetSlotList", 0}, {"C_GetTokenInfo", 0}, {"C_OpenSession", 0}, {"C_GetSessionInfo", 0}, {"C_Login", 1},
		{"C_FindObjectsInit", 1}, {"C_FindObjects", 1}, {"C_FindObjectsFinal", 1}, {"C_GetAttributeValue", 1},
		// A card that is found again, and gone at the next signature, each time.
		{"C_SignInit", 10}, {"C_Sign", 10},
	} {
		all = append(all, tokenInput{
			badInput: badInput{
				name:    "card pulled at " + step.function,
				setup:   write("rules", []byte("1 "+step.function+" 1 0 remove 0\n")),
				env:     []string{"PKCS11SPY={fault}", "FAULT_MODULE={module}", "FAULT_RULES={dir}/rules"},
				code:    exitUnavailable,
				culprit: "token=app",
			},
			logins: step.logins,
		})
	}
	return all
}
