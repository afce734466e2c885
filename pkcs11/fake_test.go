package pkcs11

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A fakeModule is Cryptoki in memory: tokens in slots, sessions, login state
// and real keys. It notes what no module would forgive, such as two operations
// in one session at a time, as a failure of the test.
type fakeModule struct {
	tb testing.TB

	mu        sync.Mutex
	bySlot    map[uint]*fakeToken
	sessions  map[uint]*fakeSession
	next      uint // the last handle, of a session or an object: none is used twice
	finalized bool // finalized
	faults    map[string][]Error
	calls     map[string]int
	opened    int
	closed    int
	maxOpen   int // sessions that were open at once

	// before, if not nil, is called before each call with its name, the
	// number of such calls so far, and what is signed. Its error, unless 0,
	// is what the call returns, with the consequences that it stands for.
	before func(call string, n int, input []byte) Error
}

type fakeSession struct {
	token         *fakeToken
	busy          bool
	active        bool
	authenticated bool
}

func newFake(tb testing.TB, tokens ...*fakeToken) *fakeModule {
	f := &fakeModule{
		tb: tb, next: 1000, bySlot: make(map[uint]*fakeToken), sessions: make(map[uint]*fakeSession),
		faults: make(map[string][]Error), calls: make(map[string]int),
	}
	for i, t := range tokens {
		f.insert(uint(i), t)
	}
	return f
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
	f.finalized, f.sessions = false, make(map[uint]*fakeSession)
	return f, nil
}

func (f *fakeModule) insert(slot uint, t *fakeToken) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bySlot[slot] = t
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
	f.reset(f.bySlot[slot])
	delete(f.bySlot, slot)
}

func (f *fakeModule) reset(t *fakeToken) {
	for h, s := range f.sessions {
		if s.token == t {
			f.endSession(h)
		}
	}
	t.loggedIn = false
}

// drop ends a session, and with the last one the login (PKCS #11 v3.1,
// section 5.6.8).
func (f *fakeModule) endSession(session uint) {
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
	if f.finalized {
		f.tb.Errorf("%s after finalize", call)
		return ckrCryptokiNotInitialized
	}
	f.calls[call]++
	if q := f.faults[call]; len(q) > 0 {
		f.faults[call] = q[1:]
		return f.apply(q[0], session)
	}
	if f.before != nil {
		if e := f.before(call, f.calls[call], input); e != 0 {
			return f.apply(e, session)
		}
	}
	return nil
}

// consequence does to the tokens what e says has happened.
func (f *fakeModule) apply(e Error, session uint) error {
	if e == 0 {
		return nil
	}
	s := f.sessions[session]
	switch {
	case s == nil:
	case e == ckrSessionHandleInvalid || e == ckrSessionClosed:
		f.endSession(session)
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
