package emulator

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// FuzzControl sends requests of the administrator to the control plane.
func FuzzControl(f *testing.F) {
	w := newFuzzEnv(f)
	arn := url.PathEscape(testAnchor)
	add := func(method, path, query string, body any) {
		b, isString := body.(string)
		if !isString {
			encoded, err := json.Marshal(body)
			if err != nil {
				f.Fatal(err)
			}
			b = string(encoded)
		}
		f.Add(method, path, query, []byte(b))
	}
	add("POST", "/trustanchors", "", w.anchorInput("aliasName", "a/b", "tags", []object{{"key": "a", "value": "b"}},
		"notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": true, "threshold": 1}}))
	add("POST", "/profiles", "", profileInputOf("durationSeconds", 900, "managedPolicyArns", []string{"arn:aws:iam::aws:policy/x"}, "sessionPolicy", "{}"))
	add("POST", "/crls", "", w.crlInput(f, testAnchor))
	add("PATCH", "/trustanchor/"+arn, "", object{"name": "b", "crlDpRevocationEnabled": true})
	add("PATCH", "/profile/"+url.PathEscape(testProfile), "", object{"roleArns": []string{testRole}, "aliasName": ""})
	add("PUT", "/profiles/"+url.PathEscape(testProfile)+"/mappings", "", object{"certificateField": "x509SAN", "mappingRules": rules("Name/CN")})
	add("DELETE", "/profiles/"+url.PathEscape(testProfile)+"/mappings", "certificateField=x509SAN&specifiers=DNS&specifiers=URI", "")
	add("PATCH", "/put-notifications-settings", "", object{"trustAnchorId": testAnchor, "notificationSettings": []any{nil}})
	add("PATCH", "/reset-notifications-settings", "", object{"trustAnchorId": testAnchor, "notificationSettingKeys": []object{{"event": "x"}}})
	add("POST", "/TagResource", "", object{"resourceArn": testAnchor, "tags": []object{{"key": "a", "value": "b"}}})
	add("POST", "/UntagResource", "", object{"resourceArn": testAnchor, "tagKeys": []string{"a"}})
	add("GET", "/ListTagsForResource", "resourceArn="+arn, "")
	add("GET", "/trustanchors", "pageSize=1&nextToken="+w.server.pageToken("trust-anchors", 0), "")
	add("POST", "/trustanchor/"+arn+"/disable", "", "")
	add("GET", "/subject/%00%2f", "%", `{"a":1,"A":2}`)
	add("POST", "//../profiles;", ";", strings.Repeat("[", 100))

	base := w.server.resources
	seen := map[int]bool{http.StatusOK: true, http.StatusCreated: true}
	for _, known := range statuses {
		seen[known.Value] = true
	}
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		w.server.resources = base.clone() // a request has the same effect each time
		r, err := http.NewRequest(method, "http://emulator/", bytes.NewReader(body))
		if err != nil {
			return // net/http handles such requests
		}
		if r.URL.Path, err = url.PathUnescape(path); err != nil || r.URL.Path == "/sessions" {
			return
		}
		r.URL.RawPath, r.URL.RawQuery = path, query
		date := testNow.Format(sigv4x509.TimeFormat)
		r.Header.Set(headerDate, date)
		auth := authorization{accessKeyID: w.server.admin.AccessKeyID, date: date[:8], region: DefaultRegion, service: rolesAnywhereService,
			signedHeaders: []string{"host", "x-amz-date"}}
		if auth.signature, err = auth.sign(r, body, w.server.admin.Secret); err != nil {
			return
		}
		r.Header.Set("Authorization", auth.String())
		r.RemoteAddr = "127.0.0.1:1"
		response := httptest.NewRecorder()
		start := time.Now()
		w.server.serveControl(&recorder{ResponseWriter: response}, r, "id")
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("response after %v", d)
		}
		if !seen[response.Code] {
			t.Errorf("status is %d", response.Code)
		}
		if response.Code == http.StatusInternalServerError {
			t.Errorf("internal error: %s", response.Body)
		}
		var out map[string]any
		if err := json.Unmarshal(response.Body.Bytes(), &out); err != nil {
			t.Errorf("the response is not a JSON object: %v", err)
		}
		if strings.Contains(response.Body.String(), w.server.admin.Secret) {
			t.Error("the response contains the secret key")
		}
		checkStored(t, w.server)
	})
}

func (r resources) clone() resources {
	return resources{
		r.anchors.clone(), r.profiles.clone(), r.crls.clone(), r.roles.clone(), r.policies.clone(), r.subjects.clone(), r.sessions.clone(), r.history.clone(), r.about.clone(),
	}
}

func (h history) clone() history {
	h.verified.table, h.unverified.table = h.verified.table.clone(), h.unverified.table.clone()
	return h
}

func (t table[T]) clone() table[T] {
	t.rows, t.keys = maps.Clone(t.rows), slices.Clone(t.keys)
	return t
}

// checkStored checks that every resource survives JSON, as in a state folder.
func checkStored(t *testing.T, s *Server) {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, a := range s.anchors.all() {
		checkJSON(t, a, new(anchor), func(b *anchor) error { return b.parse() }, func(b *anchor) any { return s.anchorDetail(b) })
	}
	for _, p := range s.profiles.all() {
		checkJSON(t, p, new(profile), func(*profile) error { return nil }, func(p *profile) any { return s.profileDetail(p) })
	}
	for _, c := range s.crls.all() {
		checkJSON(t, c, new(crl), func(c *crl) error { return c.parse() }, func(c *crl) any { return s.crlDetail(c) })
	}
}

func checkJSON[T any](t *testing.T, stored, restored T, parse func(T) error, detail func(T) any) {
	t.Helper()
	b, err := json.Marshal(stored)
	if err == nil {
		err = json.Unmarshal(b, restored)
	}
	if err == nil {
		err = parse(restored)
	}
	if err != nil {
		t.Errorf("%s: %v", b, err)
		return
	}
	before, _ := json.Marshal(detail(stored))
	after, _ := json.Marshal(detail(restored))
	if !bytes.Equal(before, after) {
		t.Errorf("restored %s, want %s", after, before)
	}
}
