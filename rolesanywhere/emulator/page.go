package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator/internal/page"
)

// PagePath is the path of the page for people, see [Config.UI]. No operation of the
// services of the emulator has it.
const PagePath = page.Path

// maxShown limits the rows of each table of the page.
const maxShown = 100

// A userPage is the page for people, with the last requests. A nil userPage has none.
type userPage struct {
	server  *Server
	handler http.Handler

	mu       sync.Mutex
	requests []shownRequest // at most maxShown, the newest last

	// decoded are the events of the last snapshot. Only snapshot uses it, so that it
	// decodes each event once. An event can be as large as a request.
	decoded map[string]shownEvent
}

// A shownRequest is a request that was answered or refused.
type shownRequest struct {
	at                        time.Time
	method, operation, reason string // operation: or the path
	status                    int    // 0: not answered
}

// A shownEvent has the fields of an event that the page shows.
type shownEvent struct {
	UserIdentity userIdentity `json:"userIdentity"`
	EventTime    time.Time    `json:"eventTime"`
	EventSource  string       `json:"eventSource"`
	EventName    string       `json:"eventName"`
	SourceIP     string       `json:"sourceIPAddress"`
	UserAgent    string       `json:"userAgent"`
	ErrorCode    string       `json:"errorCode"`
	ErrorMessage string       `json:"errorMessage"`
	Parameters   struct {
		Subject string `json:"subject"` // of a certificate, see sessionParameters
	} `json:"requestParameters"`
	Additional struct {
		NotVerified bool `json:"certificateNotVerified"`
	} `json:"additionalEventData"`
}

func newUserPage(s *Server) *userPage {
	p := &userPage{server: s}
	p.handler = page.Handler(p.snapshot)
	return p
}

// handles reports whether a request is for the page and not for a service.
func (p *userPage) handles(r *http.Request) bool {
	return p != nil && page.Handles(r.URL.Path) && serviceOf(r) == ""
}

// add adds a request, and drops the oldest one.
func (p *userPage) add(r *http.Request, a *recorder) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests[max(0, len(p.requests)-maxShown+1):], shownRequest{
		at: p.server.now(), method: clip(r.Method), operation: clip(cmp.Or(a.operation, r.URL.Path)), reason: a.reason(r), status: a.status,
	})
}

func (p *userPage) shownRequests() page.Section {
	p.mu.Lock()
	defer p.mu.Unlock()
	section := page.Section{ID: "requests", Title: "Last requests", Columns: []string{"Time in UTC", "Request", "Result"}, Total: len(p.requests)}
	for _, r := range slices.Backward(p.requests) {
		result := page.Cell{"answered, status " + strconv.Itoa(r.status)}
		switch {
		case r.status == 0:
			result = page.Cell{"not answered"}
		case r.reason != "":
			result = page.Cell{"refused, status " + strconv.Itoa(r.status), r.reason}
		}
		section.Rows = append(section.Rows, page.Row{
			Cells:  []page.Cell{{utc(r.at)}, {r.method + " " + r.operation}, result},
			Marked: r.status == 0 || r.reason != "",
		})
	}
	return section
}

// snapshot returns what the page shows. It never contains a secret access key or a
// session token.
func (p *userPage) snapshot() page.Snapshot {
	s, now := p.server, p.server.now()
	s.mu.RLock()
	sections := []page.Section{
		section(&s.sessions, "sessions", "Sessions", []string{"Access key ID", "Session", "Valid in UTC"}, func(v *session) page.Row { return v.row(now) }),
		section(&s.anchors, "trust-anchors", "Trust anchors", []string{"Name", "State", "Certificates"}, (*anchor).row),
		section(&s.profiles, "profiles", "Profiles", []string{"Name", "State", "Roles"}, (*profile).row),
		section(&s.roles, "roles", "Roles", []string{"ARN", "Longest session", "Trust policy"}, (*role).row),
		section(&s.crls, "crls", "Revocation lists", []string{"Name", "State", "List"}, (*crl).row),
	}
	events := make([]keptEvent, 0, maxShown)
	for e := range s.history.newest() {
		if len(events) == maxShown {
			break
		}
		events = append(events, e)
	}
	total := s.history.size()
	s.mu.RUnlock()

	sections = append([]page.Section{p.shownRequests()}, sections...)
	return page.Snapshot{
		Title:    "Holdfast emulator, account " + s.account + ", region " + s.region,
		Sections: append(sections, p.shownEvents(events, total)),
	}
}

// newest returns the newest rows of a table, the newest first.
func newest[T any](t *table[T]) (rows []keyed[T]) {
	for _, key := range slices.Backward(t.keys[max(0, len(t.keys)-maxShown):]) {
		rows = append(rows, keyed[T]{key, t.rows[key].Value})
	}
	return rows
}

type keyed[T any] struct {
	key   string
	value T
}

func section[T any](t *table[T], id, title string, columns []string, row func(T) page.Row) page.Section {
	section := page.Section{ID: id, Title: title, Columns: columns, Total: len(t.keys)}
	for _, r := range newest(t) {
		section.Rows = append(section.Rows, row(r.value))
	}
	return section
}

func (p *userPage) shownEvents(events []keptEvent, total int) page.Section {
	section := page.Section{ID: "events", Title: "Events", Columns: []string{"Time in UTC", "Event", "Client", "Result"}, Total: total}
	decoded := make(map[string]shownEvent, len(events))
	for _, raw := range events {
		e, ok := p.decoded[raw.id]
		if !ok {
			_ = json.Unmarshal(raw.record, &e) // the emulator wrote it
			for _, field := range []*string{&e.EventName, &e.SourceIP, &e.UserAgent, &e.ErrorMessage, &e.UserIdentity.ARN, &e.Parameters.Subject} {
				*field = clip(*field)
			}
		}
		decoded[raw.id] = e
		client := page.Cell{cmp.Or(e.UserIdentity.ARN, e.Parameters.Subject, "unknown")}
		if e.Additional.NotVerified {
			client[0] = "not verified: " + client[0]
		}
		result := page.Cell{"success"}
		if e.ErrorCode != "" {
			result = page.Cell{e.ErrorCode, e.ErrorMessage}
		}
		section.Rows = append(section.Rows, page.Row{
			Cells:  []page.Cell{{utc(e.EventTime)}, {e.EventName, e.EventSource}, append(client, e.SourceIP, e.UserAgent), result},
			Marked: e.ErrorCode != "",
		})
	}
	p.decoded = decoded
	return section
}

func (v *session) row(now time.Time) page.Row {
	row := page.Row{Cells: []page.Cell{{v.AccessKeyID}, {clip(v.User.ARN)}, {"from " + utc(v.Issued), "until " + utc(v.Expires)}}}
	if v.Source != "" {
		row.Cells[1] = append(row.Cells[1], "source identity "+clip(v.Source))
	}
	if len(v.Tags) > 0 {
		row.Cells[1] = append(row.Cells[1], clip("tags "+pairs(v.Tags)))
	}
	switch {
	case v.isAdministrator():
		row.Cells[2] = page.Cell{"always", "the administrator"}
	case v.expired(now):
		row.Cells[2] = append(row.Cells[2], "expired")
	}
	return row
}

func (r resource) cells() []page.Cell {
	name := page.Cell{clip(cmp.Or(r.Name, r.id())), clip(r.ARN)}
	if r.Alias != "" {
		name = append(name, "alias "+clip(r.Alias))
	}
	state := page.Cell{"enabled"}
	if !r.Enabled {
		state = page.Cell{"disabled"}
	}
	return []page.Cell{name, state}
}

func (a *anchor) row() page.Row {
	var certs page.Cell
	for _, c := range a.certs {
		certs = append(certs, clip(c.Subject.String()), "until "+utc(c.NotAfter))
	}
	if a.PrivateCA != "" {
		certs = append(certs, "of "+clip(a.PrivateCA))
	}
	return page.Row{Cells: append(a.cells(), certs)}
}

func (f *profile) row() page.Row {
	roles := make(page.Cell, 0, len(f.RoleARNs)+1)
	for _, arn := range f.RoleARNs[:min(len(f.RoleARNs), maxShown)] {
		roles = append(roles, clip(arn))
	}
	return page.Row{Cells: append(f.cells(), append(roles, "sessions of at most "+seconds(f.DurationSeconds)))}
}

func (r *role) row() page.Row {
	trust := page.Cell{"none: trusts every session"}
	if r.policy != nil {
		trust = page.Cell{"set"}
	}
	return page.Row{Cells: []page.Cell{{clip(r.ARN)}, {seconds(r.Max)}, trust}}
}

func (c *crl) row() page.Row {
	list := page.Cell{"of " + clip(c.TrustAnchorARN)}
	if c.parsed != nil {
		list = append(list, "issuer "+clip(c.parsed.list.Issuer.String()),
			fmt.Sprintf("%d revoked, next update %s", len(c.parsed.revoked), utc(c.parsed.list.NextUpdate)))
	}
	return page.Row{Cells: append(c.cells(), list)}
}

func utc(t time.Time) string { return t.UTC().Format(time.DateTime) }

func seconds(n int) string { return strconv.Itoa(n) + " seconds" }

func pairs(m map[string]string) string {
	all := sortedKeys(m)
	for i, key := range all {
		all[i] = key + "=" + m[key]
	}
	return strings.Join(all, ", ")
}
