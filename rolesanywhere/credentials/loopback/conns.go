package loopback

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// conns bounds how many connections are open. Those that send no request, or
// one byte of it now and then, make room for others. It is safe for concurrent
// use.
type conns struct {
	limit int

	mu   sync.Mutex
	open map[net.Conn]*list.Element
	age  *list.List // of *conn, the oldest first
}

type conn struct {
	net.Conn
	busy atomic.Int32 // requests that are being answered
}

func newConns(limit int) *conns {
	if limit <= 0 {
		limit = defaultMaxConns
	}
	return &conns{limit: limit, open: make(map[net.Conn]*list.Element), age: list.New()}
}

// state is called by net/http as a connection goes.
func (c *conns) state(nc net.Conn, s http.ConnState) {
	if s != http.StateClosed && s != http.StateHijacked {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.open[nc]; ok {
		c.age.Remove(e)
		delete(c.open, nc)
	}
}

type connKey struct{}

// context is called by net/http as a connection comes.
func (c *conns) context(ctx context.Context, nc net.Conn) context.Context {
	this, victim := c.add(nc)
	if victim != nil {
		_ = victim.Close()
	}
	return context.WithValue(ctx, connKey{}, this)
}

// add also returns the connection that makes room, if one has to.
func (c *conns) add(nc net.Conn) (this *conn, victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.limit {
		for e := c.age.Front(); e != nil; e = e.Next() {
			if old := e.Value.(*conn); old.busy.Load() == 0 {
				victim = old.Conn
				c.age.Remove(e)
				delete(c.open, victim)
				break
			}
		}
	}
	this = &conn{Conn: nc}
	c.open[nc] = c.age.PushBack(this)
	return this, victim
}

// busy keeps connections whose request is being answered.
func (c *conns) busy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if this, ok := r.Context().Value(connKey{}).(*conn); ok {
			this.busy.Add(1)
			defer this.busy.Add(-1)
		}
		next.ServeHTTP(w, r)
	})
}
