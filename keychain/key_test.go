package keychain

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var digest = sha256.Sum256([]byte("message"))

func TestContract(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p256"} {
		t.Run(kind, func(t *testing.T) {
			f := newFake(t)
			f.add(t, native.Files, kind, "app", "", nil)
			signertest.Run(t, func(t *testing.T) signer.Signer {
				k, err := open(t.Context(), Config{Label: "app"}, f)
				if err != nil {
					t.Fatal(err)
				}
				return k
			})
		})
	}
}

func openOne(t *testing.T, f *fakeSystem, kind string) *Key {
	t.Helper()
	f.add(t, native.Files, kind, "app", "", nil)
	k, err := open(t.Context(), Config{}, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// Only a salt as long as the digest is supported. For other lengths, macOS is not
// called.
func TestPSSSalt(t *testing.T) {
	f := newFake(t)
	calls := 0
	f.onSign = func() error { calls++; return nil }
	k := openOne(t, f, "rsa2048")
	for salt, ok := range map[int]bool{
		rsa.PSSSaltLengthEqualsHash: true, 32: true,
		rsa.PSSSaltLengthAuto: false, 20: false, 31: false, 33: false, 64: false,
	} {
		calls = 0
		opts := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}
		sig, err := k.Sign(nil, digest[:], opts)
		if ok {
			if err != nil || rsa.VerifyPSS(k.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: 32}) != nil {
				t.Errorf("salt %d: error %v, or the signature is wrong", salt, err)
			}
			continue
		}
		if sig != nil || !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" || calls > 0 {
			t.Errorf("salt %d: error %v, macOS was called %d times", salt, err, calls)
		}
	}
}

func TestSignatureSchemes(t *testing.T) {
	for _, test := range []struct {
		kind, unsupported string
		want              []tls.SignatureScheme
	}{
		{"rsa2048", "-", []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512, tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}},
		{"rsa2048", "PSS", []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}},
		{"rsa2048", "SHA512", []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PKCS1WithSHA256, tls.PKCS1WithSHA384}},
		{"p384", "-", []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512}},
		{"p256", "SHA384", []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP521AndSHA512}},
	} {
		f := newFake(t)
		f.unsupported = func(name string) bool { return strings.Contains(name, test.unsupported) }
		k := openOne(t, f, test.kind)
		if got := k.SignatureSchemes(); !slices.Equal(got, test.want) {
			t.Errorf("%s without %s: %v, want %v", test.kind, test.unsupported, got, test.want)
		}
		sum := sha512.Sum512([]byte("message"))
		_, err := k.Sign(nil, sum[:], crypto.SHA512)
		if want := test.unsupported == "SHA512"; errors.Is(err, errors.ErrUnsupported) != want {
			t.Errorf("%s without %s: Sign with SHA-512 returns %v", test.kind, test.unsupported, err)
		}
	}
}

func TestErrorOfSign(t *testing.T) {
	f := newFake(t)
	f.onSign = func() error {
		return &native.Error{Call: "SecKeyCreateSignature", Domain: "CryptoTokenKit", Code: -4, Message: "annulé"}
	}
	k := openOne(t, f, "p256")
	sig, err := k.Sign(nil, digest[:], crypto.SHA256)
	var e Error
	if sig != nil || !errors.As(err, &e) || e.Domain != "CryptoTokenKit" || e.Code != -4 || !errors.Is(err, signer.ErrPINRequired) {
		t.Errorf("error %v", err)
	}
}

// Errors name the key by Config.Ref, or else by its own reference.
func TestNameOfKey(t *testing.T) {
	for _, ref := range []keystore.Ref{{}, {Scheme: scheme, Rest: "token=" + card}} {
		f := newFake(t)
		f.add(t, native.Files, "p256", "app", "", nil)
		f.onSign = func() error { return osStatus(-25293) }
		k, err := open(t.Context(), Config{Ref: ref}, f)
		if err != nil {
			t.Fatal(err)
		}
		want := k.Ref()
		if !ref.IsZero() {
			want = ref
		}
		if _, err := k.Sign(nil, digest[:], crypto.SHA256); err == nil || !strings.Contains(err.Error(), "sign with "+want.String()+":") {
			t.Errorf("%v, want the name %s", err, want)
		}
		k.Close()
	}
}

// Close returns while Sign waits for the user. Sign then succeeds, and the key is
// released afterwards.
func TestCloseDoesNotWait(t *testing.T) {
	f := newFake(t)
	signing, respond := make(chan struct{}), make(chan struct{})
	f.onSign = func() error { close(signing); <-respond; return nil }
	k := openOne(t, f, "p256")
	signed := make(chan error)
	go func() { _, err := k.Sign(nil, digest[:], crypto.SHA256); signed <- err }()
	<-signing
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if f.live.Load() != 1 {
		t.Errorf("%d references during the signature, want 1", f.live.Load())
	}
	if _, err := k.Sign(nil, digest[:], crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("Sign after Close: %v", err)
	}
	close(respond)
	if err := <-signed; err != nil {
		t.Error(err)
	}
}

// If the context is canceled, the call returns its error at once. Objects that
// macOS returns later are released.
func TestCallsObserveContext(t *testing.T) {
	for name, call := range map[string]func(context.Context, native.System) error{
		"open": func(ctx context.Context, sys native.System) error { _, err := open(ctx, Config{}, sys); return err },
		"list": func(ctx context.Context, sys native.System) error { _, err := list(ctx, Config{}, sys); return err },
		"certificates": func(ctx context.Context, sys native.System) error {
			_, err := certificates(ctx, Config{}, sys)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.add(t, native.Files, "p256", "app", "", nil)
			ctx, cancel := context.WithCancel(t.Context())
			respond, released := make(chan struct{}), make(chan struct{})
			lists := 0
			f.onList = func() {
				if lists++; lists == 1 {
					cancel()
					<-respond
				}
			}
			// The last release shows that the call in the background has ended.
			sys := releaseWatcher{f, released}
			if err := call(ctx, sys); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			close(respond)
			<-released
		})
	}
}

// A releaseWatcher closes released when all references are released.
type releaseWatcher struct {
	*fakeSystem
	released chan struct{}
}

func (w releaseWatcher) Identities(scope native.Scope) ([]native.Identity, error) {
	all, err := w.fakeSystem.Identities(scope)
	for i, id := range all {
		if id.Handle != nil {
			all[i].Handle = watchedHandle{id.Handle, w}
		}
	}
	return all, err
}

func (w releaseWatcher) check() {
	if w.live.Load() == 0 {
		close(w.released)
	}
}

type watchedHandle struct {
	native.Handle
	watcher releaseWatcher
}

func (h watchedHandle) Release() { h.Handle.Release(); h.watcher.check() }

func (h watchedHandle) Key() (native.Key, error) {
	k, err := h.Handle.Key()
	return watchedKey{k, h.watcher}, err
}

type watchedKey struct {
	native.Key
	watcher releaseWatcher
}

func (k watchedKey) Release() { k.Key.Release(); k.watcher.check() }

// A certificate that is linked to another private key never gets a signature.
func TestKeyOfAnotherCertificate(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p256"} {
		f := newFake(t)
		cert := f.add(t, native.Files, kind, "app", "", nil)
		f.items[0].key = signertest.NewKey(t, kind)
		k, err := open(t.Context(), Config{}, f)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if sig, err := k.Sign(nil, digest[:], crypto.SHA256); sig != nil || !errors.Is(err, signer.ErrMismatch) || signer.Hint(err) == "" {
				t.Errorf("%s: %x, error %v, want signer.ErrMismatch with a hint", kind, sig, err)
			}
		}
		if !signer.SamePublicKey(k.Public(), cert.PublicKey) {
			t.Errorf("%s: the public key is not that of the certificate", kind)
		}
		k.Close()
	}
}

// A dialog that nobody answers holds neither SignContext nor Close.
func TestSignContext(t *testing.T) {
	f := newFake(t)
	k := openOne(t, f, "p256")
	why, answered := errors.New("too late"), make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	f.onSign = func() error { cancel(why); <-answered; return nil }
	if sig, err := k.SignContext(ctx, nil, digest[:], crypto.SHA256); sig != nil || !errors.Is(err, why) {
		t.Errorf("%x, error %v, want %v", sig, err, why)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	close(answered)
	for f.live.Load() > 0 { // until the call has returned
		runtime.Gosched()
	}
}
