package attestation_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// with returns a file with other values of fields, in the same order; nil removes one.
// New fields are at the end.
func with(tb testing.TB, data []byte, fields map[string]any) []byte {
	tb.Helper()
	must := func(v any, err error) any {
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
	fields = maps.Clone(fields)
	var file []string
	add := func(name any, value any) {
		key, _ := must(json.Marshal(name)).([]byte)
		text, _ := must(json.Marshal(value)).([]byte)
		file = append(file, string(key)+":"+string(text))
	}
	d := json.NewDecoder(bytes.NewReader(data))
	must(d.Token())
	for d.More() {
		name, _ := must(d.Token()).(string)
		var old json.RawMessage
		must(nil, d.Decode(&old))
		value, changed := fields[name]
		delete(fields, name)
		switch {
		case !changed:
			add(name, old)
		case value != nil:
			add(name, value)
		}
	}
	for name, value := range fields {
		if value != nil {
			add(name, value)
		}
	}
	return []byte("{" + strings.Join(file, ",") + "}")
}

// A refusal is a file that is refused.
type refusal struct {
	name string
	data []byte
	want error
	text string // in the error
}

func (r refusal) check(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, r.want) || !strings.Contains(err.Error(), r.text) {
		t.Errorf("%s: %v, want %v with %q", r.name, err, r.want, r.text)
	}
	for _, other := range []error{attestation.ErrMalformed, attestation.ErrVersion, attestation.ErrClaims} {
		if other != r.want && errors.Is(err, other) {
			t.Errorf("%s: the error also wraps %q", r.name, other)
		}
	}
	if err != nil && len(err.Error()) > 400 {
		t.Errorf("%s: the error has %d bytes", r.name, len(err.Error()))
	}
}

// fileRefusals are those of both kinds of files. good is a file, and other one of the
// other kind.
func fileRefusals(t *testing.T, good, other []byte) []refusal {
	malformed, text := attestation.ErrMalformed, string(good)
	change := func(fields map[string]any) []byte { return with(t, good, fields) }
	all := []refusal{
		{"nothing", nil, malformed, "it is not"},
		{"space", []byte(" \n"), malformed, "it is not"},
		{"text", []byte("evidence"), malformed, "it is not"},
		{"binary", []byte{0xff, 0xd8, 0}, malformed, "it is not"},
		{"a certificate", signertest.CertPEM(signertest.NewCA(t, "root").Cert), malformed, "it is not"},
		{"null", []byte("null"), malformed, "it is not"},
		{"a list", []byte("[" + text + "]"), malformed, "it is not"},
		{"a number", []byte("7"), malformed, "it is not"},
		{"an empty object", []byte("{}"), malformed, "it is not"},
		{"half a file", good[:len(good)/2], malformed, "cut off"},
		{"all but the last brace", []byte(strings.TrimRight(text, "}\n")), malformed, "cut off"},
		{"text after the end", append(bytes.Clone(good), '.'), malformed, "cut off"},
		{"two files", append(bytes.Clone(good), good...), malformed, "cut off"},
		{"another type", change(map[string]any{"type": "holdfast-other"}), malformed, "it is not"},
		{"no type", change(map[string]any{"type": nil}), malformed, "it is not"},
		{"a number as the type", change(map[string]any{"type": 1}), malformed, "it is not"},
		{"the other kind", other, malformed, ", not "},
		{"no version", change(map[string]any{"version": nil}), malformed, "version 0"},
		{"version 0", change(map[string]any{"version": 0}), malformed, "version 0"},
		{"version -1", change(map[string]any{"version": -1}), malformed, "version -1"},
		{"version 2", change(map[string]any{"version": 2}), attestation.ErrVersion, "version 1"},
		{"version 2 with other fields", change(map[string]any{"version": 2, "nonce": []int{1}, "public_key": nil}), attestation.ErrVersion, "version 1"},
		{"huge version", change(map[string]any{"version": 1 << 40}), attestation.ErrVersion, "1099511627776"},
		{"version beyond all numbers", change(map[string]any{"version": json.Number("1e400")}), malformed, "cut off"},
		{"version with a fraction", change(map[string]any{"version": 1.5}), malformed, "cut off"},
		{"a text as the version", change(map[string]any{"version": "1"}), malformed, "cut off"},
		{"an unknown field", change(map[string]any{"nonce": "x"}), malformed, `unknown field "nonce`},
		{"an unknown field with a long name", change(map[string]any{strings.Repeat("nonce", 1000): "x"}), malformed, `unknown field "nonce`},
		{"a field twice", []byte(strings.Replace(text, `"version": 1`, `"version": 1, "version": 1`, 1)), malformed, "is repeated, or has no valid name"},
		{"a name in upper case", []byte(strings.Replace(text, `"version"`, `"Version"`, 1)), malformed, "is repeated, or has no valid name"},
		{"a name in upper case at the end", change(map[string]any{"version": nil, "Version": 1}), malformed, "is repeated, or has no valid name"},
		{"too large", change(map[string]any{"nonce": strings.Repeat("x", attestation.MaxSize)}), malformed, "64 KiB"},
		{"too large by spaces", append(bytes.Clone(good), bytes.Repeat([]byte(" "), attestation.MaxSize)...), malformed, "64 KiB"},
		{"nested deeply", []byte(strings.Repeat("[", attestation.MaxSize)), malformed, "it is not"},
		{"no base64", change(map[string]any{"endorsement_key": "!!"}), malformed, ""},
		{"half base64", change(map[string]any{"endorsement_key": "AAAAA"}), malformed, ""},
		{"a number for a key", change(map[string]any{"endorsement_key": 7}), malformed, `the field "endorsement_key" has`},
		{"no endorsement key", change(map[string]any{"endorsement_key": nil}), malformed, "SubjectPublicKeyInfo"},
		{"an empty endorsement key", change(map[string]any{"endorsement_key": ""}), malformed, "SubjectPublicKeyInfo"},
	}
	for name, spki := range badKeys(t) {
		all = append(all, refusal{"endorsement key: " + name, change(map[string]any{"endorsement_key": spki}), malformed, "SubjectPublicKeyInfo"})
	}
	return all
}

// badKeys are invalid as a SubjectPublicKeyInfo.
func badKeys(t *testing.T) map[string][]byte {
	spki := spkiOf(t, appKey(t))
	off := bytes.Clone(spki)
	off[len(off)-1] ^= 1
	unknown := bytes.Replace(spki, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 9}, 1)
	key, _ := signertest.Key(t, "p256").(*ecdsa.PrivateKey)
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"text": []byte("a key"), "cut": spki[:len(spki)-1], "with a tail": append(bytes.Clone(spki), 0), "a point that is not on the curve": off,
		"an unknown algorithm": unknown, "a private key": private, "a certificate": signertest.NewCA(t, "root").Cert.Raw,
	}
}

// TestParseRefuses has every refusal of Parse.
func TestParseRefuses(t *testing.T) {
	e := newEvidence(t, newParts(t, "rsa2048"))
	all := fileRefusals(t, e.Marshal(), wrapFor(t, e, []byte("chain")))
	claims, err := attestation.Claims{Device: "token", Key: appKey(t), Attributes: map[string]bool{"CKA_LOCAL": true}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, refusal{"claims", claims, attestation.ErrClaims, ""},
		refusal{"claims of a newer version", with(t, claims, map[string]any{"version": 9}), attestation.ErrClaims, ""})
	for _, r := range all {
		_, err := attestation.Parse(r.data)
		r.check(t, err)
		if errors.Is(r.want, attestation.ErrVersion) || errors.Is(r.want, attestation.ErrClaims) {
			wantHint(t, err)
		}
		if spki, ok := attestation.EvidenceKey(r.data); ok != errors.Is(r.want, attestation.ErrClaims) {
			t.Errorf("%s: EvidenceKey is %x, %v", r.name, spki, ok)
		}
	}
}

// TestParseWrappedRefuses has every refusal of ParseWrapped.
func TestParseWrappedRefuses(t *testing.T) {
	e := newEvidence(t, newParts(t, "rsa2048"))
	good := wrapFor(t, e, []byte("chain"))
	all := fileRefusals(t, good, e.Marshal())
	for name, spki := range badKeys(t) {
		all = append(all, refusal{"key: " + name, with(t, good, map[string]any{"public_key": spki}), attestation.ErrMalformed, "SubjectPublicKeyInfo"})
	}
	all = append(all,
		refusal{"no key", with(t, good, map[string]any{"public_key": nil}), attestation.ErrMalformed, "SubjectPublicKeyInfo"},
		refusal{"a list for the certificate", with(t, good, map[string]any{"certificate": []string{"x"}}), attestation.ErrMalformed, ""},
	)
	for _, r := range all {
		_, err := attestation.ParseWrapped(r.data)
		r.check(t, err)
		if spki, ok := attestation.WrappedKey(r.data); ok {
			t.Errorf("%s: WrappedKey is %x", r.name, spki)
		}
	}
	for data, want := range map[string]bool{
		string(with(t, good, map[string]any{"version": 7})):        true,
		string(with(t, good, map[string]any{"certificate": 7})):    true,
		string(with(t, good, map[string]any{"public_key": "!!"})):  true,
		string(with(t, good, map[string]any{"type": "something"})): false,
		string(e.Marshal()):        true,
		string(good[:len(good)/2]): true,
		string(append(bytes.Clone(good), make([]byte, attestation.MaxSize)...)): true,
		"":                               false,
		"{":                              false,
		`"holdfast-wrapped-certificate"`: false,
	} {
		if got := attestation.IsFile([]byte(data)); got != want {
			t.Errorf("IsFile(%.40q) = %v", data, got)
		}
	}
}
