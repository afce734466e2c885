package pkcs11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func fixedPIN(pin string) keystore.PINFunc {
	return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }
}

// A fixture is a fake module with its module table, for one test.
type fixture struct {
	*fakeModule
	table *modules
	path  string
}

func newFixture(t *testing.T, tokens ...*fakeToken) *fixture {
	t.Helper()
	f := newFake(t, tokens...)
	table, path := f.table(t)
	return &fixture{f, table, path}
}

// restart forgets everything that a process knows.
func (b *fixture) restart() {
	b.table = &modules{load: b.initialize, byPath: make(map[string]*sharedModule)}
}

func (b *fixture) open(t *testing.T, uri string, cfg Config) (*Key, error) {
	t.Helper()
	u, err := ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	cfg.URI, cfg.Module = u, b.path
	return open(t.Context(), cfg, b.table)
}

// mustOpen is like open, but fails the test on errors. It closes the key at the
// end of the test.
func (b *fixture) mustOpen(t *testing.T, uri string, cfg Config) *Key {
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
		{"P-256 with a PIN pad", "p256", allMechanisms, true, cktFlagProtectedPath, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
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
				b := newFixture(t, token)
				k, err := b.open(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := k.Close(); err != nil {
						t.Error(err)
					}
					if b.opened != b.closed || !b.finalized {
						t.Errorf("%d sessions opened, %d closed, finalized: %v", b.opened, b.closed, b.finalized)
					}
				})
				return k
			})
		})
	}
}

func TestCloseWaitsForSign(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	in, touched := make(chan struct{}), make(chan struct{})
	token.onSign = func() { close(in); <-touched }
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
	if k.Public() == nil || uriOf(t, k).Object != "key" {
		t.Error("Public or Ref is wrong while Sign waits")
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
	if !b.finalized || b.opened != b.closed {
		t.Errorf("%d sessions opened, %d closed", b.opened, b.closed)
	}
	if err := signOnce(k); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("Sign after Close: %v", err)
	}
}

// Close does not wait for a user who does not answer the prompt.
func TestCloseEndsPrompt(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01").values[ckaAlwaysAuthenticate] = []byte{1}
	b := newFixture(t, token)
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
	b := newFixture(t, token)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := open(ctx, Config{Module: b.path, PIN: func(ctx context.Context, _ keystore.Prompt) ([]byte, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}, b.table)
	if !errors.Is(err, context.Canceled) || !b.finalized || b.opened != b.closed {
		t.Errorf("error %v; %d sessions opened, %d closed", err, b.opened, b.closed)
	}
}

// After an error of Open, no session and no module is open.
func TestOpenErrors(t *testing.T) {
	for _, call := range []string{"slots", "openSession", "loggedIn", "login", "find", "attributes"} {
		token := newFakeToken("card")
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newFixture(t, token)
		b.fail(call, ckrDeviceRemoved)
		if _, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)}); !errors.Is(err, ckrDeviceRemoved) || !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("%s: error %v", call, err)
		}
		if !b.finalized || b.opened != b.closed || len(b.table.byPath) != 0 {
			t.Errorf("%s: %d sessions opened, %d closed, finalized: %v", call, b.opened, b.closed, b.finalized)
		}
	}
}

func TestKeysShareModule(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "a", "\x01")
	token.addKey(signertest.Key(t, "rsa2048"), "b", "\x02")
	b := newFixture(t, token)
	first := b.mustOpen(t, "pkcs11:object=a", Config{PIN: fixedPIN(fakePIN)})
	second := b.mustOpen(t, "pkcs11:object=b", Config{}) // already logged in
	if err := first.Close(); err != nil || b.finalized {
		t.Errorf("Close of the first key finalized the shared module: %v", err)
	}
	if err := signOnce(second); err != nil {
		t.Error(err)
	}
}

// A card in a reader gets one session, an HSM several.
func TestCardSessions(t *testing.T) {
	for _, removable := range []bool{true, false} {
		token := newFakeToken("token")
		token.slotInfo.removable = removable
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newFixture(t, token)
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
		if removable && (started != 0 || b.maxOpen != 1) {
			t.Errorf("a card got %d more sessions, %d at the same time", started, b.maxOpen)
		}
		if conn := k.conn.Load(); (conn.pool.limit == 1) != removable {
			t.Errorf("removable %t: at most %d sessions", removable, conn.pool.limit)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
