package loopback

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// conns bounds how many connections are open. Those that send no request, or
// one byte of it now and then, make room for others. It is safe for concurrent
// use; its zero value has no limit yet.
type conns struct {
	mu      sync.Mutex
	limit   int
	all     list.List // of *conn, the one that has waited longest first
	dropped int64
}

// A conn is one that a conns knows.
type conn struct {
	net.Conn
	of       *conns
	at       *list.Element // nil once it is closed
	busy     atomic.Bool   // a request has come and is being answered
	answered time.Time     // when the last request was
}

// A listener hands its connections to a conns.
type listener struct {
	net.Listener
	conns *conns
}

func (l listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, ok := l.conns.add(nc); ok {
			return c, nil
		}
	}
}

// add makes room for a connection, or closes it if all others are busy.
func (cs *conns) add(nc net.Conn) (c *conn, ok bool) {
	cs.mu.Lock()
	var victim net.Conn
	full := cs.all.Len() >= cs.limit
	if full {
		cs.dropped++
		if old := cs.waiting(); old != nil {
			cs.forget(old)
			victim = old.Conn
		} else {
			victim = nc
		}
	}
	if victim != nc {
		c = &conn{Conn: nc, of: cs}
		c.at = cs.all.PushBack(c)
	}
	cs.mu.Unlock()
	if victim != nil {
		_ = victim.Close() // the other side may be gone
	}
	return c, c != nil
}

// waiting returns the connection that has waited longest, or nil. Of those whose
// answer may still be under way it returns one only if there is no other.
func (cs *conns) waiting() *conn {
	var fresh *conn
	for e := cs.all.Front(); e != nil; e = e.Next() {
		c := e.Value.(*conn)
		switch {
		case c.busy.Load():
		case time.Since(c.answered) > sending:
			return c
		case fresh == nil:
			fresh = c
		}
	}
	return fresh
}

func (cs *conns) forget(c *conn) {
	if c.at != nil {
		cs.all.Remove(c.at)
		c.at = nil
	}
}

type connKey struct{}

// connContext has the requests of a connection know it.
func connContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// busy has connections count as busy for as long as next runs: neither before a
// request is there, nor while net/http waits for a body that nobody reads.
func (cs *conns) busy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*conn)
		c.busy.Store(true)
		defer cs.answered(c)
		next.ServeHTTP(w, r)
	})
}

// answered puts a connection behind those that have waited for longer.
func (cs *conns) answered(c *conn) {
	now := time.Now()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.busy.Store(false)
	c.answered = now
	if c.at != nil {
		cs.all.MoveToBack(c.at)
	}
}

// sending is how long an answer may take from the end of its handler to the
// operating system.
const sending = 100 * time.Millisecond

// closeWaiting closes the connections on which no request is being answered.
func (cs *conns) closeWaiting() {
	cs.mu.Lock()
	var victims []net.Conn
	for e := cs.all.Front(); e != nil; {
		c := e.Value.(*conn)
		e = e.Next()
		if !c.busy.Load() && time.Since(c.answered) > sending {
			cs.forget(c)
			victims = append(victims, c.Conn)
		}
	}
	cs.mu.Unlock()
	for _, nc := range victims {
		_ = nc.Close()
	}
}

func (cs *conns) count() (open int, dropped int64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.all.Len(), cs.dropped
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.of.forget(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http say that it ends before it drops what still comes,
// so that the other side sees the answer.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
