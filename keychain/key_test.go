package keychain

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var digest = sha256.Sum256([]byte("message"))

func TestContractOverTheFake(t *testing.T) {
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

// Only a salt as long as the digest is made; macOS is not asked for others.
func TestPSSSalt(t *testing.T) {
	f := newFake(t)
	asked := 0
	f.onSign = func() error { asked++; return nil }
	k := openOne(t, f, "rsa2048")
	for salt, ok := range map[int]bool{
		rsa.PSSSaltLengthEqualsHash: true, 32: true,
		rsa.PSSSaltLengthAuto: false, 20: false, 31: false, 33: false, 64: false,
	} {
		asked = 0
		opts := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}
		sig, err := k.Sign(nil, digest[:], opts)
		if ok {
			if err != nil || rsa.VerifyPSS(k.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: 32}) != nil {
				t.Errorf("salt %d: error %v, or the signature is wrong", salt, err)
			}
			continue
		}
		if sig != nil || !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" || asked > 0 {
			t.Errorf("salt %d: error %v, asked %d times", salt, err, asked)
		}
	}
}

func TestSchemesAreWhatTheKeySupports(t *testing.T) {
	for _, test := range []struct {
		kind, refuse string
		want         []tls.SignatureScheme
	}{
		{"rsa2048", "-", []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512, tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}},
		{"rsa2048", "PSS", []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}},
		{"rsa2048", "SHA512", []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PKCS1WithSHA256, tls.PKCS1WithSHA384}},
		{"p384", "-", []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512}},
		{"p256", "SHA384", []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP521AndSHA512}},
	} {
		f := newFake(t)
		f.refuse = func(name string) bool { return strings.Contains(name, test.refuse) }
		k := openOne(t, f, test.kind)
		if got := k.SignatureSchemes(); !slices.Equal(got, test.want) {
			t.Errorf("%s without %s: %v, want %v", test.kind, test.refuse, got, test.want)
		}
		sum := sha512.Sum512([]byte("message"))
		_, err := k.Sign(nil, sum[:], crypto.SHA512)
		if want := test.refuse == "SHA512"; errors.Is(err, errors.ErrUnsupported) != want {
			t.Errorf("%s without %s: SHA-512 gives %v", test.kind, test.refuse, err)
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

// Close returns while a Sign waits for the user, which ends well; the key is
// released after that.
func TestCloseDoesNotWait(t *testing.T) {
	f := newFake(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	f.onSign = func() error { close(asked); <-answer; return nil }
	k := openOne(t, f, "p256")
	signed := make(chan error)
	go func() { _, err := k.Sign(nil, digest[:], crypto.SHA256); signed <- err }()
	<-asked
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if f.live.Load() != 1 {
		t.Errorf("%d references while the signature is made, want 1", f.live.Load())
	}
	if _, err := k.Sign(nil, digest[:], crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("Sign after Close: %v", err)
	}
	close(answer)
	if err := <-signed; err != nil {
		t.Error(err)
	}
}

// Whoever gives up waiting gets the error of the context at once. What macOS
// answers after that is released.
func TestOpenHeedsContext(t *testing.T) {
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
			answer, ended := make(chan struct{}), make(chan struct{})
			lists := 0
			f.onList = func() {
				if lists++; lists == 1 {
					cancel()
					<-answer
				}
			}
			// The last thing that is released shows that all is over.
			sys := releaseWatcher{f, ended}
			if err := call(ctx, sys); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			close(answer)
			<-ended
		})
	}
}

// A releaseWatcher closes ended when no reference is left.
type releaseWatcher struct {
	*fakeSystem
	ended chan struct{}
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
		close(w.ended)
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
