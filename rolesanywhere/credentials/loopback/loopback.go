// Package loopback serves HTTP to the programs of this machine, and to no web
// page that a browser on it shows: what the local endpoints for credentials
// have in common.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
)

// A Server serves on listeners that it is given. The zero value but for Handler
// is ready for use. Its fields are not changed after Serve was called; its
// methods are safe for concurrent use.
type Server struct {
	Handler http.Handler

	// Hosts are names that clients may call this server by, besides
	// localhost and IP addresses. Other names are refused: a web page can
	// have its own name resolve to 127.0.0.1 (DNS rebinding).
	Hosts []string

	// MaxConns is how many connections are open at most; 0: 512. The one
	// that has waited longest for a request makes room for a new one.
	MaxConns int

	// Observe is called after each answer, unless nil; safe for concurrent use.
	Observe func(r *http.Request, status int)

	Logger *slog.Logger // nil: discard

	conns conns
}

const (
	defaultMaxConns = 512     // below the 1024 open files that some systems allow
	maxHeader       = 8 << 10 // bytes; net/http adds 4 KiB
	headerTimeout   = 5 * time.Second
	answerTimeout   = 10 * time.Second
	idleTimeout     = 30 * time.Second

	// DrainTimeout is how long requests that are under way may take after
	// the end of Serve's context.
	DrainTimeout = 5 * time.Second

	// lastRequest is how long connections that wait may then still send one.
	lastRequest = 500 * time.Millisecond
)

// ErrNotLoopback is the error of [Listen] and [CheckLoopback] for an address
// that other machines can reach.
var ErrNotLoopback = errors.New("not a loopback address")

// Listen listens on a TCP address whose host is localhost or a loopback
// address. It fails with [ErrNotLoopback] for any other, the empty host
// included, unless allowRemote says that the address is meant.
func Listen(ctx context.Context, addr string, allowRemote bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if !allowRemote && host != "localhost" {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Unmap().IsLoopback() {
			return nil, fmt.Errorf("%s: %w", addr, ErrNotLoopback)
		}
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // of no use on one machine, and its sockets have no hop limit
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if allowRemote {
		return l, nil
	}
	// The name localhost is whatever the resolver says.
	if err := CheckLoopback(l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// CheckLoopback fails with [ErrNotLoopback] if other machines can reach l.
func CheckLoopback(l net.Listener) error {
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return fmt.Errorf("%s: %w", l.Addr(), ErrNotLoopback)
	}
	return nil
}

// Serve serves on all listeners, which it owns, until ctx ends; then it answers
// what is under way and returns nil, or the error of a listener that broke. It
// is called once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	log := logging.OrDiscard(s.Logger)
	s.conns.mu.Lock()
	if s.conns.limit = s.MaxConns; s.conns.limit <= 0 {
		s.conns.limit = defaultMaxConns
	}
	s.conns.mu.Unlock()
	server := &http.Server{
		Handler:           s.observe(s.conns.busy(s.guard(s.Handler))),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       answerTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       connContext,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * before guard
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(listener{l, &s.conns}) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), DrainTimeout)
	defer cancel()
	for _, after := range []time.Duration{lastRequest, 2 * lastRequest} { // again, for what was being sent
		hurry := time.AfterFunc(after, s.conns.closeWaiting)
		defer hurry.Stop()
	}
	if server.Shutdown(drain) != nil {
		_ = server.Close() // its error is that of a connection which is cut anyway
	}
	return err
}

// Conns returns how many connections are open, and how many had to make room
// so far or found none.
func (s *Server) Conns() (open int, dropped int64) { return s.conns.count() }

// guard refuses requests that no program of this machine makes by itself.
func (s *Server) guard(next http.Handler) http.Handler {
	names := append([]string{"localhost"}, s.Hosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case has(r, "X-Forwarded-For") || has(r, "Forwarded"):
			http.Error(w, "forwarded requests are refused", http.StatusForbidden)
		case has(r, "Origin") || has(r, "Sec-Fetch-Site"):
			http.Error(w, "requests of web pages are refused", http.StatusForbidden)
		case !isLocal(r.Host, names):
			http.Error(w, "this server does not have that name", http.StatusForbidden)
		case r.ContentLength != 0:
			w.Header().Set("Connection", "close") // net/http drops what follows
			http.Error(w, "requests with a body are refused", http.StatusRequestEntityTooLarge)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// has also finds headers that are there and blank. The key is in canonical form.
func has(r *http.Request, key string) bool { _, ok := r.Header[key]; return ok }

// isLocal reports whether host, with or without a port, is an address or one of
// names, which cannot be somebody else's.
func isLocal(host string, names []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	for _, known := range names {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	return err == nil
}

func (s *Server) observe(next http.Handler) http.Handler {
	if s.Observe == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := observed{w, http.StatusOK}
		next.ServeHTTP(&o, r)
		s.Observe(r, o.status)
	})
}

// An observed remembers the status of an answer.
type observed struct {
	http.ResponseWriter
	status int
}

func (o *observed) WriteHeader(status int) {
	o.status = status
	o.ResponseWriter.WriteHeader(status)
}
