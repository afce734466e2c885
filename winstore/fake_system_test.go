package winstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A fakeSystem is a system in memory. It fails the test if a handle is freed
// twice, is not freed, or is used concurrently.
type fakeSystem struct {
	t *testing.T

	// Behavior; not changed after the first call.
	wine     bool // as Wine: acquire does not find machine keys and CNG keys, and stores of the user include those of the machine
	mustFree bool // acquire returns handles that the caller owns

	mu          sync.Mutex
	stores      map[string][]*fakeCert // by storeID
	caCerts     []*x509.Certificate    // that issuers returns
	keys        []*fakeKey
	last        uintptr          // handle
	open        map[uintptr]any  // objects by handle
	cached      map[uintptr]bool // handles that a certificate context owns
	certs       int              // certificate contexts that are not freed
	faults      map[string]Error // by operation
	storeFaults map[string]Error // of openStore, by storeID
	calls       map[string]int   // by operation
	onSign      func()
	onCall      func() // before each call that has a name in calls, with mu held; nil: none
}

// A fakeKey is in a CryptoAPI key container or in a CNG provider.
type fakeKey struct {
	keyInfo
	key       crypto.Signer
	needsPIN  bool // fails with the silent flag
	finalized bool
	inUse     atomic.Bool
}

type fakeCert struct {
	der      []byte
	info     *keyInfo
	attached *fakeKey // to the context (CERT_KEY_CONTEXT)
}

type (
	fakeStore    struct{ name string }
	fakeContext  struct{ cert *fakeCert }
	fakeProvider struct{ name string }
	fakeKeyUse   struct {
		key      *fakeKey
		provType uint32
		silent   bool
	}
)

func newFake(t *testing.T) *fakeSystem {
	f := &fakeSystem{
		t: t, stores: make(map[string][]*fakeCert), open: make(map[uintptr]any), cached: make(map[uintptr]bool),
		faults: make(map[string]Error), calls: make(map[string]int),
	}
	f.stores[`user\my`], f.stores[`machine\my`], f.stores[`user\ca`], f.stores[`machine\ca`] = nil, nil, nil, nil
	t.Cleanup(func() { f.checkFreed(t) })
	return f
}

func (f *fakeSystem) checkFreed(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) != 0 || f.certs != 0 {
		t.Errorf("not freed: %d handles %v, %d certificate contexts", len(f.open), f.open, f.certs)
	}
}

// add adds a certificate to a store, and its key to the container of info.
func (f *fakeSystem) add(l Location, name string, cert *x509.Certificate, key crypto.Signer, info *keyInfo) *fakeKey {
	c := &fakeCert{der: cert.Raw, info: info}
	k := &fakeKey{key: key, finalized: true}
	if info != nil {
		k.keyInfo = *info
		f.keys = append(f.keys, k)
	}
	id := storeID(l, name)
	f.stores[id] = append(f.stores[id], c)
	return k
}

func storeID(l Location, name string) string { return string(l) + `\` + strings.ToLower(name) }

// count counts a call and returns the error that the test has set for it.
func (f *fakeSystem) count(op string) error {
	f.calls[op]++
	if f.onCall != nil {
		f.onCall()
	}
	if code, ok := f.faults[op]; ok {
		return code
	}
	return nil
}

func (f *fakeSystem) handle(of any) uintptr {
	f.last++
	f.open[f.last] = of
	return f.last
}

func (f *fakeSystem) release(op string, h uintptr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.open[h]; !ok {
		f.t.Errorf("%s of handle %d, which is not open", op, h)
	}
	if f.cached[h] {
		f.t.Errorf("%s of handle %d, which a certificate context owns", op, h)
	}
	delete(f.open, h)
	return f.count(op)
}

func (f *fakeSystem) openStore(l Location, name string, write bool) (storeHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("openStore"); err != nil {
		return 0, err
	}
	if err, ok := f.storeFaults[storeID(l, name)]; ok {
		return 0, err
	}
	if _, ok := f.stores[storeID(l, name)]; !ok {
		return 0, errFileNotFound
	}
	return storeHandle(f.handle(&fakeStore{storeID(l, name)})), nil
}

func (f *fakeSystem) closeStore(s storeHandle) error { return f.release("closeStore", uintptr(s)) }

func (f *fakeSystem) enumerate(s storeHandle) (all []certHandle, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := f.open[uintptr(s)].(*fakeStore).name
	certs := f.stores[name]
	if user, ok := strings.CutPrefix(name, `user\`); ok && f.wine {
		certs = slices.Concat(certs, f.stores[`machine\`+user])
	}
	for _, c := range certs {
		f.certs++
		all = append(all, &fakeContext{c})
	}
	return all, f.count("enumerate") // with certificates, also on error
}

func (f *fakeSystem) freeCertificate(c certHandle) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx := c.(*fakeContext)
	if ctx.cert == nil {
		f.t.Error("a certificate context is freed twice")
	}
	ctx.cert = nil
	f.certs--
	return f.count("freeCertificate")
}

func (f *fakeSystem) der(c certHandle) []byte { return slices.Clone(c.(*fakeContext).cert.der) }

func (f *fakeSystem) hasKey(c certHandle) bool {
	cert := c.(*fakeContext).cert
	return cert.info != nil || cert.attached != nil
}

func (f *fakeSystem) keyInfo(c certHandle) (keyInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("keyInfo"); err != nil {
		return keyInfo{}, err
	}
	if info := c.(*fakeContext).cert.info; info != nil {
		return *info, nil
	}
	return keyInfo{}, cryptNotFound
}

func (f *fakeSystem) addCertificate(s storeHandle, der []byte, info *keyInfo) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("addCertificate"); err != nil {
		return err
	}
	name := f.open[uintptr(s)].(*fakeStore).name
	for _, c := range f.stores[name] {
		if slices.Equal(c.der, der) {
			if info != nil {
				c.info = info
			}
			return nil
		}
	}
	f.stores[name] = append(f.stores[name], &fakeCert{der: der, info: info})
	return nil
}

func (f *fakeSystem) deleteCertificate(c certHandle) error {
	cert := c.(*fakeContext).cert
	if err := f.freeCertificate(c); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("deleteCertificate"); err != nil {
		return err
	}
	for name, certs := range f.stores {
		f.stores[name] = slices.DeleteFunc(certs, func(other *fakeCert) bool { return other == cert })
	}
	return nil
}

func (f *fakeSystem) issuers(c certHandle, s storeHandle, _ Location) (ders [][]byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("issuers"); err != nil {
		return nil, err
	}
	if _, ok := f.open[uintptr(s)]; !ok {
		f.t.Error("chain in a store that is not open")
	}
	ders = append(ders, c.(*fakeContext).cert.der)
	for _, i := range f.caCerts {
		ders = append(ders, i.Raw)
	}
	return ders, nil
}

func (f *fakeSystem) find(match func(*fakeKey) bool) *fakeKey {
	if i := slices.IndexFunc(f.keys, match); i >= 0 {
		return f.keys[i]
	}
	return nil
}

func (f *fakeSystem) acquire(c certHandle, flags uint32) (keyHandle, uint32, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("acquire"); err != nil {
		return 0, 0, false, err
	}
	cert := c.(*fakeContext).cert
	if flags&acquireCache == 0 || flags&acquirePreferNCrypt == 0 {
		f.t.Errorf("acquire with flags %#x", flags)
	}
	use := &fakeKeyUse{silent: flags&acquireSilent != 0}
	spec := uint32(specNCrypt)
	switch {
	case cert.attached != nil:
		use.key = cert.attached
	case cert.info == nil, f.wine && (cert.info.flags&machineKey != 0 || cert.info.provType == 0):
		return 0, 0, false, cryptNoKeyProperty
	default:
		info := *cert.info
		if use.key = f.find(func(k *fakeKey) bool { return k.keyInfo == info }); use.key == nil {
			return 0, 0, false, nteBadKeyset
		}
		if use.provType = info.provType; use.provType != 0 {
			spec = info.keySpec
		}
	}
	if f.mustFree {
		return keyHandle(f.handle(use)), spec, true, nil
	}
	f.last++
	f.open[f.last] = use
	h := f.last
	f.cached[h] = true
	f.t.Cleanup(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, h)
	})
	return keyHandle(h), spec, false, nil
}

func (f *fakeSystem) acquireContext(container, provider string, provType, flags uint32) (keyHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("acquireContext"); err != nil {
		return 0, err
	}
	k := f.find(func(k *fakeKey) bool {
		return k.container == container && k.flags == flags&machineKey && k.provType != 0 &&
			(k.provType == provType && k.provider == provider || provType == provRSAAES && slices.Contains(oldProviders, k.provider))
	})
	if k == nil {
		return 0, nteBadKeyset
	}
	return keyHandle(f.handle(&fakeKeyUse{key: k, provType: provType, silent: flags&silent != 0})), nil
}

func (f *fakeSystem) releaseContext(h keyHandle) error {
	return f.release("releaseContext", uintptr(h))
}

// use begins a signature. The caller calls the function to end it.
func (f *fakeSystem) use(op string, h keyHandle) (*fakeKeyUse, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	use, ok := f.open[uintptr(h)].(*fakeKeyUse)
	if !ok {
		f.t.Errorf("%s with handle %d, which is not an open key", op, h)
		return nil, nil, nteInvalidHandle
	}
	if err := f.count(op); err != nil {
		return nil, nil, err
	}
	if !use.key.inUse.CompareAndSwap(false, true) {
		f.t.Errorf("%s while the key is in use", op)
	}
	if f.onSign != nil {
		defer func(hook func()) { f.mu.Unlock(); hook(); f.mu.Lock() }(f.onSign)
	}
	return use, func() { use.key.inUse.Store(false) }, nil
}

func (f *fakeSystem) signHash(h keyHandle, keySpec, algorithm uint32, digest []byte, size int) ([]byte, error) {
	use, done, err := f.use("signHash", h)
	if err != nil {
		return nil, err
	}
	defer done()
	hash := map[uint32]crypto.Hash{0x800c: crypto.SHA256, 0x800d: crypto.SHA384, 0x800e: crypto.SHA512}[algorithm]
	switch {
	case use.provType != provRSAAES && slices.Contains(oldProviders, use.key.provider), hash == 0:
		return nil, nteBadAlgID
	case keySpec != use.key.keySpec:
		return nil, nteNoKey
	case use.key.needsPIN && use.silent:
		return nil, nteSilentContext
	}
	key, ok := use.key.key.(*rsa.PrivateKey)
	if !ok || size < key.Size() {
		return nil, nteBadKey
	}
	sig, err := rsa.SignPKCS1v15(nil, key, hash, digest)
	if err != nil {
		return nil, nteBadLen
	}
	slices.Reverse(sig)
	return sig, nil
}

func (f *fakeSystem) openProvider(name string) (keyHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("openProvider"); err != nil {
		return 0, err
	}
	if name != tpmProvider && name != softwareProvider && name != "Card KSP" {
		return 0, nteProvNotFound
	}
	return keyHandle(f.handle(&fakeProvider{name})), nil
}

func (f *fakeSystem) openKey(provider keyHandle, name string, _, flags uint32) (keyHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("openKey"); err != nil {
		return 0, err
	}
	prov := f.open[uintptr(provider)].(*fakeProvider).name
	k := f.find(func(k *fakeKey) bool {
		return k.provType == 0 && k.container == name && k.provider == prov && k.flags == flags&machineKey
	})
	if k == nil {
		return 0, nteBadKeyset
	}
	return keyHandle(f.handle(&fakeKeyUse{key: k})), nil
}

func (f *fakeSystem) createKey(provider keyHandle, algorithm, name string, flags uint32) (keyHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("createKey"); err != nil {
		return 0, err
	}
	k := &fakeKey{keyInfo: keyInfo{container: name, provider: f.open[uintptr(provider)].(*fakeProvider).name, flags: flags & machineKey}}
	if f.find(func(other *fakeKey) bool { return other.keyInfo == k.keyInfo }) != nil {
		return 0, nteExists
	}
	k.key = signertest.Key(f.t, map[string]string{"RSA": "rsa2048", "ECDSA_P256": "p256", "ECDSA_P384": "p384", "ECDSA_P521": "p521"}[algorithm])
	return keyHandle(f.handle(&fakeKeyUse{key: k})), nil
}

func (f *fakeSystem) setProperty(key keyHandle, name string, value, _ uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "Length" && value != 2048 || name == "Export Policy" && value != 0 {
		f.t.Errorf("property %s is %d", name, value)
	}
	f.calls["setProperty "+name]++
	return f.count("setProperty")
}

func (f *fakeSystem) finalizeKey(key keyHandle, _ uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("finalizeKey"); err != nil {
		return err
	}
	k := f.open[uintptr(key)].(*fakeKeyUse).key
	k.finalized = true
	f.keys = append(f.keys, k)
	return nil
}

func (f *fakeSystem) exportPublic(key keyHandle, blobType string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count("exportPublic"); err != nil {
		return nil, err
	}
	k := f.open[uintptr(key)].(*fakeKeyUse).key
	if !k.finalized {
		return nil, nteInvalidHandle
	}
	return publicBlob(k.key.Public(), blobType)
}

// publicBlob returns the CNG blob of a public key.
func publicBlob(pub crypto.PublicKey, blobType string) ([]byte, error) {
	var b []byte
	put := func(all ...uint32) {
		for _, v := range all {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if blobType != "RSAPUBLICBLOB" {
			return nil, nteNotSupported
		}
		put(0x31415352, uint32(pub.N.BitLen()), 3, uint32(pub.Size()), 0, 0)
		return append(append(b, 1, 0, 1), pub.N.Bytes()...), nil
	case *ecdsa.PublicKey:
		if blobType != "ECCPUBLICBLOB" {
			return nil, nteBadType
		}
		size := coordinateSize(pub)
		put(map[int]uint32{32: 0x31534345, 48: 0x33534345, 66: 0x35534345}[size], uint32(size))
		point, err := pub.Bytes()
		return append(b, point[1:]...), err
	}
	return nil, nteNotSupported
}

func (f *fakeSystem) freeObject(h keyHandle) error { return f.release("freeObject", uintptr(h)) }

func (f *fakeSystem) signDigest(h keyHandle, pad padding, digest []byte, size int, flags uint32) ([]byte, error) {
	use, done, err := f.use("signDigest", h)
	if err != nil {
		return nil, err
	}
	defer done()
	if use.key.needsPIN && flags&silent != 0 {
		return nil, nteSilentContext
	}
	hash := map[string]crypto.Hash{"SHA256": crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512}[pad.hash]
	switch key := use.key.key.(type) {
	case *rsa.PrivateKey:
		if size < key.Size() {
			return nil, nteBufferTooSmall
		}
		var sig []byte
		switch pad.kind {
		case padPKCS1:
			sig, err = rsa.SignPKCS1v15(nil, key, hash, digest)
		case padPSS:
			if pad.salt == 0 { // rsa.PSSSaltLengthAuto
				return nil, nteInvalidParam
			}
			sig, err = rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: int(pad.salt)})
		default:
			err = nteInvalidParam
		}
		if err != nil {
			return nil, nteInvalidParam
		}
		return sig, nil
	case *ecdsa.PrivateKey:
		n := coordinateSize(&key.PublicKey)
		if pad.kind != padNone || len(digest) > n {
			return nil, nteInvalidParam
		}
		if size < 2*n {
			return nil, nteBufferTooSmall
		}
		der, err := ecdsa.SignASN1(rand.Reader, key, digest)
		if err != nil {
			return nil, nteFail
		}
		var v struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &v); err != nil {
			return nil, nteFail
		}
		sig := make([]byte, 2*n)
		v.R.FillBytes(sig[:n])
		v.S.FillBytes(sig[n:])
		return sig, nil
	}
	return nil, nteNotSupported
}
