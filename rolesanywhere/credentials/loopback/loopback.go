// Package loopback serves HTTP to the programs of this machine, and to no web
// page that a browser on it shows: what the local endpoints for credentials
// have in common.
package loopback

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// A Server serves on listeners that it is given. The zero value but for Handler
// is ready for use. Its fields are not changed after Serve was called.
type Server struct {
	Handler http.Handler

	// Hosts are names that clients may call this server by, besides
	// localhost and IP addresses. Other names are refused: a web page can
	// have its own name resolve to 127.0.0.1 (DNS rebinding).
	Hosts []string

	MaxConns int          // 0: 1024. The one that has waited longest makes room for a new one
	Logger   *slog.Logger // nil: discard
}

const (
	defaultMaxConns = 1024
	maxHeader       = 8 << 10 // bytes
	headerTimeout   = 5 * time.Second
	answerTimeout   = 10 * time.Second
	idleTimeout     = 30 * time.Second

	// DrainTimeout is how long requests that are under way may take after
	// the end of Serve's context.
	DrainTimeout = 5 * time.Second
)

// Serve serves on all listeners, which it owns, until ctx ends; then it answers
// what is under way and returns nil, or the error of a listener that broke.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	log := s.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	conns := newConns(s.MaxConns)
	server := &http.Server{
		Handler:           conns.busy(http.MaxBytesHandler(s.guard(s.Handler), 0)),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       answerTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         conns.state,
		ConnContext:       conns.context,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), DrainTimeout)
	defer cancel()
	if shutdown := server.Shutdown(drain); shutdown != nil {
		err = errors.Join(err, server.Close())
	}
	return err
}

// guard refuses requests that no program of this machine makes by itself.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "":
			http.Error(w, "forwarded requests are refused", http.StatusForbidden)
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			http.Error(w, "requests of web pages are refused", http.StatusForbidden)
		case !s.isLocal(r.Host):
			http.Error(w, "this server does not have that name", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isLocal reports whether host, with or without a port, is an address or a name
// that cannot be somebody else's.
func (s *Server) isLocal(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	for _, known := range append([]string{"localhost"}, s.Hosts...) {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}
