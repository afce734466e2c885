package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

// signedCall sends a request of the protocol JSON 1.1 if target is not empty, and of
// REST-JSON otherwise. It returns the body of the response.
func (w *testEnv) signedCall(t testing.TB, c credentials.Credentials, service, method, path, target, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if target != "" {
		r.Header.Set("Content-Type", jsonRPC.contentType)
		r.Header.Set(headerTarget, target)
	}
	if err := sigv4.Sign(r, []byte(body), c, service, DefaultRegion, testNow); err != nil {
		t.Fatal(err)
	}
	status, _, b := send(t, r)
	return status, b
}

// A lookupAnswer is the response of LookupEvents.
type lookupAnswer struct {
	Events []struct {
		EventId, EventName, EventSource, Username, AccessKeyId, ReadOnly, CloudTrailEvent string
		EventTime                                                                         float64
		Resources                                                                         []struct{ ResourceType, ResourceName string }
	}
	NextToken     string
	Type, Message string
}

// lookup calls LookupEvents as the administrator.
func (w *testEnv) lookup(t testing.TB, body string) (out lookupAnswer) {
	t.Helper()
	return w.trail(t, w.server.Administrator(), "LookupEvents", body)
}

func (w *testEnv) trail(t testing.TB, c credentials.Credentials, operation, body string) (out lookupAnswer) {
	t.Helper()
	status, b := w.signedCall(t, c, cloudTrailService, http.MethodPost, "/", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101."+operation, body)
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	var refused struct {
		Type string `json:"__type"`
	}
	if err := json.Unmarshal(b, &refused); err != nil {
		t.Fatal(err)
	}
	out.Type = refused.Type
	if (status == http.StatusOK) != (out.Type == "") || status != http.StatusOK && status != http.StatusBadRequest {
		t.Errorf("status %d: %s", status, b)
	}
	return out
}

func (a lookupAnswer) names() (names []string) {
	for _, e := range a.Events {
		names = append(names, e.EventName)
	}
	return names
}

func TestLookupEvents(t *testing.T) {
	w := newTestEnv(t, Config{})
	first := w.do(t, call{}).session(t)
	w.do(t, call{body: body("roleArn", testRole+"2")})
	c := issuedCredentials(first)
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, c, testNow); err != nil {
		t.Fatal(err)
	}
	all := w.lookup(t, "{}")
	if got := fmt.Sprint(all.names()); got != "[GetCallerIdentity CreateSession AssumeRole CreateSession]" || all.NextToken != "" {
		t.Fatalf("events %s, token %q", got, all.NextToken)
	}
	caller, created := all.Events[0], all.Events[3]
	if caller.Username != "0abc" || caller.AccessKeyId != c.AccessKeyID || caller.ReadOnly != "true" || caller.EventSource != "sts.amazonaws.com" ||
		caller.EventTime != float64(testNow.Unix()) || len(caller.Resources) != 0 {
		t.Errorf("GetCallerIdentity is %+v", caller)
	}
	var record event
	if err := json.Unmarshal([]byte(created.CloudTrailEvent), &record); err != nil || record.EventID != created.EventId || record.EventName != "CreateSession" {
		t.Errorf("%v: %s", err, created.CloudTrailEvent)
	}
	if len(created.Resources) != 3 || created.Resources[0].ResourceType != "AWS::RolesAnywhere::TrustAnchor" || created.Resources[0].ResourceName != testAnchor || created.ReadOnly != "false" {
		t.Errorf("CreateSession is %+v", created)
	}
	for selection, want := range map[string]int{
		"EventId=" + created.EventId:                  1,
		"EventName=CreateSession":                     2,
		"EventName=Createsession":                     0,
		"EventSource=sts.amazonaws.com":               2,
		"Username=0abc":                               1,
		"AccessKeyId=" + c.AccessKeyID:                1,
		"ReadOnly=false":                              2,
		"ResourceType=AWS::IAM::Role":                 2, // the refused request names no role that exists
		"ResourceName=" + testAnchor:                  1,
		"ResourceName=" + DefaultRoleARN("x-y-1", ""): 0,
	} {
		key, value, _ := strings.Cut(selection, "=")
		if got := w.lookup(t, fmt.Sprintf(`{"LookupAttributes":[{"AttributeKey":%q,"AttributeValue":%q}]}`, key, value)); len(got.Events) != want || got.Type != "" {
			t.Errorf("%s: %v, want %d", selection, got.names(), want)
		}
	}
	// The calls above are events too, of the administrator.
	own := w.lookup(t, `{"LookupAttributes":[{"AttributeKey":"Username","AttributeValue":"administrator"}],"MaxResults":1}`)
	if len(own.Events) != 1 || own.Events[0].EventName != "LookupEvents" || own.NextToken == "" || !strings.Contains(own.Events[0].CloudTrailEvent, `"type":"IAMUser"`) {
		t.Errorf("events of the administrator: %+v", own)
	}
	now := testNow.Unix()
	for times, some := range map[string]bool{
		fmt.Sprintf(`"StartTime":%d`, now):                         true,
		fmt.Sprintf(`"StartTime":%d.5`, now):                       false,
		fmt.Sprintf(`"EndTime":%d`, now):                           true,
		fmt.Sprintf(`"EndTime":%d.999`, now-1):                     false,
		fmt.Sprintf(`"StartTime":%d,"EndTime":%[1]d`, now):         true,
		fmt.Sprintf(`"StartTime":0,"EndTime":%e`, float64(now)*10): true,
		`"EventCategory":"insight"`:                                false,
	} {
		if got := w.lookup(t, "{"+times+"}"); (len(got.Events) > 0) != some || got.Type != "" {
			t.Errorf("%s: %d events %s", times, len(got.Events), got.Type)
		}
	}
}

// Each event that existed at the first page is on one page, although new ones arrive and
// the lookups are events themselves.
func TestLookupEventsPages(t *testing.T) {
	w := newTestEnv(t, Config{})
	const sessions = 23
	for range sessions {
		w.do(t, call{}).session(t)
	}
	const query = `"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"CreateSession"}]`
	seen, token := make(map[string]bool), ""
	for pages := 1; ; pages++ {
		body := fmt.Sprintf(`{%s,"MaxResults":%d}`, query, pages) // the size may change
		if token != "" {
			body = fmt.Sprintf(`{%s,"MaxResults":%d,"NextToken":%q}`, query, pages, token)
		}
		page := w.lookup(t, body)
		if page.Type != "" || len(page.Events) == 0 || len(page.Events) > pages {
			t.Fatalf("page %d has %d events: %s", pages, len(page.Events), page.Type)
		}
		for _, e := range page.Events {
			if seen[e.EventId] {
				t.Errorf("page %d repeats %s", pages, e.EventId)
			}
			seen[e.EventId] = true
		}
		if token = page.NextToken; token == "" {
			break
		}
		w.do(t, call{}).session(t)
	}
	if len(seen) != sessions {
		t.Errorf("%d events, want %d", len(seen), sessions)
	}
}

func TestLookupEventsRefused(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.do(t, call{}).session(t)
	w.do(t, call{}).session(t)
	page := w.lookup(t, `{"MaxResults":1}`)
	attribute := func(key, value string) string {
		return fmt.Sprintf(`"LookupAttributes":[{"AttributeKey":%q,"AttributeValue":%q}]`, key, value)
	}
	token := func(token string) string { return fmt.Sprintf(`"NextToken":%q`, token) }
	for _, tt := range []struct{ name, body, code, message string }{
		{"unknown attribute", attribute("Region", "x"), codeTrailAttributes, `"Region"`},
		{"attribute in another case", attribute("eventName", "x"), codeTrailAttributes, `"eventName"`},
		{"no attribute key", `"LookupAttributes":[{"AttributeValue":"x"}]`, codeTrailAttributes, `""`},
		{"no attribute value", `"LookupAttributes":[{"AttributeKey":"EventName"}]`, codeTrailAttributes, "EventName"},
		{"ReadOnly is a word", attribute("ReadOnly", "yes"), codeTrailAttributes, `"yes"`},
		{"two attributes", `"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"x"},{"AttributeKey":"EventId","AttributeValue":"x"}]`, codeTrailAttributes, "only one"},
		{"no results", `"MaxResults":0`, codeTrailResults, "50"},
		{"51 results", `"MaxResults":51`, codeTrailResults, "51"},
		{"negative results", `"MaxResults":-1`, codeTrailResults, "-1"},
		{"start after end", `"StartTime":2,"EndTime":1`, codeTrailTimes, "after"},
		{"negative time", `"EndTime":-1`, codeTrailTimes, "-1"},
		{"time in milliseconds", `"StartTime":1900000000000`, codeTrailTimes, "1.9e+12"},
		{"time as text", `"StartTime":"2031-02-03T04:05:06Z"`, codeSerialization, "startTime"},
		{"unknown category", `"EventCategory":"data"`, codeTrailCategory, "data"},
		{"unknown member", `"Attributes":[]`, codeSerialization, "Attributes"},
		{"member with a small letter", `"maxResults":1`, codeSerialization, `"maxResults"`},
		{"member in another case", `"Maxresults":1`, codeSerialization, `"Maxresults"`},
		{"member of an attribute with a small letter", `"LookupAttributes":[{"attributeKey":"EventName","AttributeValue":"x"}]`, codeSerialization, `"attributeKey"`},
		{"member twice", `"MaxResults":1,"MaxResults":2`, codeSerialization, "twice"},
		{"data after the object", `"MaxResults":1}]`, codeSerialization, "Request body"},
		{"no UTF-8", "\"NextToken\":\"\xff\"", codeSerialization, "UTF-8"},
		{"garbage as token", token("x"), codeTrailToken, ""},
		{"altered number", token("9" + page.NextToken), codeTrailToken, ""},
		{"altered token", token(page.NextToken[:len(page.NextToken)-1] + "x"), codeTrailToken, ""},
		{"token of another query", attribute("EventName", "CreateSession") + "," + token(page.NextToken), codeTrailToken, ""},
		{"token of other times", `"StartTime":0,` + token(page.NextToken), codeTrailToken, ""},
		{"token of another list", token(w.server.pageToken("subjects", 1)), codeTrailToken, ""},
	} {
		got := w.lookup(t, "{"+tt.body+"}")
		if got.Type != tt.code || !strings.Contains(got.Message, tt.message) || got.Message == "" || len(got.Events) > 0 {
			t.Errorf("%s: %s %q, want %s with %q", tt.name, got.Type, got.Message, tt.code, tt.message)
		}
	}
	if got := w.lookup(t, `{`+token(page.NextToken)+`}`); got.Type != "" || len(got.Events) == 0 {
		t.Errorf("the token is refused: %s", got.Type)
	}
	session := issuedCredentials(w.do(t, call{}).session(t))
	if got := w.trail(t, session, "LookupEvents", "{}"); got.Type != codeAccessDenied || !strings.Contains(got.Message, "cloudtrail:LookupEvents") {
		t.Errorf("a session: %s %s", got.Type, got.Message)
	}
	wrong := w.server.Administrator()
	wrong.SecretAccessKey += "x"
	if got := w.trail(t, wrong, "LookupEvents", "{}"); got.Type != "InvalidSignatureException" {
		t.Errorf("a wrong signature: %s", got.Type)
	}
	if status, b := w.signedCall(t, w.server.Administrator(), "sts", http.MethodPost, "/", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents", "{}"); status != http.StatusBadRequest || !strings.Contains(string(b), "InvalidSignatureException") {
		t.Errorf("a signature for another service: %d %s", status, b)
	}
	if got := w.trail(t, w.server.Administrator(), "CreateTrail", "{}"); got.Type != codeUnknown || !strings.Contains(got.Message, "CreateTrail") {
		t.Errorf("another operation: %s %s", got.Type, got.Message)
	}
}

// A state folder keeps the events, and the token of a page.
func TestLookupEventsAfterRestart(t *testing.T) {
	folder := newFolder(t)
	w := newTestEnv(t, Config{State: folder})
	w.do(t, call{}).session(t)
	page := w.lookup(t, `{"MaxResults":1}`)
	w.stop()
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	w.start(t, Config{State: folder})
	defer w.server.Close()
	rest := w.lookup(t, fmt.Sprintf(`{"NextToken":%q}`, page.NextToken))
	if len(rest.Events) != 1 || rest.Events[0].EventName != "CreateSession" {
		t.Errorf("%s: %v", rest.Type, rest.names())
	}
	if s := w.subject(t, 0); len(s.Credentials) != 1 || s.Credentials[0].Failed {
		t.Errorf("subject %+v", s)
	}
}
