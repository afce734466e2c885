//go:build !cgo

package all

import "testing"

func pkcs11Contract(t *testing.T) string {
	t.Skip("PKCS #11 needs cgo")
	return ""
}
