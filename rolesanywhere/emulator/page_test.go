package emulator

import (
	"bytes"
	"crypto/x509"
	"html"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// text returns the response to a request without a body.
func (w *testEnv) text(t *testing.T, method, path string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	status, _, b := send(t, r)
	return status, string(b)
}

// The page shows names that clients choose as text, and nothing secret. The log has no
// line for it.
func TestPageContent(t *testing.T) {
	const name = `<script>alert("name")</script>`
	var log bytes.Buffer
	w := &testEnv{ca: newRoot(t, caTemplate("Root"))}
	w.client = w.ca.issue(t, leafTemplate("client"))
	hostile := newRoot(t, caTemplate(name))
	w.start(t, Config{
		UI: true, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		TrustAnchors: []TrustAnchor{{Certificates: w.ca.pem()}, {Certificates: hostile.pem()}},
	})
	agent := func(r *http.Request) { r.Header.Set("User-Agent", "<img src=x onerror=alert(1)>") }
	issued := w.do(t, call{before: agent}).session(t)
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, issuedCredentials(issued), testNow); err != nil {
		t.Fatal(err)
	}
	other := hostile.issue(t, leafTemplate(name)) // not of the CA of testAnchor
	if a := w.do(t, call{key: other.key, chain: []*x509.Certificate{other.cert}}); a.status != http.StatusForbidden {
		t.Fatalf("status is %d", a.status)
	}
	w.text(t, "GET", "/%3Cscript%3Ealert(2)%3C/script%3E?X-Amz-Security-Token="+issued.Credentials.SessionToken)
	logged := log.Len()

	for _, path := range []string{"/ui", "/ui/data"} {
		status, page := w.text(t, "GET", path)
		if status != http.StatusOK {
			t.Fatalf("%s is %d", path, status)
		}
		if strings.Contains(page, "<script>") || strings.Contains(page, "<img") {
			t.Errorf("%s does not escape:\n%s", path, page)
		}
		page = html.UnescapeString(page)
		for _, want := range []string{
			`CN=\<script\>alert(\"name\")\</script\>`, "<img src=x onerror=alert(1)>", "<script>alert(2)</script>",
			`not verified: CN=\<script\>`, issued.Credentials.AccessKeyID, issued.AssumedRoleUser.ARN, testAnchor, testProfile, testRole,
			"AccessDeniedException: " + msgUntrusted + " (", "CreateSession", "GetCallerIdentity",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q:\n%s", path, want, page)
			}
		}
		if strings.Contains(page, "not verified: CN=client") {
			t.Errorf("%s says that a verified certificate is not", path)
		}
		secrets := []string{issued.Credentials.SecretAccessKey, issued.Credentials.SessionToken}
		for _, session := range w.server.sessions.all() {
			secrets = append(secrets, session.Secret, session.Token)
		}
		for _, secret := range secrets {
			if secret != "" && strings.Contains(page, secret) {
				t.Errorf("%s contains a secret", path)
			}
		}
	}
	w.text(t, "POST", "/ui")
	w.text(t, "GET", "/ui/nothing")
	if more := log.String()[logged:]; more != "" {
		t.Errorf("the log has lines for the page:\n%s", more)
	}
}

// The page shows the newest rows alone, the newest first, whatever clients do.
func TestPageBounded(t *testing.T) {
	w := newTestEnv(t, Config{UI: true})
	const requests = 2*maxShown + 50
	for range requests {
		w.do(t, call{}).session(t)
	}
	w.text(t, "GET", "/"+strings.Repeat("x", 50_000))
	_, page := w.text(t, "GET", "/ui/data")
	// The rows of the other tables: an anchor, a profile, a role.
	if n := strings.Count(page, "<tr>") + strings.Count(page, `<tr class="marked">`); n != 3*maxShown+3+6 {
		t.Errorf("%d rows", n)
	}
	for _, want := range []string{"100 of 100<", "100 of 251<", "100 of 500<"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Count(page, "xxx") == 0 || strings.Contains(page, strings.Repeat("x", maxLogged)) {
		t.Error("a path is missing or is not clipped")
	}
	if refused, answered := strings.Index(page, "refused, status 404"), strings.Index(page, "answered, status 201"); refused < 0 || refused > answered {
		t.Error("the newest request is not the first one")
	}
	if n := len(w.server.page.requests); n != maxShown {
		t.Errorf("%d requests are kept", n)
	}
}

// Without Config.UI there is no page. With it, a request that is signed for a service
// still gets the answer of the service.
func TestPageOnlyIfConfigured(t *testing.T) {
	w := newTestEnv(t, Config{})
	if status, text := w.text(t, "GET", PagePath); status != http.StatusNotFound || !strings.Contains(text, "No such operation") {
		t.Errorf("without a page: %d %s", status, text)
	}
	w.start(t, Config{UI: true})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+PagePath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20310203/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotImplemented {
		t.Errorf("a bucket named ui: status %d", resp.StatusCode)
	}
}
