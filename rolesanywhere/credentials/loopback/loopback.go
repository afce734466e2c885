// Package loopback is the HTTP server of the local credential endpoints. It
// serves programs on this machine, but not web pages in a browser on this
// machine.
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

// A Server serves HTTP on the listeners passed to Serve. Only Handler is
// required. The fields must not be changed after the call of Serve. The methods
// are safe for concurrent use.
type Server struct {
	Handler http.Handler

	// Hosts are names that clients may use in the Host header, in addition
	// to localhost and IP addresses. The Server refuses other names,
	// because a web page can make its own name resolve to 127.0.0.1 (DNS
	// rebinding).
	Hosts []string

	// Page means that Handler also serves pages that people open in a
	// browser. The Server then accepts the requests that GuardPage accepts.
	Page bool

	// MaxConns is the maximum number of open connections; 0: 512. It is at
	// most half of the file descriptors that the process may open. If it
	// is reached, a new connection replaces the one that has been idle
	// longest. If none is idle, it replaces one of the client address that
	// has most, or is closed if there is none with more than its own.
	MaxConns int

	// Observe, unless nil, is called after each response. It must be safe
	// for concurrent use.
	Observe func(r *http.Request, status int)

	Logger *slog.Logger // nil: discard

	conns conns
}

const (
	defaultMaxConns = 512
	maxHeader       = 8 << 10 // bytes; net/http adds 4 KiB
	headerTimeout   = 5 * time.Second
	requestTimeout  = 10 * time.Second
	responseTimeout = 20 * time.Second // a handler may wait for credentials for ten of them
	idleTimeout     = 30 * time.Second

	// DrainTimeout is the time limit for requests in flight after the
	// context of Serve has ended.
	DrainTimeout = 5 * time.Second

	// idleGrace is how long idle connections may then still send a request.
	idleGrace = 500 * time.Millisecond
)

// ErrNotLoopback is wrapped by the errors of [Listen] and [CheckLoopback] for
// an address that other machines can reach.
var ErrNotLoopback = errors.New("not a loopback address")

// Listen listens on a TCP address whose host is localhost or a loopback
// address. If allowRemote is false, it fails with [ErrNotLoopback] for any
// other host, including an empty one.
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
	lc.SetMultipathTCP(false) // useless on one machine, and its sockets do not support an IP hop limit
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if allowRemote {
		return l, nil
	}
	// The resolver may map the name localhost to any address.
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

// Serve serves on all listeners, which it owns, until ctx ends or a listener
// fails. It then completes the requests in flight, for at most [DrainTimeout],
// and returns nil or the listener's error. It must be called only once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	log := logging.OrDiscard(s.Logger)
	s.conns.mu.Lock()
	limit := s.MaxConns
	if limit <= 0 {
		limit = defaultMaxConns
		warnFewFiles(log, maxFiles())
	}
	s.conns.limit = maxConns(limit, maxFiles())
	s.conns.mu.Unlock()
	server := &http.Server{
		Handler:           s.observe(s.conns.busy(s.guard(s.Handler))),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      responseTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       connContext,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // it would handle OPTIONS * before guard
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
	for _, after := range []time.Duration{idleGrace, 2 * idleGrace} { // twice, for responses in transit at the first time
		timer := time.AfterFunc(after, s.conns.closeIdle)
		defer timer.Stop()
	}
	if server.Shutdown(drain) != nil {
		_ = server.Close() // an error would only concern a connection being closed
	}
	return err
}

// fewFiles is the number of open files below which clients may have to wait for
// connections of others to end.
const fewFiles = 64

func warnFewFiles(log *slog.Logger, limit uint64) {
	if limit < fewFiles {
		log.Warn("this process may open so few files that clients may have to wait; raise the limit with ulimit -n, or with LimitNOFILE= of systemd",
			"limit", limit)
	}
}

// maxConns returns a limit of connections for a process that may open this many
// files. The other half is for keys, their devices, files and the service.
func maxConns(limit int, files uint64) int { return int(max(1, min(uint64(limit), files/2))) }

// Conns returns the number of open connections, and how many connections were
// closed so far because of MaxConns.
func (s *Server) Conns() (open int, dropped int64) { return s.conns.count() }

// guard refuses requests that do not come directly from a program on this
// machine, and requests with a body.
func (s *Server) guard(next http.Handler) http.Handler {
	if s.Page {
		return guard(next, s.Hosts, fromOtherPage)
	}
	return guard(next, s.Hosts, func(r *http.Request) bool { return has(r, "Origin") || has(r, "Sec-Fetch-Site") })
}

// GuardPage returns a handler for a page that people on this machine open in a
// browser. It passes on to next only requests that come directly from the browser or
// from the page itself, not from other web pages, and that have no body. The Host is
// localhost or an IP address, as for [Server].
func GuardPage(next http.Handler) http.Handler {
	return guard(next, nil, fromOtherPage)
}

// fromOtherPage reports whether a browser sends a request for a page of another origin.
func fromOtherPage(r *http.Request) bool {
	own := func(value string) bool { return value == "http://"+r.Host }
	direct := func(value string) bool { return value == "none" || value == "same-origin" }
	return has(r, "Origin") && !only(r.Header["Origin"], own) ||
		has(r, "Sec-Fetch-Site") && !only(r.Header["Sec-Fetch-Site"], direct)
}

// only reports whether there is one value, and it is good. A browser sends no more.
func only(values []string, good func(string) bool) bool { return len(values) == 1 && good(values[0]) }

// FromThisMachine reports whether the client of a request runs on this machine: it has
// a loopback address, or the address at which it reached the server.
func FromThisMachine(r *http.Request) bool {
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := client.Addr().Unmap()
	server, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.IsLoopback() || ok && ip == server.AddrPort().Addr().Unmap()
}

// guard refuses requests that foreign reports as those of other web pages.
func guard(next http.Handler, hosts []string, foreign func(*http.Request) bool) http.Handler {
	names := append([]string{"localhost"}, hosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case has(r, "X-Forwarded-For") || has(r, "Forwarded"):
			http.Error(w, "forwarded requests are refused", http.StatusForbidden)
		case foreign(r):
			http.Error(w, "requests from web pages are refused", http.StatusForbidden)
		case !isLocal(r.Host, names):
			http.Error(w, "unknown host name in the Host header", http.StatusForbidden)
		case r.ContentLength != 0:
			w.Header().Set("Connection", "close") // net/http discards the body
			http.Error(w, "requests with a body are refused", http.StatusRequestEntityTooLarge)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// has reports whether r has a header, even an empty one. key must be in
// canonical form.
func has(r *http.Request, key string) bool { _, ok := r.Header[key]; return ok }

// isLocal reports whether host, with or without a port, is an IP address or one
// of names. A web page of another host cannot use these.
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

// An observed records the status of a response.
type observed struct {
	http.ResponseWriter
	status int
}

func (o *observed) WriteHeader(status int) {
	o.status = status
	o.ResponseWriter.WriteHeader(status)
}
