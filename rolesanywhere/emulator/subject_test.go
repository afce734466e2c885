package emulator

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// subject returns the n-th subject as GetSubject does.
func (w *testEnv) subject(t testing.TB, n int) (out subjectDetail) {
	t.Helper()
	var list struct{ Subjects []subjectSummary }
	w.read(t, "/subjects", &list)
	if n >= len(list.Subjects) {
		t.Fatalf("%d subjects", len(list.Subjects))
	}
	var one struct{ Subject subjectDetail }
	w.read(t, "/subject/"+list.Subjects[n].ID, &one)
	if one.Subject.subjectSummary != list.Subjects[n] {
		t.Errorf("ListSubjects has %+v, GetSubject %+v", list.Subjects[n], one.Subject.subjectSummary)
	}
	return one.Subject
}

// read calls an operation that only reads, and decodes its response.
func (w *testEnv) read(t testing.TB, path string, out any) {
	t.Helper()
	status, b := w.signedCall(t, w.server.Administrator(), rolesAnywhereService, http.MethodGet, path, "", "")
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
}

func TestSubject(t *testing.T) {
	var now atomic.Int64
	now.Store(testNow.Unix())
	w := newTestEnv(t, Config{Now: func() time.Time { return time.Unix(now.Load(), 500) }})
	arn := w.do(t, call{body: body("instanceProperties", map[string]string{"host": "a"})}).out.SubjectARN
	send := func(c call, status int) {
		t.Helper()
		resp, err := http.DefaultClient.Do(w.request(t, c))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Fatalf("status %d, want %d", resp.StatusCode, status)
		}
	}
	now.Add(60)
	send(call{body: body("roleSessionName", "me")}, http.StatusForbidden)
	var got map[string]any
	w.read(t, "/subject/"+lastElement(arn), &got)
	want := map[string]any{"subject": map[string]any{
		"createdAt": "2031-02-03T04:05:06Z", "enabled": true, "lastSeenAt": "2031-02-03T04:06:06Z", "updatedAt": "2031-02-03T04:06:06Z",
		"subjectArn": arn, "subjectId": lastElement(arn), "x509Subject": "CN=client",
		"credentials": []any{map[string]any{
			"enabled": true, "failed": true, "issuer": "CN=Root,O=Test", "seenAt": "2031-02-03T04:06:06Z", "serialNumber": "0abc",
			"x509CertificateData": string(w.client.pem()),
		}},
		"instanceProperties": []any{map[string]any{"failed": false, "properties": map[string]any{"host": "a"}, "seenAt": "2031-02-03T04:05:06Z"}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("subject is %v\nwant       %v", got, want)
	}
	send(call{}, http.StatusCreated)
	if s := w.subject(t, 0); len(s.Credentials) != 1 || s.Credentials[0].Failed {
		t.Errorf("after a success: %+v", s)
	}
}

// A request changes no subject if its certificate or its signature is not accepted.
func TestSubjectNeedsAuthentication(t *testing.T) {
	w := newTestEnv(t, Config{})
	stranger := newRoot(t, caTemplate("Root")).issue(t, leafTemplate("stranger"))
	for name, c := range map[string]call{
		"another CA":  {key: stranger.key, chain: []*x509.Certificate{stranger.cert}},
		"another key": {key: stranger.key},
		"late":        {at: testNow.Add(-time.Hour)},
		"parameters":  {body: body("durationSeconds", 1)},
		"no role":     {body: body("roleArn", testRole+"2")},
	} {
		if a := w.do(t, c); a.status == http.StatusCreated {
			t.Errorf("%s is accepted", name)
		}
	}
	if n := len(w.server.subjects.keys); n != 0 {
		t.Errorf("%d subjects", n)
	}
}

// A subject keeps its newest certificates and instance properties.
func TestSubjectKeepsNewest(t *testing.T) {
	w := newTestEnv(t, Config{})
	const requests = maxSeen + 5
	for i := range requests {
		template := leafTemplate("client")
		template.SerialNumber = big.NewInt(int64(1000 + i))
		leaf := w.ca.issue(t, template)
		for range 2 {
			w.do(t, call{key: leaf.key, chain: []*x509.Certificate{leaf.cert}, body: body("instanceProperties", map[string]string{"n": fmt.Sprint(i)})}).session(t)
		}
	}
	s := w.subject(t, 0)
	if len(s.Credentials) != maxSeen || len(s.Properties) != maxSeen {
		t.Fatalf("%d certificates and %d properties, want %d", len(s.Credentials), len(s.Properties), maxSeen)
	}
	for i := range maxSeen {
		n := requests - 1 - i
		if got, want := s.Credentials[i].SerialNumber, fmt.Sprintf("%04x", 1000+n); got != want || s.Properties[i].Properties["n"] != fmt.Sprint(n) {
			t.Errorf("certificate %d is %s with properties %v, want %s", i, got, s.Properties[i].Properties, want)
		}
	}
}

// A subject keeps fewer certificates and properties if they are large, and none that is too
// large.
func TestSubjectKeepsLittle(t *testing.T) {
	w := newTestEnv(t, Config{})
	properties := make(map[string]string)
	for i := range maxProperties {
		properties[fmt.Sprint(i)] = strings.Repeat("x", maxProperty)
	}
	for i := range maxSeen {
		template := leafTemplate("client")
		template.SerialNumber = big.NewInt(int64(1000 + i))
		template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Value: make([]byte, 3000)}}
		leaf := w.ca.issue(t, template)
		properties["0"] = fmt.Sprint(i)
		w.do(t, call{key: leaf.key, chain: []*x509.Certificate{leaf.cert}, body: body("instanceProperties", properties)}).session(t)
	}
	s := w.subject(t, 0)
	if c, p := len(s.Credentials), len(s.Properties); c < 2 || c == maxSeen || p < 2 || p == maxSeen || s.Credentials[0].SerialNumber != fmt.Sprintf("%04x", 1000+maxSeen-1) {
		t.Errorf("%d certificates, %d sets of properties, the first one is %v", c, p, s.Credentials[0])
	}

	template := leafTemplate("large")
	template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Value: make([]byte, maxSeenBytes)}}
	leaf := w.ca.issue(t, template)
	w.do(t, call{key: leaf.key, chain: []*x509.Certificate{leaf.cert}}).session(t)
	if s := w.subject(t, 1); s.X509Subject != "CN=large" || len(s.Credentials) != 0 {
		t.Errorf("subject %s has %d certificates", s.X509Subject, len(s.Credentials))
	}
	long := w.ca.issue(t, leafTemplate(strings.Repeat("x", 2*maxX509Subject)))
	w.do(t, call{key: long.key, chain: []*x509.Certificate{long.cert}})
	if s := w.subject(t, 2); len(s.X509Subject) > maxX509Subject+len("…") {
		t.Errorf("the subject has %d bytes", len(s.X509Subject))
	}
}

func TestSubjectsAreBounded(t *testing.T) {
	s := newServer(t, Config{})
	see := func(name string, second int) string {
		cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, RawSubject: []byte(name)}
		if err := s.change(func(c *changes) error {
			s.see(c, cert, nil, testNow.Add(time.Duration(second)*time.Second), false)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return s.subjectARN(cert)
	}
	first, second := see("0", 0), see("1", 1)
	for i := 2; i < maxSubjects; i++ {
		see(fmt.Sprint(i), i)
	}
	see("0", maxSubjects)
	see("new", maxSubjects+1)
	_, firstKnown := s.subjects.get(first)
	_, secondKnown := s.subjects.get(second)
	if !firstKnown || secondKnown || len(s.subjects.keys) != maxSubjects || len(s.subjects.rows) != maxSubjects {
		t.Errorf("first %v, second %v, %d subjects", firstKnown, secondKnown, len(s.subjects.keys))
	}
}

func TestInstanceProperties(t *testing.T) {
	w := newTestEnv(t, Config{})
	many := func(n int) map[string]string {
		m := make(map[string]string)
		for i := range n {
			m[fmt.Sprint(i)] = "x"
		}
		return m
	}
	longest := strings.Repeat("ü", maxProperty)
	for name, tt := range map[string]struct {
		value any
		ok    bool
	}{
		"longest":         {map[string]string{longest: longest}, true},
		"most":            {many(maxProperties), true},
		"none":            {many(0), true},
		"too many":        {many(maxProperties + 1), false},
		"long key":        {map[string]string{longest + "x": "x"}, false},
		"long value":      {map[string]string{"x": longest + "x"}, false},
		"empty key":       {map[string]string{"": "x"}, false},
		"empty value":     {map[string]string{"x": ""}, false},
		"number":          {map[string]int{"x": 1}, false},
		"null":            {map[string]any{"x": nil}, false},
		"list":            {[]string{"x"}, false},
		"text":            {"x", false},
		"key twice":       {json.RawMessage(`{"x":"1","x":"2"}`), false},
		"object in value": {map[string]any{"x": map[string]string{}}, false},
	} {
		a := w.do(t, call{body: body("instanceProperties", tt.value)})
		if tt.ok && a.status != http.StatusCreated || !tt.ok && (a.status != http.StatusBadRequest || a.code != codeValidation || !strings.Contains(a.message, "instanceProperties")) {
			t.Errorf("%s: %d %s %s", name, a.status, a.code, a.message)
		}
	}
}
