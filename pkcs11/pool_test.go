package pkcs11

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// sessions simulates the sessions of a token.
type sessions struct {
	mu     sync.Mutex
	next   uint
	isOpen map[uint]bool
	limit  int
	fail   error
}

func newSessions(limit int) *sessions { return &sessions{isOpen: make(map[uint]bool), limit: limit} }

func (s *sessions) open() (uint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	if s.limit > 0 && len(s.isOpen) >= s.limit {
		return 0, ckrSessionCount
	}
	s.next++
	s.isOpen[s.next] = true
	return s.next, nil
}

func (s *sessions) close(h uint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isOpen[h] {
		return ckrSessionHandleInvalid
	}
	delete(s.isOpen, h)
	return nil
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.isOpen)
}

func (s *sessions) pool(t *testing.T, limit int) *pool {
	t.Helper()
	return newPool(mustGet(t, s.open), limit, s.open, s.close)
}

// getAny is get without a limit of time.
func (p *pool) getAny() (uint, error) { return p.get(context.Background()) }

func mustGet(t *testing.T, get func() (uint, error)) uint {
	t.Helper()
	h, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPoolGrowsToItsLimit(t *testing.T) {
	for _, test := range []struct{ limit, token, want int }{{3, 0, 3}, {1, 0, 1}, {8, 3, 3}, {8, 1, 1}, {0, 0, 1}} {
		s := newSessions(test.token)
		p := s.pool(t, test.limit)
		var wg sync.WaitGroup
		const callers = 16
		held, release := make(chan uint, callers), make(chan struct{})
		for range callers {
			wg.Go(func() {
				h, err := p.getAny()
				if err != nil {
					t.Error(err)
					return
				}
				held <- h
				<-release
				p.put(h, nil)
			})
		}
		var first []uint
		for range test.want {
			first = append(first, <-held)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(first)))) != test.want {
			t.Errorf("limit %d, limit of the token %d: got sessions %v", test.limit, test.token, first)
		}
		close(release)
		wg.Wait() // all waiting callers got a session
		if n := s.count(); n != test.want {
			t.Errorf("limit %d, limit of the token %d: %d sessions, want %d", test.limit, test.token, n, test.want)
		}
		if err := p.drain(0); err != nil || s.count() != 0 {
			t.Errorf("after drain: %d sessions are open, error %v", s.count(), err)
		}
	}
}

func TestPoolReplacesLastSession(t *testing.T) {
	s := newSessions(2)
	p := s.pool(t, 2)
	p.close = func(h uint) error {
		err := s.close(h)
		if s.count() == 0 {
			t.Error("the last session was closed before another was open")
		}
		return err
	}
	for range 5 {
		h := mustGet(t, p.getAny)
		p.put(h, ckrFunctionFailed)
		if again := mustGet(t, p.getAny); again == h {
			t.Error("a session was used again after an error")
		} else {
			p.put(again, nil)
		}
	}
	a, b := mustGet(t, p.getAny), mustGet(t, p.getAny)
	p.put(a, ckrFunctionFailed)
	p.put(b, ckrFunctionFailed)
	if n := s.count(); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

func TestPoolOfOneSession(t *testing.T) {
	s := newSessions(1)
	p := s.pool(t, 8)
	p.put(mustGet(t, p.getAny), ckrFunctionFailed) // no other session can be opened first
	if s.count() != 0 {
		t.Error("the session is still open after an error")
	}
	p.put(mustGet(t, p.getAny), nil)
	if s.count() != 1 {
		t.Errorf("%d sessions, want 1", s.count())
	}
}

// The module may have assigned an invalid handle to another session.
func TestPoolDoesNotCloseInvalidHandles(t *testing.T) {
	for _, e := range []Error{ckrSessionHandleInvalid, ckrSessionClosed, ckrDeviceRemoved, ckrTokenNotPresent} {
		s := newSessions(0)
		p := s.pool(t, 2)
		h := mustGet(t, p.getAny)
		p.put(h, e)
		if !s.isOpen[h] {
			t.Errorf("%v: the handle was closed", e)
		}
	}
}

func TestPoolError(t *testing.T) {
	s := newSessions(0)
	p := s.pool(t, 2)
	h := mustGet(t, p.getAny)
	s.fail = ckrTokenNotPresent
	if _, err := p.getAny(); !errors.Is(err, ckrTokenNotPresent) {
		t.Errorf("error %v, want the error of opening", err)
	}
	p.put(h, ckrDeviceError)
	if s.count() != 0 {
		t.Error("a session is left open")
	}
	s.fail = ckrSessionCount // other programs use all sessions
	if _, err := p.getAny(); !errors.Is(err, ckrSessionCount) {
		t.Errorf("error %v, want ckrSessionCount, because no session can become free", err)
	}
	s.fail = nil
	p.put(mustGet(t, p.getAny), nil)
}

func TestPoolDrain(t *testing.T) {
	s := newSessions(0)
	p := s.pool(t, 3)
	used, broken, free := mustGet(t, p.getAny), mustGet(t, p.getAny), mustGet(t, p.getAny)
	waiter := make(chan error)
	go func() {
		_, err := p.getAny()
		waiter <- err
	}()
	p.put(free, nil)
	if err := <-waiter; err != nil {
		t.Fatal(err)
	}
	p.retire()
	if _, err := p.getAny(); !errors.Is(err, errRetired) {
		t.Errorf("get after retire: %v", err)
	}
	if n := s.count(); n != 3 {
		t.Errorf("retire closed sessions, %d are open", n)
	}
	p.put(free, nil)
	if err := p.drain(0); err != nil {
		t.Error(err)
	}
	if n := s.count(); n != 2 {
		t.Errorf("%d sessions are open, want the 2 in use", n)
	}
	done := make(chan struct{})
	go func() {
		p.wait()
		close(done)
	}()
	p.put(used, nil)
	select {
	case <-done:
		t.Error("wait returned with a session in use")
	default:
	}
	p.put(broken, ckrFunctionFailed)
	<-done
	if n := s.count(); n != 0 {
		t.Errorf("%d sessions are left open", n)
	}
}

func TestPoolDrainKeepsSession(t *testing.T) {
	s := newSessions(0)
	p := s.pool(t, 1)
	if err := p.drain(1); err != nil || !s.isOpen[1] {
		t.Errorf("a session of another pool was closed: %v", err)
	}
}

// Waiting callers get an error when the connection is lost.
func TestPoolRetireWakesAll(t *testing.T) {
	s := newSessions(0)
	p := s.pool(t, 1)
	mustGet(t, p.getAny)
	const waiters = 4
	errs := make(chan error, waiters)
	for range waiters {
		go func() {
			_, err := p.getAny()
			errs <- err
		}()
	}
	p.retire()
	for range waiters {
		if err := <-errs; !errors.Is(err, errRetired) {
			t.Errorf("error %v, want errRetired", err)
		}
	}
}

func TestPoolDrainedWhileReplacing(t *testing.T) {
	s := newSessions(0)
	p := s.pool(t, 1)
	h := mustGet(t, p.getAny)
	p.open = func() (uint, error) {
		if err := p.drain(0); err != nil {
			t.Error(err)
		}
		return s.open()
	}
	p.put(h, ckrFunctionFailed)
	if n := s.count(); n != 0 {
		t.Errorf("%d sessions are left open", n)
	}
}

// A session that is still being opened does not keep the user logged in.
func TestPoolReplacesLastSessionWhileOpening(t *testing.T) {
	s := newSessions(0)
	p := s.pool(t, 2)
	h := mustGet(t, p.getAny)
	opening, goOn := make(chan struct{}), make(chan struct{})
	first := true
	p.open = func() (uint, error) {
		if first {
			first = false
			close(opening)
			<-goOn
		}
		return s.open()
	}
	p.close = func(h uint) error {
		err := s.close(h)
		if s.count() == 0 {
			t.Error("the last session was closed before another was open")
		}
		return err
	}
	got := make(chan error)
	go func() {
		_, err := p.getAny()
		got <- err
	}()
	<-opening
	p.put(h, ckrFunctionFailed)
	close(goOn)
	if err := <-got; err != nil {
		t.Error(err)
	}
}
