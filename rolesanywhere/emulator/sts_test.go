package emulator

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

func issuedCredentials(c credentialSet) credentials.Credentials {
	expires, err := time.Parse(time.RFC3339, c.Credentials.Expiration)
	if err != nil {
		panic(err)
	}
	return credentials.Credentials{
		AccessKeyID:     c.Credentials.AccessKeyID,
		SecretAccessKey: c.Credentials.SecretAccessKey,
		SessionToken:    c.Credentials.SessionToken,
		Expires:         expires,
		AccountID:       strings.Split(c.RoleARN, ":")[4],
	}
}

func TestGetCallerIdentity(t *testing.T) {
	w := newTestEnv(t, Config{})
	issued := w.do(t, call{}).session(t)
	want := Identity{ARN: issued.AssumedRoleUser.ARN, UserID: issued.AssumedRoleUser.ID, Account: DefaultAccount}
	for _, endpoint := range []string{w.url, w.url + "/"} {
		got, err := GetCallerIdentity(t.Context(), http.DefaultClient, endpoint, issuedCredentials(issued), testNow)
		if err != nil || got != want {
			t.Errorf("GetCallerIdentity = %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestGetCallerIdentityErrors(t *testing.T) {
	var now atomic.Int64
	now.Store(testNow.Unix())
	w := newTestEnv(t, Config{Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	issued := issuedCredentials(w.do(t, call{}).session(t))
	other := issuedCredentials(w.do(t, call{}).session(t))

	for _, tt := range []struct {
		name   string
		change func(*credentials.Credentials)
		at     time.Time
		code   string
	}{
		{"unknown key", func(c *credentials.Credentials) { c.AccessKeyID = "ASIAAAAAAAAAAAAAAAAA" }, testNow, codeInvalidToken},
		{"another session's token", func(c *credentials.Credentials) { c.SessionToken = other.SessionToken }, testNow, codeInvalidToken},
		{"truncated token", func(c *credentials.Credentials) { c.SessionToken = c.SessionToken[:100] }, testNow, codeInvalidToken},
		{"another session's secret", func(c *credentials.Credentials) { c.SecretAccessKey = other.SecretAccessKey }, testNow, codeSignatureNoMatch},
		{"wrong secret", func(c *credentials.Credentials) { c.SecretAccessKey = "x" }, testNow, codeSignatureNoMatch},
		{"late", func(*credentials.Credentials) {}, testNow.Add(-maxSkew - time.Second), codeSignatureNoMatch},
		{"early", func(*credentials.Credentials) {}, testNow.Add(maxSkew + time.Second), codeSignatureNoMatch},
	} {
		c := issued
		tt.change(&c)
		checkSTSError(t, tt.name, w, c, tt.at, http.StatusForbidden, tt.code)
	}
	empty := issued
	empty.SecretAccessKey = ""
	var refused *STSError
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, empty, testNow); err == nil || errors.As(err, &refused) {
		t.Errorf("empty secret: %v, want an error without a request", err)
	}
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, issued, testNow.Add(maxSkew)); err != nil {
		t.Errorf("five minutes early: %v", err)
	}

	now.Store(issued.Expires.Unix() - 1)
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, issued, issued.Expires); err != nil {
		t.Errorf("a second before the expiration: %v", err)
	}
	now.Store(issued.Expires.Unix())
	checkSTSError(t, "expired", w, issued, issued.Expires, http.StatusForbidden, codeExpiredToken)
}

func checkSTSError(t *testing.T, name string, w *testEnv, c credentials.Credentials, at time.Time, status int, code string) {
	t.Helper()
	_, err := GetCallerIdentity(t.Context(), nil, w.url, c, at)
	var refused *STSError
	if !errors.As(err, &refused) || refused.StatusCode != status || refused.Code != code || refused.Message == "" || refused.RequestID == "" {
		t.Errorf("%s: %v, want %d %s", name, err, status, code)
	}
	if err != nil && (strings.Contains(err.Error(), c.SessionToken) || c.SecretAccessKey != "" && strings.Contains(err.Error(), c.SecretAccessKey)) {
		t.Errorf("%s: error contains a secret", name)
	}
}

const stsQuery = "Action=GetCallerIdentity&Version=2011-06-15"

// An stsCall is one request to STS. Method sts replaces zero fields with valid
// values.
type stsCall struct {
	method, query, body string
	auth                func(*authorization)
	before, after       func(*http.Request)
}

func (w *testEnv) sts(t *testing.T, c credentials.Credentials, s stsCall) (status int, header http.Header, response string) {
	t.Helper()
	if s.method == "" {
		s.method = http.MethodPost
	}
	if s.body == "" && s.query == "" {
		s.body = stsQuery
	}
	r, err := http.NewRequestWithContext(t.Context(), s.method, w.url+"/?"+s.query, strings.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	date := testNow.Format(sigv4x509.TimeFormat)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set(headerDate, date)
	auth := authorization{accessKeyID: c.AccessKeyID, date: date[:8], region: "us-east-1", service: "sts",
		signedHeaders: []string{"content-type", "host", "x-amz-date"}}
	if c.SessionToken != "" {
		r.Header.Set(headerToken, c.SessionToken)
		auth.signedHeaders = append(auth.signedHeaders, "x-amz-security-token")
	}
	if s.before != nil {
		s.before(r)
	}
	if s.auth != nil {
		s.auth(&auth)
	}
	if auth.signature, err = auth.sign(r, []byte(s.body), c.SecretAccessKey); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", auth.String())
	if s.after != nil {
		s.after(r)
	}
	status, header, b := send(t, r)
	return status, header, string(b)
}

func TestSTSResponse(t *testing.T) {
	w := newTestEnv(t, Config{})
	issued := w.do(t, call{}).session(t)
	c := issuedCredentials(issued)

	status, header, response := w.sts(t, c, stsCall{})
	id := header.Get("X-Amzn-Requestid")
	want := `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
		`<Arn>` + issued.AssumedRoleUser.ARN + `</Arn><UserId>` + issued.AssumedRoleUser.ID + `</UserId><Account>111122223333</Account>` +
		`</GetCallerIdentityResult><ResponseMetadata><RequestId>` + id + `</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
	if status != http.StatusOK || response != want {
		t.Errorf("response is %d %s\nwant 200 %s", status, response, want)
	}
	if got := header.Get("Content-Type"); got != "text/xml" {
		t.Errorf("Content-Type is %q", got)
	}
	if got, want := header.Get("Date"), testNow.Format(http.TimeFormat); got != want {
		t.Errorf("Date is %q, want %q", got, want)
	}

	status, header, response = w.sts(t, c, stsCall{query: "Action=Nothing"})
	want = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidAction</Code>` +
		`<Message>Could not find operation Nothing for version </Message></Error><RequestId>` + header.Get("X-Amzn-Requestid") + `</RequestId></ErrorResponse>`
	if status != http.StatusBadRequest || response != want {
		t.Errorf("response is %d %s\nwant 400 %s", status, response, want)
	}
}

// without leaves a header out of the signature.
func without(header string) func(*authorization) {
	return func(a *authorization) {
		a.signedHeaders = slices.DeleteFunc(a.signedHeaders, func(name string) bool { return name == header })
	}
}

func TestSTSAccepts(t *testing.T) {
	w := newTestEnv(t, Config{})
	c := issuedCredentials(w.do(t, call{}).session(t))
	for _, tt := range []struct {
		name string
		call stsCall
	}{
		{"GET", stsCall{method: http.MethodGet, query: stsQuery}},
		{"query of a POST", stsCall{query: stsQuery}},
		{"other region", stsCall{auth: func(a *authorization) { a.region = "eu-central-1" }}},
		{"fewest headers", stsCall{method: http.MethodGet, query: stsQuery,
			before: func(r *http.Request) { r.Header.Del("Content-Type") },
			auth:   func(a *authorization) { a.signedHeaders = a.signedHeaders[1:] },
		}},
		{"more headers", stsCall{
			before: setHeader("X-Amz-User-Agent", "x"),
			auth:   func(a *authorization) { a.signedHeaders = append(a.signedHeaders, "x-amz-user-agent") },
		}},
		{"content length", stsCall{
			before: setHeader("Content-Length", "43"),
			auth: func(a *authorization) {
				a.signedHeaders = []string{"content-length", "content-type", "host", "x-amz-date", "x-amz-security-token"}
			},
		}},
	} {
		if status, _, response := w.sts(t, c, tt.call); status != http.StatusOK {
			t.Errorf("%s: response is %d %s", tt.name, status, response)
		}
	}
}

func TestSTSRefuses(t *testing.T) {
	w := newTestEnv(t, Config{})
	c := issuedCredentials(w.do(t, call{}).session(t))
	for _, tt := range []struct {
		name   string
		call   stsCall
		status int
		code   string
	}{
		{"no action", stsCall{body: "Version=2011-06-15"}, 400, codeMissingAction},
		{"two actions", stsCall{body: stsQuery, query: stsQuery}, 400, codeMissingAction},
		{"other action", stsCall{body: "Action=GetSessionToken&Version=2011-06-15"}, 400, codeInvalidAction},
		{"other version", stsCall{body: "Action=GetCallerIdentity&Version=2011-06-16"}, 400, codeInvalidAction},
		{"no version", stsCall{body: "Action=GetCallerIdentity"}, 400, codeInvalidAction},
		{"not a form", stsCall{body: "%zz"}, 400, codeSTSValidation},
		{"too large", stsCall{body: stsQuery + "&x=" + strings.Repeat("x", maxQueryBody)}, 400, codeSTSValidation},
		{"no authorization", stsCall{after: setHeader("Authorization", "")}, 403, codeMissingToken},
		{"signed in query", stsCall{body: stsQuery + "&X-Amz-Signature=00", after: setHeader("Authorization", "")}, 403, codeMissingToken},
		{"no token", stsCall{after: setHeader(headerToken, "")}, 403, codeInvalidToken},
		{"two tokens", stsCall{after: func(r *http.Request) { r.Header.Add(headerToken, "x") }}, 400, codeIncomplete},
		{"two authorizations", stsCall{after: func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }}, 400, codeIncomplete},
		{"fraction of a second", stsCall{before: setHeader(headerDate, "20310203T040506.5Z")}, 400, codeIncomplete},
		{"header signed twice", stsCall{auth: func(a *authorization) { a.signedHeaders = append([]string{"content-type"}, a.signedHeaders...) }}, 400, codeIncomplete},
		{"header in capitals", stsCall{auth: func(a *authorization) { a.signedHeaders[0] = "Content-Type" }}, 400, codeIncomplete},
		{"other terminator", stsCall{after: replaceAuthorization("aws4_request", "aws5_request")}, 400, codeIncomplete},
		{"no date", stsCall{after: setHeader(headerDate, "")}, 400, codeIncomplete},
		{"bad date", stsCall{after: setHeader(headerDate, "yesterday")}, 400, codeIncomplete},
		{"date of another day", stsCall{auth: func(a *authorization) { a.date = "20310202" }}, 400, codeIncomplete},
		{"service", stsCall{auth: func(a *authorization) { a.service = "iam" }}, 403, codeSignatureNoMatch},
		{"region changed", stsCall{after: replaceAuthorization("us-east-1", "us-east-2")}, 403, codeSignatureNoMatch},
		{"body changed", stsCall{body: stsQuery + "&a=b", after: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(stsQuery + "&a=c"))
		}}, 403, codeSignatureNoMatch},
		{"query changed", stsCall{after: func(r *http.Request) { r.URL.RawQuery = "a=b" }}, 403, codeSignatureNoMatch},
		{"method changed", stsCall{query: stsQuery, after: func(r *http.Request) { r.Method = http.MethodGet }}, 403, codeSignatureNoMatch},
		{"content type changed", stsCall{after: setHeader("Content-Type", "application/x-www-form-urlencoded; x=y")}, 403, codeSignatureNoMatch},
		{"time changed", stsCall{after: setHeader(headerDate, testNow.Add(time.Second).Format(sigv4x509.TimeFormat))}, 403, codeSignatureNoMatch},
		{"signature truncated", stsCall{after: func(r *http.Request) {
			h := r.Header.Get("Authorization")
			r.Header.Set("Authorization", h[:len(h)-2])
		}}, 403, codeSignatureNoMatch},
		{"signature no hexadecimal", stsCall{after: replaceAuthorization("Signature=", "Signature=x")}, 400, codeIncomplete},
		{"signature empty", stsCall{after: func(r *http.Request) {
			h, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", h+"Signature=")
		}}, 400, codeIncomplete},
		{"field twice", stsCall{after: replaceAuthorization(", Signature", ", SignedHeaders=host, Signature")}, 400, codeIncomplete},
		{"other algorithm", stsCall{after: replaceAuthorization("AWS4-HMAC-SHA256", "AWS4-X509-RSA-SHA256")}, 400, codeIncomplete},
		{"short scope", stsCall{after: replaceAuthorization("/sts/", "/")}, 400, codeIncomplete},
		{"content type not signed", stsCall{auth: without("content-type")}, 400, codeIncomplete},
		{"token not signed", stsCall{auth: without("x-amz-security-token")}, 400, codeIncomplete},
		{"host not signed", stsCall{auth: without("host")}, 400, codeIncomplete},
		{"date not signed", stsCall{auth: without("x-amz-date")}, 400, codeIncomplete},
		{"header that is not signed", stsCall{after: setHeader("X-Amz-Meta", "x")}, 400, codeIncomplete},
		{"headers not sorted", stsCall{after: replaceAuthorization("content-type;host", "host;content-type")}, 400, codeIncomplete},
		{"signed header missing", stsCall{after: setHeader("Content-Type", "")}, 400, codeIncomplete},
	} {
		status, _, response := w.sts(t, c, tt.call)
		if code := regexp.MustCompile(`<Code>(\w+)</Code>`).FindStringSubmatch(response); status != tt.status || code == nil || code[1] != tt.code {
			t.Errorf("%s: response is %d %s, want %d %s", tt.name, status, response, tt.status, tt.code)
		}
	}
}

func TestGetCallerIdentityOfOtherServers(t *testing.T) {
	moved := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect))
	defer moved.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	empty := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer empty.Close()
	c := credentials.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "s", SessionToken: "t"}

	for url, status := range map[string]int{moved.URL: http.StatusTemporaryRedirect, plain.URL: http.StatusNotFound} {
		var refused *STSError
		if _, err := GetCallerIdentity(t.Context(), nil, url, c, testNow); !errors.As(err, &refused) || refused.StatusCode != status || refused.Code != "" {
			t.Errorf("error is %v, want an STSError with status %d", err, status)
		}
	}
	if _, err := GetCallerIdentity(t.Context(), nil, empty.URL, c, testNow); err == nil {
		t.Error("an empty response is accepted as an identity")
	}
	var bad *url.Error
	if _, err := GetCallerIdentity(t.Context(), nil, "http://127.0.0.1:0", c, testNow); !errors.As(err, &bad) {
		t.Errorf("error is %v", err)
	}
}

// IAM has one region in each partition. The region of the emulator is accepted, too.
func TestIAMRegions(t *testing.T) {
	for _, tt := range []struct{ region, signed, want string }{
		{"us-east-1", "us-east-1", ""},
		{"us-east-1", "eu-west-1", "us-east-1"},
		{"eu-west-1", "us-east-1", ""},
		{"eu-west-1", "eu-west-1", ""},
		{"eu-west-1", "eu-west-2", "us-east-1"},
		{"cn-northwest-1", "cn-north-1", ""},
		{"cn-northwest-1", "us-east-1", "cn-north-1"},
		{"us-gov-east-1", "us-gov-west-1", ""},
		{"eusc-de-east-1", "us-east-1", "eusc-de-east-1"},
	} {
		w := newTestEnv(t, Config{Region: tt.region})
		status, _, response := w.sts(t, w.server.Administrator(), stsCall{
			body: "Action=ListRoles&Version=" + iamVersion,
			auth: func(a *authorization) { a.service, a.region = iamService, tt.signed },
		})
		want := http.StatusOK
		if tt.want != "" {
			want = http.StatusForbidden
		}
		if status != want || tt.want != "" && !strings.Contains(response, fmt.Sprintf(msgSTSRegion, tt.want, tt.signed)) {
			t.Errorf("%s, signature for %s: %d %s", tt.region, tt.signed, status, response)
		}
	}
	for _, name := range []string{partition("us-gov-x"), partition("cn-x"), partition("eusc-x"), partition("us-iso-x"), partition("us-isob-x"), partition("eu-isoe-x"), partition("us-isof-x"), partition(DefaultRegion)} {
		if region := globalRegions.Get(name); partition(region) != name {
			t.Errorf("partition %s: region %s", name, region)
		}
	}
}
