package loopback

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// conns limits the number of open connections. If the limit is reached, it
// closes idle connections, including those that send a request very slowly. If
// none is idle, it closes one of the client address that has most of them. It
// is safe for concurrent use. Serve sets the limit.
type conns struct {
	mu      sync.Mutex
	limit   int
	all     list.List          // of *conn, longest idle first
	from    map[netip.Addr]int // connections of each client address
	dropped int64
}

// LimitConns limits the open connections of server on the listener that it returns: a
// new connection replaces the one that has been idle longest. If requests are being
// handled on all of them, one of the client address with most connections is closed, or
// the new one if there is no such address. The limit is at most half of the file
// descriptors that the process may open. The handler must be set already.
func LimitConns(server *http.Server, l net.Listener, limit int) net.Listener {
	cs := &conns{limit: maxConns(limit, maxFiles())}
	server.Handler, server.ConnContext = cs.busy(server.Handler), connContext
	return listener{l, cs}
}

// A conn is a connection in a conns.
type conn struct {
	net.Conn
	owner       *conns
	from        netip.Addr
	element     *list.Element // nil once closed
	busy        atomic.Bool   // a request is being handled
	lastHandled time.Time     // when the last handler returned
}

// A listener adds the connections that it accepts to a conns.
type listener struct {
	net.Listener
	conns *conns
}

// receiveBuffer is how much the kernel keeps of requests that were not read yet, in bytes.
// A client can fill it on each connection, and control groups count it as memory of
// the process.
const receiveBuffer = 16 << 10

func (l listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(receiveBuffer) // without it, the default applies
		}
		if c, ok := l.conns.add(nc); ok {
			return c, nil
		}
	}
}

// add adds a connection. If the limit is reached, it closes the longest idle
// connection. If there is none, it closes one of the client address that has most
// connections, which is the new one unless its address has fewer.
func (cs *conns) add(nc net.Conn) (c *conn, ok bool) {
	from := clientAddress(nc)
	cs.mu.Lock()
	var victim net.Conn
	if cs.all.Len() >= cs.limit {
		cs.dropped++
		old := cs.idle(from)
		if old == nil {
			old = cs.excess(from)
		}
		if old != nil {
			cs.remove(old)
			victim = old.Conn
		} else {
			victim = nc
		}
	}
	if victim != nc {
		c = &conn{Conn: nc, owner: cs, from: from}
		c.element = cs.all.PushBack(c)
		if cs.from == nil {
			cs.from = make(map[netip.Addr]int)
		}
		cs.from[from]++
	}
	cs.mu.Unlock()
	if victim != nil {
		_ = victim.Close() // the peer may have disconnected
	}
	return c, c != nil
}

// clientAddress returns the address of the peer of a TCP connection, without its port.
func clientAddress(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// excess returns the newest connection of the client address that has most of them, or
// nil if the address from would then have no fewer.
func (cs *conns) excess(from netip.Addr) *conn {
	most := from
	for address, n := range cs.from {
		if n > cs.from[most] {
			most = address
		}
	}
	if cs.from[most] <= cs.from[from]+1 {
		return nil
	}
	for e := cs.all.Back(); e != nil; e = e.Prev() {
		if c := e.Value.(*conn); c.from == most {
			return c
		}
	}
	return nil
}

// idle returns the connection that has been idle longest, or nil. It returns a
// connection whose response may still be in transit only if there is no other, and none
// of an address with fewer connections than the address from: its request may be about
// to arrive.
func (cs *conns) idle(from netip.Addr) *conn {
	var recent *conn
	for e := cs.all.Front(); e != nil; e = e.Next() {
		c := e.Value.(*conn)
		switch {
		case c.busy.Load() || cs.from[c.from] < cs.from[from]:
		case time.Since(c.lastHandled) > sendTime:
			return c
		case recent == nil:
			recent = c
		}
	}
	return recent
}

func (cs *conns) remove(c *conn) {
	if c.element == nil {
		return
	}
	cs.all.Remove(c.element)
	c.element = nil
	if cs.from[c.from]--; cs.from[c.from] == 0 {
		delete(cs.from, c.from)
	}
}

type connKey struct{}

// connContext adds the connection to the context of its requests.
func connContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// busy marks a connection as busy while next runs. It is not busy before the
// request has arrived, nor while net/http discards an unread body.
func (cs *conns) busy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*conn)
		c.busy.Store(true)
		defer cs.handled(c)
		next.ServeHTTP(w, r)
	})
}

// handled marks a connection as idle and moves it to the end of the list.
func (cs *conns) handled(c *conn) {
	now := time.Now()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.busy.Store(false)
	c.lastHandled = now
	if c.element != nil {
		cs.all.MoveToBack(c.element)
	}
}

// sendTime is the time from the end of a handler until its response has reached
// the operating system.
const sendTime = 100 * time.Millisecond

// closeIdle closes the connections on which no request is being handled.
func (cs *conns) closeIdle() {
	cs.mu.Lock()
	var victims []net.Conn
	for e := cs.all.Front(); e != nil; {
		c := e.Value.(*conn)
		e = e.Next()
		if !c.busy.Load() && time.Since(c.lastHandled) > sendTime {
			cs.remove(c)
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
	c.owner.mu.Lock()
	c.owner.remove(c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http close its side of the connection before it discards
// unread input, so that the peer receives the response.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
