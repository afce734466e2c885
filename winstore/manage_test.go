package winstore

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func keystoreList(t *testing.T, f *fakeSystem, rest string) ([]keystore.Entry, error) {
	t.Helper()
	cfg, err := parseConfig(rest)
	if err != nil {
		t.Fatal(err)
	}
	return list(t.Context(), f, cfg)
}

// withAlgorithm returns cert with another public key algorithm.
func withAlgorithm(t *testing.T, cert *x509.Certificate, oid ...int) []byte {
	t.Helper()
	var outer struct {
		TBS       []asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.Raw, &outer); err != nil {
		t.Fatal(err)
	}
	var spki struct {
		Algorithm struct{ Algorithm asn1.ObjectIdentifier }
		Key       asn1.BitString
	}
	spki.Algorithm.Algorithm = oid
	spki.Key = asn1.BitString{Bytes: []byte{1, 2, 3}, BitLength: 24}
	der, err := asn1.Marshal(spki)
	if err != nil {
		t.Fatal(err)
	}
	const keyField = 6 // RFC 5280, section 4.1, with version
	outer.TBS[keyField] = asn1.RawValue{FullBytes: der}
	if der, err = asn1.Marshal(outer); err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return der
}

func TestGenerateAndInstall(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	for _, rest := range []string{"key=new;provider=software", "location=machine;key=new", "key=n%3Bw;provider=Card KSP"} {
		for _, typ := range []keystore.KeyType{keystore.RSA2048, keystore.P256, keystore.P384, keystore.P521} {
			t.Run(rest+"/"+string(typ), func(t *testing.T) {
				f := newFake(t)
				cfg, err := parseConfig(rest)
				if err != nil {
					t.Fatal(err)
				}
				k, err := generate(t.Context(), f, cfg, keystore.KeySpec{Type: typ})
				if err != nil {
					t.Fatal(err)
				}
				pub := k.Public()
				if k.Chain() != nil {
					t.Error("a new key has a chain")
				}
				if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
					t.Error(err)
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
				if f.calls["setProperty Export Policy"] != 1 {
					t.Error("the export policy was not set")
				}
				if _, err := generate(t.Context(), f, cfg, keystore.KeySpec{Type: typ}); !errors.Is(err, nteExists) || signer.Hint(err) == "" {
					t.Errorf("second key with the same name: error %v", err)
				}

				leaf := ca.Issue(t, signerOf(pub), nil)
				if _, err := install(t.Context(), f, cfg, keystore.Installation{Certificates: []*x509.Certificate{ca.Cert, leaf}}); err != nil {
					t.Fatal(err)
				}
				f.caCerts = []*x509.Certificate{ca.Cert}
				// By name, by certificate, and by the Key.Ref of each.
				refs := []keystore.Ref{cfg.ref(""), {Scheme: scheme, Rest: "location=" + string(cfg.location()) + ";subject=CN=client"}}
				for i := 0; i < len(refs); i++ {
					again, err := configFor(refs[i], keystore.Call{})
					if err != nil {
						t.Fatal(err)
					}
					k := mustOpen(t, f, again)
					if len(k.Chain()) != 2 || !k.Chain()[0].Equal(leaf) || !signer.SamePublicKey(k.Public(), pub) {
						t.Errorf("%s: chain of %d", refs[i], len(k.Chain()))
					}
					if !slices.Contains(refs, k.Ref()) && len(refs) < 9 {
						refs = append(refs, k.Ref())
					}
				}
				if len(refs) > 4 {
					t.Errorf("references %v", refs)
				}
				if n := len(f.stores[storeID(cfg.location(), "CA")]); n != 1 {
					t.Errorf("%d certificates in store CA", n)
				}
			})
		}
	}
}

// A publicOnly is a Signer without a private key, for which a CA can issue a
// certificate.
type publicOnly struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (p publicOnly) Public() crypto.PublicKey { return p.pub }

func signerOf(pub crypto.PublicKey) crypto.Signer { return publicOnly{pub: pub} }

func TestList(t *testing.T) {
	f, cert, _ := withKey(t, "p256")
	f.wine = true // the store of the user includes the store of the machine
	key := signertest.Key(t, "rsa2048")
	machine := signertest.NewCA(t, "root").Issue(t, key, nil)
	f.add(Machine, "MY", machine, key, &keyInfo{"m", softwareProvider, 0, machineKey, 0})
	f.add(User, "MY", machine, key, &keyInfo{"u", softwareProvider, 0, 0, 0}) // the same certificate with another key container
	entries, err := keystoreList(t, f, "")
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, error %v", len(entries), err)
	}
	if !strings.HasPrefix(entries[0].Ref.Rest, "location=machine") {
		t.Errorf("the certificate of the machine is listed as %s", entries[0].Ref)
	}
	for _, e := range entries {
		if e.Kind != keystore.KeyEntry || !signer.SamePublicKey(e.Public, e.Certificate.PublicKey) {
			t.Errorf("%+v", e)
		}
		cfg, err := configFor(e.Ref, keystore.Call{})
		if err != nil {
			t.Fatal(err)
		}
		if k := mustOpen(t, f, cfg); !k.Chain()[0].Equal(e.Certificate) {
			t.Errorf("%s opens %s", e.Ref, k.Chain()[0].Subject)
		}
	}
	if entries, err = keystoreList(t, f, "location=user;subject=CN=client;sha256="+sumOf(cert)); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, error %v", len(entries), err)
	}
	if entries, err = keystoreList(t, f, "subject=CN=none"); err != nil || len(entries) != 0 {
		t.Errorf("%d entries, error %v", len(entries), err)
	}
	if _, err = keystoreList(t, f, "store=NONE"); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("missing store: error %v", err)
	}
	var refErr *keystore.RefError
	if _, err = keystoreList(t, f, "key=k"); !errors.As(err, &refErr) {
		t.Errorf("key by name: error %v", err)
	}
}

// A store that cannot be read does not hide another, and the error names it.
func TestListWithErrors(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	for _, l := range []Location{User, Machine} {
		key := signertest.Key(t, "rsa2048")
		f.add(l, "Own", signertest.NewCA(t, "root").Issue(t, key, nil), key, &keyInfo{"k", softwareProvider, 0, 0, 0})
	}
	f.stores[`machine\only`] = f.stores[`machine\own`]
	for _, test := range []struct {
		rest    string
		faults  map[string]Error
		entries int
		err     error
		names   string
	}{
		{"store=Own", nil, 2, nil, ""},
		{"store=Own", map[string]Error{`machine\own`: errAccessDenied}, 1, errAccessDenied, `"Own" of the machine`},
		{"store=Own", map[string]Error{`user\own`: errAccessDenied}, 1, errAccessDenied, `"Own" of the user`},
		{"store=Own;location=machine", map[string]Error{`machine\own`: errAccessDenied}, 0, errAccessDenied, `"Own" of the machine`},
		{"store=Own", map[string]Error{`user\own`: errAccessDenied, `machine\own`: errAccessDenied}, 0, errAccessDenied, `"Own" of the machine`},
		{"store=Only", nil, 1, nil, ""}, // it exists in one location
		{"store=Only;location=user", nil, 0, errFileNotFound, `"Only" of the user`},
		{"store=Only", map[string]Error{`machine\only`: errAccessDenied}, 0, errAccessDenied, `"Only" of the machine`},
	} {
		f.storeFaults = test.faults
		entries, err := keystoreList(t, f, test.rest)
		if len(entries) != test.entries || !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.names) {
			t.Errorf("%s: %d entries, error %v, want %d and %v", test.rest, len(entries), err, test.entries, test.err)
		}
	}
}

func sumOf(cert *x509.Certificate) string {
	_, sum, _ := strings.Cut(selector.For(cert).String(), "sha256=")
	return sum
}

func TestReferences(t *testing.T) {
	for _, test := range []struct {
		rest string
		want Config
	}{
		{"", Config{}},
		{"location=machine;store=WebHosting;ui=allow", Config{Location: Machine, Store: "WebHosting", AllowUI: true}},
		{"location=user;key=a%3Bb;provider=software", Config{Location: User, Key: "a;b", Provider: "software"}},
	} {
		cfg, err := parseConfig(test.rest)
		if err != nil || cfg.ref("") != test.want.ref("") || cfg.provider() != test.want.provider() {
			t.Errorf("%s: %+v, error %v", test.rest, cfg, err)
		}
	}
	cfg, err := parseConfig(`subject=CN=a\%3Bb;serial=0f;newest=yes`)
	if err != nil || cfg.Selector.String() != `subject=CN=a\%3Bb;serial=f;newest=yes` {
		t.Errorf("%+v, error %v", cfg, err)
	}
	for _, rest := range []string{
		"location=here", "ui=yes", "ui=", "pin-source=x", "object=x", "store=", "key=a;subject=CN=b", "key=a;newest=yes", "provider=tpm",
		"store=" + strings.Repeat("x", 2000), "store=a%00", "location=user;location=user", "x",
	} {
		var refErr *keystore.RefError
		if _, err := configFor(keystore.Ref{Scheme: scheme, Rest: rest}, keystore.Call{}); !errors.As(err, &refErr) {
			t.Errorf("%.40s: error %v", rest, err)
		}
	}
}

func TestGenerateErrors(t *testing.T) {
	f := newFake(t)
	if _, err := generate(t.Context(), f, Config{Key: "k"}, keystore.KeySpec{Type: keystore.Ed25519}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Ed25519: error %v", err)
	}
	f.faults["setProperty"] = nteNotSupported // as a provider without key export
	k, err := generate(t.Context(), f, Config{Key: "new"}, keystore.KeySpec{Type: keystore.P256})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if _, err := generate(t.Context(), f, Config{Key: "rsa"}, keystore.KeySpec{Type: keystore.RSA2048}); !errors.Is(err, nteNotSupported) {
		t.Errorf("key length not supported: error %v", err)
	}
	f.faults["openProvider"] = nteProvNotFound
	_, err = generate(t.Context(), f, Config{Key: "k"}, keystore.KeySpec{Type: keystore.P256})
	if !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(signer.Hint(err), "provider=software") {
		t.Errorf("no TPM: error %v, hint %q", err, signer.Hint(err))
	}
	var refErr *keystore.RefError
	if _, err := (Backend{}).Generate(t.Context(), keystore.Ref{Scheme: scheme}, keystore.KeySpec{Type: keystore.P256}, keystore.Call{}); !errors.As(err, &refErr) {
		t.Errorf("no name: error %v", err)
	}
}
