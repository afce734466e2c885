package emulator

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

func encodedCBOR(t testing.TB, v any) string {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rpc sends a request of the protocol RPC v2 CBOR. It decodes the response into out, or
// returns the code and the message of the error.
func (w *testEnv) rpc(t testing.TB, c credentials.Credentials, service, method, path, contentType, body string, out any) (code, message string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(headerProtocol, "rpc-v2-cbor")
	r.Header.Set("Content-Type", contentType)
	if err := sigv4.Sign(r, []byte(body), c, service, DefaultRegion, testNow); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get(headerProtocol) != "rpc-v2-cbor" || resp.Header.Get("Content-Type") != "application/cbor" {
		t.Errorf("header %v", resp.Header)
	}
	if resp.StatusCode == http.StatusOK {
		if err := cbor.Unmarshal(b, out); err != nil {
			t.Errorf("%v: %x", err, b)
		}
		return "", ""
	}
	var failure map[string]string
	if err := cbor.Unmarshal(b, &failure); err != nil || len(failure) != 2 || resp.StatusCode != http.StatusBadRequest || failure["message"] == "" {
		t.Errorf("status %d: %v: %x", resp.StatusCode, err, b)
	}
	return failure["__type"], failure["message"]
}

// lookupCBOR calls LookupEvents as the administrator, and cbor calls an operation of AWS
// Private CA.
func (w *testEnv) lookupCBOR(t testing.TB, body string, out any) (code, message string) {
	t.Helper()
	return w.rpc(t, w.server.Administrator(), cloudTrailService, http.MethodPost, "/service/CloudTrail_20131101/operation/LookupEvents", cborRPC.contentType, body, out)
}

func (w *testEnv) pcaCBOR(t testing.TB, c credentials.Credentials, operation string, in map[string]any) (out map[string]string, code, message string) {
	t.Helper()
	code, message = w.rpc(t, c, privateCAService, http.MethodPost, "/service/ACMPrivateCA/operation/"+operation, cborRPC.contentType, encodedCBOR(t, in), &out)
	return out, code, message
}

// Both protocols have the same events and the same pages. A time has its tag.
func TestLookupEventsInCBOR(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.do(t, call{}).session(t)
	w.do(t, call{}).session(t)
	var page lookupOutput
	if code, message := w.lookupCBOR(t, encodedCBOR(t, map[string]any{"MaxResults": 3}), &page); len(page.Events) != 3 || page.NextToken == "" {
		t.Fatalf("%s: %s: %+v", code, message, page)
	}
	var same, rest lookupOutput
	_, b := w.signedCall(t, w.server.Administrator(), cloudTrailService, http.MethodPost, "/", "CloudTrail_20131101.LookupEvents", `{"MaxResults":50}`)
	if err := json.Unmarshal(b, &same); err != nil {
		t.Fatal(err)
	}
	w.lookupCBOR(t, encodedCBOR(t, map[string]any{"NextToken": page.NextToken}), &rest)
	// The newest event of the second answer is the call for the first page.
	if got := append(page.Events, rest.Events...); !reflect.DeepEqual(got, same.Events[1:]) {
		t.Errorf("CBOR %+v\nJSON %+v", got, same.Events[1:])
	}

	var raw struct {
		Events []struct{ EventTime cbor.RawTag }
	}
	w.lookupCBOR(t, "\xbf\xff", &raw)
	if tag := raw.Events[0].EventTime; tag.Number != 1 || tag.Content[0] != 0xfb {
		t.Errorf("time %+v", tag)
	}
	at, attribute := testNow.Unix(), []map[string]string{{"AttributeKey": "EventName", "AttributeValue": "CreateSession"}}
	for _, tt := range []struct {
		start any
		want  int
	}{
		{cbor.Tag{Number: 1, Content: at}, 2}, {cbor.Tag{Number: 1, Content: float64(at)}, 2}, {cbor.Tag{Number: 1, Content: float64(at) + 0.5}, 0}, {nil, 2},
		{cbor.RawMessage("\xc1\xf9\x3c\x00"), 2}, // 1.0 in 16 bits
	} {
		var found lookupOutput
		if code, message := w.lookupCBOR(t, encodedCBOR(t, map[string]any{"StartTime": tt.start, "LookupAttributes": attribute}), &found); code != "" || len(found.Events) != tt.want {
			t.Errorf("%v: %s: %s: %d events, want %d", tt.start, code, message, len(found.Events), tt.want)
		}
	}
	// An SDK encodes lists and maps without their lengths, and a long text may have parts.
	const indefinite = "\xbf\x70LookupAttributes\x9f\xbf\x6cAttributeKey\x69EventName\x6eAttributeValue\x7f\x66Create\x67Session\xff\xff\xff\xff"
	var found lookupOutput
	if code, message := w.lookupCBOR(t, indefinite, &found); len(found.Events) != 2 {
		t.Errorf("%s: %s: %d events", code, message, len(found.Events))
	}
}

// The administrator gets a certificate, even if only some roles may use the CA.
func TestPrivateCAInCBOR(t *testing.T) {
	w, session := newPrivateCA(t, func(cfg *Config) {
		cfg.PrivateCA.RoleARNs = []string{testRole}
		cfg.Faults.InProgress = 1
	})
	for name, c := range map[string]credentials.Credentials{"administrator": w.server.Administrator(), "session": session} {
		csr := newCSR(t, ecKey(t, elliptic.P256()), &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}})
		in := input(csr, "IdempotencyToken", "t")
		issued, code, message := w.pcaCBOR(t, c, "IssueCertificate", in)
		if issued["CertificateArn"] == "" {
			t.Fatalf("%s: %s: %s", name, code, message)
		}
		if again := w.pca(t, c, "IssueCertificate", in, stsCall{}); again.CertificateArn != issued["CertificateArn"] {
			t.Errorf("%s: in JSON: %+v", name, again)
		}
		get := map[string]any{"CertificateAuthorityArn": testPrivateCA, "CertificateArn": issued["CertificateArn"]}
		if _, code, _ := w.pcaCBOR(t, c, "GetCertificate", get); code != codeInProgress {
			t.Errorf("%s: %s, want %s", name, code, codeInProgress)
		}
		got, code, message := w.pcaCBOR(t, c, "GetCertificate", get)
		block, _ := pem.Decode([]byte(got["Certificate"]))
		if block == nil || parse(t, block.Bytes).Subject.CommonName != name || got["CertificateChain"] == "" {
			t.Errorf("%s: %s: %s: %v", name, code, message, got)
		}
		if _, code, message := w.pcaCBOR(t, c, "IssueCertificate", input(csr, "ApiPassthrough", map[string]any{})); code != codeSerialization || !strings.Contains(message, "ApiPassthrough") {
			t.Errorf("%s: %s: %s", name, code, message)
		}
		if _, code, message := w.pcaCBOR(t, c, "IssueCertificate", input(csr, "Validity", map[string]any{"Type": "DAYS", "Value": 1, "Unit": 1})); code != codeSerialization || !strings.Contains(message, "Unit") {
			t.Errorf("%s: %s: %s", name, code, message)
		}
	}
	for _, csr := range []any{"YWJj", 1, cbor.Tag{Number: 34, Content: "YWJj"}} {
		if _, code, message := w.pcaCBOR(t, session, "IssueCertificate", input(nil, "Csr", csr)); code != codeSerialization || !strings.Contains(message, "csr") {
			t.Errorf("request %v: %s: %s", csr, code, message)
		}
	}
	w.server.faults = Faults{ErrorRate: 1, ErrorStatus: 429}
	if _, code, message := w.pcaCBOR(t, session, "GetCertificate", nil); code != codeThrottling || message != msgInjected {
		t.Errorf("fault: %s: %s", code, message)
	}
	var page lookupOutput
	if code, message := w.lookupCBOR(t, "\xa0", &page); code != "" {
		t.Errorf("CloudTrail with faults: %s: %s", code, message)
	}
}

// Requests that are not of the protocol, or not of the operation, get errors of the
// protocol.
func TestBadCBOR(t *testing.T) {
	var log bytes.Buffer
	w := newTestEnv(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	const (
		trail  = "/service/CloudTrail_20131101/operation/LookupEvents"
		unable = codeSerialization
	)
	key, value := "\x70LookupAttributes", "\xa2\x6cAttributeKey\x67EventId\x6eAttributeValue\x61x"
	for _, tt := range []struct {
		name, body, code, message string
	}{
		{"nothing", "", unable, "EOF"},
		{"text", "\x61x", unable, ""},
		{"array", "\x80", unable, "array"},
		{"unfinished map", "\xbf", unable, ""},
		{"break alone", "\xff", unable, ""},
		{"reserved length", "\xbc", unable, ""},
		{"trailing bytes", "\xa0\xa0", unable, "1 bytes of extraneous data"},
		{"deep arrays", strings.Repeat("\x81", 60_000) + "\x00", unable, "nested level"},
		{"deep tags", strings.Repeat("\xc1", 60_000) + "\x00", unable, "nested level"},
		{"deep indefinite maps", strings.Repeat("\xbf\x61a", 20_000), unable, "nested level"},
		{"huge text", "\xa1\x69NextToken\x7b\xff\xff\xff\xff\xff\xff\xff\xff", unable, ""},
		{"large text", "\xa1\x69NextToken\x7a\x7f\xff\xff\xffx", unable, "EOF"},
		{"huge map", "\xbb\x7f\xff\xff\xff\xff\xff\xff\xff", unable, ""},
		{"huge array", "\xa1" + key + "\x9b\x00\x00\x00\xff\xff\xff\xff\xff", unable, ""},
		{"too many elements", "\xa1" + key + "\x9f" + strings.Repeat("\xa0", 1001) + "\xff", unable, "1000"},
		{"duplicate key", "\xa2\x69NextToken\x61a\x69NextToken\x61b", unable, "duplicate"},
		{"duplicate key in another case", "\xa2\x69NextToken\x61a\x69nextToken\x61b", unable, "duplicate"},
		{"duplicate key of an attribute", "\xa1" + key + "\x81\xa2\x6cAttributeKey\x61a\x6cAttributeKey\x61b", unable, "duplicate"},
		{"unknown member", "\xa1\x64Name\x61a", unable, `"Name"`},
		{"unknown member of an attribute", "\xa1" + key + "\x81\xa1\x64Name\x61a", unable, `"Name"`},
		{"number as key", "\xa1\x01\x61a", unable, ""},
		{"bytes as key", "\xa1\x49NextToken\x61a", unable, "byte string"},
		{"number for text", "\xa1\x69NextToken\x01", unable, "nextToken"},
		{"bytes for text", "\xa1\x69NextToken\x41a", unable, "nextToken"},
		{"text that is not UTF-8", "\xa1\x69NextToken\x61\xff", unable, "UTF-8"},
		{"text for number", "\xa1\x6aMaxResults\x611", unable, "maxResults"},
		{"fraction for number", "\xa1\x6aMaxResults\xf9\x3c\x00", unable, "maxResults"},
		{"bignum", "\xa1\x6aMaxResults\xc2\x41\x01", unable, "bignum"},
		{"large number", "\xa1\x6aMaxResults\x1b\xff\xff\xff\xff\xff\xff\xff\xff", unable, "maxResults"},
		{"negative number", "\xa1\x6aMaxResults\x20", codeTrailResults, "-1"},
		{"map for array", "\xa1" + key + value, unable, "lookupAttributes"},
		{"time without tag", "\xa1\x69StartTime\x01", unable, "tag 1"},
		{"time as text", "\xa1\x69StartTime\xc0\x742031-02-03T04:05:06Z", unable, "tag 1"},
		{"time with text in its tag", "\xa1\x69StartTime\xc1\x611", unable, ""},
		{"time with null in its tag", "\xa1\x69StartTime\xc1\xf6", unable, ""},
		{"time in two tags", "\xa1\x69StartTime\xc1\xc1\x01", unable, ""},
		{"time NaN", "\xa1\x69StartTime\xc1" + encodedCBOR(t, math.NaN()), unable, "NaN"},
		{"time without end", "\xa1\x69StartTime\xc1" + encodedCBOR(t, math.Inf(1)), unable, "infinity"},
		{"late time", "\xa1\x69StartTime\xc1" + encodedCBOR(t, 1e300), codeTrailTimes, "1e+300"},
		{"early time", "\xa1\x69StartTime\xc1\x20", codeTrailTimes, "-1"},
		{"two attributes", "\xa1" + key + "\x82" + value + value, codeTrailAttributes, "only one"},
		{"too large", "\xa1\x69NextToken\x7a\x00\x01\x00\x00" + strings.Repeat("x", 1<<16), unable, "too large"},
	} {
		start := time.Now()
		if code, message := w.lookupCBOR(t, tt.body, new(any)); code != tt.code || !strings.Contains(message, tt.message) || len(message) > 1000 {
			t.Errorf("%s: %s: %s, want %s with %q", tt.name, code, message, tt.code, tt.message)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: after %v", tt.name, d)
		}
	}
	admin := w.server.Administrator()
	session := issuedCredentials(w.do(t, call{}).session(t))
	wrong := admin
	wrong.SecretAccessKey += "x"
	for _, tt := range []struct {
		name                               string
		c                                  credentials.Credentials
		service, method, path, contentType string
		code, message                      string
	}{
		{"JSON", admin, cloudTrailService, "POST", trail, jsonRPC.contentType, codeUnknown, "application/cbor"},
		{"no content type", admin, cloudTrailService, "POST", trail, "", codeUnknown, "application/cbor"},
		{"GET", admin, cloudTrailService, "GET", trail, cborRPC.contentType, codeUnknown, "POST"},
		{"another operation", admin, cloudTrailService, "POST", strings.Replace(trail, "LookupEvents", "CreateTrail", 1), cborRPC.contentType, codeUnknown, "CreateTrail"},
		{"no operation", admin, cloudTrailService, "POST", strings.TrimSuffix(trail, "LookupEvents"), cborRPC.contentType, codeUnknown, "CloudTrail_20131101"},
		{"another service", admin, cloudTrailService, "POST", "/service/KMS/operation/LookupEvents", cborRPC.contentType, codeUnknown, "KMS"},
		{"operation of another service", admin, privateCAService, "POST", "/service/ACMPrivateCA/operation/LookupEvents", cborRPC.contentType, codeUnknown, "LookupEvents"},
		{"a name that is not UTF-8", admin, cloudTrailService, "POST", "/service/%ff/operation/%ff", cborRPC.contentType, codeUnknown, `\xff`},
		{"the root", admin, cloudTrailService, "POST", "/", cborRPC.contentType, codeUnknown, `"/"`},
		{"CreateSession", admin, rolesAnywhereService, "POST", "/sessions", cborRPC.contentType, codeUnknown, "/sessions"},
		{"a foreign service", admin, "monitoring", "POST", "/service/GraniteServiceVersion20100801/operation/ListMetrics", cborRPC.contentType, codeUnknown, "does not know the service monitoring"},
		{"signed for another service", admin, privateCAService, "POST", trail, cborRPC.contentType, "InvalidSignatureException", cloudTrailService},
		{"a wrong signature", wrong, cloudTrailService, "POST", trail, cborRPC.contentType, "InvalidSignatureException", ""},
		{"a session", session, cloudTrailService, "POST", trail, cborRPC.contentType, codeAccessDenied, "cloudtrail:LookupEvents"},
		{"no CA", admin, privateCAService, "POST", "/service/ACMPrivateCA/operation/GetCertificate", cborRPC.contentType, codeUnknown, "--private-ca-key"},
	} {
		if code, message := w.rpc(t, tt.c, tt.service, tt.method, tt.path, tt.contentType, "\xa0", new(any)); code != tt.code || !strings.Contains(message, tt.message) {
			t.Errorf("%s: %s: %s, want %s with %q", tt.name, code, message, tt.code, tt.message)
		}
	}
	events := w.lookup(t, "{}").names()
	if n := len(events); n < 30 || strings.Contains(strings.Join(events, " "), "CreateTrail") {
		t.Errorf("events %q", events)
	}
	w.stop()
	for _, operation := range []string{"operation=LookupEvents ", "operation=CreateTrail ", "operation=monitoring:ListMetrics "} {
		if !strings.Contains(log.String(), operation) {
			t.Errorf("the log does not contain %q", operation)
		}
	}
}

// A signature covers the bytes of the body as they are.
func TestSignatureOfCBOR(t *testing.T) {
	w := newTestEnv(t, Config{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/service/CloudTrail_20131101/operation/LookupEvents", bytes.NewReader([]byte("\xbf\xff")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(headerProtocol, "rpc-v2-cbor")
	r.Header.Set("Content-Type", cborRPC.contentType)
	if err := sigv4.Sign(r, []byte("\xa0"), w.server.Administrator(), cloudTrailService, DefaultRegion, testNow); err != nil { // means the same
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusBadRequest || !bytes.Contains(b, []byte("InvalidSignatureException")) {
		t.Errorf("status %d: %v: %s", resp.StatusCode, err, b)
	}
}
