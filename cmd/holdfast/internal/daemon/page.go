package daemon

import (
	"crypto/rand"
	_ "embed"
	"fmt"
	"html"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A page is the content of the status page at one moment.
type page struct {
	states       []state
	build        front.Build
	started, now time.Time
}

// pageSource is the page without its content. It is no template of html/template, which
// would make the program larger and slower to start.
//
//go:embed page.html
var pageSource string

// servePage responds with a page. Only clients on this machine get it, because it tells
// more than the other status endpoints.
func servePage(w http.ResponseWriter, r *http.Request, p page) {
	if !loopback.FromThisMachine(r) {
		http.Error(w, "the status page is only for clients on the machine of the server, such as ssh -L", http.StatusForbidden)
		return
	}
	nonce := rand.Text()
	text := p.html(nonce)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write([]byte(text)) // the reader may have disconnected
}

// html returns the page. Its style has the nonce.
func (p page) html(nonce string) string {
	var withProblem, others, service, title, summary markup
	problems := 0
	for _, s := range p.states {
		groups, ok := describe(s, p.now)
		if ok {
			others.table("Role "+s.name, groups)
			continue
		}
		problems++
		withProblem.table("Role "+s.name, groups)
	}
	text := signOK + " No problems"
	if problems > 0 {
		text = fmt.Sprintf("%s Problems with %d of %s", signBad, problems, count(len(p.states), "role"))
	}
	title.add("%s – Holdfast", text)
	summary.add(`<p class="%s">%s</p>`, class(problems > 0), text)
	service.table("Service", []group{{fields: []field{
		{name: "Version", text: p.build.String()},
		{name: "Started", text: relative(p.started, p.now), at: p.started},
		{name: "Page made", at: p.now},
	}}})
	return strings.NewReplacer( // replaces each place once, and nothing in what it puts there
		"NONCE", nonce, "<!--title-->", title.String(), "<!--summary-->", summary.String(),
		"<!--roles-->", withProblem.String()+others.String(), "<!--service-->", service.String(),
	).Replace(pageSource)
}

// A markup is HTML. Only its methods write it, so that nothing gets there without an
// escape.
type markup struct{ b strings.Builder }

func (m *markup) String() string { return m.b.String() }

// add adds a format, which is a constant, with texts in the place of its %s: in elements,
// or in attributes in quotation marks.
func (m *markup) add(format string, texts ...string) {
	args := make([]any, len(texts))
	for i, text := range texts {
		args[i] = html.EscapeString(bounded(text))
	}
	fmt.Fprintf(&m.b, format, args...)
}

// maxText is the maximum length of a text on the page, in characters.
const maxText = 1000

// bounded returns a text as the log would show it, cut off after maxText characters.
func bounded(text string) string {
	text = front.Redact(text, nil)
	n := 0
	for i := range text {
		if n++; n > maxText {
			return text[:i] + "…"
		}
	}
	return text
}

func (m *markup) table(caption string, groups []group) {
	m.add("<table>\n<caption>%s</caption>\n", caption)
	for _, g := range groups {
		m.add("<tbody>\n")
		if g.title != "" {
			m.add("<tr><th scope=\"rowgroup\" colspan=\"2\">%s</th></tr>\n", g.title)
		}
		for _, f := range g.fields {
			m.add(`<tr class="%s"><th scope="row">%s</th><td>%s`, class(f.bad), f.name, f.text)
			if !f.at.IsZero() {
				at := f.at.UTC()
				m.add(" <time datetime=\"%s\">%s</time>", at.Format(time.RFC3339), at.Format("2006-01-02 15:04:05 UTC"))
			}
			m.add("</td></tr>\n")
		}
		m.add("</tbody>\n")
	}
	m.add("</table>\n")
}

func class(bad bool) string {
	if bad {
		return "bad"
	}
	return "good"
}
