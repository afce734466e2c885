package sshagent

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
)

const (
	// maxConns is the maximum number of connections. Before one more, the one that has
	// been idle for the longest time is closed.
	maxConns = 256

	// frameTimeout bounds the time in which a client sends the rest of a message, and in
	// which it reads an answer.
	frameTimeout = 10 * time.Second

	// readAhead is the size of the buffer of an idle connection in bytes.
	readAhead = 16
)

// A server serves an agent on a socket.
type server struct {
	agent   *agent
	log     *slog.Logger
	allowed func(net.Conn) error // refuses clients of other users
	frame   time.Duration        // instead of frameTimeout, for tests; 0: frameTimeout

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// A conn is a connection of a client.
type conn struct {
	net.Conn
	in        *bufio.Reader
	idleSince time.Time // zero: busy; guarded by the mutex of the server
}

// serve serves until ctx ends, which is no error, or until l fails. It closes l and all
// connections.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	s.conns = make(map[*conn]struct{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		l.Close()
		s.closeAll()
	})()
	var running sync.WaitGroup
	defer func() {
		cancel()
		s.closeAll()
		limit, done := context.WithTimeout(context.Background(), closeTimeout)
		defer done()
		_, _ = await.Result(limit, func() (struct{}, error) { running.Wait(); return struct{}{}, nil }, nil)
	}()
	for {
		accepted, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				accepted.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many open files, or a client that is gone
			s.log.Warn("a connection was not accepted", "error", err)
			if await.Pause(ctx, 100*time.Millisecond) != nil {
				return nil
			}
			continue
		}
		if c := s.admit(accepted); c != nil {
			running.Go(func() {
				defer s.remove(c)
				if err := s.handle(ctx, c); err != nil {
					s.log.Debug("a connection ended", "error", err)
				}
			})
		}
	}
}

// admit makes room for a connection. It closes the connection and returns nil if all
// others are busy.
func (s *server) admit(accepted net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= maxConns {
		var oldest *conn
		for c := range s.conns {
			if !c.idleSince.IsZero() && (oldest == nil || c.idleSince.Before(oldest.idleSince)) {
				oldest = c
			}
		}
		if oldest == nil {
			s.log.Warn("refused a connection, because all others are busy", "connections", len(s.conns))
			accepted.Close()
			return nil
		}
		delete(s.conns, oldest)
		oldest.Close()
	}
	c := &conn{Conn: accepted, in: bufio.NewReaderSize(accepted, readAhead), idleSince: time.Now()}
	s.conns[c] = struct{}{}
	return c
}

func (s *server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	c.Close()
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// setIdle notes since when a connection is idle. The zero time means that it is not.
func (s *server) setIdle(c *conn, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.idleSince = since
}

// handle answers the messages of a connection until the client closes it, or sends what
// is no message.
func (s *server) handle(ctx context.Context, c *conn) error {
	if err := s.allowed(c.Conn); err != nil {
		s.log.Warn("refused a connection", "error", err)
		return nil
	}
	session := &session{agent: s.agent}
	for {
		if _, err := c.in.Peek(1); err != nil { // nobody waits for an idle connection
			if err == io.EOF {
				return nil
			}
			return err
		}
		s.setIdle(c, time.Time{})
		if err := s.exchange(ctx, c, session); err != nil {
			return err
		}
		s.setIdle(c, time.Now())
	}
}

// exchange reads a message that has begun, and answers it.
func (s *server) exchange(ctx context.Context, c *conn, session *session) error {
	if err := c.SetReadDeadline(time.Now().Add(cmp.Or(s.frame, frameTimeout))); err != nil {
		return err
	}
	kind, contents, err := sshwire.ReadMessage(c.in)
	if err != nil {
		return err
	}
	gone, stop := c.whileOpen(ctx)
	kind, contents = session.answer(gone, kind, contents)
	if err := stop(); err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(cmp.Or(s.frame, frameTimeout))); err != nil {
		return err
	}
	return sshwire.WriteMessage(c, kind, contents)
}

// whileOpen returns a context that ends when the client closes the connection, so that
// nobody is asked to touch a device for it. stop ends that.
func (c *conn) whileOpen(ctx context.Context) (gone context.Context, stop func() error) {
	gone, cancel := context.WithCancelCause(ctx)
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		cancel(err)
	}
	watched := make(chan struct{})
	ending := make(chan struct{})
	go func() {
		defer close(watched)
		_, err := c.in.Peek(1)
		select {
		case <-ending: // the error is of the deadline
		default:
			if err != nil {
				cancel(fmt.Errorf("the client is gone: %w", err))
			}
		}
	}()
	return gone, func() error {
		close(ending)
		err := c.SetReadDeadline(time.Unix(1, 0)) // ends Peek
		<-watched
		cancel(nil)
		return errors.Join(err, c.SetReadDeadline(time.Time{}))
	}
}
