//go:build !cgo

package all

import (
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

func pkcs11Contract(t *testing.T) keystore.Ref {
	t.Skip("PKCS #11 needs cgo")
	return keystore.Ref{}
}
