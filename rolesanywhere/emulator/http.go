package emulator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

const (
	maxBody       = 64 << 10
	maxHeader     = 128 << 10
	maxLogged     = 256     // bytes of a value in the log that a client can choose
	maxReason     = 2 << 10 // bytes of the reason of a refusal
	shutdownGrace = 2 * time.Second

	maxConns  = 1000            // open connections of Serve
	writeTime = 2 * time.Minute // in which a client must read a response, besides Faults.Latency
)

// ServeHTTP implements [http.Handler]. If Faults.Hang is set, or if the request
// ends during Faults.Latency, it sends no response and panics with
// [http.ErrAbortHandler].
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if s.page.handles(r) {
		s.page.handler.ServeHTTP(rw, r)
		return
	}
	w := &recorder{ResponseWriter: rw}
	defer s.log(r, w) // even if no response was sent
	id := newUUID()
	w.Header().Set("X-Amzn-Requestid", id)
	protocol := rpcProtocolOf(r)
	switch service := serviceOf(r); {
	case ofWebPage(r):
		s.writeRefusal(w, refuse(codeAccessDenied, msgWebPage))
	case service != "" && !slices.Contains(services, service) && r.URL.Path != "/sessions":
		s.refuseForeign(w, r, service, id)
	case protocol != nil:
		s.serveRPC(w, r, id, protocol)
	case r.URL.Path == "/sessions" && r.Method == http.MethodPost:
		s.serveCreateSession(w, r, id)
	case r.URL.Path == "/" && (r.Method == http.MethodPost || r.Method == http.MethodGet):
		s.serveQuery(w, r, id)
	default:
		s.serveControl(w, r, id)
	}
}

// ofWebPage reports whether a browser sent a request for a web page, which can belong to
// anybody. No SDK sends these headers.
func ofWebPage(r *http.Request) bool {
	_, cross := r.Header["Origin"]
	for _, site := range r.Header["Sec-Fetch-Site"] {
		cross = cross || site != "none" && site != "same-origin"
	}
	return cross
}

// A recorder records the response for the log.
type recorder struct {
	http.ResponseWriter
	operation string   // empty: of CreateSession
	ignored   []string // names of parameters without effect
	status    int      // 0: no response yet
	refused   *refusal // nil: the request was not refused
}

// WriteHeader implements [http.ResponseWriter].
func (rec *recorder) WriteHeader(status int) {
	rec.status = status
	rec.ResponseWriter.WriteHeader(status)
}

// log logs one request. It leaves out the query, because the query of a request to
// STS may be signed.
func (s *Server) log(r *http.Request, a *recorder) {
	attrs := []any{"method", clip(r.Method), "path", clip(r.URL.Path)}
	if a.operation != "" {
		attrs = append(attrs, "operation", clip(a.operation))
	}
	if len(a.ignored) > 0 {
		attrs = append(attrs, "ignored", clip(strings.Join(a.ignored, " ")))
	}
	s.page.add(r, a)
	switch {
	case a.status == 0:
		s.logger.Info("not answered", attrs...)
	case a.reason(r) != "":
		s.logger.Info("refused", append(attrs, "status", a.status, "reason", a.reason(r))...)
	default:
		s.logger.Info("answered", append(attrs, "status", a.status)...)
	}
}

// reason returns why a request was refused, or "". A client with the method HEAD only
// looks whether the service answers.
func (rec *recorder) reason(r *http.Request) string {
	if rec.refused == nil || r.Method == http.MethodHead {
		return ""
	}
	return clipTo(rec.refused.Error(), maxReason)
}

// clip limits a value of the log or the page that a client can choose.
func clip(s string) string { return clipTo(s, maxLogged) }

func clipTo(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

func (s *Server) serveCreateSession(w *recorder, r *http.Request, id string) {
	// Read the body first: net/http detects a disconnected client only
	// after that.
	body, err := readBody(w.ResponseWriter, r, maxBody)
	if err != nil {
		err = refuse(codeValidation, msgBody, err)
	} else if err = s.inject(r); err == nil {
		err = s.limits.checkAll(actionCreateSession, codeThrottling, s.now())
	}
	ev := s.newEvent(r, id, sourceRolesAnywhere, actionCreateSession)
	var out *createSessionOutput
	if err == nil {
		out, err = s.createSession(r, body, &ev)
	}
	w.ignored = ev.AdditionalEventData.Ignored
	if refused := s.finish(ev, err); refused != nil {
		s.writeRefusal(w, refused)
		return
	}
	s.writeJSON(w, http.StatusCreated, out)
}

// inject applies the configured faults to one request.
func (s *Server) inject(r *http.Request) error {
	f := s.faults
	if f.Hang || f.Latency > 0 {
		var wait <-chan time.Time // nil never fires
		if !f.Hang {
			timer := time.NewTimer(f.Latency)
			defer timer.Stop()
			wait = timer.C
		}
		select {
		case <-wait:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if mathrand.Float64() < f.ErrorRate {
		return refuse(codeOf(f.ErrorStatus), msgInjected)
	}
	return nil
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

// writeRefusal writes an error response of the restJson1 protocol.
func (s *Server) writeRefusal(w *recorder, r *refusal) {
	w.refused = r
	w.Header().Set("X-Amzn-Errortype", r.code)
	s.writeJSON(w, statuses.Get(r.code), struct {
		Message string `json:"message"`
	}{r.message})
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, v any) {
	s.writeJSONAs(w, status, "application/json", v)
}

func (s *Server) writeJSONAs(w http.ResponseWriter, status int, contentType string, v any) {
	b, err := json.Marshal(v)
	if err != nil { // impossible with the types in use
		status, b = http.StatusInternalServerError, nil
		s.logger.Error("could not encode response", "error", err)
	}
	s.write(w, status, contentType, b)
}

func (s *Server) write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have disconnected
}

// Serve serves requests on l, which it owns, until ctx ends. It then waits at
// most two seconds for requests in flight, closes the remaining connections and
// returns nil. It has at most 1,000 connections; a new one replaces one that is idle.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends hanging requests
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      writeTime + s.faults.Latency,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
	l = loopback.LimitConns(server, l, maxConns)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("emulator: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close() // an error would only concern a connection being closed
	}
	<-served
	return nil
}

// newUUID returns a random UUID (RFC 9562, section 5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return formatUUID(b, 4)
}

func formatUUID(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
