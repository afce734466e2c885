package daemon

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var pageTime = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// pageState returns the state of a role without problems.
func pageState(t *testing.T) state {
	t.Helper()
	leaf := *signertest.NewCA(t, "root").Issue(t, signertest.Key(t, "p256"), nil)
	leaf.Subject = pkix.Name{CommonName: "app.example.com"}
	leaf.NotBefore, leaf.NotAfter = pageTime.AddDate(0, 0, -30), pageTime.AddDate(0, 0, 60)
	return state{
		name: "app", arn: "arn:aws:iam::111122223333:role/app", scheme: "pkcs11", leaf: &leaf,
		credentials: credentials.Status{Expires: pageTime.Add(51 * time.Minute), Last: pageTime.Add(-9 * time.Minute), Next: pageTime.Add(31*time.Minute + time.Second)},
	}
}

func pageOf(states ...state) page {
	return page{states, front.Build{Version: "v1.2.3", Go: "go1.26", OS: "linux", Arch: "amd64"}, pageTime.Add(-3 * time.Hour), pageTime}
}

// plain returns the text of a page: a row of a table is a line.
func plain(html string) string {
	_, body, _ := strings.Cut(html, "<body>")
	body = strings.NewReplacer(
		"\n", "", "</tr>", "\n", "</h1>", "\n", "</p>", "\n", "</caption>", "\n", "</table>", "\n", "</th><td>", "|", " <time", "|<time",
	).Replace(body)
	return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, "")
}

func TestPageShows(t *testing.T) {
	hinted := func(text, hint string) error { return signer.WithHint(errors.New(text), hint) }
	leaf := pageState(t).leaf
	for _, test := range []struct {
		name   string
		change func(*state)
		ok     bool
		want   []string // lines
	}{
		{"good", func(*state) {}, true, []string{
			"State|✓ ready", "ARN|arn:aws:iam::111122223333:role/app",
			"Expiry|in 51 min 0 s|2026-11-30 12:51:00 UTC", "Next renewal|in 31 min 1 s|2026-11-30 12:31:01 UTC", "Last renewal|succeeded 9 min 0 s ago|2026-11-30 11:51:00 UTC",
			"Key|ECDSA P-256, in pkcs11", "Subject|CN=app.example.com", "Expiry|in 60 days|2027-01-29 12:00:00 UTC", "Due|serve does not renew this certificate",
			"Version|holdfast v1.2.3 (go1.26, linux/amd64)", "Started|3 h 0 min ago|2026-11-30 09:00:00 UTC",
		}},
		{"no credentials yet", func(s *state) { s.credentials = credentials.Status{Renewing: 1500 * time.Millisecond} }, false, []string{
			"State|✗ not ready", "Expiry|there are no valid credentials", "Next renewal|in progress for 2 s",
		}},
		{"renewals fail", func(s *state) {
			s.credentials.Failures, s.credentials.Err = 3, hinted("refused", "look at Config.Timeout")
		}, false, []string{
			"State|✗ ready, with a problem", "Last renewal|failed 9 min 0 s ago, 3 times in a row|2026-11-30 11:51:00 UTC", "Error|refused", "Hint|look at --timeout",
		}},
		{"no hint", func(s *state) { s.credentials.Failures, s.credentials.Err = 1, errors.New("refused") }, false, []string{
			"Last renewal|failed 9 min 0 s ago|2026-11-30 11:51:00 UTC", "Error|refused",
		}},
		{"certificate ends", func(s *state) { s.leaf.NotAfter = pageTime.Add(4 * 24 * time.Hour) }, false, []string{
			"Expiry|in 4 days; renew the certificate|2026-12-04 12:00:00 UTC",
		}},
		{"certificate ended", func(s *state) { s.leaf.NotAfter = pageTime.Add(-time.Second) }, false, []string{
			"Expiry|1 s ago; renew the certificate|2026-11-30 11:59:59 UTC",
		}},
		{"SPIFFE ID", func(s *state) {
			s.leaf.Subject, s.leaf.URIs = pkix.Name{}, []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/app"}}
		}, true, []string{
			"Subject|spiffe://example.org/app",
		}},
		{"reload", func(s *state) { s.reloaded = pageTime.Add(-25 * time.Hour) }, true, []string{
			"Last reload|succeeded 25 h 0 min ago|2026-11-29 11:00:00 UTC",
		}},
		{"reload fails", func(s *state) { s.reloaded, s.reloadErr = pageTime, hinted("damaged", "repair it") }, false, []string{
			"Last reload|failed now; the previous key stays in use|2026-11-30 12:00:00 UTC", "Error|damaged", "Hint|repair it",
		}},
		{"reload fails without credentials", func(s *state) {
			s.credentials = credentials.Status{}
			s.reloaded, s.reloadErr = pageTime, hinted("damaged", "repair it")
		}, false, []string{
			"Expiry|there are no valid credentials", "Last reload|failed now|2026-11-30 12:00:00 UTC", "Error|damaged", "Hint|repair it",
		}},
		{"no end", func(s *state) { s.leaf.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }, true, []string{
			"Expiry|in 106751 days|9999-12-31 23:59:59 UTC",
		}},
		{"long ago", func(s *state) { s.leaf.NotAfter = time.Time{}.Add(time.Second) }, false, []string{
			"Expiry|106751 days ago; renew the certificate|0001-01-01 00:00:01 UTC",
		}},
		{"renewal not known", func(s *state) { s.renewal = new(renew.Status) }, true, []string{"Due|not known yet"}},
		{"renewal", func(s *state) {
			s.renewal = &renew.Status{Certificate: leaf, Obtained: pageTime.AddDate(0, 0, -30), Due: pageTime.AddDate(0, 0, 31), Next: pageTime.AddDate(0, 0, 31), Overdue: pageTime.AddDate(0, 0, 50)}
		}, true, []string{
			"Obtained|30 days ago|2026-10-31 12:00:00 UTC", "Due|in 31 days|2026-12-31 12:00:00 UTC",
		}},
		{"renewal waits", func(s *state) {
			s.renewal = &renew.Status{Certificate: leaf, Overdue: pageTime.AddDate(0, 0, 50), Problem: "a person must approve it", Tried: pageTime.Add(-time.Minute), Due: pageTime.Add(-time.Minute), Next: pageTime.Add(time.Minute)}
		}, true, []string{
			"Next try|in 1 min 0 s|2026-11-30 12:01:00 UTC", "Last try|waits for the CA: a person must approve it|2026-11-30 11:59:00 UTC",
		}},
		{"renewal fails", func(s *state) {
			s.renewal = &renew.Status{Certificate: leaf, Overdue: pageTime.AddDate(0, 0, 50), Failures: 2, Problem: "the CA refuses", Hint: "use Config.AllowChange once", Tried: pageTime.Add(-time.Minute)}
		}, false, []string{
			"Last try|failed 1 min 0 s ago, 2 times in a row|2026-11-30 11:59:00 UTC", "Error|the CA refuses", "Hint|use --allow-change once",
		}},
		{"renewal overdue", func(s *state) {
			s.renewal = &renew.Status{Certificate: leaf, Overdue: pageTime.Add(-time.Second)}
		}, false, []string{"Expiry|in 60 days; renew the certificate|2027-01-29 12:00:00 UTC"}},
		{"renewal unfinished", func(s *state) {
			s.renewal = &renew.Status{Certificate: leaf, Overdue: pageTime.AddDate(0, 0, 50), Undeployed: true}
		}, false, []string{"Unfinished|the certificate is in use, but what follows a renewal has not succeeded"}},
		{"never renewed", func(s *state) {
			s.renewal = &renew.Status{Certificate: leaf, Overdue: pageTime.AddDate(0, 0, 50), Unsupported: hinted("ML-DSA", "use another CA")}
		}, false, []string{"Due|never", "Error|ML-DSA", "Hint|use another CA"}},
		{"secret", func(s *state) {
			s.credentials.Failures, s.credentials.Err = 1, hinted(`key "pkcs11:token=a?pin-value=24680": gone`, "use pkcs11:token=a?pin-value=13579")
		}, false, []string{`Error|key &#34;pkcs11:token=a?pin-value=…&#34;: gone`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := pageState(t)
			test.change(&s)
			html := pageOf(s).html("nonce")
			text := plain(html)
			for _, want := range test.want {
				if !strings.Contains(text, "\n"+want+"\n") {
					t.Errorf("the page lacks %q:\n%s", want, text)
				}
			}
			if ok := strings.Contains(html, "<title>✓ No problems"); ok != test.ok || ok == strings.Contains(text, "✗ Problems with 1 of 1 role") {
				t.Errorf("no problems: %t, want %t:\n%s", ok, test.ok, text)
			}
			if strings.Contains(html, "24680") || strings.Contains(html, "13579") {
				t.Errorf("the page shows a PIN:\n%s", text)
			}
		})
	}
}

// Roles with a problem are first.
func TestPageOrder(t *testing.T) {
	good, bad := pageState(t), pageState(t)
	bad.name, bad.credentials.Expires = "bad", time.Time{}
	html := pageOf(good, bad, good).html("nonce")
	if i, j := strings.Index(html, "Role bad"), strings.Index(html, "Role app"); i < 0 || j < i {
		t.Errorf("bad is at %d, app at %d", i, j)
	}
	if !strings.Contains(html, "✗ Problems with 1 of 3 roles") {
		t.Error("the page does not count the problems")
	}
}

// Texts from elsewhere add no element, no attribute and no control character, and do
// not make the page large.
func TestPageEscapes(t *testing.T) {
	evil := `</td></table><script>alert(1)</script><img src=x onerror="alert(2)">'"` + "`\x00\x1b[2J\r\n\u202e\xff%s%!NONCE<!--roles--><style>*{}</style>"
	long := strings.Repeat(evil, 1000)
	clean := pageOf(pageState(t), pageState(t)).html("n0nce")
	for _, text := range []string{evil, long, strings.Repeat("&", 100_000), strings.Repeat("\xff", 100_000)} {
		s := pageState(t)
		err := signer.WithHint(errors.New(text), text)
		s.name, s.arn, s.scheme = text, text, text
		s.leaf.Subject = pkix.Name{CommonName: text, Organization: []string{text}}
		s.credentials.Err, s.credentials.Failures = err, 7
		s.reloaded, s.reloadErr = pageTime, err
		s.renewal = &renew.Status{Certificate: s.leaf, Failures: 1, Problem: text, Hint: text}
		waits := s
		waits.renewal = &renew.Status{Certificate: s.leaf, Problem: text}
		p := pageOf(s, waits)
		p.build.Version = text
		html := p.html("n0nce")
		if len(html) > 200_000 {
			t.Errorf("the page has %d bytes", len(html))
		}
		if !utf8.ValidString(html) {
			t.Error("the page is not UTF-8")
		}
		if i := strings.IndexFunc(html, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }); i >= 0 {
			t.Errorf("the page has a control character: %q", html[i:min(len(html), i+20)])
		}
		for _, count := range []string{"<script", "<img", "<style", "<title", "<main", "n0nce", " on", "<!--"} {
			tags := strings.Join(regexp.MustCompile(`<[^>]*>`).FindAllString(html, -1), "")
			if got, want := strings.Count(tags, count), strings.Count(strings.Join(regexp.MustCompile(`<[^>]*>`).FindAllString(clean, -1), ""), count); got != want {
				t.Errorf("%q is %d times in tags, want %d", count, got, want)
			}
		}
		_, body, _ := strings.Cut(html, "<body>")
		element := regexp.MustCompile(`^</?[a-z0-9]+(?: (?:class|scope|colspan|datetime|href)="[a-zA-Z0-9:/-]*")*>`)
		for i := strings.IndexAny(body, "<>"); i >= 0; i = strings.IndexAny(body, "<>") {
			tag := element.FindString(body[i:])
			if tag == "" {
				t.Fatalf("not an element of the page: %q", body[i:min(len(body), i+60)])
			}
			body = body[i+len(tag):]
		}
	}
}

// Only clients on this machine get the page.
func TestPageOfOtherMachines(t *testing.T) {
	for client, want := range map[string]int{"127.0.0.1:1": 200, "192.0.2.1:1": 200, "192.0.2.2:1": 403} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = client
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9912})))
		w := httptest.NewRecorder()
		servePage(w, r, pageOf(pageState(t)))
		if w.Code != want || (want == 200) != strings.Contains(w.Body.String(), "app.example.com") {
			t.Errorf("%s: status %d, want %d: %s", client, w.Code, want, w.Body)
		}
	}
}

// /readyz shows an error as the log does.
func TestReadyHidesPIN(t *testing.T) {
	s := state{name: "app", leaf: new(x509.Certificate), credentials: credentials.Status{Failures: 1, Err: fmt.Errorf("key %q: gone", "pkcs11:token=a?pin-value=24680")}}
	w := httptest.NewRecorder()
	ready(w, []state{s})
	if body := w.Body.String(); w.Code != 503 || strings.Contains(body, "24680") || !strings.Contains(body, "gone") {
		t.Errorf("status %d: %s", w.Code, body)
	}
}
