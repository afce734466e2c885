package pkcs11

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A fakeModule implements Cryptoki in memory: tokens in slots, sessions, login
// state and real keys. It fails the test on violations of the specification,
// such as concurrent operations in one session.
type fakeModule struct {
	tb testing.TB

	mu        sync.Mutex
	bySlot    map[uint]*fakeToken
	sessions  map[uint]*fakeSession
	next      uint // the last handle of a session or object; handles are never reused
	finalized bool
	faults    map[string][]Error
	calls     map[string]int
	opened    int
	closed    int
	maxOpen   int // the maximum number of sessions open at the same time

	// before, if not nil, is called before each call, with the name of the
	// function, the number of calls of it so far, and the input of a
	// signature. If it returns an error other than 0, the call returns this
	// error and the fake changes its state accordingly.
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

// table returns a module table that loads f, and a path for f.
func (f *fakeModule) table(tb testing.TB) (*modules, string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "module.so")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	return &modules{load: f.initialize, byPath: make(map[string]*sharedModule)}, path
}

// initialize implements modules.load. f can be loaded again after finalize.
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

// remove removes the token in slot and closes its sessions.
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

// endSession closes a session. If it is the last session of the token,
// endSession also logs out (PKCS #11 v3.1, section 5.6.8).
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

// fail makes the next calls of a function return errs, one error per call.
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

// openSessions returns the number of open sessions.
func (f *fakeModule) openSessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sessions)
}

// enter counts a call and returns its injected error. The caller holds f.mu.
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

// apply changes the state of the tokens according to e.
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

// session returns a session and marks it as in use until done is called.
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
		f.tb.Errorf("%s: session is already in use", call)
	}
	s.busy = true
	return s, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.busy = false
	}, nil
}
