package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func fixedPIN(pin string) keystore.PINFunc {
	return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }
}

// A bench is a fake module with its table, for one test.
type bench struct {
	*fakeModule
	table *modules
	path  string
}

func newBench(t *testing.T, tokens ...*fakeToken) *bench {
	t.Helper()
	f := newFake(t, tokens...)
	table, path := f.table(t)
	return &bench{f, table, path}
}

func (b *bench) open(t *testing.T, uri string, cfg Config) (*Key, error) {
	t.Helper()
	u, err := ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	cfg.URI, cfg.Module = u, b.path
	return open(t.Context(), cfg, b.table)
}

// mustOpen closes the key at the end and checks that nothing is left behind.
func (b *bench) mustOpen(t *testing.T, uri string, cfg Config) *Key {
	t.Helper()
	k, err := b.open(t, uri, cfg)
	if err != nil {
		t.Fatalf("%v\nhint: %s", err, signer.Hint(err))
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return k
}

func digestOf(n int) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return sum[:]
}

func signOnce(k *Key) error {
	digest := digestOf(0)
	sig, err := k.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		return err
	}
	return check(k.Public(), digest, sig)
}

func check(pub crypto.PublicKey, digest, sig []byte) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest, sig) {
			return errors.New("the signature is wrong")
		}
		return nil
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig)
	}
	return fmt.Errorf("key of type %T", pub)
}

func TestContractOverFake(t *testing.T) {
	noPSS := []uint{ckmRSA}
	for _, test := range []struct {
		name, kind string
		mechs      []uint
		always     bool
		flags      uint
		limit      int
	}{
		{"RSA", "rsa2048", allMechanisms, false, 0, 0},
		{"RSA without PSS", "rsa2048", noPSS, false, 0, 0},
		{"P-256", "p256", allMechanisms, false, 0, 0},
		{"P-384", "p384", allMechanisms, false, 0, 3},
		{"P-521", "p521", allMechanisms, false, 0, 0},
		{"Ed25519", "ed25519", allMechanisms, false, 0, 1},
		{"RSA that always authenticates", "rsa2048", allMechanisms, true, 0, 0},
		{"P-256 that always authenticates", "p256", allMechanisms, true, 0, 0},
		{"P-256 with a pad for the PIN", "p256", allMechanisms, true, cktFlagProtectedPath, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := signertest.Key(t, test.kind)
			ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
			signertest.Run(t, func(t *testing.T) signer.Signer {
				token := newFakeToken("hsm")
				token.mechs, token.limit = test.mechs, test.limit
				token.flags |= test.flags
				o := token.addKey(key, "key", "\x01")
				if test.always {
					o.values[ckaAlwaysAuthenticate] = []byte{1}
				}
				token.addCertificate(ca.Issue(t, key, nil).Raw, "key", "\x01")
				token.addCertificate(ca.Cert.Raw, "intermediate", "\x02")
				b := newBench(t, token)
				k, err := b.open(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := k.Close(); err != nil {
						t.Error(err)
					}
					if b.opened != b.closed || !b.dead {
						t.Errorf("%d sessions opened, %d closed, finalized: %v", b.opened, b.closed, b.dead)
					}
				})
				return k
			})
		})
	}
}

func TestWithoutPSS(t *testing.T) {
	token := newFakeToken("hsm")
	token.mechs = []uint{ckmRSA, ckmECDSA}
	token.addKey(signertest.Key(t, "rsa2048"), "key", "\x01")
	k := newBench(t, token).mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	if got := k.SignatureSchemes(); !slices.Equal(got, schemes[ckmRSA]) {
		t.Errorf("schemes %v, want those of PKCS #1 v1.5", got)
	}
	_, err := k.Sign(nil, digestOf(1), &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("PSS: error %v, want errors.ErrUnsupported", err)
	}
	if err := signOnce(k); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestSignatureSchemes(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "rsa2048"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	closed := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	all := slices.Concat(schemes[ckmRSAPSS], schemes[ckmRSA])
	b.fail("mechanisms", ckrFunctionFailed)
	if got := k.SignatureSchemes(); !slices.Equal(got, all) {
		t.Errorf("a token that does not answer: schemes %v, want all", got)
	}
	for _, k := range []*Key{k, closed} {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The module is finalized; the fake fails the test if it is asked.
	if got := closed.SignatureSchemes(); !slices.Equal(got, all) {
		t.Errorf("after Close: schemes %v, want all", got)
	}
}

func TestBadSignature(t *testing.T) {
	for _, sig := range [][]byte{nil, {}, {1}, {1, 2, 3}, make([]byte, 63)} {
		if der, err := derSignature(sig); err == nil {
			t.Errorf("signature of %d bytes became %x", len(sig), der)
		}
	}
}

func TestConcurrentLosses(t *testing.T) {
	var codes []Error
	for _, e := range slices.Sorted(maps.Keys(errorKinds)) {
		// A module that was finalized or lost its slots stays so.
		if errorKinds[e].lost && e != ckrCryptokiNotInitialized && e != ckrSlotIDInvalid {
			codes = append(codes, e)
		}
	}
	if len(codes) < 8 {
		t.Fatalf("only %v are losses", codes)
	}
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprintf("always=%v", always), func(t *testing.T) {
			token := newFakeToken("hsm")
			o := token.addKey(signertest.Key(t, "p256"), "key", "\x01")
			if always {
				o.values[ckaAlwaysAuthenticate] = []byte{1}
			}
			b := newBench(t, token)
			k := b.mustOpen(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
			injected, forgotten := 0, 0
			inject := func() Error {
				injected++
				e := codes[injected%len(codes)]
				if removed(e) {
					forgotten++
				}
				return e
			}
			b.mu.Lock()
			b.before = func(call string, n int, _ []byte) Error {
				switch call {
				case "sign", "sign2":
					// One removal fails all signatures under way: so rare
					// that none has maxAttempts of them in a row.
					if n%40 == 0 {
						return inject()
					}
				case "attributes", "find", "openSession":
					if n%101 == 0 {
						return inject()
					}
				}
				return 0
			}
			b.mu.Unlock()
			const goroutines = 8
			signatures := 1000
			if testing.Short() {
				signatures = 100
			}
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for i := range signatures {
						digest := digestOf(g<<32 | i)
						sig, err := k.Sign(nil, digest, crypto.SHA256)
						if err == nil {
							err = check(k.Public(), digest, sig)
						}
						if err != nil {
							t.Errorf("signature %d of goroutine %d: %v", i, g, err)
							return
						}
					}
				})
			}
			wg.Wait()
			if injected == 0 || token.wrong != 0 {
				t.Errorf("%d losses, %d wrong PINs", injected, token.wrong)
			}
			b.mu.Lock()
			b.before = nil
			b.mu.Unlock()
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			// Codes that say that the token went leave sessions to the module,
			// which closes them; the double only says so.
			if left := b.opened - b.closed; left < 0 || left > forgotten*defaultMaxSessions {
				t.Errorf("%d sessions opened, %d closed, %d removals", b.opened, b.closed, forgotten)
			}
		})
	}
}

// What is no loss is the caller's to know, once each.
func TestConcurrentErrors(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
	var codes []Error
	for _, e := range slices.Sorted(maps.Keys(errorKinds)) {
		if !errorKinds[e].lost {
			codes = append(codes, e)
		}
	}
	codes = append(codes, 0x51, 0x80000001)
	injected := make(map[Error]int)
	b.before = func(call string, n int, _ []byte) Error {
		if call != "sign2" || n%9 != 0 {
			return 0
		}
		e := codes[n/9%len(codes)]
		injected[e]++
		return e
	}
	var mu sync.Mutex
	seen := make(map[Error]int)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				digest := digestOf(g<<32 | i)
				sig, err := k.Sign(nil, digest, crypto.SHA256)
				var e Error
				switch {
				case errors.As(err, &e):
					mu.Lock()
					seen[e]++
					mu.Unlock()
				case err != nil:
					t.Error(err)
				default:
					if err := check(k.Public(), digest, sig); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if !maps.Equal(seen, injected) {
		t.Errorf("errors %v, want %v", seen, injected)
	}
	if token.logins != 1 {
		t.Errorf("%d logins, want the first alone: the last session was closed before another was open", token.logins)
	}
	if b.most > defaultMaxSessions+1 {
		t.Errorf("%d sessions at once", b.most)
	}
}

func TestGivesUp(t *testing.T) {
	for _, e := range []Error{ckrDeviceError, ckrSessionHandleInvalid, ckrKeyHandleInvalid, ckrDeviceRemoved, ckrUserNotLoggedIn, ckrGeneralError} {
		token := newFakeToken("hsm")
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newBench(t, token)
		k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		if err := signOnce(k); err != nil {
			t.Fatal(err)
		}
		b.before = func(call string, _ int, _ []byte) Error {
			if call == "sign" {
				return e
			}
			return 0
		}
		before := b.called("sign")
		if err := signOnce(k); !errors.Is(err, e) {
			t.Errorf("error %v, want %v", err, e)
		}
		if n := b.called("sign") - before; n != maxAttempts {
			t.Errorf("%v: asked %d times", e, n)
		}
		b.before = nil
		if err := signOnce(k); err != nil {
			t.Errorf("%v is over: %v", e, err)
		}
	}
}

func TestRemoval(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	if err := signOnce(k); err != nil {
		t.Fatal(err)
	}
	b.remove(0)
	for range 2 {
		if err := signOnce(k); !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
			t.Errorf("without the token: error %v, hint %q", err, signer.Hint(err))
		}
	}
	// Another token, with a key of the same name, must not make it ambiguous.
	other := newFakeToken("other")
	other.addKey(signertest.NewKey(t, "p256"), "key", "\x01")
	b.insert(3, other)
	b.insert(7, token)
	if err := signOnce(k); err != nil {
		t.Errorf("with the token in another slot: %v", err)
	}
	if n := b.openSessions(); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	if got := k.URI(); got.Token != "card" || got.Object != "key" || got.ID != "\x01" {
		t.Errorf("URI %v", got)
	}
}

func TestAnotherKeyInItsPlace(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
	b.remove(0)
	objects := token.objects
	token.objects = nil
	token.addKey(signertest.NewKey(t, "p256"), "key", "\x01")
	b.insert(0, token)
	for range 2 {
		if err := signOnce(k); !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("error %v, want signer.ErrUnavailable", err)
		}
	}
	if n := b.openSessions(); n != 0 {
		t.Errorf("%d sessions are left behind", n)
	}
	b.remove(0)
	token.objects = objects
	b.insert(0, token)
	if err := signOnce(k); err != nil {
		t.Errorf("with the key back: %v", err)
	}
}

// A key that is added beside the one in use does not make it ambiguous.
func TestAnotherKeyBeside(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:token=card", Config{PIN: fixedPIN(fakePIN)})
	b.remove(0)
	token.addKey(signertest.NewKey(t, "p256"), "new", "\x02")
	b.insert(0, token)
	if err := signOnce(k); err != nil {
		t.Error(err)
	}
}

// Another part of the process may log out.
func TestLoggedOut(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	token.loggedIn = false
	if err := signOnce(k); err != nil || token.logins != 2 {
		t.Errorf("error %v after %d logins", err, token.logins)
	}
}

func TestReconnectsOnce(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	const goroutines = 8
	var asked atomic.Int32
	k := b.mustOpen(t, "pkcs11:", Config{MaxSessions: goroutines, PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
		asked.Add(1)
		return []byte(fakePIN), nil
	}})
	// All are in the middle of a signature when the token is pulled.
	var in, out sync.WaitGroup
	in.Add(goroutines)
	pulled := make(chan struct{})
	var n atomic.Int32
	token.signing = func() {
		if n.Add(1) <= goroutines {
			in.Done()
			<-pulled
		}
	}
	for range goroutines {
		out.Go(func() {
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
		})
	}
	in.Wait()
	b.remove(0)
	b.insert(1, token)
	close(pulled)
	out.Wait()
	if token.logins != 2 || asked.Load() != 2 {
		t.Errorf("%d logins with %d PINs, want 2: one for Open, one for the loss", token.logins, asked.Load())
	}
}

// The loss of one session among others costs no PIN.
func TestLossOfOneSessionKeepsLogin(t *testing.T) {
	for _, limit := range []int{0, 2} {
		token := newFakeToken("hsm")
		token.limit = limit
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newBench(t, token)
		k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		for range 3 {
			b.fail("sign", ckrDeviceError)
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
		}
		if token.logins != 1 {
			t.Errorf("limit %d: %d logins, want 1", limit, token.logins)
		}
		if n := b.openSessions(); n != 1 {
			t.Errorf("limit %d: %d sessions, want 1", limit, n)
		}
	}
}

// A token may have no session left while those of the lost connection are in use.
func TestReconnectAtSessionLimit(t *testing.T) {
	token := newFakeToken("hsm")
	token.limit = 2
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for range 50 {
				if g == 0 {
					b.fail("sign", ckrDeviceError)
				}
				if err := signOnce(k); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := b.openSessions(); n > 2 {
		t.Errorf("%d sessions", n)
	}
}

func TestCloseWaitsForSign(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	in, touched := make(chan struct{}), make(chan struct{})
	token.signing = func() { close(in); <-touched }
	signed := make(chan error, 1)
	go func() { signed <- signOnce(k) }()
	<-in
	closed := make(chan bool, 1)
	go func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
		closed <- true
	}()
	<-k.ctx.Done() // Close has begun
	if k.Public() == nil || k.URI().Object != "key" {
		t.Error("Public or URI is wrong while Sign waits")
	}
	select {
	case <-closed:
		t.Error("Close returned before Sign")
	default:
	}
	close(touched)
	if err := <-signed; err != nil {
		t.Error(err)
	}
	<-closed
	if !b.dead || b.opened != b.closed {
		t.Errorf("%d sessions opened, %d closed", b.opened, b.closed)
	}
	if err := signOnce(k); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("Sign after Close: %v", err)
	}
}

// A person who does not answer does not hold Close up.
func TestCloseEndsPrompt(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01").values[ckaAlwaysAuthenticate] = []byte{1}
	b := newBench(t, token)
	asked := make(chan struct{})
	k := b.mustOpen(t, "pkcs11:", Config{PIN: func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		if !p.PerSignature {
			return []byte(fakePIN), nil
		}
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	signed := make(chan error, 1)
	go func() { signed <- signOnce(k) }()
	<-asked
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if err := <-signed; !errors.Is(err, signer.ErrClosed) {
		t.Errorf("error %v, want signer.ErrClosed", err)
	}
}

func TestOpenCancelled(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newBench(t, token)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := open(ctx, Config{Module: b.path, PIN: func(ctx context.Context, _ keystore.Prompt) ([]byte, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}, b.table)
	if !errors.Is(err, context.Canceled) || !b.dead || b.opened != b.closed {
		t.Errorf("error %v; %d sessions opened, %d closed", err, b.opened, b.closed)
	}
}

// What fails in Open leaves nothing behind.
func TestOpenErrors(t *testing.T) {
	for _, call := range []string{"slots", "openSession", "loggedIn", "login", "find", "attributes"} {
		token := newFakeToken("card")
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newBench(t, token)
		b.fail(call, ckrDeviceRemoved)
		if _, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)}); !errors.Is(err, ckrDeviceRemoved) || !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("%s: error %v", call, err)
		}
		if !b.dead || b.opened != b.closed || len(b.table.byPath) != 0 {
			t.Errorf("%s: %d sessions opened, %d closed, finalized: %v", call, b.opened, b.closed, b.dead)
		}
	}
}

func TestSchemesAreOfTheKeyType(t *testing.T) {
	for kind, want := range map[string]tls.SignatureScheme{"p384": tls.ECDSAWithP384AndSHA384, "ed25519": tls.Ed25519} {
		token := newFakeToken("hsm")
		token.addKey(signertest.Key(t, kind), "key", "\x01")
		k := newBench(t, token).mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		if got := k.SignatureSchemes(); !slices.Contains(got, want) {
			t.Errorf("%s: schemes %v", kind, got)
		}
	}
}

func TestTwoKeysShareAModule(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "a", "\x01")
	token.addKey(signertest.Key(t, "rsa2048"), "b", "\x02")
	b := newBench(t, token)
	first := b.mustOpen(t, "pkcs11:object=a", Config{PIN: fixedPIN(fakePIN)})
	second := b.mustOpen(t, "pkcs11:object=b", Config{}) // logged in already
	if err := first.Close(); err != nil || b.dead {
		t.Errorf("the first key's Close finalized the module of both: %v", err)
	}
	if err := signOnce(second); err != nil {
		t.Error(err)
	}
}

// certificates and keys on the token as they may name each other.
func TestFindKey(t *testing.T) {
	a, other := signertest.Key(t, "p256"), signertest.NewKey(t, "p256")
	certA, certOther := issue(t, a), issue(t, other)
	type build func(*fakeToken)
	for _, test := range []struct {
		name, uri string
		build     build
		known     []*x509.Certificate
		want      error // nil: the key is a
	}{
		{"the only one", "pkcs11:", func(t *fakeToken) { t.addKey(a, "a", "\x01") }, nil, nil},
		{"by label", "pkcs11:object=a", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "b", "\x02") }, nil, nil},
		{"by ID", "pkcs11:id=%01", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "a", "\x02") }, nil, nil},
		{"by label and ID", "pkcs11:id=%01;object=a", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "b", "\x01") }, nil, nil},
		{"by the certificate's label and ID", "pkcs11:object=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02")
			t.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"by the certificate, asked for as such", "pkcs11:object=cert;type=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "cert", "\x02")
			t.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"by the certificate's label alone", "pkcs11:id=%09", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02")
			t.addCertificate(certA.Raw, "a", "\x09")
		}, nil, nil},
		{"by the certificate's public key", "pkcs11:id=%09", func(t *fakeToken) {
			t.addKey(other, "b", "\x02")
			t.addKey(a, "a", "\x01")
			t.addCertificate(certA.Raw, "", "\x09")
		}, nil, nil},
		{"by a certificate from elsewhere", "pkcs11:", func(t *fakeToken) { t.addKey(other, "b", "\x02"); t.addKey(a, "a", "\x01") }, []*x509.Certificate{certA}, nil},
		{"public key from a certificate with its ID", "pkcs11:", func(t *fakeToken) {
			t.addPrivate(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02")
			t.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"a certificate of another type with its ID", "pkcs11:", func(token *fakeToken) {
			token.addPrivate(a, "a", "\x01")
			token.addCertificate(issue(t, signertest.Key(t, "rsa2048")).Raw, "rsa", "\x01")
			token.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"public key from a certificate from elsewhere", "pkcs11:", func(t *fakeToken) { t.addPrivate(a, "", "") }, []*x509.Certificate{certA}, nil},
		{"public key from CKA_PUBLIC_KEY_INFO", "pkcs11:", func(token *fakeToken) {
			der, err := x509.MarshalPKIXPublicKey(a.Public())
			if err != nil {
				t.Fatal(err)
			}
			token.addPrivate(a, "", "").values[ckaPublicKeyInfo] = der
		}, nil, nil},
		{"CKA_PUBLIC_KEY_INFO of another type", "pkcs11:", func(token *fakeToken) {
			der, err := x509.MarshalPKIXPublicKey(signertest.Key(t, "ed25519").Public())
			if err != nil {
				t.Fatal(err)
			}
			token.addKey(a, "a", "\x01").values[ckaPublicKeyInfo] = der
		}, nil, nil},
		{"an unreadable certificate beside", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02").broken = ckrFunctionFailed
		}, nil, nil},
		{"an unreadable certificate alone", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02").broken = ckrGeneralError
		}, nil, nil},
		{"an unreadable certificate beside another", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02").broken = ckrGeneralError
			t.addCertificate(certA.Raw, "a", "\x01")
		}, nil, nil},
		{"an unreadable key beside", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02").broken = ckrFunctionFailed
		}, nil, nil},
		{"an unreadable key alone", "pkcs11:", func(t *fakeToken) { t.addKey(a, "a", "\x01").broken = ckrFunctionFailed }, nil, ckrFunctionFailed},
		{"two, and certificates for both from elsewhere", "pkcs11:", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "b", "\x02") },
			[]*x509.Certificate{certA, certOther}, signer.ErrAmbiguous},
		{"two of one label", "pkcs11:object=a", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "a", "\x02") }, nil, signer.ErrAmbiguous},
		{"two certificates, any", "pkcs11:type=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02")
			t.addCertificate(certA.Raw, "a", "\x01")
			t.addCertificate(certOther.Raw, "b", "\x02")
		}, nil, signer.ErrAmbiguous},
		{"an old certificate and the new one", "pkcs11:type=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certA.Raw, "a", "\x01")
			t.addCertificate(certA.Raw, "a", "\x01")
		}, nil, nil},
		{"none", "pkcs11:", func(*fakeToken) {}, nil, signer.ErrNotFound},
		{"none of that label", "pkcs11:object=b", func(t *fakeToken) { t.addKey(a, "a", "\x01") }, nil, signer.ErrNotFound},
		{"an ID that only begins so", "pkcs11:id=%01", func(t *fakeToken) { t.addKey(a, "a", "\x01\x02") }, nil, signer.ErrNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := newFakeToken("hsm")
			test.build(token)
			b := newBench(t, token)
			k, err := b.open(t, test.uri, Config{PIN: fixedPIN(fakePIN), Certificates: test.known})
			if test.want != nil {
				if !errors.Is(err, test.want) || test.want == signer.ErrNotFound && signer.Hint(err) == "" {
					t.Errorf("error %v with hint %q, want %v", err, signer.Hint(err), test.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\nhint: %s", err, signer.Hint(err))
			}
			defer k.Close()
			if !signer.SamePublicKey(k.Public(), a.Public()) {
				t.Error("another key was found")
			}
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
			if c := k.Chain(); len(c) > 0 && !signer.SamePublicKey(c[0].PublicKey, a.Public()) {
				t.Error("the chain is another key's")
			}
		})
	}
}

func TestNoPublicKeyAnywhere(t *testing.T) {
	token := newFakeToken("hsm")
	token.addPrivate(signertest.Key(t, "p256"), "a", "\x01")
	b := newBench(t, token)
	for _, known := range [][]*x509.Certificate{nil, {issue(t, signertest.Key(t, "rsa2048"))}, {signertest.NewCA(t, "root").Cert}} {
		if _, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN), Certificates: known}); err == nil || signer.Hint(err) == "" {
			t.Errorf("error %v, hint %q", err, signer.Hint(err))
		}
	}
}

// Each URI in a hint opens one key.
func TestHintsOpen(t *testing.T) {
	two := func() *fakeToken {
		token := newFakeToken("über & 100 % <;?>")
		token.addKey(signertest.NewKey(t, "p256"), "key / one", "\x00\x01")
		token.addKey(signertest.NewKey(t, "p256"), "key / one", "\x00\x02")
		token.addKey(signertest.NewKey(t, "p256"), "Schl\xfcssel", "\x03") // Latin-1
		return token
	}
	padded := func(label string) *fakeToken {
		token := newFakeToken(label)
		token.label += "\x00 \x00"
		token.tokenInfo.manufacturer = "Latin-1: \xe9"
		token.addKey(signertest.NewKey(t, "p256"), "key", "\x01")
		return token
	}
	for _, test := range []struct {
		name, uri string
		tokens    []*fakeToken
		want      error
		n         int
	}{
		{"keys", "pkcs11:", []*fakeToken{two()}, signer.ErrAmbiguous, 3},
		{"no key of that name", "pkcs11:object=missing", []*fakeToken{two()}, signer.ErrNotFound, 3},
		{"tokens", "pkcs11:", []*fakeToken{padded("a"), padded("b")}, signer.ErrAmbiguous, 2},
		{"no token of that name", "pkcs11:token=missing", []*fakeToken{padded("a"), padded("b")}, signer.ErrUnavailable, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, test.tokens...)
			dir := t.TempDir()
			path := filepath.Join(dir, "a module; with a name?.so")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			table := &modules{load: f.initialize, byPath: make(map[string]*sharedModule)}
			u, err := ParseURI(test.uri)
			if err != nil {
				t.Fatal(err)
			}
			u.ModulePath = path
			_, err = open(t.Context(), Config{URI: u, PIN: fixedPIN(fakePIN)}, table)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			var uris []string
			for _, word := range strings.Fields(signer.Hint(err)) {
				if strings.HasPrefix(word, "pkcs11:") {
					uris = append(uris, word)
				}
			}
			opened := make(map[string]bool)
			for _, s := range uris {
				u, err := ParseURI(s)
				if err != nil {
					t.Errorf("%s: %v", s, err)
					continue
				}
				k, err := open(t.Context(), Config{URI: u, PIN: fixedPIN(fakePIN)}, table)
				if err != nil {
					t.Errorf("%s: %v", s, err)
					continue
				}
				der, err := x509.MarshalPKIXPublicKey(k.Public())
				if err != nil {
					t.Error(err)
				}
				opened[string(der)] = true
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
			if len(opened) != test.n {
				t.Errorf("hint %q opens %d keys, want %d", signer.Hint(err), len(opened), test.n)
			}
		})
	}
}

func TestTokenByURI(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	empty := newFakeToken("empty")
	empty.flags &^= cktFlagTokenInitialized
	for uri, ok := range map[string]bool{
		"pkcs11:token=card": true, "pkcs11:token=car": false, "pkcs11:token=CARD": false, "pkcs11:token=card%20": false,
		"pkcs11:serial=serial%20of%20card": true, "pkcs11:model=Fake": true, "pkcs11:manufacturer=Test": true, "pkcs11:model=Other": false,
		"pkcs11:slot-id=0": true, "pkcs11:slot-id=1": false, "pkcs11:slot-id=9": false, "pkcs11:slot-id=00": true,
		"pkcs11:slot-description=slot": true, "pkcs11:slot-description=x": false, "pkcs11:slot-manufacturer=Test": true, "pkcs11:slot-manufacturer=x": false,
		"pkcs11:library-version=2.40": true, "pkcs11:library-version=2": false, "pkcs11:library-version=02.040": true, "pkcs11:library-version=2.4": false, "pkcs11:library-version=3.40": false,
		"pkcs11:library-description=Fake%20library": true, "pkcs11:library-description=x": false, "pkcs11:library-manufacturer=x": false,
		"pkcs11:token=empty": false,
	} {
		b := newBench(t, token, empty)
		k, err := b.open(t, uri, Config{PIN: fixedPIN(fakePIN)})
		if (err == nil) != ok {
			t.Errorf("%s: error %v", uri, err)
		}
		if err != nil && !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("%s: error %v, want signer.ErrUnavailable", uri, err)
		}
		if k != nil {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	b := newBench(t)
	if _, err := b.open(t, "pkcs11:", Config{}); !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
		t.Errorf("no token: error %v, hint %q", err, signer.Hint(err))
	}
}

func TestPINIsCleared(t *testing.T) {
	for _, pin := range []string{fakePIN, "000000"} {
		token := newFakeToken("card")
		token.addKey(signertest.Key(t, "p256"), "key", "\x01").values[ckaAlwaysAuthenticate] = []byte{1}
		b := newBench(t, token)
		var given [][]byte
		k, err := b.open(t, "pkcs11:", Config{PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
			given = append(given, []byte(pin))
			return given[len(given)-1], nil
		}})
		if err == nil {
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(given) == 0 {
			t.Error("no PIN was asked for")
		}
		for _, g := range given {
			if !bytes.Equal(g, make([]byte, len(pin))) {
				t.Errorf("PIN is %q after use", g)
			}
		}
	}
}

// A card in a reader has one session, an HSM several.
func TestSessionsOfACard(t *testing.T) {
	for _, removable := range []bool{true, false} {
		token := newFakeToken("token")
		token.slotInfo.removable = removable
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newBench(t, token)
		k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		var both sync.WaitGroup
		both.Add(2)
		started := 0
		b.mu.Lock()
		b.before = func(call string, _ int, _ []byte) Error {
			if call == "openSession" {
				started++
			}
			return 0
		}
		b.mu.Unlock()
		for i := range 2 {
			go func() {
				defer both.Done()
				for n := range 200 {
					digest := digestOf(i<<32 | n)
					if sig, err := k.Sign(nil, digest, crypto.SHA256); err != nil || check(k.Public(), digest, sig) != nil {
						t.Errorf("sign: %v", err)
					}
				}
			}()
		}
		both.Wait()
		if removable && (started != 0 || b.most != 1) {
			t.Errorf("a card got %d more sessions, %d at once", started, b.most)
		}
		if conn := k.current(); (conn.pool.limit == 1) != removable {
			t.Errorf("removable %t: at most %d sessions", removable, conn.pool.limit)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
