//go:build cgo

package vault_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func init() {
	stores["SoftHSM P-256"] = func(t *testing.T) func() signer.Signer {
		signertest.Require(t, "softhsm", "softhsm2-util")
		token := pkcs11test.New(t).Token(t)
		opts := keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pkcs11test.PIN), nil }}
		keys := 0
		return func() signer.Signer {
			keys++
			return generate(t, strings.Replace(token, "?", fmt.Sprintf(";object=key%d?", keys), 1), keystore.P256, opts)
		}
	}
}
