package emulator

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

var (
	testAnchor  = DefaultTrustAnchorARN(DefaultRegion, DefaultAccount, 1)
	testProfile = DefaultProfileARN(DefaultRegion, DefaultAccount, 1)
	testRole    = DefaultRoleARN(DefaultRegion, DefaultAccount)
)

// A call is one CreateSession request. Zero fields are made valid by do.
type call struct {
	query  url.Values
	body   string
	key    crypto.Signer
	chain  []*x509.Certificate
	region string
	at     time.Time
	before func(*http.Request) // before it is signed
	after  func(*http.Request) // after that
}

type answer struct {
	status        int
	code, message string
	header        http.Header
	out           createSessionOutput
}

// A world is a CA, a client certificate, and an emulator that trusts them.
type world struct {
	ca, client pair
	server     *Server
	url        string
	stop       func() // and wait for what is being answered
}

// newWorld fills in what cfg lacks.
func newWorld(t testing.TB, cfg Config) *world {
	t.Helper()
	w := &world{ca: newRoot(t, caTemplate("Root"))}
	w.client = w.ca.issue(t, leafTemplate("client"))
	w.start(t, cfg)
	return w
}

func (w *world) start(t testing.TB, cfg Config) {
	t.Helper()
	if len(cfg.TrustAnchors) == 0 {
		cfg.TrustAnchors = []TrustAnchor{{Certificates: w.ca.pem()}}
	}
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return testNow }
	}
	w.server = newServer(t, cfg)
	ts := httptest.NewServer(w.server)
	t.Cleanup(ts.Close)
	w.url, w.stop = ts.URL, ts.Close
}

func newServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// body makes a request body with the ARNs of the default configuration; more
// is pairs of names and values.
func body(more ...any) string {
	m := map[string]any{"trustAnchorArn": testAnchor, "profileArn": testProfile, "roleArn": testRole}
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
		if more[i+1] == nil {
			delete(m, more[i].(string))
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (w *world) request(t testing.TB, c call) *http.Request {
	t.Helper()
	if c.key == nil {
		c.key = w.client.key
	}
	if c.chain == nil {
		c.chain = []*x509.Certificate{w.client.cert}
	}
	if c.region == "" {
		c.region = DefaultRegion
	}
	if c.at.IsZero() {
		c.at = testNow
	}
	if c.body == "" && c.query == nil {
		c.body = body()
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/sessions?"+c.query.Encode(), strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.before != nil {
		c.before(r)
	}
	if err := sigv4x509.Sign(r, []byte(c.body), liar{c.key, c.chain[0].PublicKey}, c.chain, c.region, c.at); err != nil {
		t.Fatal(err)
	}
	if c.after != nil {
		c.after(r)
	}
	return r
}

func (w *world) do(t testing.TB, c call) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(w.request(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, resp)
}

func readAnswer(t testing.TB, resp *http.Response) answer {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, code: resp.Header.Get("X-Amzn-Errortype"), header: resp.Header}
	if resp.StatusCode == http.StatusCreated {
		err = json.Unmarshal(b, &a.out)
	} else {
		var refused struct{ Message string }
		err = json.Unmarshal(b, &refused)
		a.message = refused.Message
	}
	if err != nil {
		t.Errorf("answer is not JSON: %v: %s", err, b)
	}
	if got, want := resp.Header.Get("Date"), testNow.Format(http.TimeFormat); got != want {
		t.Errorf("Date is %q, want the emulator's %q", got, want)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(resp.Header.Get("X-Amzn-Requestid")) {
		t.Errorf("request ID is %q", resp.Header.Get("X-Amzn-Requestid"))
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	return a
}

// A liar claims to be the key of a certificate, for requests with a signature
// of another.
type liar struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (l liar) Public() crypto.PublicKey { return l.pub }

// session returns the session of a successful answer.
func (a answer) session(t testing.TB) credentialSet {
	t.Helper()
	if a.status != http.StatusCreated || len(a.out.CredentialSet) != 1 {
		t.Fatalf("answer is %d %s %q, want one session", a.status, a.code, a.message)
	}
	return a.out.CredentialSet[0]
}
