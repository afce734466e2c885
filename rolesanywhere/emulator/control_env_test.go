package emulator

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// A controlCall is one request to the control plane. Method control replaces zero fields
// by valid values, such as the credentials of the administrator.
type controlCall struct {
	operation, id string     // of the operations; the parameter in its path
	method, path  string     // instead of operation
	query         url.Values // "" for none
	body          any        // a string is sent as it is, other values as JSON; nil: none
	credentials   *credentials.Credentials
	auth          func(*authorization)
	before, after func(*http.Request) // called before and after signing
}

type controlResponse struct {
	status        int
	code, message string
	body          string
	out           object
}

// An object is a JSON object.
type object map[string]any

func (o object) object(name string) object {
	v, _ := o[name].(map[string]any)
	return v
}

func (o object) list(name string) (all []object) {
	vs, _ := o[name].([]any)
	for _, v := range vs {
		element, _ := v.(map[string]any)
		all = append(all, element)
	}
	return all
}

func (o object) string(name string) string {
	v, _ := o[name].(string)
	return v
}

func (w *testEnv) control(t testing.TB, c controlCall) controlResponse {
	t.Helper()
	body, r := w.controlRequest(t, c)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s with %d bytes: %v", r.Method, r.URL.Path, len(body), err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := controlResponse{status: resp.StatusCode, code: resp.Header.Get("X-Amzn-Errortype"), body: string(b)}
	if err := json.Unmarshal(b, &got.out); err != nil {
		t.Fatalf("the response is not a JSON object: %v: %s", err, b)
	}
	got.message = got.out.string("message")
	return got
}

// controlRequest returns a signed request with its body.
func (w *testEnv) controlRequest(t testing.TB, c controlCall) ([]byte, *http.Request) {
	t.Helper()
	for _, op := range operations() {
		if op.name == c.operation {
			c.method, c.path = op.method, strings.Replace(op.path, "{"+op.pathParameter()+"}", url.PathEscape(c.id), 1)
		}
	}
	var body []byte
	switch b := c.body.(type) {
	case nil:
	case string:
		body = []byte(b)
	default:
		var err error
		if body, err = json.Marshal(b); err != nil {
			t.Fatal(err)
		}
	}
	target := w.url + c.path
	if c.query != nil {
		target += "?" + c.query.Encode()
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	caller := w.server.Administrator()
	if c.credentials != nil {
		caller = *c.credentials
	}
	date := w.server.now().UTC().Format(sigv4x509.TimeFormat)
	r.Header.Set(headerDate, date)
	auth := authorization{accessKeyID: caller.AccessKeyID, date: date[:8], region: w.server.region, service: rolesAnywhereService,
		signedHeaders: []string{"host", "x-amz-date"}}
	if caller.SessionToken != "" {
		r.Header.Set(headerToken, caller.SessionToken)
		auth.signedHeaders = append(auth.signedHeaders, "x-amz-security-token")
	}
	if c.before != nil {
		c.before(r)
	}
	if c.auth != nil {
		c.auth(&auth)
	}
	if auth.signature, err = auth.sign(r, body, caller.SecretAccessKey); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", auth.String())
	if c.after != nil {
		c.after(r)
	}
	return body, r
}

// must returns the response of an operation that succeeds.
func (w *testEnv) must(t testing.TB, operation, id string, body any) object {
	t.Helper()
	got := w.control(t, controlCall{operation: operation, id: id, body: body})
	for _, op := range operations() {
		if op.name == operation && got.status != op.status {
			t.Fatalf("%s: %d %s %s, want %d", operation, got.status, got.code, got.message, op.status)
		}
	}
	return got.out
}

// newControlEnv starts an empty emulator.
func newControlEnv(t testing.TB) *testEnv {
	t.Helper()
	w := &testEnv{ca: newRoot(t, caTemplate("Root"))}
	w.client = w.ca.issue(t, leafTemplate("client"))
	w.startEmpty(t, Config{})
	return w
}

func (p certKey) crlPEM(t testing.TB, serials ...int64) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: p.crl(t, serials...)})
}

// anchorInput is the input of CreateTrustAnchor; more is a list of names and values.
func (w *testEnv) anchorInput(more ...any) object { return anchorInput(w.ca.pem(), more...) }

func anchorInput(certificates []byte, more ...any) object {
	return with(object{
		"name": "anchor", "enabled": true,
		"source": object{"sourceType": sourceBundle, "sourceData": object{"x509CertificateData": string(certificates)}},
	}, more...)
}

func profileInputOf(more ...any) object {
	return with(object{"name": "profile", "enabled": true, "roleArns": []string{testRole}}, more...)
}

func (w *testEnv) crlInput(t testing.TB, anchor string, more ...any) object {
	return with(object{"name": "list", "enabled": true, "crlData": w.ca.crlPEM(t), "trustAnchorArn": anchor}, more...)
}

// with sets members of o; a nil value removes one.
func with(o object, more ...any) object {
	for i := 0; i < len(more); i += 2 {
		o[more[i].(string)] = more[i+1]
		if more[i+1] == nil {
			delete(o, more[i].(string))
		}
	}
	return o
}
