// Package page is the page of the emulator for people. It shows a snapshot and
// replaces it every second. It knows nothing about the emulator.
package page

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// Path is the path of the page. Everything else that the page needs is below it.
const Path = "/ui"

// dataPath is the path of the sections alone, which the page loads again and again.
const dataPath = Path + "/data"

// A Snapshot is the content of the page at one moment.
type Snapshot struct {
	Title    string
	Sections []Section
}

// A Section is a table.
type Section struct {
	ID, Title string // ID: of the element
	Columns   []string
	Rows      []Row
	Total     int // rows that exist; more than those shown if only the newest are
}

// A Row has one cell for each column.
type Row struct {
	Cells  []Cell
	Marked bool // needs attention
}

// A Cell is one or more lines of text.
type Cell []string

//go:embed page.html
var source string

var views = sync.OnceValue(func() *template.Template { return template.Must(template.New("").Parse(source)) })

// Handles reports whether path belongs to the page.
func Handles(path string) bool { return path == Path || strings.HasPrefix(path, Path+"/") }

// A handler serves the page.
type handler struct {
	mu       sync.Mutex // serializes snapshots, so that many readers cost no more than one
	snapshot func() Snapshot
}

// headers are those of every response, besides the Content-Security-Policy.
var headers = map[string]string{
	"X-Frame-Options":              "DENY",
	"X-Content-Type-Options":       "nosniff",
	"Cache-Control":                "no-store",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
}

// Handler returns the handler of the page. It calls snapshot for each request, never
// concurrently. It is read-only, and refuses requests of other web pages.
func Handler(snapshot func() Snapshot) http.Handler {
	guarded := loopback.GuardPage(&handler{snapshot: snapshot})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			w.Header().Set("Connection", "close") // net/http discards the body
			http.Error(w, "the page is read-only", http.StatusMethodNotAllowed)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	view := map[string]string{Path: "page", dataPath: "data"}[r.URL.Path]
	if view == "" {
		http.Error(w, "the page is at "+Path, http.StatusNotFound)
		return
	}
	nonce := rand.Text()
	b, err := h.render(view, nonce)
	if err != nil { // impossible with the embedded file
		http.Error(w, "could not render the page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"'; "+
		"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(b) // the reader may have disconnected
}

func (h *handler) render(view, nonce string) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b bytes.Buffer
	err := views().ExecuteTemplate(&b, view, struct {
		Snapshot
		Nonce, DataPath string
	}{h.snapshot(), nonce, dataPath})
	return b.Bytes(), err
}
