package secfw

import (
	"testing"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
)

// TestSystem runs on a Mac. It resolves all symbols and queries each scope. It
// requires no password and changes nothing.
func TestSystem(t *testing.T) {
	api, err := System()
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []native.Scope{native.Files, native.DataProtection, native.Tokens} {
		all, err := api.Identities(scope)
		t.Logf("%s: %d identities, error %v", scope, len(all), err)
		for _, id := range all {
			t.Logf("  %q in token %q, certificate of %d bytes, error %v", id.Label, id.Token, len(id.Certificate), id.Err)
			if id.Handle == nil {
				continue
			}
			if len(id.Certificate) == 0 {
				t.Errorf("%s: %q has no certificate", scope, id.Label)
			}
			id.Handle.Release()
		}
		certs, err := api.Certificates(scope)
		t.Logf("%s: %d certificates, error %v", scope, len(certs), err)
	}
	status, ok := api.check("test", -25308).(*native.Error)
	if !ok || status.Message == "" || status.Message == "unknown error" {
		t.Errorf("OSStatus -25308 is %v", status)
	}
}
