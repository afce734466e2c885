package loopback

import (
	"container/list"
	"net"
	"net/http"
	"sync"
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
	of   *conns
	at   *list.Element // nil once it is closed
	busy bool          // a request has come and is being answered
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

// waiting returns the connection that has waited longest, or nil.
func (cs *conns) waiting() *conn {
	for e := cs.all.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); !c.busy {
			return c
		}
	}
	return nil
}

func (cs *conns) forget(c *conn) {
	if c.at != nil {
		cs.all.Remove(c.at)
		c.at = nil
	}
}

// state is called by net/http: with StateActive once the head of a request is
// there, and with StateIdle once it is answered.
func (cs *conns) state(nc net.Conn, s http.ConnState) {
	c, ok := nc.(*conn)
	if !ok || s != http.StateActive && s != http.StateIdle {
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.busy = s == http.StateActive
	if !c.busy && c.at != nil {
		cs.all.MoveToBack(c.at)
	}
}

// closeWaiting closes the connections on which no request is being answered.
func (cs *conns) closeWaiting() {
	cs.mu.Lock()
	var victims []net.Conn
	for e := cs.all.Front(); e != nil; {
		c := e.Value.(*conn)
		e = e.Next()
		if !c.busy {
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
