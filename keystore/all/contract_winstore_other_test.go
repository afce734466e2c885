//go:build !windows

package all

import (
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

func winstoreContract(t *testing.T) keystore.Ref {
	t.Skip("certificate stores of Windows need Windows or Wine; script/test-wine has it")
	return keystore.Ref{}
}
