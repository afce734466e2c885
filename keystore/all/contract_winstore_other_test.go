//go:build !windows

package all

import (
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

func winstoreContract(t *testing.T) keystore.Ref {
	t.Skip("certificate stores need Windows or Wine; script/test-wine runs this test")
	return keystore.Ref{}
}
