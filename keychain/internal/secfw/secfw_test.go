//go:build linux && (amd64 || arm64)

package secfw_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/keychain/internal/fakesec"
	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keychain/internal/secfw"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	ecdsaSHA256 = "kSecKeyAlgorithmECDSASignatureDigestX962SHA256"
	pkcs1SHA384 = "kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA384"
	pssSHA512   = "kSecKeyAlgorithmRSASignatureDigestPSSSHA512"
)

var digest256 = sha256.Sum256([]byte("message"))

// certificate returns a certificate for key, in DER.
func certificate(tb testing.TB, key crypto.Signer) []byte {
	tb.Helper()
	return signertest.NewCA(tb, "root").Issue(tb, key, nil).Raw
}

// add adds an identity with a key of a kind and returns its certificate.
func add(tb testing.TB, d *fakesec.Double, scope native.Scope, kind, label, token string) []byte {
	tb.Helper()
	key := signertest.Key(tb, kind)
	der := certificate(tb, key)
	d.Add(tb, fakesec.Item{Scope: scope, Label: label, Token: token, Certificate: der, Key: key})
	return der
}

// identities lists a scope, and releases everything when the test ends.
func identities(tb testing.TB, d *fakesec.Double, scope native.Scope) []native.Identity {
	tb.Helper()
	all, err := d.API.Identities(scope)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for _, id := range all {
			if id.Handle != nil {
				id.Handle.Release()
			}
		}
	})
	return all
}

// oneKey adds an identity to the file keychains and returns its key.
func oneKey(tb testing.TB, d *fakesec.Double, kind string) native.Key {
	tb.Helper()
	add(tb, d, native.Files, kind, "k", "")
	key, err := identities(tb, d, native.Files)[0].Handle.Key()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(key.Release)
	return key
}

func TestIdentities(t *testing.T) {
	d := fakesec.New(t)
	const label = "Ünïcode “label” 𝄞"
	der := add(t, d, native.Files, "p256", label, "")
	add(t, d, native.Tokens, "rsa2048", "card", "com.apple.ctkcard:user")
	add(t, d, native.DataProtection, "rsa2048", "protected", "")
	d.Add(t, fakesec.Item{Scope: native.Files, Label: "no key", Certificate: der})
	for scope, want := range map[native.Scope][]string{
		native.Files:          {label},
		native.DataProtection: {"card", "protected"},
		native.Tokens:         {"card"},
	} {
		var got []string
		for _, id := range identities(t, d, scope) {
			got = append(got, id.Label)
			if id.Err != nil || (id.Token == "com.apple.ctkcard:user") != (id.Label == "card") {
				t.Errorf("%s: token %q, error %v", id.Label, id.Token, id.Err)
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %q, want %q", scope, got, want)
		}
	}
	if got := identities(t, d, native.Files)[0].Certificate; !bytes.Equal(got, der) {
		t.Errorf("certificate is %x, want %x", got, der)
	}
}

func TestShapesOfResults(t *testing.T) {
	for _, test := range []struct {
		name          string
		shape         int32
		items         int
		found, broken int
		label         string
	}{
		{"nothing", fakesec.AsUsual, 0, 0, 0, ""},
		{"empty array", fakesec.EmptyArray, 0, 0, 0, ""},
		{"success without a result", fakesec.NoResult, 1, 0, 0, ""},
		{"array", fakesec.AsUsual, 2, 2, 0, "k"},
		{"references without attributes", fakesec.Bare, 2, 2, 0, ""},
		{"single item instead of an array", fakesec.Single, 1, 1, 0, "k"},
		{"items of another class", fakesec.WrongClass, 2, 0, 2, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := fakesec.New(t)
			for range test.items {
				add(t, d, native.Files, "p256", "k", "")
			}
			d.Shape(test.shape)
			found, broken := 0, 0
			for _, id := range identities(t, d, native.Files) {
				if id.Err != nil {
					broken++
					continue
				}
				found++
				if id.Label != test.label || len(id.Certificate) == 0 {
					t.Errorf("label %q, certificate of %d bytes", id.Label, len(id.Certificate))
				}
			}
			if found != test.found || broken != test.broken {
				t.Errorf("%d found and %d broken, want %d and %d", found, broken, test.found, test.broken)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	d := fakesec.New(t)
	want := certificate(t, signertest.Key(t, "p256"))
	d.Add(t, fakesec.Item{Scope: native.Files, Label: "CA", Certificate: want})
	d.Add(t, fakesec.Item{Scope: native.Files, Label: "empty"})
	d.Add(t, fakesec.Item{Scope: native.Files, Label: "huge", Certificate: make([]byte, 1<<20)})
	for _, shape := range []int32{fakesec.AsUsual, fakesec.Bare} {
		d.Shape(shape)
		got, err := d.API.Certificates(native.Files)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0], want) {
			t.Errorf("shape %d: %d certificates, error %v", shape, len(got), err)
		}
	}
	d.Shape(fakesec.WrongClass)
	if got, err := d.API.Certificates(native.Files); err != nil || len(got) != 0 {
		t.Errorf("items of another class: %d certificates, error %v", len(got), err)
	}
	d.Shape(fakesec.AsUsual)
	if got, err := d.API.Certificates(native.Tokens); err != nil || len(got) != 0 {
		t.Errorf("tokens: %d certificates, error %v", len(got), err)
	}
}

// checkError fails the test unless err is the given error of macOS.
func checkError(t *testing.T, err error, call, domain string, code int, message string) {
	t.Helper()
	var e *native.Error
	if !errors.As(err, &e) || *e != (native.Error{Call: call, Domain: domain, Code: code, Message: message}) {
		t.Errorf("error %#v of %v, want %s of %s, %s %d", e, err, message, call, domain, code)
	}
}

func TestErrorsOfLists(t *testing.T) {
	d := fakesec.New(t)
	add(t, d, native.Tokens, "p256", "card", "t")
	for code, message := range map[int]string{
		-25308: "Élément “introuvable” -25308", -34018: "Élément “introuvable” -34018",
		-128: "Élément “introuvable” -128", -9999: "unknown error",
	} {
		d.FailFind(fakesec.Scope(native.Files), int32(code))
		_, err := d.API.Identities(native.Files)
		checkError(t, err, "SecItemCopyMatching", native.OSStatusDomain, code, message)
		_, err = d.API.Certificates(native.Files)
		checkError(t, err, "SecItemCopyMatching", native.OSStatusDomain, code, message)
		if n := len(identities(t, d, native.Tokens)); n != 1 {
			t.Errorf("%d identities in the other scope, want 1", n)
		}
	}
}

func TestErrorsOfIdentities(t *testing.T) {
	d := fakesec.New(t)
	add(t, d, native.Files, "p256", "k", "")
	d.FailCertificate(-25293, 0)
	checkError(t, identities(t, d, native.Files)[0].Err, "SecIdentityCopyCertificate", native.OSStatusDomain, -25293, "Élément “introuvable” -25293")
	d.FailCertificate(0, 1)
	if id := identities(t, d, native.Files)[0]; id.Err == nil || id.Handle != nil {
		t.Errorf("no certificate: %+v", id)
	}
	d.FailCertificate(0, 0)
	id := identities(t, d, native.Files)[0]
	d.FailKey(-25308, 0)
	_, err := id.Handle.Key()
	checkError(t, err, "SecIdentityCopyPrivateKey", native.OSStatusDomain, -25308, "Élément “introuvable” -25308")
	d.FailKey(0, 1)
	if key, err := id.Handle.Key(); err == nil {
		t.Errorf("no key: %v", key)
	}
}

func TestSign(t *testing.T) {
	digest384, digest512 := sha512.Sum384([]byte("message")), sha512.Sum512([]byte("message"))
	for _, test := range []struct {
		kind, algorithm string
		digest          []byte
	}{
		{"p256", ecdsaSHA256, digest256[:]},
		{"rsa2048", pkcs1SHA384, digest384[:]},
		{"rsa2048", pssSHA512, digest512[:]},
	} {
		t.Run(test.algorithm, func(t *testing.T) {
			d := fakesec.New(t)
			key := oneKey(t, d, test.kind)
			for _, stray := range []bool{false, true} {
				if stray { // a CFError together with a result is ignored
					d.SignNothing(1)
				}
				sig, err := key.Sign(test.algorithm, test.digest)
				if err != nil || len(sig) < 64 {
					t.Errorf("signature of %d bytes, error %v", len(sig), err)
				}
			}
		})
	}
}

func TestErrorsOfSign(t *testing.T) {
	d := fakesec.New(t)
	key := oneKey(t, d, "p256")
	for _, e := range []struct {
		domain string
		code   int
		text   string
	}{
		{"NSOSStatusErrorDomain", -128, "l’opération a échoué"},
		{"CryptoTokenKit", -4, "annulé"},
		{"com.apple.LocalAuthentication", -1004, ""},
	} {
		d.FailSign(e.domain, e.code, e.text)
		sig, err := key.Sign(ecdsaSHA256, digest256[:])
		checkError(t, err, "SecKeyCreateSignature", e.domain, e.code, e.text)
		if sig != nil {
			t.Errorf("signature %x together with an error", sig)
		}
	}
	d.SignNothing(0)
	_, err := key.Sign(ecdsaSHA256, digest256[:])
	checkError(t, err, "SecKeyCreateSignature", "", 0, "no reason was given")
	if _, err := key.Sign("kSecKeyAlgorithmUnknown", digest256[:]); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("unknown algorithm: %v", err)
	}
}

func TestSupports(t *testing.T) {
	d := fakesec.New(t)
	key := oneKey(t, d, "rsa2048")
	for algorithm, want := range map[string]bool{pkcs1SHA384: true, pssSHA512: true, ecdsaSHA256: false, "none": false} {
		if got := key.Supports(algorithm); got != want {
			t.Errorf("%s: %t", algorithm, got)
		}
	}
	d.Disable("PSS")
	if key.Supports(pssSHA512) || !key.Supports(pkcs1SHA384) {
		t.Error("Supports does not distinguish PSS from PKCS #1")
	}
}

// A key can be released during a signature that holds another reference.
func TestReleaseDuringSign(t *testing.T) {
	d := fakesec.New(t)
	add(t, d, native.Files, "p256", "k", "")
	key, err := identities(t, d, native.Files)[0].Handle.Key()
	if err != nil {
		t.Fatal(err)
	}
	d.Gate(1)
	key.Retain()
	signed := make(chan error)
	go func() {
		_, err := key.Sign(ecdsaSHA256, digest256[:])
		key.Release()
		signed <- err
	}()
	d.Await(1)
	key.Release()
	d.Gate(0)
	if err := <-signed; err != nil {
		t.Error(err)
	}
}

// A call that waits for the user does not block other goroutines, even with
// GOMAXPROCS=1.
func TestWaitingDoesNotBlock(t *testing.T) {
	d := fakesec.New(t)
	key := oneKey(t, d, "p256")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	d.Gate(1)
	const signers = 4
	var all sync.WaitGroup
	for range signers {
		all.Go(func() {
			if _, err := key.Sign(ecdsaSHA256, digest256[:]); err != nil {
				t.Error(err)
			}
		})
	}
	d.Await(signers)
	runtime.GC()
	d.Gate(0)
	all.Wait()
}

func TestSignConcurrently(t *testing.T) {
	d := fakesec.New(t)
	key := oneKey(t, d, "p256")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if _, err := key.Sign(ecdsaSHA256, digest256[:]); err != nil {
					t.Error(err)
				}
			}
			runtime.GC()
		})
	}
	all.Wait()
}

func TestLoadListsMissingSymbols(t *testing.T) {
	fakesec.New(t)
	_, err := secfw.Load("libc.so.6", "libc.so.6")
	if err == nil {
		t.Fatal("Load accepts libc as CoreFoundation")
	}
	for _, name := range []string{"CFRetain", "CFErrorCopyDescription", "SecItemCopyMatching", "kSecClass", "kCFBooleanTrue", "kCFTypeDictionaryValueCallBacks"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not contain %s", err, name)
		}
	}
	for _, libraries := range [][2]string{{"/nonexistent.so", "libc.so.6"}, {"libc.so.6", "/nonexistent.so"}} {
		if _, err := secfw.Load(libraries[0], libraries[1]); err == nil {
			t.Errorf("%q: no error", libraries)
		}
	}
}
