//go:build !windows

package all

import "testing"

func winstoreContract(t *testing.T) string {
	t.Skip("certificate stores of Windows need Windows or Wine; script/test-wine has it")
	return ""
}
