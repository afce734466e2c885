package ecp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/gob"
	"io"
	"reflect"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// FuzzServe: whatever a client sends, the process ends with the stream, and what it
// answers is a stream of gob.
func FuzzServe(f *testing.F) {
	key := fake(f, "p256")
	id, err := rotate.New(context.Background(), rotate.Config{Open: func(context.Context) (signer.Signer, error) { return key, nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encode(f, request{api + "CertificateChain", 1}, struct{}{}, request{api + "Public", 2}, struct{}{}))
	f.Add(encode(f, request{api + "Sign", 1}, SignArgs{make([]byte, 32), crypto.SHA256}))
	f.Add(encode(f, request{api + "Sign", 1}, SignArgs{make([]byte, 32), &rsa.PSSOptions{SaltLength: -1, Hash: crypto.SHA256}}))
	f.Add(encode(f, request{api + "Encrypt", 1}, EncryptArgs{make([]byte, 32), crypto.SHA256}))
	// Two values of a type that is not described, for which gob panics.
	header := func(seq byte) string { return "\x0c\xff\x80\x01\x05other\x01" + string(seq) + "\x00" }
	f.Add([]byte(".\x7f\x03\x01\x01\arequest\x01\xff\x80\x00\x01\x02\x01\rServiceMethod\x01\f\x00\x01\x03Seq\x01\x06\x00\x00\x00" +
		header(1) + "\x03\xff\x82\x00" + header(2) + "\x03\xff\x82\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := newServer(id)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_ = s.serve(context.Background(), bytes.NewReader(data), &out)
		for in := gob.NewDecoder(&out); ; {
			var answer response
			if err := in.Decode(&answer); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("%x: %v", data, err)
			}
			if err := in.DecodeValue(reflect.Value{}); err != nil {
				t.Fatalf("%x: %v", data, err)
			}
		}
	})
}
