package algorithm

import (
	"crypto/x509"
	"encoding/asn1"
	"testing"
)

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, n := range names {
		if seen[n.id] || seen[n.name] || n.id == "" || n.name == "" {
			t.Errorf("%s, %s: empty or not the only one", n.id, n.name)
		}
		seen[n.id], seen[n.name] = true, true
	}
	for want, id := range map[string]asn1.ObjectIdentifier{
		"SLH-DSA-SHA2-128s": {2, 16, 840, 1, 101, 3, 4, 3, 20},
		"the algorithm with the object identifier 1.2.3.4": {1, 2, 3, 4},
	} {
		if got := Name(id); got != want {
			t.Errorf("%v: %q, want %q", id, got, want)
		}
	}
	const unknown = "an unknown algorithm"
	if got := OfKey(&x509.Certificate{}); got != unknown {
		t.Errorf("%q", got)
	}
	if got := OfSignature(0, []byte{0x30, 0x80}); got != unknown {
		t.Errorf("%q", got)
	}
	if got := OfSignature(x509.PureEd25519, nil); got != "Ed25519" {
		t.Errorf("%q", got)
	}
}
