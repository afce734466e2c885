package winstore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// providerCases are the places where a key can be stored.
var providerCases = []struct {
	name     string
	kinds    []string
	info     keyInfo
	fallback []string // calls that acquireByInfo must make in Wine mode
}{
	{"CNG", []string{"rsa2048", "p256", "p384", "p521"}, keyInfo{"k", softwareProvider, 0, 0, 0}, []string{"openKey"}},
	{"CNG machine", []string{"rsa2048", "p256"}, keyInfo{"k", softwareProvider, 0, machineKey, 0}, []string{"openKey"}},
	{"TPM", []string{"rsa2048", "p256"}, keyInfo{"k", tpmProvider, 0, 0, 0}, []string{"openKey"}},
	{"CryptoAPI", []string{"rsa2048"}, keyInfo{"c", aesProvider, provRSAAES, 0, specSignature}, nil},
	{"CryptoAPI machine", []string{"rsa2048"}, keyInfo{"c", aesProvider, provRSAAES, machineKey, specKeyExchange}, []string{"acquireContext"}},
	{"CryptoAPI old", []string{"rsa2048"}, keyInfo{"c", oldProviders[1], provRSAFull, 0, specKeyExchange}, nil},
	{"CryptoAPI old machine", []string{"rsa2048"}, keyInfo{"c", oldProviders[4], provRSASchannel, machineKey, specSignature}, []string{"acquireContext"}},
	{"CryptoAPI vendor", []string{"rsa2048"}, keyInfo{"c", "Card CSP", provRSAFull, 0, specKeyExchange}, nil},
}

func locationOf(info keyInfo) Location {
	if info.flags&machineKey != 0 {
		return Machine
	}
	return User
}

func TestContract(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	for _, c := range providerCases {
		for _, kind := range c.kinds {
			for i, mode := range []string{"cached", "free", "Wine"} {
				if i > 0 && (kind == "p384" || kind == "p521") {
					continue
				}
				t.Run(c.name+"/"+kind+"/"+mode, func(t *testing.T) {
					f := newFake(t)
					f.wine, f.mustFree = mode == "Wine", mode == "free"
					key := signertest.Key(t, kind)
					l := locationOf(c.info)
					f.add(l, "MY", ca.Issue(t, key, nil), key, &c.info)
					f.caCerts = []*x509.Certificate{ca.Root(), ca.Cert}
					signertest.Run(t, func(t *testing.T) signer.Signer {
						k, err := open(t.Context(), f, Config{Location: l})
						if err != nil {
							t.Fatal(err)
						}
						if len(k.Chain()) != 2 {
							t.Errorf("chain of %d certificates, want 2", len(k.Chain()))
						}
						return k
					})
					for _, call := range c.fallback {
						if f.wine && f.calls[call] == 0 {
							t.Errorf("%s was not called", call)
						}
					}
				})
			}
		}
	}
}

// A key in memory is attached to the context of its certificate.
func TestContractOfAttachedKey(t *testing.T) {
	f := newFake(t)
	key := signertest.Key(t, "rsa2048")
	cert := signertest.NewCA(t, "root").Issue(t, key, nil)
	f.stores[`user\my`] = []*fakeCert{{der: cert.Raw, attached: &fakeKey{key: key}}}
	signertest.Run(t, func(t *testing.T) signer.Signer { return mustOpen(t, f, Config{}) })
}

func mustOpen(t *testing.T, f *fakeSystem, cfg Config) *Key {
	t.Helper()
	k, err := open(t.Context(), f, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

var cng = keyInfo{container: "k", provider: softwareProvider}

// withKey returns a fake with one CNG key in the store MY of the user.
func withKey(t *testing.T, kind string) (*fakeSystem, *x509.Certificate, *fakeKey) {
	f := newFake(t)
	key := signertest.Key(t, kind)
	cert := signertest.NewCA(t, "root").Issue(t, key, nil)
	info := cng
	return f, cert, f.add(User, "MY", cert, key, &info)
}

func TestAllowUI(t *testing.T) {
	digest := make([]byte, 32)
	for _, info := range []keyInfo{cng, {"c", aesProvider, provRSAAES, 0, specSignature}, {"c", "Card CSP", provRSAFull, 0, specSignature}} {
		for _, wine := range []bool{false, true} {
			f := newFake(t)
			f.wine = wine
			key := signertest.Key(t, "rsa2048")
			f.add(User, "MY", signertest.NewCA(t, "root").Issue(t, key, nil), key, &info).needsPIN = true
			_, err := mustOpen(t, f, Config{}).Sign(nil, digest, crypto.SHA256)
			if !errors.Is(err, signer.ErrPINRequired) || !strings.Contains(signer.Hint(err), "ui=allow") {
				t.Errorf("%+v: error %v, hint %q; want ErrPINRequired", info, err, signer.Hint(err))
			}
			if _, err := mustOpen(t, f, Config{AllowUI: true}).Sign(nil, digest, crypto.SHA256); err != nil {
				t.Errorf("%+v with ui=allow: %v", info, err)
			}
		}
	}
}

// A certificate may be linked to the wrong key.
func TestWrongKey(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p256"} {
		f := newFake(t)
		info := cng
		f.add(User, "MY", signertest.NewCA(t, "root").Issue(t, signertest.Key(t, kind), nil), signertest.NewKey(t, kind), &info)
		k := mustOpen(t, f, Config{})
		for range 2 {
			if sig, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); sig != nil || !errors.Is(err, signer.ErrMismatch) {
				t.Errorf("%s: %x, error %v, want ErrMismatch", kind, sig, err)
			}
		}
	}
}

func TestSchemesOfCryptoAPI(t *testing.T) {
	f := newFake(t)
	key := signertest.Key(t, "rsa2048")
	info := keyInfo{"c", aesProvider, provRSAAES, 0, specSignature}
	f.add(User, "MY", signertest.NewCA(t, "root").Issue(t, key, nil), key, &info)
	k := mustOpen(t, f, Config{})
	if !slices.Equal(k.SignatureSchemes(), pkcs1Schemes) {
		t.Errorf("schemes %v", k.SignatureSchemes())
	}
	_, err := k.Sign(rand.Reader, make([]byte, 32), &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256})
	if !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" {
		t.Errorf("PSS: error %v", err)
	}
	if _, err := k.Sign(rand.Reader, make([]byte, 28), crypto.SHA224); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SHA-224: error %v", err)
	}
}

func TestCloseWaitsForSign(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	inSign, goOn := make(chan struct{}), make(chan struct{})
	f.onSign = func() { close(inSign); <-goOn }
	k := mustOpen(t, f, Config{})
	signed := make(chan error, 1)
	go func() {
		_, err := k.Sign(nil, make([]byte, 32), crypto.SHA256)
		signed <- err
	}()
	<-inSign
	closed := make(chan error, 1)
	go func() { closed <- k.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("Close returned %v during a signature", err)
	case <-time.After(20 * time.Millisecond): // a goroutine that waits for a lock cannot be observed
	}
	close(goOn)
	if err := <-signed; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// If an operation fails, all handles are freed, and the error contains its code.
func TestFaults(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	key := signertest.Key(t, "rsa2048")
	leaf := ca.Issue(t, key, nil)
	sign := func(k *Key, err error) error {
		if err != nil {
			return err
		}
		_, err = k.Sign(nil, make([]byte, 32), crypto.SHA256)
		return errors.Join(err, k.Close(), k.Close())
	}
	scenarios := map[string]func(t *testing.T, f *fakeSystem) error{
		"open":         func(t *testing.T, f *fakeSystem) error { return sign(open(t.Context(), f, Config{})) },
		"open machine": func(t *testing.T, f *fakeSystem) error { return sign(open(t.Context(), f, Config{Location: Machine})) },
		"open by name": func(t *testing.T, f *fakeSystem) error {
			return sign(open(t.Context(), f, Config{Key: "k", Provider: "software"}))
		},
		"generate": func(t *testing.T, f *fakeSystem) error {
			return sign(generate(t.Context(), f, Config{Key: "new"}, keystore.KeySpec{Type: keystore.RSA2048}))
		},
		"install": func(t *testing.T, f *fakeSystem) error {
			in := only(leaf, ca.Cert)
			in.Replace = true
			_, err := install(t.Context(), f, Config{}, in)
			return err
		},
		"list": func(t *testing.T, f *fakeSystem) error {
			_, err := list(t.Context(), f, Config{Location: User})
			return err
		},
		"certificates": func(t *testing.T, f *fakeSystem) error {
			_, err := certificates(t.Context(), f, Config{})
			return err
		},
	}
	ops := []string{
		"openStore", "closeStore", "enumerate", "freeCertificate", "keyInfo", "addCertificate", "issuers", "acquire",
		"acquireContext", "releaseContext", "signHash", "openProvider", "openKey", "createKey", "setProperty",
		"finalizeKey", "exportPublic", "freeObject", "signDigest",
	}
	for name, run := range scenarios {
		for _, wine := range []bool{false, true} {
			for _, old := range []bool{false, true} {
				for _, op := range ops {
					t.Run(name+"/"+op, func(t *testing.T) {
						f := newFake(t)
						f.wine, f.mustFree = wine, true
						info := cng
						if old {
							info = keyInfo{"c", oldProviders[1], provRSAFull, 0, specSignature}
						}
						f.add(User, "MY", leaf, key, &info)
						machine := info
						machine.flags = machineKey
						f.add(Machine, "MY", leaf, key, &machine)
						if old {
							named := cng
							f.keys = append(f.keys, &fakeKey{keyInfo: named, key: key, finalized: true})
						}
						const code = Error(0xdead)
						f.faults[op] = code
						err := run(t, f)
						delete(f.faults, op)
						if f.calls[op] == 0 {
							return
						}
						upgrade := old && (op == "keyInfo" || op == "acquireContext") && !(wine && name == "open machine")
						if upgrade || op == "issuers" || name == "list" && op == "keyInfo" {
							return // the operation is optional
						}
						if !errors.Is(err, code) {
							t.Errorf("wine %t, old %t: error %v, want %v", wine, old, err, code)
						}
					})
				}
			}
		}
	}
}

func TestOpenErrors(t *testing.T) {
	f, _, key := withKey(t, "p256")
	for _, test := range []struct {
		cfg  Config
		want error
	}{
		{Config{Store: "NONE"}, signer.ErrNotFound},
		{Config{Location: Machine}, signer.ErrNotFound},
		{Config{Key: "none", Provider: "software"}, signer.ErrNotFound},
		{Config{Key: "k"}, signer.ErrNotFound}, // not in the TPM
		{Config{Key: "k", Provider: "No KSP"}, signer.ErrUnavailable},
	} {
		if _, err := open(t.Context(), f, test.cfg); !errors.Is(err, test.want) || signer.Hint(err) == "" {
			t.Errorf("%+v: error %v, hint %q; want %v", test.cfg, err, signer.Hint(err), test.want)
		}
	}
	f.keys = nil // but keep the certificate
	if _, err := open(t.Context(), f, Config{}); !errors.Is(err, nteBadKeyset) {
		t.Errorf("deleted key: error %v", err)
	}
	f.keys = append(f.keys, key)
	ctx, cancel := contextWithCancel(t)
	cancel()
	if _, err := open(ctx, f, Config{}); !errors.Is(err, ctx.Err()) {
		t.Errorf("canceled context: error %v", err)
	}
}

func TestFindsKeyAmongOthers(t *testing.T) {
	f, cert, _ := withKey(t, "p256")
	ca := signertest.NewCA(t, "other")
	mldsa := &fakeCert{der: withAlgorithm(t, cert, 2, 16, 840, 1, 101, 3, 4, 3, 18), info: &cng}
	edKey := signertest.Key(t, "ed25519")
	ed := &fakeCert{der: ca.Issue(t, edKey, nil).Raw, info: &cng}
	broken := &fakeCert{der: []byte("not a certificate")}
	keyless := &fakeCert{der: ca.Cert.Raw}
	all := f.stores[`user\my`]
	f.stores[`user\my`] = slices.Concat([]*fakeCert{broken, mldsa, ed, keyless}, all, all)
	k := mustOpen(t, f, Config{})
	if !k.Chain()[0].Equal(cert) {
		t.Errorf("selected %s", k.Chain()[0].Subject)
	}
	found, err := keystoreList(t, f, "")
	if err == nil || !strings.Contains(err.Error(), "store MY of the user") || len(found) != 4 {
		t.Errorf("%d entries, error %v", len(found), err)
	}

	f.stores[`user\my`] = []*fakeCert{mldsa}
	_, err = open(t.Context(), f, Config{})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "ML-DSA-65") || signer.Hint(err) == "" {
		t.Errorf("ML-DSA: error %v", err)
	}
	f.stores[`user\my`] = []*fakeCert{keyless}
	if _, err = open(t.Context(), f, Config{}); !errors.Is(err, errNoKey) {
		t.Errorf("no key: error %v", err)
	}
	f.stores[`user\my`] = []*fakeCert{broken, ed}
	if _, err = open(t.Context(), f, Config{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Ed25519: error %v", err)
	}
	f.stores[`user\my`] = []*fakeCert{broken}
	if _, err = open(t.Context(), f, Config{}); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("broken: error %v", err)
	}
}

func TestSelectorChooses(t *testing.T) {
	f, old, _ := withKey(t, "p256")
	key := signertest.Key(t, "rsa2048")
	renewed := signertest.NewCA(t, "root").Issue(t, key, func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) })
	f.add(User, "MY", renewed, key, &keyInfo{container: "k2", provider: softwareProvider})
	if _, err := open(t.Context(), f, Config{}); !errors.Is(err, signer.ErrAmbiguous) {
		t.Errorf("error %v, want ErrAmbiguous", err)
	}
	for _, want := range []*x509.Certificate{old, renewed} {
		sum := sha256.Sum256(want.Raw)
		cfg, err := configFor(keystore.Ref{Scheme: scheme, Rest: "sha256=" + hex.EncodeToString(sum[:])}, keystore.Call{})
		if err != nil {
			t.Fatal(err)
		}
		k := mustOpen(t, f, cfg)
		if !k.Chain()[0].Equal(want) {
			t.Errorf("selected %s", k.Chain()[0].Subject)
		}
		again, err := configFor(k.Ref(), keystore.Call{})
		if err != nil {
			t.Fatal(err)
		}
		if k = mustOpen(t, f, again); !k.Chain()[0].Equal(want) {
			t.Errorf("%s selects %s", k.Ref(), k.Chain()[0].Subject)
		}
	}
	newest := Config{Selector: selector.Selector{UseLatestExpiring: true}}
	if k := mustOpen(t, f, newest); !k.Chain()[0].Equal(renewed) {
		t.Errorf("selected the certificate that expires at %v", k.Chain()[0].NotAfter)
	}
	newest.Now = func() time.Time { return renewed.NotAfter.Add(time.Second) }
	if _, err := open(t.Context(), f, newest); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("all expired: error %v", err)
	}
}

func TestChain(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "outer").Intermediate(t, "inner")
	leaf := ca.Issue(t, key, nil)
	renewed := ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) })
	want := append([]*x509.Certificate{leaf}, ca.Chain()...)
	check := func(t *testing.T, f *fakeSystem) {
		t.Helper()
		sum := sha256.Sum256(leaf.Raw)
		k := mustOpen(t, f, Config{Selector: selector.Selector{SHA256: sum[:]}})
		certs, err := certificates(t.Context(), f, Config{Selector: selector.Selector{SHA256: sum[:]}})
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range [][]*x509.Certificate{k.Chain(), certs} {
			if !slices.EqualFunc(got, want, (*x509.Certificate).Equal) {
				t.Errorf("chain of %d certificates, want %d", len(got), len(want))
			}
		}
	}
	t.Run("issuers from Windows", func(t *testing.T) {
		f := newFake(t)
		f.add(User, "MY", leaf, key, &cng)
		f.add(User, "MY", renewed, key, &cng)
		f.caCerts = append(ca.Chain(), ca.Root(), renewed)
		check(t, f)
	})
	t.Run("issuers from the same store", func(t *testing.T) {
		f := newFake(t)
		for _, c := range append(ca.Chain(), ca.Root()) {
			f.stores[`user\my`] = append(f.stores[`user\my`], &fakeCert{der: c.Raw})
		}
		f.add(User, "MY", leaf, key, &cng)
		f.add(User, "MY", renewed, key, &cng)
		f.faults["issuers"] = nteFail
		check(t, f)
	})
	t.Run("issuers from the store CA", func(t *testing.T) {
		f := newFake(t)
		for _, c := range ca.Chain()[1:] {
			f.stores[`user\ca`] = append(f.stores[`user\ca`], &fakeCert{der: c.Raw})
		}
		f.caCerts = ca.Chain()[:1]
		f.add(User, "MY", leaf, key, &cng)
		check(t, f)
	})
}

// Certificates does not need a private key.
func TestCertificatesWithoutKey(t *testing.T) {
	f := newFake(t)
	cert := signertest.NewCA(t, "root").Issue(t, signertest.Key(t, "ed25519"), nil)
	f.stores[`user\my`] = []*fakeCert{{der: []byte("broken")}, {der: cert.Raw}}
	certs, err := certificates(t.Context(), f, Config{})
	if err != nil || len(certs) != 1 || !certs[0].Equal(cert) {
		t.Errorf("%d certificates, error %v", len(certs), err)
	}
}

func TestUnknownKeySpec(t *testing.T) {
	for _, wine := range []bool{false, true} { // Wine's PKCS #12 import creates such key specifications
		f := newFake(t)
		f.wine, f.mustFree = wine, true
		key := signertest.Key(t, "rsa2048")
		info := keyInfo{"c", "Card CSP", provRSAFull, machineKey, 3}
		f.add(Machine, "MY", signertest.NewCA(t, "root").Issue(t, key, nil), key, &info)
		if _, err := open(t.Context(), f, Config{Location: Machine}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
	}
}

// The key container of a smart card is not opened with the AES provider.
func TestNoUpgradeOfVendorProviders(t *testing.T) {
	f := newFake(t)
	key := signertest.Key(t, "rsa2048")
	info := keyInfo{"c", "Card CSP", provRSAFull, 0, specSignature}
	f.add(User, "MY", signertest.NewCA(t, "root").Issue(t, key, nil), key, &info)
	f.keys = append(f.keys, &fakeKey{keyInfo: keyInfo{"c", aesProvider, provRSAAES, 0, specSignature}, key: signertest.NewKey(t, "rsa2048")})
	if _, err := mustOpen(t, f, Config{}).Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
		t.Error(err)
	}
	if f.calls["acquireContext"] != 0 {
		t.Error("the container was opened with another provider")
	}
}

// A dialog that nobody answers holds neither SignContext nor Close.
func TestSignContext(t *testing.T) {
	f := newFake(t)
	key := signertest.Key(t, "p256")
	f.add(User, "MY", signertest.NewCA(t, "root").Issue(t, key, nil), key, &providerCases[0].info)
	k, err := open(t.Context(), f, Config{AllowUI: true})
	if err != nil {
		t.Fatal(err)
	}
	if !k.NeedsPerson() {
		t.Error("NeedsPerson is false although Windows may show a dialog")
	}
	why, answered := errors.New("too late"), make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	f.onSign = func() { cancel(why); <-answered }
	if sig, err := k.SignContext(ctx, nil, make([]byte, 32), crypto.SHA256); sig != nil || !errors.Is(err, why) {
		t.Errorf("%x, error %v, want %v", sig, err, why)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	close(answered)
	for closed := false; !closed; runtime.Gosched() { // until the call has returned
		k.mu.Lock()
		closed = k.closed
		k.mu.Unlock()
	}
}
