package emulator

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestRefusedParameters(t *testing.T) {
	w := newTestEnv(t, Config{})
	for _, tt := range []struct {
		name, body string
		query      url.Values
		status     int
		code       string
	}{
		{"not JSON", "x", nil, 400, codeValidation},
		{"array", "[]", nil, 400, codeValidation},
		{"truncated", body()[:20], nil, 400, codeValidation},
		{"two objects", body() + "{}", nil, 400, codeValidation},
		{"member twice", `{"roleArn":"` + testRole + `",` + body()[1:], nil, 400, codeValidation},
		{"too large", body("x", strings.Repeat("x", maxBody)), nil, 400, codeValidation},
		{"other case", body("roleArn", nil, "RoleArn", testRole), nil, 400, codeValidation},
		{"no role", body("roleArn", nil), nil, 400, codeValidation},
		{"no profile", body("profileArn", nil), nil, 400, codeValidation},
		{"no trust anchor", body("trustAnchorArn", nil), nil, 400, codeValidation},
		{"role is a number", body("roleArn", 1), nil, 400, codeValidation},
		{"role is a profile", body("roleArn", testProfile), nil, 400, codeValidation},
		{"profile is an anchor", body("profileArn", testAnchor), nil, 400, codeValidation},
		{"not an ARN", body("trustAnchorArn", "anchor"), nil, 400, codeValidation},
		{"ARN of a short account", body("roleArn", "arn:aws:iam::1:role/demo"), nil, 400, codeValidation},
		{"role with a region", body("roleArn", "arn:aws:iam:us-east-1:111122223333:role/demo"), nil, 400, codeValidation},
		{"profile without region", body("profileArn", strings.Replace(testProfile, DefaultRegion, "", 1)), nil, 400, codeValidation},
		{"role of another service", body("roleArn", "arn:aws:rolesanywhere::111122223333:role/demo"), nil, 400, codeValidation},
		{"profile of another service", body("profileArn", strings.Replace(testProfile, "rolesanywhere", "iam", 1)), nil, 400, codeValidation},
		{"role without name", body("roleArn", "arn:aws:iam::111122223333:role/"), nil, 400, codeValidation},
		{"ARN with a line break", body("roleArn", testRole+"\n"), nil, 400, codeValidation},
		{"long ARN", body("roleArn", testRole+strings.Repeat("x", maxARN)), nil, 400, codeValidation},
		{"twice in query", body(), url.Values{"roleArn": {testRole, testRole}}, 400, codeValidation},
		{"differs", body(), url.Values{"roleArn": {testRole + "x"}}, 400, codeValidation},
		{"duration 899", body("durationSeconds", 899), nil, 400, codeValidation},
		{"duration 43201", body("durationSeconds", 43201), nil, 400, codeValidation},
		{"duration 0", body("durationSeconds", 0), nil, 400, codeValidation},
		{"negative duration", body("durationSeconds", -3600), nil, 400, codeValidation},
		{"duration as a string", body("durationSeconds", "3600"), nil, 400, codeValidation},
		{"fractional duration", body("durationSeconds", 3600.5), nil, 400, codeValidation},
		{"empty session name", body("roleSessionName", ""), nil, 400, codeValidation},
		{"short session name", body("roleSessionName", "x"), nil, 400, codeValidation},
		{"long session name", body("roleSessionName", strings.Repeat("x", 65)), nil, 400, codeValidation},
		{"session name with a space", body("roleSessionName", "a b"), nil, 400, codeValidation},
		{"session name with a slash", body("roleSessionName", "a/b"), nil, 400, codeValidation},
		{"unknown trust anchor", body("trustAnchorArn", DefaultTrustAnchorARN(DefaultRegion, DefaultAccount, 2)), nil, 404, codeNotFound},
		{"unknown profile", body("profileArn", DefaultProfileARN(DefaultRegion, DefaultAccount, 2)), nil, 404, codeNotFound},
		{"unknown role", body("roleArn", testRole+"2"), nil, 404, codeNotFound},
		{"anchor of another region", body("trustAnchorArn", DefaultTrustAnchorARN("eu-west-1", DefaultAccount, 1)), nil, 404, codeNotFound},
		{"profile of another region", body("profileArn", DefaultProfileARN("eu-west-1", DefaultAccount, 1)), nil, 404, codeNotFound},
		{"role of another account", body("roleArn", DefaultRoleARN(DefaultRegion, "444455556666")), nil, 404, codeNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a := w.do(t, call{body: tt.body, query: tt.query}); a.status != tt.status || a.code != tt.code || a.message == "" {
				t.Errorf("response is %d %s %q, want %d %s", a.status, a.code, a.message, tt.status, tt.code)
			}
		})
	}
}

func checkRefused(t *testing.T, a response, status int, code, message string) {
	t.Helper()
	if a.status != status || a.code != code || a.message != message {
		t.Errorf("response is %d %s %q\nwant        %d %s %q", a.status, a.code, a.message, status, code, message)
	}
}

func TestRefusedSignature(t *testing.T) {
	w := newTestEnv(t, Config{})
	for _, tt := range []struct {
		name    string
		call    call
		message string // "": begins like msgMalformed
	}{
		{"another key", call{key: ecKey(t, elliptic.P256())}, msgInvalidSignature},
		{"another region", call{region: "eu-west-1"}, msgInvalidSignature},
		{"another body", call{after: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(body("durationSeconds", 900)))
			r.ContentLength = int64(len(body("durationSeconds", 900)))
		}}, msgInvalidSignature},
		{"another query", call{after: func(r *http.Request) { r.URL.RawQuery = "x=y" }}, msgInvalidSignature},
		{"another host", call{after: func(r *http.Request) { r.Host = "rolesanywhere.us-east-1.amazonaws.com" }}, msgInvalidSignature},
		{"another content type", call{after: setHeader("Content-Type", "text/plain")}, msgInvalidSignature},
		{"another time", call{after: setHeader("X-Amz-Date", "20310203T040507Z")}, msgInvalidSignature},
		{"no signature", call{after: setHeader("Authorization", "")}, ""},
		{"basic authorization", call{after: setHeader("Authorization", "Basic eDp5")}, ""},
		{"no certificate", call{after: setHeader("X-Amz-X509", "")}, ""},
		{"certificate is not base64", call{after: setHeader("X-Amz-X509", "!")}, ""},
		{"certificate is garbage", call{after: setHeader("X-Amz-X509", "AAAA")}, ""},
		{"another certificate's serial number", call{after: replaceAuthorization("Credential=2748/", "Credential=2749/")}, ""},
		{"hexadecimal serial number", call{after: replaceAuthorization("Credential=2748/", "Credential=0abc/")}, ""},
		{"another service", call{after: replaceAuthorization("/rolesanywhere/", "/sts/")}, ""},
		{"another day", call{after: replaceAuthorization("/20310203/", "/20310204/")}, ""},
		{"content type not signed", call{after: replaceAuthorization("content-type;", "")}, ""},
		{"another algorithm", call{after: replaceAuthorization("ECDSA", "RSA")}, ""},
		{"six intermediates", call{after: setHeader("X-Amz-X509-Chain", strings.Repeat("AAAA,", 5)+"AAAA")}, ""},
		{"chain not signed", call{after: setHeader("X-Amz-X509-Chain", base64.StdEncoding.EncodeToString(w.ca.cert.Raw))}, ""},
		{"late", call{at: testNow.Add(-maxSkew - time.Second)}, fmt.Sprintf(msgSignatureExpired, "2031-02-03T04:00:05Z", maxSkew, "2031-02-03T04:05:06Z")},
		{"early", call{at: testNow.Add(maxSkew + time.Second)}, fmt.Sprintf(msgSignatureFuture, "2031-02-03T04:10:07Z", maxSkew, "2031-02-03T04:05:06Z")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.do(t, tt.call)
			if prefix, _, _ := strings.Cut(msgMalformed, "%"); tt.message == "" && strings.HasPrefix(a.message, prefix) {
				tt.message = a.message
			}
			checkRefused(t, a, http.StatusForbidden, codeAccessDenied, tt.message)
		})
	}
	w.do(t, call{at: testNow.Add(-maxSkew)}).session(t)
	w.do(t, call{at: testNow.Add(maxSkew)}).session(t)
}

func setHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
}

func replaceAuthorization(old, with string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
	}
}

func TestRefusedByProfileAndRole(t *testing.T) {
	const ec2Policy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:*"}}`
	arn := func(n int) string { return DefaultProfileARN(DefaultRegion, DefaultAccount, n) }
	other := "arn:aws:iam::111122223333:role/path/other"
	w := newTestEnv(t, Config{
		Roles: []Role{{}, {ARN: other, TrustPolicy: ec2Policy}, {ARN: otherRole}},
		Profiles: []Profile{
			{DurationSeconds: 7200},
			{Disabled: true},
			{RoleARNs: []string{other}},
		},
	})
	long := make([]*big.Int, 2)
	for i, bits := range []uint{33 * 8, 32*8 - 1} {
		long[i] = new(big.Int).Lsh(big.NewInt(1), bits)
	}
	leaf := func(name string, change func(*x509.Certificate)) []*x509.Certificate {
		template := leafTemplate(name)
		change(template)
		return []*x509.Certificate{w.ca.certify(t, template, w.client.key.Public())}
	}
	assume := fmt.Sprintf(msgAssume, testRole)
	for _, tt := range []struct {
		name    string
		call    call
		message string
	}{
		{"profile disabled", call{body: body("profileArn", arn(2))}, fmt.Sprintf(msgDisabled, arn(2))},
		{"role of another account", call{body: body("durationSeconds", 900, "roleArn", otherRole)}, "Unable to assume role for " + otherRole},
		{"role not in profile", call{body: body("profileArn", arn(3))}, assume},
		{"duration exceeds the role's maximum", call{}, assume + ". The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"session name", call{body: body("durationSeconds", 900, "roleSessionName", "me")}, "Not authorized to set roleSessionName."},
		{"trust policy", call{body: body("durationSeconds", 900, "roleArn", other)}, "Unable to assume role for " + other},
		{"serial number too long for a session name", call{body: body("durationSeconds", 900), chain: leaf("client", func(c *x509.Certificate) { c.SerialNumber = long[0] })}, assume},
		{"common name too long for a source identity", call{body: body("durationSeconds", 900), chain: leaf(strings.Repeat("x", 65), func(*x509.Certificate) {})}, assume},
		{"tag in subject", call{body: body("durationSeconds", 900), chain: leaf("client (1)", func(*x509.Certificate) {})},
			assume + ". Some attributes failed to be mapped into session tags. Issuer: [  ]; Subject: [ CN ]; SAN: [  ]"},
		{"tag in SAN", call{body: body("durationSeconds", 900), chain: leaf("client", func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} })},
			assume + ". Some attributes failed to be mapped into session tags. Issuer: [  ]; Subject: [  ]; SAN: [ DNS/2 ]"},
		{"several tags", call{body: body("durationSeconds", 900), chain: leaf("a&b", func(c *x509.Certificate) {
			c.Subject.Organization = []string{strings.Repeat("x", 257)}
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x", Path: "/~"}}
		})}, assume + ". Some attributes failed to be mapped into session tags. Issuer: [  ]; Subject: [ O, CN ]; SAN: [ URI/6 ]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkRefused(t, w.do(t, tt.call), http.StatusForbidden, codeAccessDenied, tt.message)
		})
	}
	w.do(t, call{body: body("durationSeconds", 900), chain: leaf("client", func(c *x509.Certificate) { c.SerialNumber = long[1] })}).session(t)
}

// The order of the checks determines the error for a request with several
// errors.
func TestOrderOfChecks(t *testing.T) {
	w := newTestEnv(t, Config{Profiles: []Profile{{Disabled: true}}})
	unrelated := newRoot(t, caTemplate("Unrelated"))
	noUsage := leafTemplate("client")
	noUsage.KeyUsage = 0
	var key crypto.Signer = ecKey(t, elliptic.P256())
	late := testNow.Add(-time.Hour)
	for _, tt := range []struct {
		call    call
		message string
	}{
		{call{key: key, at: late, chain: []*x509.Certificate{unrelated.certify(t, noUsage, w.client.key.Public())}}, msgInsufficient},
		{call{key: key, at: late, chain: []*x509.Certificate{unrelated.certify(t, leafTemplate("client"), w.client.key.Public())}}, msgUntrusted},
		{call{key: key, at: late}, msgInvalidSignature},
		{call{at: late}, fmt.Sprintf(msgSignatureExpired, "2031-02-03T03:05:06Z", maxSkew, "2031-02-03T04:05:06Z")},
		{call{}, fmt.Sprintf(msgDisabled, testProfile)},
	} {
		checkRefused(t, w.do(t, tt.call), http.StatusForbidden, codeAccessDenied, tt.message)
	}
}
