// Package page is the page of the emulator for people. It shows a snapshot and
// replaces it every second. It knows nothing about the emulator.
package page

import (
	"crypto/rand"
	_ "embed"
	"fmt"
	"html"
	"net/http"
	"strings"
	"sync"

	"github.com/holdfast-dev/holdfast/internal/lookup"
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

// source is the page without its content. It is no template of html/template, with which
// the program would be 4 MB larger and start more slowly.
//
//go:embed page.html
var source string

// Handles reports whether path belongs to the page.
func Handles(path string) bool { return path == Path || strings.HasPrefix(path, Path+"/") }

// A handler serves the page.
type handler struct {
	mu       sync.Mutex // serializes snapshots, so that many readers cost no more than one
	snapshot func() Snapshot
}

// headers are those of every response, besides the Content-Security-Policy.
var headers = lookup.Table[string, string]{
	{"X-Frame-Options", "DENY"},
	{"X-Content-Type-Options", "nosniff"},
	{"Cache-Control", "no-store"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
}

// Handler returns the handler of the page. It calls snapshot for each request, never
// concurrently. It is read-only, and refuses requests of other web pages.
func Handler(snapshot func() Snapshot) http.Handler {
	guarded := loopback.GuardPage(&handler{snapshot: snapshot})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, header := range headers {
			w.Header().Set(header.Key, header.Value)
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
	render := map[string]func(Snapshot, string) string{Path: page, dataPath: data}[r.URL.Path]
	if render == nil {
		http.Error(w, "the page is at "+Path, http.StatusNotFound)
		return
	}
	nonce := rand.Text()
	h.mu.Lock()
	text := render(h.snapshot(), nonce)
	h.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"'; "+
		"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write([]byte(text)) // the reader may have disconnected
}

// page returns the whole page. Its script and its styles have the nonce.
func page(s Snapshot, nonce string) string {
	var nav, sections strings.Builder
	for _, t := range s.Sections {
		fmt.Fprintf(&nav, "<li><a href=\"#%s\">%s</a></li>\n", esc(t.ID), esc(t.Title))
		fmt.Fprintf(&sections, `<section id="%[1]s" aria-labelledby="%[1]s-title">
<h2 id="%[1]s-title">%[2]s</h2>
<div id="%[1]s-rows" class="rows" role="region" aria-labelledby="%[1]s-title" tabindex="0">%[3]s</div>
</section>
`, esc(t.ID), esc(t.Title), t.rows())
	}
	return strings.NewReplacer( // replaces each place once, and nothing in what it puts there
		"<!--title-->", esc(s.Title), "NONCE", nonce, "DATA_PATH", dataPath, "<!--nav-->", nav.String(), "<!--sections-->", sections.String(),
	).Replace(source)
}

// data returns the rows alone.
func data(s Snapshot, _ string) string {
	var b strings.Builder
	for _, t := range s.Sections {
		fmt.Fprintf(&b, "<div id=\"%s-rows\">%s</div>\n", esc(t.ID), t.rows())
	}
	return b.String()
}

func (s Section) rows() string {
	if len(s.Rows) == 0 {
		return "<p>None</p>"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<table aria-labelledby=\"%s-title\">\n<caption>Newest first, %d of %d</caption>\n<thead><tr>", esc(s.ID), len(s.Rows), s.Total)
	for _, column := range s.Columns {
		fmt.Fprintf(&b, "<th scope=\"col\">%s</th>", esc(column))
	}
	b.WriteString("</tr></thead>\n<tbody>")
	for _, row := range s.Rows {
		class := ""
		if row.Marked {
			class = ` class="marked"`
		}
		fmt.Fprintf(&b, "\n<tr%s>", class)
		for i, cell := range row.Cells {
			fmt.Fprintf(&b, "<td data-column=\"%s\">", esc(s.Columns[i]))
			for _, line := range cell {
				fmt.Fprintf(&b, "<span>%s</span>", esc(line))
			}
			b.WriteString("</td>")
		}
		b.WriteString("</tr>")
	}
	b.WriteString("\n</tbody>\n</table>")
	return b.String()
}

// esc escapes a text for an element or for an attribute in quotation marks.
func esc(s string) string { return html.EscapeString(strings.ToValidUTF8(s, "\ufffd")) }
