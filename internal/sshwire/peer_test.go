package sshwire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// keys returns a key of each type.
func keys(tb testing.TB) map[string]crypto.Signer {
	tb.Helper()
	all := make(map[string]crypto.Signer)
	for name, of := range map[string]string{RSA: "rsa2048", P256: "p256", P384: "p384", P521: "p521", Ed25519: "ed25519"} {
		all[name] = signertest.Key(tb, of)
	}
	return all
}

// sign signs message with key and the hash of an algorithm.
func sign(tb testing.TB, key crypto.Signer, hash crypto.Hash, message []byte) []byte {
	tb.Helper()
	signature, err := crypto.SignMessage(key, rand.Reader, message, hash)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

// TestPeer compares the encodings with those of golang.org/x/crypto/ssh.
func TestPeer(t *testing.T) {
	message := []byte("message")
	for name, key := range keys(t) {
		t.Run(name, func(t *testing.T) {
			peer, err := ssh.NewPublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			blob, err := MarshalPublicKey(key.Public())
			if err != nil || !bytes.Equal(blob, peer.Marshal()) {
				t.Fatalf("blob %x, %v", blob, err)
			}
			pub, err := ParsePublicKey(blob)
			if err != nil || !pub.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
				t.Fatalf("%v, %v", pub, err)
			}
			if got, ok := KeyType(blob); got != name || !ok || TypeOf(pub) != name {
				t.Errorf("type %q, %t, %q", got, ok, TypeOf(pub))
			}
			if got := FingerprintOf(blob).String(); got != ssh.FingerprintSHA256(peer) {
				t.Errorf("fingerprint %s", got)
			}
			if got := FormatPublicKey(blob, "") + "\n"; got != string(ssh.MarshalAuthorizedKey(peer)) {
				t.Errorf("text %s", got)
			}
			for n := range blob {
				if _, err := ParsePublicKey(blob[:n]); err == nil {
					t.Errorf("%d bytes were enough", n)
				}
			}
			if _, err := ParsePublicKey(append(blob[:len(blob):len(blob)], 0)); err == nil {
				t.Error("a byte too many is accepted")
			}

			algorithms := Algorithms(pub)
			if len(algorithms) == 0 {
				t.Error("no algorithm")
			}
			for _, a := range algorithms {
				signature := sign(t, key, a.Hash, message)
				blob, err := MarshalSignature(pub, a.Name, signature)
				if err != nil {
					t.Fatal(err)
				}
				var peerSignature ssh.Signature
				if err := ssh.Unmarshal(blob, &peerSignature); err != nil {
					t.Fatal(err)
				}
				if err := peer.Verify(message, &peerSignature); err != nil {
					t.Errorf("%s: %v", a.Name, err)
				}
				algorithm, again, err := ParseSignature(pub, blob)
				if algorithm != a.Name || !bytes.Equal(again, signature) || err != nil {
					t.Errorf("%s: %s, %x, %v", a.Name, algorithm, again, err)
				}
				for n := range blob {
					if _, _, err := ParseSignature(pub, blob[:n]); err == nil {
						t.Errorf("%s: %d bytes were enough", a.Name, n)
					}
				}
				if _, _, err := ParseSignature(pub, append(blob, 0)); err == nil {
					t.Errorf("%s: a byte too many is accepted", a.Name)
				}
			}
		})
	}
}

// TestKeygen reads keys and certificates that ssh-keygen makes.
func TestKeygen(t *testing.T) {
	keygen := signertest.Require(t, "openssh", "ssh-keygen")
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(keygen, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	text := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	run("-q", "-t", "ed25519", "-N", "", "-f", "ca")
	for _, c := range []struct {
		name string
		args []string
	}{
		{RSA, []string{"-t", "rsa", "-b", "3072"}},
		{P256, []string{"-t", "ecdsa", "-b", "256"}},
		{P384, []string{"-t", "ecdsa", "-b", "384"}},
		{P521, []string{"-t", "ecdsa", "-b", "521"}},
		{Ed25519, []string{"-t", "ed25519"}},
	} {
		run(append(c.args, "-q", "-N", "", "-C", "a comment", "-f", c.name)...)
		blob, comment, err := ParsePublicKeyText(text(c.name + ".pub"))
		if err != nil || comment != "a comment" {
			t.Errorf("%s: comment %q, %v", c.name, comment, err)
			continue
		}
		if got := FormatPublicKey(blob, comment) + "\n"; got != string(text(c.name+".pub")) {
			t.Errorf("%s: text %s", c.name, got)
		}
		pub, err := ParsePublicKey(blob)
		if err != nil || TypeOf(pub) != c.name {
			t.Errorf("%s: %v, %v", c.name, pub, err)
			continue
		}
		if got := FingerprintOf(blob).String(); !strings.Contains(run("-l", "-f", c.name), got) {
			t.Errorf("%s: fingerprint %s", c.name, got)
		}
		if _, _, ok, err := ParseCertificate(blob); ok || err != nil {
			t.Errorf("%s: a key is taken for a certificate: %v", c.name, err)
		}

		run("-q", "-s", "ca", "-I", "id", "-n", "user", "-z", "7", c.name+".pub")
		certificate, _, err := ParsePublicKeyText(text(c.name + "-cert.pub"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePublicKey(certificate); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: a certificate as a key: %v", c.name, err)
		}
		certified, rest, ok, err := ParseCertificate(certificate)
		if !ok || err != nil || !certified.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
			t.Errorf("%s: certified key %v, %t, %v", c.name, certified, ok, err)
		}
		if serial := NewReader(rest).Uint64(); serial != 7 {
			t.Errorf("%s: serial number %d", c.name, serial)
		}
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	n, e := new(big.Int).Lsh(big.NewInt(1), 2047), big.NewInt(65537)
	n.SetBit(n, 0, 1)
	rsaBlob := func(e, n *big.Int) []byte {
		var b Builder
		b.Text(RSA)
		b.Mpint(e)
		b.Mpint(n)
		return b.Data()
	}
	bits := func(size uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), size-1)
		return n.SetBit(n, 0, 1)
	}
	texts := func(fields ...string) []byte {
		var b Builder
		for _, f := range fields {
			b.Text(f)
		}
		return b.Data()
	}
	point := string(bytes.Repeat([]byte{4}, 65))
	for _, c := range []struct {
		name        string
		blob        []byte
		ok          bool
		unsupported bool
	}{
		{"RSA", rsaBlob(e, n), true, false},
		{"smallest RSA", rsaBlob(e, bits(1024)), true, false},
		{"largest RSA", rsaBlob(e, bits(16384)), true, false},
		{"too small RSA", rsaBlob(e, bits(1023)), false, false},
		{"too large RSA", rsaBlob(e, bits(16385)), false, false},
		{"even modulus", rsaBlob(e, new(big.Int).Lsh(n, 1)), false, false},
		{"exponent 3", rsaBlob(big.NewInt(3), n), true, false},
		{"exponent 0", rsaBlob(new(big.Int), n), false, false},
		{"exponent 1", rsaBlob(big.NewInt(1), n), false, false},
		{"even exponent", rsaBlob(big.NewInt(4), n), false, false},
		{"exponent of 32 bits", rsaBlob(big.NewInt(1<<31+1), n), false, false},
		{"exponent of 65 bits", rsaBlob(bits(65), n), false, false},
		{"negative modulus", append(texts(RSA), append([]byte{0, 0, 0, 1, 3}, texts(string(append([]byte{0x80}, n.Bytes()[1:]...)))...)...), false, false},
		{"point that is not on the curve", texts(P256, "nistp256", point), false, false},
		{"compressed point", texts(P256, "nistp256", "\x02"+point[:32]), false, false},
		{"point at infinity", texts(P256, "nistp256", "\x00"), false, false},
		{"another curve", texts(P256, "nistp384", point), false, false},
		{"short Ed25519", texts(Ed25519, strings.Repeat("x", 31)), false, false},
		{"long Ed25519", texts(Ed25519, strings.Repeat("x", 33)), false, false},
		{"empty", nil, false, false},
		{"empty type", texts(""), false, true},
		{"DSA", texts("ssh-dss", "1"), false, true},
		{"security key", texts("sk-ssh-ed25519@openssh.com", strings.Repeat("x", 32), "ssh:"), false, true},
		{"long type", texts(strings.Repeat("x", 1<<16)), false, true},
	} {
		_, err := ParsePublicKey(c.blob)
		if (err == nil) != c.ok || errors.Is(err, errors.ErrUnsupported) != c.unsupported {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%s: the error has %d bytes", c.name, len(err.Error()))
		}
	}
	for _, pub := range []crypto.PublicKey{nil, "key", ed25519.PublicKey{1}, &rsa.PublicKey{N: bits(512), E: 3},
		&ecdsa.PublicKey{Curve: elliptic.P224()}} {
		if _, err := MarshalPublicKey(pub); err == nil {
			t.Errorf("%T is encoded", pub)
		}
	}
	if Algorithms("key") != nil {
		t.Error("a key without a type has algorithms")
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	var b Builder
	b.Text("ssh-dss" + certificateSuffix)
	b.Text("nonce")
	if _, _, ok, err := ParseCertificate(b.Data()); !ok || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("DSA: %t, %v", ok, err)
	}
	b = Builder{}
	b.Text(Ed25519 + certificateSuffix)
	b.Text("nonce")
	b.Text("short")
	if _, _, ok, err := ParseCertificate(b.Data()); !ok || err == nil {
		t.Errorf("short key: %t, %v", ok, err)
	}
	if _, _, ok, err := ParseCertificate([]byte("x")); ok || err != nil {
		t.Errorf("no blob: %t, %v", ok, err)
	}
}

func TestSignatures(t *testing.T) {
	all := keys(t)
	rsaKey := all[RSA].Public().(*rsa.PublicKey)
	ec := all[P256].Public().(*ecdsa.PublicKey)
	blob := func(contents []byte) []byte {
		var b Builder
		b.Text("algorithm")
		b.Bytes(contents)
		return b.Data()
	}
	pair := func(r, s *big.Int) []byte {
		var b Builder
		b.Mpint(r)
		b.Mpint(s)
		return blob(b.Data())
	}
	one, order := big.NewInt(1), ec.Params().N
	for _, c := range []struct {
		name string
		pub  crypto.PublicKey
		blob []byte
		size int // 0: refused
	}{
		{"short RSA", rsaKey, blob([]byte{1}), 256},
		{"full RSA", rsaKey, blob(make([]byte, 256)), 256},
		{"long RSA", rsaKey, blob(make([]byte, 257)), 0},
		{"ECDSA", ec, pair(one, one), 8},
		{"ECDSA with 0", ec, pair(one, new(big.Int)), 0},
		{"ECDSA with the order", ec, pair(order, one), 0},
		{"ECDSA with DER", ec, blob([]byte{0x30, 6, 2, 1, 1, 2, 1, 1}), 0},
		{"ECDSA with a field too many", ec, blob([]byte{0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0}), 0},
		{"ECDSA with a negative number", ec, blob([]byte{0, 0, 0, 1, 0x81, 0, 0, 0, 1, 1}), 0},
		{"long Ed25519", all[Ed25519].Public(), blob(make([]byte, 65)), 0},
		{"another key", "key", blob(nil), 0},
		{"empty", rsaKey, nil, 0},
	} {
		if _, got, err := ParseSignature(c.pub, c.blob); len(got) != c.size || (err == nil) != (c.size > 0) {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
	}
	for name, c := range map[string]struct {
		pub       crypto.PublicKey
		signature []byte
	}{
		"short RSA":              {rsaKey, make([]byte, 255)},
		"ECDSA without DER":      {ec, []byte("signature")},
		"ECDSA with a long tail": {ec, []byte{0x30, 6, 2, 1, 1, 2, 1, 1, 0}},
		"ECDSA with 0":           {ec, []byte{0x30, 6, 2, 1, 1, 2, 1, 0}},
		"short Ed25519":          {all[Ed25519].Public(), make([]byte, 63)},
		"another key":            {"key", nil},
	} {
		if got, err := MarshalSignature(c.pub, "algorithm", c.signature); err == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}

func TestFingerprint(t *testing.T) {
	f := FingerprintOf([]byte("blob"))
	text := f.String()
	for _, ok := range []string{text, text + "=", strings.TrimPrefix(text, "SHA256:"), strings.TrimPrefix(text, "SHA256:") + "="} {
		if got, err := ParseFingerprint(ok); got != f || err != nil {
			t.Errorf("%s: %v, %v", ok, got, err)
		}
	}
	for _, bad := range []string{"", "SHA256:", text[:len(text)-1], text + "==", text + "A", "sha256:" + text[7:], "MD5:" + text[7:],
		text[:20] + "\n" + text[20:], text[:len(text)-1] + "\n", text[:len(text)-1] + "B", fmt.Sprintf("%x", f[:])} {
		if got, err := ParseFingerprint(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func TestPublicKeyText(t *testing.T) {
	blob, err := MarshalPublicKey(keys(t)[Ed25519].Public())
	if err != nil {
		t.Fatal(err)
	}
	line := FormatPublicKey(blob, "")
	if got := FormatPublicKey(blob, "a\n\x1b[mü\u0085"); got != line+" a??[mü?" {
		t.Errorf("%q", got)
	}
	for _, c := range []struct{ text, comment string }{
		{line, ""},
		{line + " a comment \r\n", "a comment"},
		{"# key\n\n " + line + "\n#\n", ""},
		{strings.ReplaceAll(line, " ", "\t ") + "\tx", "x"},
	} {
		if got, comment, err := ParsePublicKeyText([]byte(c.text)); !bytes.Equal(got, blob) || comment != c.comment || err != nil {
			t.Errorf("%q: %x, %q, %v", c.text, got, comment, err)
		}
	}
	for _, bad := range []string{"", "\n#\n", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !", "x " + line, line + "\n" + line,
		strings.Replace(line, "ssh-ed25519", "ssh-rsa", 1), "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"} {
		if got, _, err := ParsePublicKeyText([]byte(bad)); err == nil || got != nil {
			t.Errorf("%q: %x, %v", bad, got, err)
		}
	}
}
