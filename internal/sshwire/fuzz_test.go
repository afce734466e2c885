package sshwire

import (
	"bytes"
	"testing"
)

// FuzzParse: what a decoder accepts has one encoding, which it was decoded from.
func FuzzParse(f *testing.F) {
	message := []byte("message")
	for _, key := range keys(f) {
		blob, err := MarshalPublicKey(key.Public())
		if err != nil {
			f.Fatal(err)
		}
		a := Algorithms(key.Public())[0]
		signature, err := MarshalSignature(key.Public(), a.Name, sign(f, key, a.Hash, message))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blob, signature)
		f.Add(MarshalIdentities([]Identity{{blob, "comment"}}), signature)
		f.Add(Signing{blob, message, a.Flags}.Marshal(), signature)
		f.Add([]byte(FormatPublicKey(blob, "comment")), signature)
		var b Builder
		b.Text(TypeOf(key.Public()) + certificateSuffix)
		b.Text("nonce")
		b.Raw(blob[4+len(TypeOf(key.Public())):])
		b.Uint64(1)
		f.Add(b.Data(), signature)
	}
	f.Fuzz(func(t *testing.T, data, signature []byte) {
		if pub, err := ParsePublicKey(data); err == nil {
			if again, err := MarshalPublicKey(pub); err != nil || !bytes.Equal(again, data) {
				t.Errorf("key %x becomes %x, %v", data, again, err)
			}
			if a, decoded, err := ParseSignature(pub, signature); err == nil {
				// An RSA signature gets leading zeros.
				again, err := MarshalSignature(pub, a, decoded)
				if err != nil || TypeOf(pub) != RSA && !bytes.Equal(again, signature) {
					t.Errorf("signature %x becomes %x, %v", signature, again, err)
				}
			}
		}
		if pub, _, ok, err := ParseCertificate(data); ok && err == nil && TypeOf(pub) == "" {
			t.Error("a certified key has no type")
		}
		if ids, err := ParseIdentities(data); err == nil && !bytes.Equal(MarshalIdentities(ids), data) {
			t.Errorf("list %x becomes %x", data, MarshalIdentities(ids))
		}
		if s, err := ParseSigning(data); err == nil && !bytes.Equal(s.Marshal(), data) {
			t.Errorf("request %x becomes %x", data, s.Marshal())
		}
		if blob, comment, err := ParsePublicKeyText(data); err == nil {
			if again, _, err := ParsePublicKeyText([]byte(FormatPublicKey(blob, comment))); err != nil || !bytes.Equal(again, blob) {
				t.Errorf("text %q: %v", data, err)
			}
		}
		if kind, contents, err := ReadMessage(bytes.NewReader(data)); err == nil {
			var w bytes.Buffer
			if err := WriteMessage(&w, kind, contents); err != nil || !bytes.HasPrefix(data, w.Bytes()) {
				t.Errorf("message %x becomes %x, %v", data, w.Bytes(), err)
			}
		}
	})
}
