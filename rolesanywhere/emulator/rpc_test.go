package emulator

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

// An rpcCall is a request to CloudTrail or AWS Private CA. Zero fields mean LookupEvents of
// the administrator.
type rpcCall struct {
	credentials *credentials.Credentials
	service     string
	method      string
	path        string
	target      string
	contentType string
	header      string // Smithy-Protocol
	body        string
}

func (w *testEnv) rpc(t testing.TB, c rpcCall) (status int, header http.Header, body string) {
	t.Helper()
	fill := func(v *string, value string) {
		if *v == "" {
			*v = value
		}
	}
	fill(&c.service, cloudTrailService)
	fill(&c.method, http.MethodPost)
	fill(&c.path, "/")
	fill(&c.contentType, jsonRPC.contentType)
	fill(&c.body, "{}")
	r, err := http.NewRequestWithContext(t.Context(), c.method, w.url+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{headerProtocol: c.header, headerTarget: c.target, "Content-Type": c.contentType} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	caller := w.server.Administrator()
	if c.credentials != nil {
		caller = *c.credentials
	}
	if err := sigv4.Sign(r, []byte(c.body), caller, c.service, DefaultRegion, testNow); err != nil {
		t.Fatal(err)
	}
	status, header, b := send(t, r)
	return status, header, string(b)
}

// Requests that are refused before their parameters are read have the error of the
// protocol. The AWS SDK for Go leaves the namespace out of the target.
func TestRPCRefuses(t *testing.T) {
	w := newTestEnv(t, Config{})
	session := issuedCredentials(w.do(t, call{}).session(t))
	wrong := w.server.Administrator()
	wrong.SecretAccessKey += "x"
	const lookup = "CloudTrail_20131101.LookupEvents"
	for _, tt := range []struct {
		name          string
		call          rpcCall
		code, message string
	}{
		{"no content type", rpcCall{target: lookup, contentType: "text/plain"}, codeUnknown, jsonRPC.contentType},
		{"GET", rpcCall{target: lookup, method: http.MethodGet}, codeUnknown, "POST"},
		{"another operation", rpcCall{target: "CloudTrail_20131101.CreateTrail"}, codeUnknown, "CreateTrail"},
		{"another service", rpcCall{target: "KMS.LookupEvents"}, codeUnknown, "KMS"},
		{"operation of another service", rpcCall{target: "ACMPrivateCA.LookupEvents", service: privateCAService}, codeUnknown, "LookupEvents"},
		{"no operation", rpcCall{target: "CloudTrail_20131101."}, codeUnknown, "CloudTrail_20131101"},
		{"a foreign service", rpcCall{target: "DynamoDB_20120810.ListTables", service: "dynamodb"}, codeUnknown, "does not know the service dynamodb"},
		{"signed for another service", rpcCall{target: lookup, service: privateCAService}, "InvalidSignatureException", cloudTrailService},
		{"a wrong signature", rpcCall{target: lookup, credentials: &wrong}, "InvalidSignatureException", ""},
		{"a session", rpcCall{target: lookup, credentials: &session}, codeAccessDenied, "cloudtrail:LookupEvents"},
		{"no CA", rpcCall{target: "ACMPrivateCA.GetCertificate", service: privateCAService}, codeUnknown, "No private CA"},
		{"data after the value", rpcCall{target: lookup, body: "{}{}"}, codeSerialization, "after"},
		{"an unknown member", rpcCall{target: lookup, body: `{"Name":"a"}`}, codeSerialization, "Name"},
		{"deep", rpcCall{target: lookup, body: strings.Repeat("[", 60_000)}, codeSerialization, ""},
		{"too large", rpcCall{target: lookup, body: `{"NextToken":"` + strings.Repeat("x", maxBody) + `"}`}, codeSerialization, "too large"},
	} {
		status, header, body := w.rpc(t, tt.call)
		if status != http.StatusBadRequest || header.Get("Content-Type") != jsonRPC.contentType || !strings.Contains(body, `"__type":"`+tt.code+`"`) || !strings.Contains(body, tt.message) {
			t.Errorf("%s: %d %s, want %s with %q", tt.name, status, body, tt.code, tt.message)
		}
	}
	for _, target := range []string{lookup, "com.amazonaws.cloudtrail.v20131101." + lookup} {
		if status, _, body := w.rpc(t, rpcCall{target: target}); status != http.StatusOK || !strings.Contains(body, `"Events":[`) {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
}

// A request in CBOR gets an error in CBOR.
func TestCBORIsRefused(t *testing.T) {
	w := newTestEnv(t, Config{})
	for path, message := range map[string]string{
		"/service/ACMPrivateCA/operation/CreateCertificateAuthority": "CreateCertificateAuthority",
		"/service/CloudTrail_20131101/operation/LookupEvents":        "JSON 1.1",
		"/service/%ff/operation/%ff":                                 `\xff`,
		"/sessions":                                                  "/sessions",
	} {
		status, header, body := w.rpc(t, rpcCall{path: path, header: cborRPC.id, contentType: cborRPC.contentType, body: "\xa0"})
		// A map of two pairs of texts, the first of which is __type.
		want := "\xa2\x79\x00\x06__type\x79\x00\x19" + codeUnknown + "\x79\x00\x07message\x79"
		if status != http.StatusBadRequest || header.Get(headerProtocol) != cborRPC.id || header.Get("Content-Type") != cborRPC.contentType ||
			!strings.HasPrefix(body, want) || !strings.Contains(body, message) {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
}
