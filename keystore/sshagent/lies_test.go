//go:build unix

package sshagent

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A lie is what an agent answers to a request to sign.
type lie func(c net.Conn, s sshwire.Signing)

// liar runs an agent that lists the keys ids and answers requests to sign with lie.
func liar(tb testing.TB, ids []sshwire.Identity, lie lie) string {
	return serve(tb, func(c net.Conn) {
		kind, contents, err := sshwire.ReadMessage(c)
		if err != nil {
			return
		}
		if kind == sshwire.RequestIdentities {
			_ = sshwire.WriteMessage(c, sshwire.IdentitiesAnswer, sshwire.MarshalIdentities(ids))
			return
		}
		s, err := sshwire.ParseSigning(contents)
		if err != nil {
			tb.Errorf("request to sign: %v", err)
			return
		}
		lie(c, s)
	})
}

func identity(tb testing.TB, pub crypto.PublicKey) sshwire.Identity {
	tb.Helper()
	return sshwire.Identity{Blob: listOf(tb, pub, "").blob, Comment: "key"}
}

// answer writes the answer with a signature.
func answer(c net.Conn, pub crypto.PublicKey, algorithm string, signature []byte) {
	blob, err := sshwire.MarshalSignature(pub, algorithm, signature)
	if err != nil {
		panic(err)
	}
	var b sshwire.Builder
	b.Bytes(blob)
	_ = sshwire.WriteMessage(c, sshwire.SignResponse, b.Data())
}

// raw writes bytes.
func raw(parts ...string) lie {
	return func(c net.Conn, _ sshwire.Signing) { _, _ = io.WriteString(c, strings.Join(parts, "")) }
}

// honest signs with key.
func honest(tb testing.TB, key crypto.Signer) lie {
	return func(c net.Conn, s sshwire.Signing) {
		for _, a := range sshwire.Algorithms(key.Public()) {
			if a.Flags == s.Flags {
				signature, err := crypto.SignMessage(key, rand.Reader, s.Message, a.Hash)
				if err != nil {
					tb.Error(err)
				}
				answer(c, key.Public(), a.Name, signature)
				return
			}
		}
	}
}

// TestLies: nothing that an agent says leads to a wrong signature.
func TestLies(t *testing.T) {
	p256, other, rsaKey := signertest.Key(t, "p256"), signertest.NewKey(t, "p256"), signertest.Key(t, "rsa2048")
	signOf := func(key crypto.Signer, message []byte, hash crypto.Hash) []byte {
		signature, err := crypto.SignMessage(key, rand.Reader, message, hash)
		if err != nil {
			t.Error(err)
		}
		return signature
	}
	ones := bytes.Repeat([]byte{1}, 64)
	for _, c := range []struct {
		name string
		key  crypto.Signer
		lie  lie
		text string // of the error; "": it signs
	}{
		{"honest", p256, honest(t, p256), ""},
		{"honest with RSA", rsaKey, honest(t, rsaKey), ""},
		{"closes", p256, raw(), "closed the connection"},
		{"closes in the length", p256, raw("\x00\x00"), "closed the connection"},
		{"closes in the middle", p256, raw("\x00\x00\x01\x00\x0e\x00"), "closed the connection"},
		{"1 GB", p256, raw("\x40\x00\x00\x00\x0e"), "bytes; at most 262144 are allowed"},
		{"4 GB", p256, raw("\xff\xff\xff\xff\x0e"), "bytes; at most 262144 are allowed"},
		{"empty message", p256, raw("\x00\x00\x00\x00"), "empty"},
		{"garbage", p256, raw(strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 100)), "bytes; at most"},
		{"wrong type", p256, raw("\x00\x00\x00\x01\x0c"), "type 12 instead of 14"},
		{"success", p256, raw("\x00\x00\x00\x01\x06"), "type 6 instead of 14"},
		{"failure", p256, raw("\x00\x00\x00\x01\x05"), "refused"},
		{"extension failure", p256, raw("\x00\x00\x00\x01\x1c"), "refused"},
		{"no signature", p256, raw("\x00\x00\x00\x01\x0e"), "not one of an ssh-agent"},
		{"empty signature", p256, raw("\x00\x00\x00\x05\x0e\x00\x00\x00\x00"), "not one of an ssh-agent"},
		{"length in the signature", p256, raw("\x00\x00\x00\x05\x0e\xff\xff\xff\xff"), "not one of an ssh-agent"},
		{"signature of another key", p256, honest(t, other), "does not verify"},
		{"signature of another message", p256, func(c net.Conn, _ sshwire.Signing) {
			answer(c, p256.Public(), sshwire.P256, signOf(p256, []byte("another"), crypto.SHA256))
		}, "does not verify"},
		{"signature with another hash", p256, func(c net.Conn, s sshwire.Signing) {
			answer(c, p256.Public(), sshwire.P256, signOf(p256, s.Message, crypto.SHA384))
		}, "does not verify"},
		{"signature with another name", p256, func(c net.Conn, s sshwire.Signing) {
			answer(c, p256.Public(), sshwire.P384, signOf(p256, s.Message, crypto.SHA256))
		}, "ecdsa-sha2-nistp384"},
		{"signature of another type of key", p256, func(c net.Conn, s sshwire.Signing) {
			answer(c, ed25519.PublicKey(ones[:32]), sshwire.P256, ones)
		}, "not one of an ssh-agent"},
		{"SHA-1", rsaKey, func(c net.Conn, s sshwire.Signing) {
			if s.Flags != sshwire.FlagRSASHA256 {
				t.Errorf("flags %d", s.Flags)
			}
			answer(c, rsaKey.Public(), sshwire.RSA, signOf(rsaKey, s.Message, crypto.SHA1))
		}, `made a signature with "ssh-rsa" instead of rsa-sha2-256`},
		{"SHA-1 with another name", rsaKey, func(c net.Conn, s sshwire.Signing) {
			answer(c, rsaKey.Public(), "rsa-sha2-256", signOf(rsaKey, s.Message, crypto.SHA1))
		}, "does not verify"},
		{"SHA-512", rsaKey, func(c net.Conn, s sshwire.Signing) {
			answer(c, rsaKey.Public(), "rsa-sha2-512", signOf(rsaKey, s.Message, crypto.SHA512))
		}, "rsa-sha2-512"},
		{"RSA zeros", rsaKey, func(c net.Conn, s sshwire.Signing) {
			answer(c, rsaKey.Public(), "rsa-sha2-256", make([]byte, rsaKey.Public().(*rsa.PublicKey).Size()))
		}, "does not verify"},
		{"name of 200 KB", rsaKey, func(c net.Conn, s sshwire.Signing) {
			answer(c, rsaKey.Public(), strings.Repeat("\x1b", 200<<10), make([]byte, 256))
		}, "instead of rsa-sha2-256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			socket := liar(t, []sshwire.Identity{identity(t, c.key.Public())}, c.lie)
			k := open(t, refTo(t, socket, c.key.Public()), keystore.Call{})
			signature, err := k.SignMessage(nil, []byte("message"), crypto.SHA256)
			switch {
			case c.text == "":
				if err != nil {
					t.Error(err)
				}
			case err == nil || signature != nil || !strings.Contains(err.Error(), c.text) || signer.Hint(err) == "":
				t.Errorf("signature %x, error %v, hint %q", signature, err, signer.Hint(err))
			case len(err.Error()) > 500 || strings.Contains(err.Error(), "\x1b"):
				t.Errorf("error %q", err)
			}
		})
	}
}

// TestListLies: what an agent answers instead of a list of keys.
func TestListLies(t *testing.T) {
	p256 := signertest.Key(t, "p256").Public()
	header := func(n int, rest string) string {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(rest)+5))
		return string(binary.BigEndian.AppendUint32(append(b, 12), uint32(n))) + rest
	}
	good := sshwire.MarshalIdentities([]sshwire.Identity{identity(t, p256)})
	for _, c := range []struct{ name, answer, text string }{
		{"good", header(1, string(good[4:])), ""},
		{"closes", "", "closed the connection"},
		{"failure", "\x00\x00\x00\x01\x05", "refused"},
		{"wrong type", "\x00\x00\x00\x01\x06", "type 6 instead of 12"},
		{"1 GB", "\x40\x00\x00\x00\x0c", "bytes; at most 262144 are allowed"},
		{"a key too few", header(2, string(good[4:])), "data ends within a field"},
		{"a key too many", header(1, string(good[4:])+string(good[4:])), "after the last field"},
		{"4,294,967,295 keys", header(-1, string(good[4:])), "at most 2048"},
		{"no count", "\x00\x00\x00\x02\x0c\x00", "data ends within a field"},
		{"garbage", "no agent listens here\r\n", "at most 262144"},
	} {
		socket := serve(t, func(conn net.Conn) {
			if _, _, err := sshwire.ReadMessage(conn); err == nil {
				_, _ = io.WriteString(conn, c.answer)
			}
		})
		s, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "socket=" + socket}, keystore.Call{})
		if (err == nil) != (c.text == "") || err != nil && (s != nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), socket) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
