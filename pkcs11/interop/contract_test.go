//go:build linux && cgo

package interop

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var backend pkcs11.Backend

// generated are the claims about a key that was generated on its token and is
// protected there.
const generated = "[{CKA_LOCAL true} {CKA_NEVER_EXTRACTABLE true} {CKA_ALWAYS_SENSITIVE true}]"

// A token contains the keys of a test.
type token struct {
	uri      pkcs11.URI // of the token, with its module
	pin      string
	sessions int    // Config.MaxSessions
	claims   string // about keys that were generated on it; "": generated
	unlisted bool   // isolated, it makes PSS signatures, which it does not list
}

// ref returns a reference to the key with a label and an ID; "" is omitted.
func (tok token) ref(label, id string) keystore.Ref {
	u := tok.uri
	u.Object, u.ID = label, id
	return keystore.Ref{Scheme: "pkcs11", Rest: u.String()[len("pkcs11:"):]}
}

func (tok token) call() keystore.Call { return withPIN(tok.pin) }

func withPIN(pin string) keystore.Call {
	return keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }}}
}

// generate creates a key, and installs its certificate and that of the
// intermediate CA.
func (tok token) generate(t *testing.T, ref keystore.Ref, kind keystore.KeyType) {
	t.Helper()
	key, err := backend.Generate(t.Context(), ref, keystore.KeySpec{Type: kind}, tok.call())
	if err != nil {
		t.Fatal(err)
	}
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate of "+string(kind))
	leaf := ca.Issue(t, key, nil)
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	in := keystore.Installation{Certificates: append([]*x509.Certificate{leaf}, ca.Chain()...)}
	if _, err := backend.Install(t.Context(), ref, in, tok.call()); err != nil {
		t.Fatal(err)
	}
}

// open opens a key and checks that its chain has n certificates.
func (tok token) open(t *testing.T, ref keystore.Ref, n int) signer.Signer {
	t.Helper()
	var s signer.Signer
	var err error
	if tok.sessions == 0 {
		s, err = backend.Open(t.Context(), ref, tok.call())
	} else {
		u, parseErr := pkcs11.ParseURI(ref.Scheme + ":" + ref.Rest)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		s, err = pkcs11.Open(t.Context(), pkcs11.Config{URI: u, PIN: tok.call().PIN, MaxSessions: tok.sessions})
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Chain()) != n {
		t.Errorf("chain of %d certificates, want %d", len(s.Chain()), n)
	}
	if tok.unlisted && tok.uri.Isolation == pkcs11.IsolationOn {
		return withoutPSS{s}
	}
	return s
}

// A withoutPSS makes no PSS signatures.
type withoutPSS struct{ signer.Signer }

func (s withoutPSS) SignatureSchemes() []tls.SignatureScheme {
	return s.Signer.(signer.SchemeLimiter).SignatureSchemes()
}

func (s withoutPSS) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := opts.(*rsa.PSSOptions); ok {
		return nil, errors.ErrUnsupported
	}
	return s.Signer.Sign(rand, digest, opts)
}

// checkClaims checks what the module claims about a key.
func (tok token) checkClaims(t *testing.T, ref keystore.Ref) {
	t.Helper()
	want := cmp.Or(tok.claims, generated)
	a, err := backend.Attest(t.Context(), ref, "", tok.call())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(a.Claims); got != want || a.Public == nil {
		t.Errorf("claims %s of %s, want %s", got, a.Device, want)
	}
}

// isolations are the processes in which a module runs: that of the test, and a helper.
var isolations = map[string]string{"InProcess": pkcs11.IsolationOff, "Isolated": pkcs11.IsolationOn}

// eachIsolation runs f with the token in this process and in the helper.
func eachIsolation(t *testing.T, tok token, f func(t *testing.T, tok token)) {
	t.Helper()
	pkcs11test.UseHelper(t)
	for name, isolation := range isolations {
		tok.uri.Isolation = isolation
		t.Run(name, func(t *testing.T) { f(t, tok) })
	}
}

// contract creates keys of each type on the token and runs the contract tests, with the
// module in this process and in the helper.
func contract(t *testing.T, tok token, kinds ...keystore.KeyType) {
	t.Helper()
	eachIsolation(t, tok, func(t *testing.T, tok token) {
		for _, kind := range kinds {
			t.Run(string(kind), func(t *testing.T) {
				ref := tok.ref(string(kind)+"-"+tok.uri.Isolation, "")
				tok.generate(t, ref, kind)
				tok.checkClaims(t, ref)
				signertest.Run(t, func(t *testing.T) signer.Signer { return tok.open(t, ref, 2) })
			})
		}
	})
}

// softHSM creates a SoftHSM token with a separate folder for this process. The
// test uses the token through module, or directly if module is "".
func softHSM(t *testing.T, module string) token {
	t.Helper()
	signertest.Require(t, "softhsm", "softhsm2-util")
	uri, err := pkcs11.ParseURI(pkcs11test.New(t).Token(t))
	if err != nil {
		t.Fatal(err)
	}
	if module != "" {
		uri.ModulePath = module
	}
	return token{uri: uri, pin: pkcs11test.PIN}
}

// verify verifies a signature of a SHA-256 digest: ECDSA in ASN.1, or PKCS #1
// v1.5.
func verify(pub crypto.PublicKey, digest, sig []byte) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest, sig) {
			return errors.New("signature does not verify")
		}
		return nil
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig)
	}
	return fmt.Errorf("key of type %T", pub)
}
