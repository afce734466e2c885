package emulator

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// A refusedCall is a bad request with the error that it gets.
type refusedCall struct {
	name    string
	call    controlCall
	status  int
	code    string
	message string // a part of it
}

// rows returns all tables except events, which record the refusals.
func (s *Server) rows(t testing.TB) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var b strings.Builder
	printRows(&b, &s.anchors)
	printRows(&b, &s.profiles)
	printRows(&b, &s.crls)
	printRows(&b, &s.roles)
	printRows(&b, &s.subjects)
	printRows(&b, &s.sessions)
	return b.String()
}

func printRows[T any](b io.Writer, t *table[T]) {
	for key, v := range t.all() {
		_, _ = fmt.Fprintf(b, "%s %d %p %+v\n", key, t.rows[key].Number, any(v), v)
	}
}

// Each bad request is refused and changes nothing.
func TestControlRefuses(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.must(t, "UpdateTrustAnchor", testAnchor, object{"aliasName": "used"})
	w.must(t, "UpdateProfile", testProfile, object{"aliasName": "used"})
	w.must(t, "ImportCrl", "", w.crlInput(t, testAnchor, "aliasName", "used"))
	session := issuedCredentials(w.do(t, call{}).session(t))
	all := w.refusedCalls(t)
	all = append(all, w.refusedLists(t)...)
	all = append(all, w.refusedSignatures(session)...)
	names := make(map[string]bool)
	for _, tt := range all {
		if names[tt.name] {
			t.Errorf("two requests are named %s", tt.name)
		}
		names[tt.name] = true
		before := w.server.rows(t)
		got := w.control(t, tt.call)
		if got.status != tt.status || got.code != tt.code || !strings.Contains(got.message, tt.message) {
			t.Errorf("%s: %d %s %q\nwant %d %s %q", tt.name, got.status, got.code, got.message, tt.status, tt.code, tt.message)
		}
		if len(got.message) > 2000 {
			t.Errorf("%s: the message has %d bytes", tt.name, len(got.message))
		}
		if w.server.rows(t) != before {
			t.Errorf("%s: the state changed", tt.name)
		}
	}
	if len(all) < 80 {
		t.Errorf("only %d requests", len(all))
	}
}

func (w *testEnv) refusedCalls(t *testing.T) (all []refusedCall) {
	bad := func(name, operation, id string, body any, message string) {
		all = append(all, refusedCall{name, controlCall{operation: operation, id: id, body: body}, 400, codeValidation, message})
	}
	anchor := func(name, message string, more ...any) {
		bad(name, "CreateTrustAnchor", "", w.anchorInput(more...), message)
	}
	certificates := func(name, message string, b []byte) { anchor(name, message, "source", anchorInput(b)["source"]) }
	noCertSign := caTemplate("No keyCertSign")
	noCertSign.KeyUsage = 0
	certificates("malformed PEM", "no certificate in PEM", []byte("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"))
	certificates("damaged certificate", "x509: malformed", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.cert.Raw[:50]}))
	certificates("private key", "not CERTIFICATE", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}))
	certificates("three certificates", "3 certificates", bytes.Repeat(w.ca.pem(), 3))
	certificates("end-entity certificate", msgBasicConstraints, w.client.pem())
	certificates("CA without keyCertSign", msgBasicConstraints, newRoot(t, noCertSign).pem())
	certificates("certificates too long", "16000", append(bytes.Repeat([]byte("\n"), maxCertificates), w.ca.pem()...))
	anchor("no certificate", "x509CertificateData: is missing", "source", object{"sourceType": sourceBundle, "sourceData": object{}})
	anchor("no source", "source: is missing", "source", nil)
	anchor("source without data", "sourceData: is missing", "source", object{"sourceType": sourceBundle})
	anchor("unknown type of source", "is not a CERTIFICATE_BUNDLE", "source", object{"sourceType": "SELF_SIGNED_REPOSITORY", "sourceData": object{}})
	anchor("two kinds of data", "is not a CERTIFICATE_BUNDLE", "source", object{"sourceType": sourceBundle, "sourceData": object{"acmPcaArn": "a", "x509CertificateData": "b"}})
	anchor("unknown inner member", `unknown member "x509"`, "source", object{"sourceData": object{"x509": "b"}})
	anchor("source is a string", "not a JSON object", "source", "x")
	anchor("no name", "name: is missing", "name", nil)
	anchor("empty name", "name: is missing", "name", "")
	anchor("long name", "255", "name", strings.Repeat("x", maxName+1))
	anchor("name with a slash", "pattern", "name", "a/b")
	anchor("name in another script", "pattern", "name", "é")
	anchor("name is a number", "member name cannot be a JSON number", "name", 1)
	anchor("enabled is a string", "cannot be a JSON string", "enabled", "true")
	anchor("alias in use", "same alias", "aliasName", "used")
	anchor("alias with a space", "letters, digits", "aliasName", "a b")
	anchor("alias begins with a digit", "begin with a letter", "aliasName", "1a")
	anchor("reserved alias", "reserved", "aliasName", "AWS/a")
	anchor("long alias", "256", "aliasName", strings.Repeat("x", maxAlias+1))
	anchor("alias ends with a slash", "slash", "aliasName", "a/")
	anchor("tag twice", "twice", "tags", []object{{"key": "a", "value": "1"}, {"key": "a", "value": "2"}})
	anchor("tag without key", "tags.key", "tags", []object{{"value": "1"}})
	anchor("long tag key", "tags.key", "tags", []object{{"key": strings.Repeat("x", 129), "value": "1"}})
	anchor("long tag value", "tags.value", "tags", []object{{"key": "a", "value": strings.Repeat("x", 257)}})
	anchor("reserved tag", "aws:", "tags", []object{{"key": "AWS:a", "value": "1"}})
	anchor("tags are an object", "cannot be a JSON object", "tags", object{"a": "1"})
	anchor("tag null", "not a JSON object", "tags", []any{nil})
	anchor("unknown event", "enum value set", "notificationSettings", []object{{"event": "X", "enabled": true}})
	anchor("unknown channel", "enum value set", "notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": true, "channel": "MAIL"}})
	anchor("setting without enabled", "enabled: is missing", "notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY"}})
	anchor("enabled without threshold", "threshold: is missing", "notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": true}})
	anchor("threshold 361", "between 1 and 360", "notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": false, "threshold": 361}})
	anchor("threshold 0", "between 1 and 360", "notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": true, "threshold": 0}})
	anchor("too many settings", "50", "notificationSettings", slices.Repeat([]object{{}}, maxSettings+1))
	anchor("configuredBy in a request", "unknown member", "notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": false, "configuredBy": "x"}})
	bad("settings without trust anchor", "PutNotificationSettings", "", object{"notificationSettings": []object{}}, "trustAnchorId: is missing")
	bad("no settings", "PutNotificationSettings", "", object{"trustAnchorId": testAnchor}, "notificationSettings: is missing")
	bad("reset without keys", "ResetNotificationSettings", "", object{"trustAnchorId": testAnchor}, "notificationSettingKeys: is missing")
	bad("reset an unknown event", "ResetNotificationSettings", "", object{"trustAnchorId": testAnchor, "notificationSettingKeys": []object{{}}}, "enum value set")

	profile := func(name, message string, more ...any) {
		bad(name, "CreateProfile", "", profileInputOf(more...), message)
	}
	role := func(n int) (all []string) {
		for i := range n {
			all = append(all, testRole+fmt.Sprint(i))
		}
		return all
	}
	profile("no roles", "roleArns: is missing", "roleArns", nil)
	profile("too many roles", "250", "roleArns", role(maxProfileRoles+1))
	profile("role is a user", "is not the ARN of a role", "roleArns", []string{"arn:aws:iam::111122223333:user/x"})
	profile("role null", "is not the ARN of a role", "roleArns", []any{nil})
	profile("role of another partition", "is not in partition aws", "roleArns", []string{"arn:aws-cn:iam::111122223333:role/demo"})
	profile("roles are a string", "cannot be a JSON string", "roleArns", testRole)
	profile("duration 899", "between 900 and 43200", "durationSeconds", 899)
	profile("duration 43201", "between 900 and 43200", "durationSeconds", 43201)
	profile("duration is a fraction", "cannot be a JSON number", "durationSeconds", 900.5)
	profile("huge duration", "cannot be a JSON number", "durationSeconds", 1e30)
	profile("policy of another kind", "is not the ARN of a policy", "managedPolicyArns", []string{testRole})
	profile("too many policies", "50", "managedPolicyArns", make([]string, maxPolicyARNs+1))
	profile("session policy is not JSON", "is not JSON", "sessionPolicy", "{")
	profile("long session policy", "100000", "sessionPolicy", `"`+strings.Repeat("x", maxSessionPolicy)+`"`)
	profile("profile alias in use", "same alias", "aliasName", "used")
	bad("empty session policy", "UpdateProfile", testProfile, object{"sessionPolicy": ""}, "greater than or equal to 1")
	bad("update to an empty name", "UpdateProfile", testProfile, object{"name": ""}, "name: is missing")
	bad("update to an alias with two slashes", "UpdateProfile", testProfile, object{"aliasName": "a//b"}, "two in a row")
	bad("update tags", "UpdateProfile", testProfile, object{"tags": []object{}}, "unknown member")
	bad("update enabled", "UpdateTrustAnchor", testAnchor, object{"enabled": false}, "unknown member")
	bad("update source with two changes", "UpdateTrustAnchor", testAnchor, object{"name": "x", "source": anchorInput(w.client.pem())["source"]}, msgBasicConstraints)

	crl := func(name, message string, more ...any) {
		bad(name, "ImportCrl", "", w.crlInput(t, testAnchor, more...), message)
	}
	crl("no data", "crlData: is missing", "crlData", nil)
	crl("empty data", "crlData: is missing", "crlData", "")
	crl("invalid Base64", "illegal base64", "crlData", "!")
	crl("DER", "is not PEM", "crlData", w.ca.crl(t))
	crl("certificate instead of a CRL", "not X509 CRL", "crlData", w.ca.pem())
	crl("CRL too large", "300000", "crlData", append(w.ca.crlPEM(t), make([]byte, maxCRL)...))
	crl("no trust anchor", "trustAnchorArn: is missing", "trustAnchorArn", nil)
	crl("ARN of a profile", "is not the ARN of a trust-anchor", "trustAnchorArn", testProfile)
	crl("ID of a trust anchor", "is not the ARN of a trust-anchor", "trustAnchorArn", "00000000-0000-0000-0000-000000000001")
	crl("CRL alias in use", "same alias", "aliasName", "used")

	mapping := func(name, message string, more ...any) {
		bad(name, "PutAttributeMapping", testProfile, with(object{"certificateField": "x509Subject", "mappingRules": rules("CN")}, more...), message)
	}
	mapping("no field", "enum value set", "certificateField", nil)
	mapping("field in another case", "enum value set", "certificateField", "x509subject")
	mapping("no rules", "mappingRules: is missing", "mappingRules", nil)
	mapping("unknown specifier", "knows no specifier", "mappingRules", rules("CN", "XY"))
	mapping("specifier of another field", "knows no specifier", "mappingRules", rules("DNS"))
	mapping("* of the alternative names", "knows no specifier", "certificateField", "x509SAN", "mappingRules", rules("*"))
	mapping("no specifier", "knows no specifier", "mappingRules", []object{{}})
	mapping("long specifier", "60", "mappingRules", rules(strings.Repeat("x", maxSpecifier+1)))
	mapping("too many rules", "50", "mappingRules", rules(strings.Split(strings.Repeat("CN ", maxMappingRules), " ")...))

	for name, b := range map[string]string{
		"not JSON": "x", "no object": "[]", "null": "null", "two objects": "{}{}", "data after the object": "{} x", "truncated": `{"name":"a"`,
		"not UTF-8": "{\"name\":\"\xff\"}", "member twice": `{"name":"a","name":"b"}`, "member in another case": `{"Name":"a"}`,
		"unknown member": `{"nam":"a"}`, "inner member twice": `{"tags":[{"key":"a","key":"b"}]}`, "inner member in another case": `{"tags":[{"Key":"a"}]}`,
		"long unknown member": `{"` + strings.Repeat("x", 100_000) + `":1}`, "deep": strings.Repeat("[", 100_000), "deep member": `{"name":` + strings.Repeat("[", 100_000),
		"no body": "", "name null": `{"name":null}`, "body of 1 MB": `{"name":"` + strings.Repeat("x", 1<<20) + `"}`,
	} {
		bad(name, "CreateTrustAnchor", "", b, "")
	}
	return all
}

// refusedLists are requests for resources that do not exist or must not be used, and bad
// queries.
func (w *testEnv) refusedLists(t *testing.T) (all []refusedCall) {
	add := func(name string, c controlCall, status int, code, message string) {
		all = append(all, refusedCall{name, c, status, code, message})
	}
	elsewhere := map[string]string{
		"of another account": "444455556666", "of another region": "eu-west-1",
	}
	for name, other := range elsewhere {
		replace := strings.NewReplacer(DefaultAccount, other)
		if name == "of another region" {
			replace = strings.NewReplacer(DefaultRegion, other)
		}
		anchor, profile := replace.Replace(testAnchor), replace.Replace(testProfile)
		for operation, arn := range map[string]string{
			"GetTrustAnchor": anchor, "DeleteTrustAnchor": anchor, "UpdateTrustAnchor": anchor, "DisableProfile": profile, "PutAttributeMapping": profile, "GetProfile": profile,
		} {
			add(operation+" "+name, controlCall{operation: operation, id: arn, body: object{"certificateField": "x509SAN", "mappingRules": []object{}}}, 404, codeNotFound, arn)
		}
		add("CRL for a trust anchor "+name, controlCall{operation: "ImportCrl", body: w.crlInput(t, anchor)}, 404, codeNotFound, anchor)
		add("tags "+name, controlCall{operation: "ListTagsForResource", query: url.Values{"resourceArn": {anchor}}}, 404, codeNotFound, anchor)
		add("settings "+name, controlCall{operation: "PutNotificationSettings", body: object{"trustAnchorId": anchor, "notificationSettings": []object{}}}, 404, codeNotFound, anchor)
	}
	// With valid members, these two are refused only for their ARN.
	for i := range all {
		if strings.HasPrefix(all[i].name, "UpdateTrustAnchor") {
			all[i].call.body = object{"name": "x"}
		}
	}
	alias := "arn:aws:rolesanywhere:us-east-1:111122223333:alias/trust-anchor/used"
	add("CRL for an alias ARN", controlCall{operation: "ImportCrl", body: w.crlInput(t, alias)}, 404, codeNotFound, alias)
	add("tags of an alias ARN", controlCall{operation: "ListTagsForResource", query: url.Values{"resourceArn": {alias}}}, 404, codeNotFound, alias)
	add("role of another account", controlCall{operation: "CreateProfile", body: profileInputOf("roleArns", []string{"arn:aws:iam::444455556666:role/demo"})}, 403, codeAccessDenied, "iam:PassRole")
	add("unknown private CA", controlCall{operation: "CreateTrustAnchor", body: w.anchorInput("source", object{"sourceType": sourceACMPCA, "sourceData": object{"acmPcaArn": "x"}})}, 404, codeNotFound, "x")
	add("alias ARN of another kind", controlCall{operation: "GetProfile", id: alias}, 400, codeValidation, "is not the ARN of a profile")
	add("unknown alias ARN", controlCall{operation: "GetTrustAnchor", id: alias + "2"}, 404, codeNotFound, "used2")
	add("ID with a space", controlCall{operation: "GetCrl", id: "a b"}, 400, codeValidation, "is not the ARN of a crl")
	add("ID of 10 kB", controlCall{operation: "GetSubject", id: strings.Repeat("x", 10_000)}, 400, codeValidation, "at most 1011")
	add("ID of a folder", controlCall{operation: "GetCrl", id: "../profile/x"}, 404, codeNotFound, "../profile/x")
	for _, operation := range []string{"TagResource", "UntagResource"} {
		ok := object{"resourceArn": testAnchor, "tags": []object{{"key": "a", "value": "b"}}, "tagKeys": []string{"a"}}
		delete(ok, map[string]string{"TagResource": "tagKeys", "UntagResource": "tags"}[operation])
		unknown, none, empty := maps.Clone(ok), maps.Clone(ok), object{"resourceArn": testAnchor}
		unknown["resourceArn"] = testRole
		delete(none, "resourceArn")
		add(operation+" of a role", controlCall{operation: operation, body: unknown}, 404, codeNotFound, testRole)
		add(operation+" without ARN", controlCall{operation: operation, body: none}, 400, codeValidation, "resourceArn: is missing")
		add(operation+" without tags", controlCall{operation: operation, body: empty}, 400, codeValidation, ": is missing")
	}
	var tags []object
	for i := range maxResourceTags {
		tags = append(tags, object{"key": fmt.Sprint("a", i), "value": ""})
	}
	add("201 tags", controlCall{operation: "CreateTrustAnchor", body: w.anchorInput("tags", append(tags, object{"key": "b", "value": ""}))}, 400, codeValidation, "200")
	add("empty tag key", controlCall{operation: "UntagResource", body: object{"resourceArn": testAnchor, "tagKeys": []any{nil}}}, 400, codeValidation, "tags.key")
	query := func(name, operation, id, message string, values ...string) {
		q := url.Values{}
		for i := 0; i < len(values); i += 2 {
			q.Add(values[i], values[i+1])
		}
		add(name, controlCall{operation: operation, id: id, query: q}, 400, codeValidation, message)
	}
	query("page of 0", "ListCrls", "", "between 1 and 1000", "pageSize", "0")
	query("page of 1001", "ListProfiles", "", "between 1 and 1000", "pageSize", "1001")
	query("page of x", "ListSubjects", "", "an integer", "pageSize", "x")
	query("page size empty", "ListSubjects", "", "an integer", "pageSize", "")
	query("page size twice", "ListSubjects", "", "twice", "pageSize", "1", "pageSize", "2")
	query("token empty", "ListTrustAnchors", "", msgToken, "nextToken", "")
	query("token of the client", "ListTrustAnchors", "", msgToken, "nextToken", "1.00")
	query("token of another list", "ListProfiles", "", msgToken, "nextToken", w.server.pageToken("crls", 0))
	query("token altered", "ListCrls", "", msgToken, "nextToken", "1"+w.server.pageToken("crls", 0))
	query("tags of no ARN", "ListTagsForResource", "", "resourceArn: is missing")
	query("tags of a long ARN", "ListTagsForResource", "", "1011", "resourceArn", strings.Repeat("x", maxARN+1))
	query("unmap without field", "DeleteAttributeMapping", testProfile, "enum value set", "specifiers", "CN")
	query("unmap two fields", "DeleteAttributeMapping", testProfile, "twice", "certificateField", "x509SAN", "certificateField", "x509Subject")
	for name, c := range map[string]controlCall{
		"unknown path": {method: "GET", path: "/nothing"}, "other method": {method: "PUT", path: "/profiles"}, "path without ID": {method: "GET", path: "/profile/"},
		"path with a slash at the end": {method: "GET", path: "/profiles/"}, "long path": {method: "GET", path: "/" + strings.Repeat("x", 10_000)},
		"path in another case": {method: "GET", path: "/Profiles"}, "two slashes": {method: "GET", path: "//profiles"},
	} {
		add(name, c, 404, codeUnknown, "No such operation")
	}
	return all
}

// refusedSignatures are requests that the administrator did not sign as they are.
func (w *testEnv) refusedSignatures(session credentials.Credentials) (all []refusedCall) {
	add := func(name string, c controlCall, code, message string) {
		c.operation, c.id = "DisableProfile", testProfile
		all = append(all, refusedCall{name, c, 403, code, message})
	}
	const invalid, unknown = "InvalidSignatureException", "UnrecognizedClientException"
	admin := w.server.Administrator()
	wrong, other := admin, admin
	wrong.SecretAccessKey = "x"
	other.AccessKeyID = "AKIAUNKNOWN"
	late := func(d time.Duration) func(*http.Request) {
		return setHeader(headerDate, testNow.Add(d).Format(sigv4x509.TimeFormat))
	}
	add("session of a role", controlCall{credentials: &session}, codeAccessDenied, "is not authorized to perform: rolesanywhere:DisableProfile")
	add("wrong secret key", controlCall{credentials: &wrong}, invalid, msgSTSSignature)
	add("unknown access key", controlCall{credentials: &other}, unknown, msgSTSInvalid)
	add("no signature", controlCall{after: setHeader("Authorization", "")}, "MissingAuthenticationTokenException", msgSTSNoToken)
	add("signature for STS", controlCall{auth: func(a *authorization) { a.service = "sts" }}, invalid, "rolesanywhere")
	add("signature for another region", controlCall{auth: func(a *authorization) { a.region = "eu-west-1" }}, invalid, "us-east-1")
	add("signature of another day", controlCall{auth: func(a *authorization) { a.date = "20310202" }}, "IncompleteSignatureException", "")
	add("signature too old", controlCall{before: late(-maxSkew - time.Second)}, invalid, "expired")
	add("signature of the future", controlCall{before: late(maxSkew + time.Second)}, invalid, "not yet current")
	add("another body", controlCall{body: "{}", after: func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"a":1}`)), 7
	}}, invalid, msgSTSSignature)
	add("another path", controlCall{after: func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/trustanchor/x/disable", "" }}, invalid, msgSTSSignature)
	add("another query", controlCall{after: func(r *http.Request) { r.URL.RawQuery = "a=b" }}, invalid, msgSTSSignature)
	add("another method", controlCall{after: func(r *http.Request) {
		r.Method, r.URL.Path, r.URL.RawPath = http.MethodGet, "/profiles", ""
	}}, invalid, msgSTSSignature)
	add("administrator with a token that is not signed", controlCall{after: setHeader(headerToken, "x")}, "IncompleteSignatureException", "")
	for name, token := range map[string]string{"a": "x", "an empty": ""} {
		add("administrator with "+name+" token", controlCall{before: func(r *http.Request) { r.Header.Set(headerToken, token) }, auth: func(a *authorization) {
			a.signedHeaders = append(a.signedHeaders, "x-amz-security-token")
		}}, unknown, msgSTSInvalid)
	}
	add("header that is not signed", controlCall{after: setHeader("X-Amz-Meta", "x")}, "IncompleteSignatureException", "x-amz-meta")
	add("X.509 signature", controlCall{after: replaceAuthorization(sigV4, "AWS4-X509-RSA-SHA256")}, "IncompleteSignatureException", "")
	return all
}
