package emulator

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// An event is small, whatever a client sends, and says what happened.
func TestEventsAreBounded(t *testing.T) {
	w := newTestEnv(t, Config{Profiles: []Profile{{AcceptRoleSessionName: true}}})
	c := issuedCredentials(w.do(t, call{}).session(t))
	long := strings.Repeat("x", 60_000)
	agent := setHeader("User-Agent", strings.Repeat("\xff", 10*maxUserAgent))
	subject := w.ca.issue(t, leafTemplate(strings.Repeat("y", 30_000)))
	lookup := fmt.Sprintf(`{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"%s"}]}`, strings.Repeat(`\u0001`, 10_000))
	for _, tt := range []struct {
		name, event string
		send        func()
	}{
		{"user agent", "CreateSession", func() { w.do(t, call{after: agent}) }},
		{"role", "CreateSession", func() { w.do(t, call{body: body("roleArn", testRole+long)}) }},
		{"control characters", "CreateSession", func() { w.do(t, call{body: body("roleArn", testRole+strings.Repeat("\x01", 9000))}) }},
		{"query", "CreateSession", func() { w.do(t, call{body: body(), query: url.Values{strings.Repeat("\x01", 9000): {"x"}}}) }},
		{"subject", "CreateSession", func() { w.do(t, call{key: subject.key, chain: []*x509.Certificate{subject.cert}}) }},
		{"algorithm", "CreateSession", func() { w.do(t, call{after: replaceAuthorization("AWS4-X509-ECDSA-SHA256", "AWS4-"+long)}) }},
		{"AssumeRole", "AssumeRole", func() {
			w.sts(t, c, stsCall{body: "Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=arn:aws:iam::111122223333:role/" + strings.Repeat("x", 300_000)})
		}},
		{"LookupEvents", "LookupEvents", func() { w.lookup(t, lookup) }},
		{"policy", "CreateProfile", func() {
			w.must(t, "CreateProfile", "", profileInputOf("name", "large", "sessionPolicy", `"`+long+`"`))
		}},
	} {
		before := w.server.history.size()
		tt.send()
		found := false
		for i, e := range w.server.newestEvents() {
			if i == w.server.history.size()-before {
				break
			}
			if len(e.record) > maxEvent {
				t.Errorf("%s: %d bytes", tt.name, len(e.record))
			}
			var decoded event
			if err := json.Unmarshal(e.record, &decoded); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			found = found || decoded.EventName == tt.event && decoded.EventID == e.id
		}
		if !found {
			t.Errorf("%s: no event", tt.name)
		}
	}
	// A name that the emulator does not know is no event.
	before := w.server.history.size()
	w.trail(t, w.server.Administrator(), long, "{}")
	if n := w.server.history.size() - before; n != 0 {
		t.Errorf("%d events of an unknown operation", n)
	}
}

func TestClipJSON(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", 254), strings.Repeat("x", 1000), strings.Repeat("\x01", 1000), strings.Repeat("\xff", 1000), strings.Repeat("ü\"", 1000)} {
		got := clipJSON(s, maxEventText)
		if sizeJSON(got) > maxEventText+len("\n") || len(s) < 254 && got != s || len(s) > 254 && !strings.HasSuffix(got, "…") {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}

// addEvents adds events, each with its number as its ID.
func addEvents(t testing.TB, s *Server, verified bool, first, n, size int) {
	t.Helper()
	record, err := json.Marshal(strings.Repeat("x", size-2))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.change(func(c *changes) error {
		var all []keptEvent
		for i := range n {
			all = append(all, keptEvent{id: strconv.Itoa(first + i), record: record})
		}
		s.history.add(c, verified, all)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The number and the sum of the bytes of events are limited.
func TestHistoryIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		verified             bool
		first, size, want    int // events, bytes of each, events that are kept with one more
		secondSize, wantLast int
	}{
		"verified":           {true, maxEvents, 10, maxEvents, 10, maxEvents},
		"unverified":         {false, maxUnverified, 10, maxUnverified, 10, maxUnverified},
		"large":              {true, maxEventBytes >> 14, 1 << 14, maxEventBytes >> 14, 1 << 15, maxEventBytes>>14 - 1},
		"large, unverified ": {false, maxUnverifiedBytes >> 14, 1 << 14, maxUnverifiedBytes >> 14, 1 << 15, maxUnverifiedBytes>>14 - 1},
	} {
		s := newServer(t, Config{})
		r := &s.history.unverified
		if tt.verified {
			r = &s.history.verified
		}
		addEvents(t, s, tt.verified, 0, tt.first, tt.size)
		addEvents(t, s, tt.verified, tt.first, 1, tt.size)
		if len(r.keys) != tt.want || len(r.rows) != tt.want || r.keys[0] != "1" || r.bytes != tt.want*tt.size {
			t.Errorf("%s: %d events with %d bytes, the first is %s", name, len(r.keys), r.bytes, r.keys[0])
		}
		addEvents(t, s, tt.verified, tt.first+1, 1, tt.secondSize)
		if len(r.keys) != tt.wantLast || r.bytes > r.maxBytes || r.bytes != (tt.wantLast-1)*tt.size+tt.secondSize {
			t.Errorf("%s: %d events with %d bytes at the end", name, len(r.keys), r.bytes)
		}
	}
}

// A state folder with more events, as another limit left it, is cut, too.
func TestRestoredHistoryIsBounded(t *testing.T) {
	folder := newFolder(t)
	s := newServer(t, Config{State: folder})
	const size = 1 << 20
	s.history.verified.maxBytes *= 2
	addEvents(t, s, true, 0, 20, size)
	addEvents(t, s, true, 20, 20, size)
	addEvents(t, s, false, 40, 3, size)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = newServer(t, Config{State: folder})
		h := &s.history
		if h.verified.bytes != maxEventBytes || len(h.verified.rows) != 32 || h.verified.keys[0] != "8" || h.unverified.bytes != 3*size {
			t.Errorf("%d events, %d and %d bytes, the first is %s", len(h.verified.rows), h.verified.bytes, h.unverified.bytes, h.verified.keys[0])
		}
	}
	addEvents(t, s, true, 43, 1, size)
	if newest := s.newestEvents(); newest[0].id != "43" || newest[1].id != "42" || newest[4].id != "39" {
		t.Errorf("the order is %s, %s, %s", newest[0].id, newest[1].id, newest[4].id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Requests without a valid signature displace only one another.
func TestUnverifiedEventsDisplaceNoOthers(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.do(t, call{}).session(t)
	list := w.must(t, "ImportCrl", "", w.crlInput(t, testAnchor, "crlData", w.ca.crlPEM(t, 0xabc))).object("crl").string("crlId")
	w.do(t, call{}) // of a revoked certificate
	w.must(t, "DisableCrl", list, nil)
	w.do(t, call{body: body("roleSessionName", "me")}) // refused, but authenticated
	lookup := func() (errors []string) {
		t.Helper()
		for _, e := range w.lookup(t, `{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"CreateSession"}]}`).Events {
			var record event
			if err := json.Unmarshal([]byte(e.CloudTrailEvent), &record); err != nil {
				t.Fatal(err)
			}
			errors = append(errors, record.ErrorMessage)
			if revoked := strings.Contains(record.ErrorMessage, "is revoked"); record.AdditionalEventData.NotVerified != revoked {
				t.Errorf("the certificate in the event is not verified: %v: %s", record.AdditionalEventData.NotVerified, e.CloudTrailEvent)
			}
		}
		return errors
	}
	revoked := fmt.Sprintf(msgRevoked, "0abc", w.ca.cert.Subject)
	if got, want := lookup(), []string{msgSessionName, revoked, ""}; !reflect.DeepEqual(got, want) {
		t.Fatalf("errors are %q, want %q", got, want)
	}
	for i := range maxUnverified {
		for _, path := range []string{"/sessions", "/trustanchors"} {
			r, err := http.NewRequestWithContext(t.Context(), map[string]string{"/sessions": "POST", "/trustanchors": "GET"}[path], w.url+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Fatalf("request %d: %d", i, resp.StatusCode)
			}
		}
	}
	if n := len(w.server.history.unverified.keys); n != maxUnverified {
		t.Errorf("%d events of callers who are not verified", n)
	}
	verified := 0
	for _, e := range w.server.newestEvents() {
		for _, message := range []string{msgSessionName, `"eventName":"ImportCrl"`, `"credentialSet"`} {
			if strings.Contains(string(e.record), message) {
				verified++
			}
		}
	}
	if verified != 3 {
		t.Errorf("%d events of verified callers are left, want 3", verified)
	}
}
