package pkcs11

import (
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
)

// A remote is a module in a helper process. When the helper has ended, the next call that
// needs no session starts another one; the sessions of the old one no longer exist.
type remote struct {
	start func() (*helper, error) // starts a helper with the module loaded

	starting sync.Mutex // held while a helper is started, which may never end

	mu       sync.Mutex
	current  *helper // nil: none was started
	loading  *helper // being started
	sessions map[uint]remoteHandle
	objects  map[uint]remoteHandle
	handles  map[remoteHandle]uint // of objects
	next     uint
	closed   bool
	failures int   // how often no helper could be started
	failure  error // the last one
	pause    time.Duration
	notUntil time.Time // none is started before; zero: the last start succeeded
}

// After a helper could not be started, none is started for a time, which doubles each time.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// A remoteHandle is a handle of a session or an object in one helper. Another helper may
// use the same number for another key, so callers get numbers that are never used again.
type remoteHandle struct {
	helper *helper
	handle uint64
}

// helper returns a helper that runs.
func (r *remote) helper() (*helper, error) {
	h, failures, err := r.running()
	if h != nil || err != nil {
		return h, err
	}
	r.starting.Lock()
	defer r.starting.Unlock()
	h, now, err := r.running()
	if h != nil || err != nil {
		return h, err
	}
	if now != failures { // while this caller waited
		return nil, r.failure
	}
	r.mu.Lock()
	pause := time.Until(r.notUntil)
	r.mu.Unlock()
	time.Sleep(pause)
	h, err = r.start()
	r.mu.Lock()
	closed := r.closed
	if err != nil {
		r.failures++
		r.failure, r.pause = err, min(max(firstPause, 2*r.pause), maxPause)
		r.notUntil = time.Now().Add(r.pause)
	} else {
		r.pause, r.notUntil = 0, time.Time{}
	}
	if err == nil && !closed {
		r.current = h
	}
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if closed {
		_ = h.close()
		return nil, ckrCryptokiNotInitialized
	}
	return h, nil
}

// running returns the current helper; nil if another one has to be started. failures is
// how often that has failed.
func (r *remote) running() (h *helper, failures int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, 0, ckrCryptokiNotInitialized
	}
	if r.current != nil && r.current.running() {
		return r.current, 0, nil
	}
	clear(r.sessions) // there is at most one helper
	clear(r.objects)
	clear(r.handles)
	return nil, r.failures, nil
}

// call calls a function that needs no session.
func (r *remote) call(q wire.Request) (*wire.Response, error) {
	h, err := r.helper()
	if err != nil {
		return nil, err
	}
	return h.call(q)
}

// in calls a function in a session.
func (r *remote) in(session uint, q wire.Request) (*wire.Response, error) {
	return r.with(session, noObject, 0, q)
}

// noObject is a number that no object has.
const noObject = 0

// with calls a function with an object in a session. If the object is not one of the same
// helper, the error is invalid.
func (r *remote) with(session, object uint, invalid Error, q wire.Request) (*wire.Response, error) {
	r.mu.Lock()
	s, ok := r.sessions[session]
	o := r.objects[object]
	r.mu.Unlock()
	switch {
	case !ok:
		return nil, ckrSessionHandleInvalid
	case invalid != 0 && o.helper != s.helper:
		return nil, invalid
	}
	q.Session, q.Object = s.handle, o.handle
	return s.helper.call(q)
}

// found returns the numbers for objects that were found in a session. After the end of its
// helper these are of no use.
func (r *remote) found(session uint, handles []uint) []uint {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[session]
	all := make([]uint, len(handles))
	for i, handle := range handles {
		h := remoteHandle{s.helper, uint64(handle)}
		if r.handles[h] == 0 && s.helper != nil {
			r.next++
			r.handles[h], r.objects[r.next] = r.next, h
		}
		all[i] = r.handles[h]
	}
	return all
}

// finalize ends the helper. A module that does not answer is ended, too.
func (r *remote) finalize() error {
	r.mu.Lock()
	h, loading := r.current, r.loading
	r.closed, r.current = true, nil
	clear(r.sessions)
	r.mu.Unlock()
	if loading != nil {
		loading.end(errMute)
	}
	if h == nil || !h.running() {
		return nil
	}
	return h.close()
}

// again finalizes and initializes the module, in the same helper.
func (r *remote) again() error {
	_, err := r.call(wire.Request{Op: wire.Reinitialize})
	return err
}

// abandon implements [abandoner].
func (r *remote) abandon(work abandoned) {
	r.mu.Lock()
	running := []*helper{r.current, r.loading}
	r.mu.Unlock()
	for _, h := range running {
		if h != nil {
			h.abandon(work)
		}
	}
}
