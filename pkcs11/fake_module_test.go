package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A fakeModule is Cryptoki in memory: tokens in slots, sessions, login state
// and real keys. It notes what no module would forgive, such as two operations
// in one session at a time, as a failure of the test.
type fakeModule struct {
	tb testing.TB

	mu       sync.Mutex
	slotted  map[uint]*fakeToken
	sessions map[uint]*fakeSession
	next     uint // the last handle, of a session or an object: none is used twice
	dead     bool // finalized
	faults   map[string][]Error
	calls    map[string]int
	opened   int
	closed   int
	most     int // sessions that were open at once

	// before, if not nil, is called before each call with its name, the
	// number of such calls so far, and what is signed. Its error, unless 0,
	// is what the call returns, with the consequences that it stands for.
	before func(call string, n int, input []byte) Error
}

type fakeToken struct {
	tokenInfo
	slotInfo
	pin      string
	tries    int // wrong PINs before it is locked
	wrong    int // wrong PINs so far
	logins   int // right ones
	limit    int // sessions; 0: no limit
	mechs    []uint
	objects  []*fakeObject
	loggedIn bool
	lastPIN  []byte // what login was called with; the caller's slice
	nilPINs  int
	signing  func() // if not nil, called within sign, without a lock
}

type fakeObject struct {
	handle  uint
	private bool
	values  map[uint][]byte
	key     crypto.Signer
	broken  Error // what reading it returns
}

type fakeSession struct {
	token         *fakeToken
	busy          bool
	active        bool
	authenticated bool
}

const fakePIN = "864201"

var allMechanisms = []uint{ckmRSA, ckmRSAPSS, ckmECDSA, ckmEdDSA}

func newFake(tb testing.TB, tokens ...*fakeToken) *fakeModule {
	f := &fakeModule{
		tb: tb, next: 1000, slotted: make(map[uint]*fakeToken), sessions: make(map[uint]*fakeSession),
		faults: make(map[string][]Error), calls: make(map[string]int),
	}
	for i, t := range tokens {
		f.insert(uint(i), t)
	}
	return f
}

func newFakeToken(label string) *fakeToken {
	return &fakeToken{
		tokenInfo: tokenInfo{
			label: label + "    ", manufacturer: "Test", model: "Fake", serial: "serial of " + label,
			flags: cktFlagTokenInitialized | cktFlagLoginRequired | cktFlagUserPINInitialized,
		},
		slotInfo: slotInfo{"slot   ", "Test", false},
		pin:      fakePIN,
		tries:    3,
		mechs:    allMechanisms,
	}
}

// addKey puts a key pair on t.
func (t *fakeToken) addKey(key crypto.Signer, label, id string) *fakeObject {
	public := publicAttributes(key.Public())
	t.objects = append(t.objects, &fakeObject{values: with(public, ckaClass, ulongBytes(ckoPublicKey), ckaLabel, []byte(label), ckaID, []byte(id))})
	return t.addPrivate(key, label, id)
}

// addPrivate puts the private half on t alone, without what shows the other.
func (t *fakeToken) addPrivate(key crypto.Signer, label, id string) *fakeObject {
	o := &fakeObject{private: true, key: key, values: map[uint][]byte{
		ckaClass: ulongBytes(ckoPrivateKey), ckaKeyType: publicAttributes(key.Public())[ckaKeyType],
		ckaLabel: []byte(label), ckaID: []byte(id),
	}}
	t.objects = append(t.objects, o)
	return o
}

func (t *fakeToken) addCertificate(der []byte, label, id string) *fakeObject {
	o := &fakeObject{values: map[uint][]byte{
		ckaClass: ulongBytes(ckoCertificate), ckaLabel: []byte(label), ckaID: []byte(id), ckaValue: der,
	}}
	t.objects = append(t.objects, o)
	return o
}

func with(m map[uint][]byte, pairs ...any) map[uint][]byte {
	m = maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		m[uint(pairs[i].(int))] = pairs[i+1].([]byte)
	}
	return m
}

func ulongBytes(n uint) []byte { return binary.NativeEndian.AppendUint64(nil, uint64(n)) }

func publicAttributes(pub crypto.PublicKey) map[uint][]byte {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return map[uint][]byte{ckaKeyType: ulongBytes(ckkRSA), ckaModulus: pub.N.Bytes(), ckaPublicExponent: big.NewInt(int64(pub.E)).Bytes()}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		for der, curve := range curves {
			if curve == pub.Curve {
				return map[uint][]byte{ckaKeyType: ulongBytes(ckkEC), ckaECParams: []byte(der), ckaECPoint: derOctets(point)}
			}
		}
	case ed25519.PublicKey:
		return map[uint][]byte{ckaKeyType: ulongBytes(ckkECEdwards), ckaECPoint: derOctets(pub)}
	}
	panic(fmt.Sprintf("key of type %T", pub))
}

func derOctets(b []byte) []byte {
	der, err := asn1.Marshal(b)
	if err != nil {
		panic(err)
	}
	return der
}

// table returns a table of modules in which f is, and its path there.
func (f *fakeModule) table(tb testing.TB) (*modules, string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "module.so")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	return &modules{load: f.initialize, byPath: make(map[string]*sharedModule)}, path
}

// initialize is what loads f, again after it was finalized.
func (f *fakeModule) initialize(string) (module, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead, f.sessions = false, make(map[uint]*fakeSession)
	return f, nil
}

func (f *fakeModule) insert(slot uint, t *fakeToken) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slotted[slot] = t
	f.renumber(t)
}

func (f *fakeModule) renumber(t *fakeToken) {
	for _, o := range t.objects {
		f.next++
		o.handle = f.next
	}
}

// remove pulls what is in slot; its sessions die.
func (f *fakeModule) remove(slot uint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reset(f.slotted[slot])
	delete(f.slotted, slot)
}

func (f *fakeModule) reset(t *fakeToken) {
	for h, s := range f.sessions {
		if s.token == t {
			f.drop(h)
		}
	}
	t.loggedIn = false
}

// drop ends a session, and with the last one the login (PKCS #11 v3.1,
// section 5.6.8).
func (f *fakeModule) drop(session uint) {
	s := f.sessions[session]
	if s == nil {
		return
	}
	delete(f.sessions, session)
	f.closed++
	for _, other := range f.sessions {
		if other.token == s.token {
			return
		}
	}
	s.token.loggedIn = false
}

// fail makes the next calls return errors, one each.
func (f *fakeModule) fail(call string, errs ...Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[call] = append(f.faults[call], errs...)
}

func (f *fakeModule) called(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

// openSessions is the number of sessions that are open.
func (f *fakeModule) openSessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sessions)
}

// enter counts a call and returns the error it is to have. f.mu is held.
func (f *fakeModule) enter(call string, session uint, input []byte) error {
	if f.dead {
		f.tb.Errorf("%s after finalize", call)
		return ckrCryptokiNotInitialized
	}
	f.calls[call]++
	if q := f.faults[call]; len(q) > 0 {
		f.faults[call] = q[1:]
		return f.consequence(q[0], session)
	}
	if f.before != nil {
		if e := f.before(call, f.calls[call], input); e != 0 {
			return f.consequence(e, session)
		}
	}
	return nil
}

// consequence does to the tokens what e says has happened.
func (f *fakeModule) consequence(e Error, session uint) error {
	if e == 0 {
		return nil
	}
	s := f.sessions[session]
	switch {
	case s == nil:
	case e == ckrSessionHandleInvalid || e == ckrSessionClosed:
		f.drop(session)
	case e == ckrDeviceRemoved || e == ckrTokenNotPresent:
		f.reset(s.token)
	case e == ckrKeyHandleInvalid || e == ckrObjectHandleInvalid:
		f.renumber(s.token)
	case e == ckrOperationActive:
		s.active = true
	}
	return e
}

// session returns the session for one call, which done ends.
func (f *fakeModule) session(call string, session uint, input []byte) (s *fakeSession, done func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter(call, session, input); err != nil {
		return nil, nil, err
	}
	s = f.sessions[session]
	if s == nil {
		return nil, nil, ckrSessionHandleInvalid
	}
	if s.busy {
		f.tb.Errorf("%s in a session that is in use", call)
	}
	s.busy = true
	return s, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.busy = false
	}, nil
}

func (f *fakeModule) info() (libraryInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return libraryInfo{"Test", "Fake library", 2, 40}, f.enter("info", 0, nil)
}

func (f *fakeModule) slots() ([]uint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("slots", 0, nil); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(f.slotted)), nil
}

func (f *fakeModule) inSlot(call string, slot uint) (*fakeToken, error) {
	if err := f.enter(call, 0, nil); err != nil {
		return nil, err
	}
	if t := f.slotted[slot]; t != nil {
		return t, nil
	}
	return nil, ckrTokenNotPresent
}

func (f *fakeModule) slotInfo(slot uint) (slotInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("slotInfo", slot)
	if err != nil {
		return slotInfo{}, err
	}
	return t.slotInfo, nil
}

func (f *fakeModule) tokenInfo(slot uint) (tokenInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("tokenInfo", slot)
	if err != nil {
		return tokenInfo{}, err
	}
	info := t.tokenInfo
	switch left := t.tries - t.wrong; {
	case left <= 0:
		info.flags |= cktFlagUserPINLocked
	case left == 1:
		info.flags |= cktFlagUserPINFinalTry | cktFlagUserPINCountLow
	case t.wrong > 0:
		info.flags |= cktFlagUserPINCountLow
	}
	return info, nil
}

func (f *fakeModule) mechanisms(slot uint) ([]uint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("mechanisms", slot)
	if err != nil {
		return nil, err
	}
	return t.mechs, nil
}

func (f *fakeModule) openSession(slot uint, write bool) (uint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("openSession", slot)
	if err != nil {
		return 0, err
	}
	open := 0
	for _, s := range f.sessions {
		if s.token == t {
			open++
		}
	}
	if t.limit > 0 && open >= t.limit {
		return 0, ckrSessionCount
	}
	f.next++
	f.opened++
	f.sessions[f.next] = &fakeSession{token: t}
	f.most = max(f.most, open+1)
	return f.next, nil
}

func (f *fakeModule) closeSession(session uint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("closeSession", session, nil); err != nil {
		return err
	}
	s := f.sessions[session]
	if s == nil {
		return ckrSessionHandleInvalid
	}
	if s.busy {
		f.tb.Error("closeSession of a session that is in use")
	}
	f.drop(session)
	return nil
}

func (f *fakeModule) loggedIn(session uint) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("loggedIn", session, nil); err != nil {
		return false, err
	}
	if s := f.sessions[session]; s != nil {
		return s.token.loggedIn, nil
	}
	return false, ckrSessionHandleInvalid
}

func (f *fakeModule) login(session, user uint, pin []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("login", session, nil); err != nil {
		return err
	}
	s := f.sessions[session]
	if s == nil {
		return ckrSessionHandleInvalid
	}
	t := s.token
	t.lastPIN = pin
	switch {
	case user == ckuUser && t.loggedIn:
		return ckrUserAlreadyLoggedIn
	case user == ckuContextSpecific && !s.active:
		return ckrOperationNotInit
	case t.wrong >= t.tries:
		return ckrPINLocked
	case t.flags&cktFlagProtectedPath != 0:
		if pin != nil {
			f.tb.Error("login with a PIN although the token has a path of its own")
		}
		t.nilPINs++
	case pin == nil:
		f.tb.Error("login without a PIN")
		return ckrPINIncorrect
	case string(pin) != t.pin:
		if t.wrong++; t.wrong >= t.tries {
			return ckrPINLocked
		}
		return ckrPINIncorrect
	}
	t.wrong = 0
	t.logins++
	if user == ckuUser {
		t.loggedIn = true
	} else {
		s.authenticated = true
	}
	return nil
}

func (f *fakeModule) find(session uint, template []attribute, limit int) ([]uint, error) {
	s, done, err := f.session("find", session, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sessions[session] != s { // meanwhile
		return nil, ckrSessionHandleInvalid
	}
	var found []uint
	for _, o := range s.token.objects {
		if o.private && !s.token.loggedIn && s.token.flags&cktFlagLoginRequired != 0 {
			continue
		}
		if len(found) < limit && !slices.ContainsFunc(template, func(a attribute) bool { return !bytes.Equal(o.values[a.kind], bytesOf(a.value)) }) {
			found = append(found, o.handle)
		}
	}
	return found, nil
}

func bytesOf(v any) []byte {
	switch v := v.(type) {
	case uint:
		return ulongBytes(v)
	case string:
		return []byte(v)
	case bool:
		if v {
			return []byte{1}
		}
		return []byte{0}
	}
	return v.([]byte)
}

func (t *fakeToken) object(handle uint) *fakeObject {
	for _, o := range t.objects {
		if o.handle == handle {
			return o
		}
	}
	return nil
}

func (f *fakeModule) attributes(session, object uint, types ...uint) (map[uint][]byte, error) {
	s, done, err := f.session("attributes", session, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	o := s.token.object(object)
	if o == nil {
		return nil, ckrObjectHandleInvalid
	}
	if o.broken != 0 {
		return nil, o.broken
	}
	values := make(map[uint][]byte)
	for _, t := range types {
		if v := o.values[t]; len(v) > 0 {
			values[t] = v
		}
	}
	return values, nil
}

func (f *fakeModule) sign(session, key uint, m mechanism, input []byte, authenticate func() error) ([]byte, error) {
	s, done, err := f.session("sign", session, input)
	if err != nil {
		return nil, err
	}
	defer done()
	f.mu.Lock()
	o, err := f.signInit(s, key, m)
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if authenticate != nil {
		if err := authenticate(); err != nil {
			return nil, err
		}
	}
	if f := s.token.signing; f != nil {
		f()
	}
	f.mu.Lock()
	err = f.enter("sign2", session, input)
	switch {
	case err != nil:
	case f.sessions[session] != s:
		err = ckrSessionHandleInvalid
	case isTrue(o.values[ckaAlwaysAuthenticate]) && !s.authenticated:
		err = ckrUserNotLoggedIn
	default:
		s.active, s.authenticated = false, false
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return rawSignature(o.key, m, input)
}

func (f *fakeModule) signInit(s *fakeSession, key uint, m mechanism) (*fakeObject, error) {
	o := s.token.object(key)
	switch {
	case s.active:
		f.tb.Error("a session is used again in which an operation is active")
		return nil, ckrOperationActive
	case o == nil || o.key == nil:
		return nil, ckrKeyHandleInvalid
	case !s.token.loggedIn && s.token.flags&cktFlagLoginRequired != 0:
		return nil, ckrUserNotLoggedIn
	case !slices.Contains(s.token.mechs, m.kind):
		return nil, ckrMechanismInvalid
	case !slices.Contains(mechanismsOf(o.key.Public()), m.kind):
		return nil, ckrKeyTypeInconsistent
	}
	s.active = true
	return o, nil
}

func rawSignature(key crypto.Signer, m mechanism, input []byte) ([]byte, error) {
	switch m.kind {
	case ckmRSA:
		return rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), 0, input)
	case ckmRSAPSS:
		for hash, kind := range digestKinds {
			if kind.ckm == m.pss.hash && kind.ckg == m.pss.mgf {
				return rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), hash, input, &rsa.PSSOptions{SaltLength: int(m.pss.saltLen)})
			}
		}
		return nil, ckrMechanismParamInvalid
	case ckmECDSA:
		der, err := ecdsa.SignASN1(rand.Reader, key.(*ecdsa.PrivateKey), input)
		if err != nil {
			return nil, err
		}
		var sig struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &sig); err != nil {
			return nil, err
		}
		n := (key.(*ecdsa.PrivateKey).Curve.Params().BitSize + 7) / 8
		raw := make([]byte, 2*n)
		sig.R.FillBytes(raw[:n])
		sig.S.FillBytes(raw[n:])
		return raw, nil
	case ckmEdDSA:
		return key.Sign(nil, input, crypto.Hash(0))
	}
	return nil, ckrMechanismInvalid
}

func (f *fakeModule) generateKeyPair(session uint, m mechanism, public, private []attribute) (uint, uint, error) {
	s, done, err := f.session("generateKeyPair", session, nil)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	value := func(t []attribute, kind uint) []byte {
		for _, a := range t {
			if a.kind == kind {
				return bytesOf(a.value)
			}
		}
		return nil
	}
	var key crypto.Signer
	switch m.kind {
	case ckmRSAKeyPairGen:
		bits, _ := ulong(value(public, ckaModulusBits))
		key, err = rsa.GenerateKey(rand.Reader, int(bits))
	case ckmECKeyPairGen:
		var curve elliptic.Curve = curves[string(value(public, ckaECParams))]
		key, err = ecdsa.GenerateKey(curve, rand.Reader)
	case ckmEdwardsKeyPairGen:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = ckrMechanismInvalid
	}
	if err != nil {
		return 0, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	o := s.token.addKey(key, string(value(private, ckaLabel)), string(value(private, ckaID)))
	o2 := s.token.objects[len(s.token.objects)-2]
	o2.handle, o.handle, f.next = f.next+1, f.next+2, f.next+2
	return o2.handle, o.handle, nil
}

func (f *fakeModule) createObject(session uint, template []attribute) (uint, error) {
	s, done, err := f.session("createObject", session, nil)
	if err != nil {
		return 0, err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	o := &fakeObject{handle: f.next, values: make(map[uint][]byte)}
	for _, a := range template {
		o.values[a.kind] = bytesOf(a.value)
	}
	s.token.objects = append(s.token.objects, o)
	return o.handle, nil
}

func (f *fakeModule) finalize() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("finalize", 0, nil); err != nil {
		return err
	}
	f.dead = true
	f.sessions = nil
	return nil
}

// issue makes a certificate for key by a CA of its own.
func issue(tb testing.TB, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	return signertest.NewCA(tb, "root").Issue(tb, key, nil)
}
