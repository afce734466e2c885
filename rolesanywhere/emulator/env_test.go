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

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

var (
	testAnchor  = DefaultTrustAnchorARN(DefaultRegion, DefaultAccount, 1)
	testProfile = DefaultProfileARN(DefaultRegion, DefaultAccount, 1)
	testRole    = DefaultRoleARN(DefaultRegion, DefaultAccount)
)

// A call is one CreateSession request. Method request replaces zero fields with
// valid values.
type call struct {
	query  url.Values
	body   string
	key    crypto.Signer
	chain  []*x509.Certificate
	region string
	at     time.Time
	before func(*http.Request) // called before signing
	after  func(*http.Request) // called after signing
}

type response struct {
	status        int
	code, message string
	header        http.Header
	out           createSessionOutput
}

// A testEnv is a CA, a client certificate, and an emulator that trusts the CA.
type testEnv struct {
	ca, client certKey
	server     *Server
	url        string
	stop       func() // and wait for what is being answered
}

// newTestEnv starts an emulator. It sets a trust anchor and a clock if cfg has
// none.
func newTestEnv(t testing.TB, cfg Config) *testEnv {
	t.Helper()
	w := &testEnv{ca: newRoot(t, caTemplate("Root"))}
	w.client = w.ca.issue(t, leafTemplate("client"))
	w.start(t, cfg)
	return w
}

func (w *testEnv) start(t testing.TB, cfg Config) {
	t.Helper()
	if len(cfg.TrustAnchors) == 0 {
		cfg.TrustAnchors = []TrustAnchor{{Certificates: w.ca.pem()}}
	}
	w.startEmpty(t, cfg)
}

// startEmpty starts an emulator that may have no trust anchor.
func (w *testEnv) startEmpty(t testing.TB, cfg Config) {
	t.Helper()
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

// body returns a request body with the ARNs of the default configuration. more
// is a list of names and values; a nil value removes the name.
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

func (w *testEnv) request(t testing.TB, c call) *http.Request {
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
	if err := sigv4x509.Sign(r, []byte(c.body), claimedKey{c.key, mldsa.PublicKeyOf(c.chain[0])}, c.chain, c.region, c.at); err != nil {
		t.Fatal(err)
	}
	if c.after != nil {
		c.after(r)
	}
	return r
}

func (w *testEnv) do(t testing.TB, c call) response {
	t.Helper()
	resp, err := http.DefaultClient.Do(w.request(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return readResponse(t, resp)
}

func readResponse(t testing.TB, resp *http.Response) response {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := response{status: resp.StatusCode, code: resp.Header.Get("X-Amzn-Errortype"), header: resp.Header}
	if resp.StatusCode == http.StatusCreated {
		err = json.Unmarshal(b, &a.out)
	} else {
		var refused struct{ Message string }
		err = json.Unmarshal(b, &refused)
		a.message = refused.Message
	}
	if err != nil {
		t.Errorf("response is not JSON: %v: %s", err, b)
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

// send returns the response to a request.
func send(t testing.TB, r *http.Request) (status int, header http.Header, body []byte) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// A claimedKey signs with one key and claims the public key of another.
type claimedKey struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (l claimedKey) Public() crypto.PublicKey { return l.pub }

// session returns the session of a successful response.
func (a response) session(t testing.TB) credentialSet {
	t.Helper()
	if a.status != http.StatusCreated || len(a.out.CredentialSet) != 1 {
		t.Fatalf("response is %d %s %q, want one session", a.status, a.code, a.message)
	}
	return a.out.CredentialSet[0]
}
