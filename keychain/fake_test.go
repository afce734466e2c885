package keychain

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A fakeSystem is a System in memory. Each item is in one scope, but the
// data-protection keychain also contains the tokens, as on a Mac.
type fakeSystem struct {
	items       []fakeItem
	certs       []*x509.Certificate // in the file-based keychains
	fail        map[native.Scope]error
	broken      error             // the error of each identity
	onList      func()            // called by Identities
	onKey       func() error      // called by Handle.Key
	onSign      func() error      // called by Key.Sign
	unsupported func(string) bool // algorithms that no key supports

	live atomic.Int64 // references that are not released
}

type fakeItem struct {
	scope        native.Scope
	label, token string
	cert         []byte
	key          crypto.Signer
}

// add issues a certificate for a key of a kind and adds the identity.
func (f *fakeSystem) add(t *testing.T, scope native.Scope, kind, label, token string, mutate func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key := signertest.Key(t, kind)
	cert := signertest.NewCA(t, "root").Issue(t, key, mutate)
	f.items = append(f.items, fakeItem{scope, label, token, cert.Raw, key})
	return cert
}

// newFake returns a fakeSystem that fails the test if a reference is not
// released.
func newFake(t *testing.T) *fakeSystem {
	f := &fakeSystem{}
	t.Cleanup(func() {
		if n := f.live.Load(); n != 0 {
			t.Errorf("%d references were not released", n)
		}
	})
	return f
}

func (f *fakeSystem) Identities(scope native.Scope) (all []native.Identity, err error) {
	if f.onList != nil {
		f.onList()
	}
	if err := f.fail[scope]; err != nil {
		return nil, err
	}
	for _, i := range f.items {
		if i.scope != scope && (scope != native.DataProtection || i.scope != native.Tokens) {
			continue
		}
		id := native.Identity{Label: i.label, Token: i.token, Certificate: i.cert, Err: f.broken}
		if id.Err == nil {
			f.live.Add(1)
			id.Handle = fakeHandle{f, i.key}
		}
		all = append(all, id)
	}
	return all, nil
}

func (f *fakeSystem) Certificates(scope native.Scope) (all [][]byte, err error) {
	if err := f.fail[scope]; err != nil || scope != native.Files {
		return nil, err
	}
	for _, c := range f.certs {
		all = append(all, c.Raw)
	}
	return append(all, []byte("not a certificate")), nil
}

type fakeHandle struct {
	system *fakeSystem
	key    crypto.Signer
}

func (h fakeHandle) Release() { h.system.live.Add(-1) }

func (h fakeHandle) Key() (native.Key, error) {
	if h.system.onKey != nil {
		if err := h.system.onKey(); err != nil {
			return nil, err
		}
	}
	h.system.live.Add(1)
	k := &fakeKey{system: h.system, key: h.key}
	k.count.Store(1)
	return k, nil
}

type fakeKey struct {
	system *fakeSystem
	key    crypto.Signer
	count  atomic.Int64
}

func (k *fakeKey) Retain() { k.count.Add(1) }
func (k *fakeKey) Release() {
	switch n := k.count.Add(-1); {
	case n == 0:
		k.system.live.Add(-1)
	case n < 0:
		panic("released too often")
	}
}

func (k *fakeKey) Supports(name string) bool {
	return (k.system.unsupported == nil || !k.system.unsupported(name)) && k.optsFor(name) != nil
}

func (k *fakeKey) Sign(name string, digest []byte) ([]byte, error) {
	if k.system.onSign != nil {
		if err := k.system.onSign(); err != nil {
			return nil, err
		}
	}
	if k.count.Load() < 1 {
		panic("used after the last release")
	}
	opts := k.optsFor(name)
	if opts == nil {
		return nil, errors.New("unknown algorithm")
	}
	return k.key.Sign(rand.Reader, digest, opts)
}

// optsFor parses the name of a SecKeyAlgorithm.
func (k *fakeKey) optsFor(name string) crypto.SignerOpts {
	hashes := map[string]crypto.Hash{"SHA256": crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512}
	hash, ok := hashes[name[max(0, len(name)-6):]]
	_, isRSA := k.key.Public().(*rsa.PublicKey)
	switch {
	case !ok || isRSA != strings.Contains(name, "RSASignatureDigest"):
		return nil
	case strings.Contains(name, "PSS"):
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	return hash
}

func osStatus(code int) error {
	return &native.Error{Call: "SecItemCopyMatching", Domain: native.OSStatusDomain, Code: code, Message: "in any language"}
}

func serial(hex byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.SerialNumber.SetBytes([]byte{hex}) }
}

func expires(in time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(in) }
}

func sameChain(a, b []*x509.Certificate) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}
