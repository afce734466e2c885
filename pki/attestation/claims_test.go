package attestation_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/pki/attestation"
)

// Claims are never evidence, and say so.
func TestClaims(t *testing.T) {
	claims := attestation.Claims{Device: "token", Key: appKey(t), Attributes: map[string]bool{"CKA_LOCAL": true, "CKA_EXTRACTABLE": false}}
	data, err := claims.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"holdfast-token-claims"`, `"CKA_LOCAL": true`, `"CKA_EXTRACTABLE": false`, `"token": "token"`} {
		if !bytes.Contains(data, []byte(part)) {
			t.Errorf("%s does not contain %s", data, part)
		}
	}
	if _, err := attestation.Parse(data); !errors.Is(err, attestation.ErrClaims) {
		t.Error(err)
	}
	if _, err := attestation.ParseWrapped(data); !errors.Is(err, attestation.ErrClaims) {
		t.Error(err)
	}
	// A file of claims cannot be made to evidence by its other fields.
	forged := with(t, newEvidence(t, newParts(t, "p256")).Marshal(), map[string]any{"type": "holdfast-token-claims"})
	if _, err := attestation.Parse(forged); !errors.Is(err, attestation.ErrClaims) {
		t.Error(err)
	}
	if spki, ok := attestation.EvidenceKey(data); !ok || !bytes.Equal(spki, spkiOf(t, appKey(t))) {
		t.Errorf("the key is %x, %v", spki, ok)
	}
	if _, ok := attestation.WrappedKey(data); ok || !attestation.IsFile(data) {
		t.Error("claims are a wrapped certificate")
	}
	if _, err := (attestation.Claims{Key: "none"}).Marshal(); err == nil {
		t.Error("a text is a key")
	}
}
