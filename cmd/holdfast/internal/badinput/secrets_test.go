//go:build linux

package badinput

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// An encryption is that of a PKCS #8 key, which a case makes bad.
type encryption struct {
	kdf     asn1.ObjectIdentifier
	params  any
	cipher  asn1.ObjectIdentifier
	iv, key []byte
}

var (
	oidTestPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidTestPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidTestScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidTestAES256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	oidTestSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidTestOther  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
)

type (
	testPBKDF2 struct {
		Salt  []byte
		Count int
		PRF   pkix.AlgorithmIdentifier
	}
	testScrypt struct {
		Salt    []byte
		N, R, P int
	}
)

// encrypted returns an EncryptedPrivateKeyInfo (RFC 5958, section 3) of 128
// bytes of nothing, with PBES2.
func encrypted(t testing.TB, change func(*encryption)) []byte {
	t.Helper()
	e := encryption{oidTestPBKDF2, testPBKDF2{make([]byte, 8), 2048, pkix.AlgorithmIdentifier{Algorithm: oidTestSHA256}}, oidTestAES256, make([]byte, 16), make([]byte, 128)}
	change(&e)
	params := struct{ KDF, Cipher asn1.RawValue }{algorithm(t, e.kdf, e.params), algorithm(t, e.cipher, e.iv)}
	der, err := asn1.Marshal(struct {
		Algorithm asn1.RawValue
		Data      []byte
	}{algorithm(t, oidTestPBES2, params), e.key})
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("ENCRYPTED PRIVATE KEY", der)
}

// algorithm returns an AlgorithmIdentifier (RFC 5280, section 4.1.1.2).
func algorithm(t testing.TB, id asn1.ObjectIdentifier, params any) asn1.RawValue {
	t.Helper()
	first, err := asn1.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	second, err := asn1.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(first, second...)}
}

// keyAsText is the start of a PKCS #8 key of P-256 in base64.
const keyAsText = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2OF2NxApJ"

func encryptedKeyCases(*pki) []badInput {
	good := openssl("pkcs8", "-topk8", "-in", "plain.pem", "-out", "key.pem", "-passout", "env:PW")
	pin := func(name string, data string) func(*scene) { return steps(good, write(name, []byte(data))) }
	source := func(s string) []string { return []string{"--pin-source", s} }
	forged := func(change func(*encryption)) func(*scene) {
		return func(s *scene) { s.write("key.pem", encrypted(s, change)) }
	}
	env := []string{"PIN=" + testPassword}
	all := []badInput{
		{name: "password wrong", setup: good, args: []string{"--pkcs8-password", "closesesame"}, secret: "closesesame", code: front.ExitPIN, culprit: "key.pem", hint: "password"},
		{name: "password from nowhere", setup: good, code: front.ExitPIN, culprit: "key.pem", hint: "--pin-source"},
		{name: "password by prompt without a terminal", setup: good, args: source("prompt"), code: front.ExitPIN, culprit: "terminal", hint: "--pin-source"},
		{name: "password empty", setup: good, args: []string{"--pkcs8-password="}, code: front.ExitPIN, culprit: "key.pem", hint: "--pin-source"},
		{name: "password file missing", setup: good, args: source("file:pin"), code: front.ExitPIN, culprit: "pin-source pin", hint: "one line"},
		{name: "password file empty", setup: pin("pin", ""), args: source("file:pin"), code: front.ExitPIN, culprit: "pin-source pin", hint: "one line"},
		{name: "password file with a line end alone", setup: pin("pin", "\r\n"), args: source("file:pin"), code: front.ExitPIN, culprit: "pin-source pin", hint: "one line"},
		{name: "password file of two lines", setup: pin("pin", testPassword+"\nclosesesame\n"), args: source("pin"), secret: "closesesame", code: front.ExitPIN, culprit: "pin-source pin", hint: "one line"},
		{name: "password file of 1 MiB", setup: pin("pin", strings.Repeat("x", 1<<20)), args: source("pin"), code: front.ExitPIN, culprit: "pin-source pin", hint: "one line"},
		{name: "password file is a folder", setup: steps(good, func(s *scene) { s.must(os.Mkdir(s.path("pin"), 0o700)) }), args: source("file:pin"), code: front.ExitPIN, culprit: "pin-source pin", hint: "name a file in it"},
		{name: "password file is a FIFO", setup: steps(good, func(s *scene) { s.must(syscall.Mkfifo(s.path("pin"), 0o600)) }), args: source("file:pin"), code: front.ExitPIN, culprit: "pin-source pin", hint: "regular file"},
		{name: "password file is endless", setup: good, args: source("file:/dev/zero"), code: front.ExitPIN, culprit: "/dev/zero", hint: "file"},
		{name: "password file of another key", setup: pin("pin", "closesesame\n"), args: source("file:pin"), secret: "closesesame", code: front.ExitPIN, culprit: "key.pem", hint: "newline"},
		{name: "password file open to all", setup: steps(pin("pin", "closesesame\n"), func(s *scene) { s.must(os.Chmod(s.path("pin"), 0o644)) }),
			args: source("file:pin"), warning: "chmod 600", secret: "closesesame", code: front.ExitPIN, culprit: "key.pem", hint: "newline"},
		{name: "password as its source", setup: good, args: source("closesesame"), secret: "closesesame", code: front.ExitPIN, culprit: "pin-source", hint: "file:PATH or env:NAME"},
		{name: "password as its source, with a colon", setup: good, args: source("closesesame:1"), secret: "closesesame", code: front.ExitUsage, culprit: "pin-source", hint: "env:NAME"},
		{name: "password that is a word of the hint", setup: good, args: source("pass:secret"), code: front.ExitUsage, culprit: "pass:…", hint: "for a sealed secret,"},
		{name: "key as its name", args: []string{"--private-key", keyAsText}, secret: keyAsText, code: front.ExitUsage, culprit: "base64", hint: "env:NAME"},
		{name: "key as the name of a variable", args: []string{"--private-key", "env:" + keyAsText}, secret: keyAsText, code: front.ExitUsage, culprit: "env:…", hint: "env:NAME"},
		{name: "part of a key as its name", args: []string{"--private-key", keyAsText[4:]}, secret: keyAsText[4:], code: front.ExitNotFound, culprit: "open …", hint: "env:NAME"},
		{name: "key as an argument", args: []string{keyAsText}, secret: keyAsText, code: front.ExitUsage, culprit: "argument", hint: "--help"},
		{name: "attribute of another program", args: []string{"--private-key", "tpm:path=x;owner-auth=closesesame"}, secret: "closesesame", code: front.ExitUsage, culprit: "owner-auth", hint: "reference"},
		{name: "variable as an argument", args: []string{"APP_PIN=closesesame"}, secret: "closesesame", code: front.ExitUsage, culprit: "APP_PIN", hint: "--help"},
		{name: "password variable not set", setup: good, args: source("env:PIN"), code: front.ExitPIN, culprit: "env:PIN", hint: "export"},
		{name: "password variable empty", setup: good, args: source("env:PIN"), env: []string{"PIN="}, code: front.ExitPIN, culprit: "env:PIN", hint: "one line"},
		{name: "password variable without a name", setup: good, args: source("env:"), code: front.ExitUsage, culprit: "env:", hint: "env:NAME"},
		{name: "password source of an unknown scheme", setup: good, args: source("vault:kv/pin"), code: front.ExitUsage, culprit: "vault", hint: "env:NAME"},
		{name: "password from standard input", setup: good, args: source("-"), code: front.ExitUsage, culprit: "pin-source", hint: "env:NAME"},
		{name: "password source with bad encoding", setup: good, args: source("file:pin%zz"), code: front.ExitUsage, culprit: "pin%zz", hint: "file:PATH"},
		{name: "password from two sources", setup: good, args: append(source("env:PIN"), "--pkcs8-password", testPassword), env: env, code: front.ExitUsage, culprit: "--pkcs8-password", hint: "--pin-source"},
		{name: "password without quotes", setup: good, args: []string{"--pkcs8-password", testPassword, "closesesame"}, secret: "closesesame", code: front.ExitUsage, culprit: "argument", hint: "quotes"},

		{name: "traditional encryption", setup: openssl("ec", "-in", "plain.pem", "-aes256", "-passout", "env:PW", "-out", "key.pem"),
			code: front.ExitUnavailable, culprit: "key.pem", hint: "openssl pkcs8"},
		{name: "encrypted with PBES1", setup: openssl("pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-in", "plain.pem", "-out", "key.pem", "-passout", "env:PW"),
			code: front.ExitUnavailable, culprit: "key.pem", hint: "openssl pkcs8"},
		{name: "encrypted key cut", setup: steps(good, func(s *scene) {
			data, err := os.ReadFile(s.path("key.pem"))
			s.must(err)
			s.write("key.pem", append(data[:len(data)/2:len(data)/2], "\n-----END ENCRYPTED PRIVATE KEY-----\n"...))
		}), code: front.ExitOther, culprit: "key.pem", hint: "copy the file again"},
	}
	for _, c := range []struct {
		name   string
		change func(*encryption)
		code   int
	}{
		{"2^31-1 iterations", func(e *encryption) { p := e.params.(testPBKDF2); p.Count = 1<<31 - 1; e.params = p }, front.ExitOther},
		{"2^62 iterations", func(e *encryption) { p := e.params.(testPBKDF2); p.Count = 1 << 62; e.params = p }, front.ExitOther},
		{"no iterations", func(e *encryption) { p := e.params.(testPBKDF2); p.Count = 0; e.params = p }, front.ExitOther},
		{"unknown hash", func(e *encryption) { p := e.params.(testPBKDF2); p.PRF.Algorithm = oidTestOther; e.params = p }, front.ExitUnavailable},
		{"unknown derivation", func(e *encryption) { e.kdf = oidTestOther }, front.ExitUnavailable},
		{"derivation without parameters", func(e *encryption) { e.params = []byte{} }, front.ExitOther},
		{"unknown cipher", func(e *encryption) { e.cipher = oidTestOther }, front.ExitUnavailable},
		{"initialization vector of 8 bytes", func(e *encryption) { e.iv = e.iv[:8] }, front.ExitOther},
		{"no initialization vector", func(e *encryption) { e.iv = nil }, front.ExitOther},
		{"130 bytes", func(e *encryption) { e.key = make([]byte, 130) }, front.ExitOther},
		{"0 bytes", func(e *encryption) { e.key = nil }, front.ExitOther},
		{"scrypt of 16 GiB", func(e *encryption) { e.kdf, e.params = oidTestScrypt, testScrypt{make([]byte, 8), 1 << 24, 8, 1} }, front.ExitOther},
		{"scrypt that overflows", func(e *encryption) {
			e.kdf, e.params = oidTestScrypt, testScrypt{make([]byte, 8), 1 << 62, 1 << 30, 1 << 30}
		}, front.ExitOther},
		{"scrypt of hours", func(e *encryption) { e.kdf, e.params = oidTestScrypt, testScrypt{make([]byte, 8), 1 << 10, 8, 1 << 25} }, front.ExitOther},
		{"scrypt that is not defined", func(e *encryption) { e.kdf, e.params = oidTestScrypt, testScrypt{make([]byte, 8), 1000, 0, 1} }, front.ExitOther},
	} {
		all = append(all, badInput{name: "encrypted with " + c.name, setup: forged(c.change), args: source("env:PIN"), env: env,
			code: c.code, culprit: "key.pem", hint: "openssl pkcs8"})
	}
	return append(all, pkcs12Cases()...)
}

func pkcs12Cases() []badInput {
	pfx := openssl("pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "id.p12", "-passout", "env:PW")
	changed := func(change func(*scene, []byte) []byte) func(*scene) {
		return steps(pfx, func(s *scene) {
			data, err := os.ReadFile(s.path("id.p12"))
			s.must(err)
			s.write("id.p12", change(s, data))
		})
	}
	both := []string{"--certificate", "id.p12", "--private-key="}
	with := func(password string) []string {
		return append(both[:len(both):len(both)], "--pkcs8-password", password)
	}
	return []badInput{
		{name: "PKCS #12 without password", setup: pfx, args: both, code: front.ExitPIN, culprit: "id.p12", hint: "--pin-source"},
		{name: "PKCS #12 with a wrong password", setup: pfx, args: with("closesesame"), secret: "closesesame", code: front.ExitPIN, culprit: "id.p12", hint: "password"},
		{name: "PKCS #12 cut", setup: changed(func(_ *scene, d []byte) []byte { return d[:len(d)/2] }), args: with(testPassword), code: front.ExitOther, culprit: "id.p12", hint: "openssl"},
		{name: "PKCS #12 with a byte changed", setup: changed(func(_ *scene, d []byte) []byte {
			d[len(d)/2] ^= 0x40
			return d
		}), args: with(testPassword), code: front.ExitPIN, culprit: "id.p12", hint: "password"},
		{name: "PKCS #12 with 2^31-1 iterations", setup: changed(func(s *scene, d []byte) []byte {
			var outer struct {
				Version  int
				AuthSafe asn1.RawValue
				MAC      struct {
					Digest asn1.RawValue
					Salt   []byte
					Count  int
				}
			}
			_, err := asn1.Unmarshal(d, &outer)
			s.must(err)
			outer.MAC.Count = 1<<31 - 1
			d, err = asn1.Marshal(outer)
			s.must(err)
			return d
		}), args: with(testPassword), code: front.ExitOther, culprit: "id.p12", hint: "openssl"},
		{name: "PKCS #12 without a key", setup: openssl("pkcs12", "-export", "-nokeys", "-in", "cert.pem", "-out", "id.p12", "-passout", "env:PW"),
			args: with(testPassword), code: front.ExitNotFound, culprit: "id.p12", hint: "--private-key"},
		{name: "PKCS #12 without a certificate", setup: openssl("pkcs12", "-export", "-nocerts", "-inkey", "key.pem", "-out", "id.p12", "-passout", "env:PW"),
			args: with(testPassword), code: front.ExitNotFound, culprit: "id.p12", hint: "--certificate"},
		{name: "PKCS #12 as intermediates without password", setup: pfx, args: []string{"--intermediates", "id.p12"}, code: front.ExitPIN, culprit: "id.p12", hint: "--pin-source"},
	}
}
