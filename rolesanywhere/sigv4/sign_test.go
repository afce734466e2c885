package sigv4

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The credentials and the time of AWS's published examples.
var (
	exampleKey  = credentials.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	exampleTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
)

const exampleToken = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/" +
	"qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZb" +
	"qBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

func newRequest(t testing.TB, method, url, body string, header http.Header) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	return r
}

// Sources: the test suite of Signature Version 4, and "Signature Version 4
// signing process" of the AWS General Reference (ListUsers).
func TestPublishedExamples(t *testing.T) {
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	withToken := exampleKey
	withToken.SessionToken = exampleToken
	for _, test := range []struct {
		name, method, url, body, service string
		header                           http.Header
		credentials                      credentials.Credentials
		headers, signature               string
	}{
		{"get-vanilla", "GET", "https://example.amazonaws.com/", "", "service", nil, exampleKey, "host;x-amz-date",
			"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1", "", "service", nil, exampleKey, "host;x-amz-date",
			"b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"post-vanilla", "POST", "https://example.amazonaws.com/", "", "service", nil, exampleKey, "host;x-amz-date",
			"5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-x-www-form-urlencoded", "POST", "https://example.amazonaws.com/", "Param1=value1", "service", form, exampleKey, "content-type;host;x-amz-date",
			"ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		{"post-sts-header-before", "POST", "https://example.amazonaws.com/", "", "service", nil, withToken, "host;x-amz-date;x-amz-security-token",
			"85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
		{"ListUsers", "GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", "", "iam",
			http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, exampleKey, "content-type;host;x-amz-date",
			"5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		r := newRequest(t, test.method, test.url, test.body, test.header.Clone())
		if err := Sign(r, []byte(test.body), test.credentials, test.service, "us-east-1", exampleTime); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/" + test.service + "/aws4_request, SignedHeaders=" + test.headers + ", Signature=" + test.signature
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("%s: %s\nwant %s", test.name, got, want)
		}
	}
}

// The AWS SDK for Go makes the same signatures.
func TestSDK(t *testing.T) {
	sdk := filepath.Join(t.TempDir(), "aws-sdk-go")
	build := exec.Command("go", "build", "-o", sdk, ".")
	build.Dir = "testdata/aws-sdk-go"
	if out, err := build.CombinedOutput(); err != nil {
		t.Logf("building with the AWS SDK for Go: %v\n%s", err, out) // Require says the rest
	}
	sdk = signertest.Require(t, "aws-sdk-go", sdk)

	var questions bytes.Buffer
	var want []string
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		const characters = "abz09-._~ /+&=?%é*!'()"
		var b strings.Builder
		for range random.IntN(8) {
			b.WriteString(string([]rune(characters)[random.IntN(len([]rune(characters)))]))
		}
		return b.String()
	}
	for i := range 200 {
		u := url.URL{Scheme: "https", Host: "sts.eu-west-1.amazonaws.com", Path: "/" + text(),
			RawQuery: url.Values{text(): {text(), text()}, "b": {text()}}.Encode()}
		c := credentials.Credentials{AccessKeyID: "ASIA" + fmt.Sprint(i), SecretAccessKey: "secret" + text(), SessionToken: "token+/="}
		body, header := text(), http.Header{"X-Amz-Meta": {"  a   b "}, "User-Agent": {text()}}
		if i%2 == 0 {
			header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			c.SessionToken = ""
		}
		at := exampleTime.Add(time.Duration(random.Int64N(int64(10000 * time.Hour))))
		r := newRequest(t, "POST", u.String(), body, header.Clone())
		if err := Sign(r, []byte(body), c, "sts", "eu-west-1", at); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.Header.Get("Authorization"))
		if err := json.NewEncoder(&questions).Encode(map[string]any{
			"Method": "POST", "URL": u.String(), "Body": body, "Service": "sts", "Region": "eu-west-1", "Header": header, "Time": at,
			"AccessKeyID": c.AccessKeyID, "Secret": c.SecretAccessKey, "Token": c.SessionToken,
		}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(sdk)
	cmd.Stdin = &questions
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d signatures, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("the SDK signs\n%s\nwe sign\n%s", got[i], want[i])
		}
	}
}

func TestSignErrors(t *testing.T) {
	for name, c := range map[string]credentials.Credentials{
		"no key":    {SecretAccessKey: "hush"},
		"no secret": {AccessKeyID: "ASIA"},
	} {
		r := newRequest(t, "POST", "https://sts.amazonaws.com/", "", nil)
		err := Sign(r, nil, c, "sts", "us-east-1", exampleTime)
		if err == nil || strings.Contains(err.Error(), "hush") || len(r.Header) != 0 {
			t.Errorf("%s: %v, headers %v", name, err, r.Header)
		}
	}
	r := newRequest(t, "POST", "https://sts.amazonaws.com/?a=%zz", "", nil)
	if err := Sign(r, nil, exampleKey, "sts", "us-east-1", exampleTime); err == nil || len(r.Header) != 0 {
		t.Errorf("a bad query: %v, headers %v", err, r.Header)
	}
}

// A request can be signed again, for example at another time.
func TestSignAgain(t *testing.T) {
	again := newRequest(t, "POST", "https://sts.amazonaws.com/", "a=b", nil)
	withToken := exampleKey
	withToken.SessionToken = "token"
	for _, c := range []credentials.Credentials{withToken, exampleKey} {
		if err := Sign(again, []byte("a=b"), c, "sts", "us-east-1", exampleTime.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	once := newRequest(t, "POST", "https://sts.amazonaws.com/", "a=b", nil)
	if err := Sign(once, []byte("a=b"), exampleKey, "sts", "us-east-1", exampleTime.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(again.Header), fmt.Sprint(once.Header); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// A signature stays valid when net/http sends the request.
func TestOverHTTP(t *testing.T) {
	verified := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, err := body.ReadFrom(r.Body)
		var req *Request
		if err == nil {
			req, err = Parse(r)
		}
		if err == nil {
			err = req.Verify(r, body.Bytes(), exampleKey.SecretAccessKey)
		}
		verified <- err
	}))
	defer server.Close()
	for _, target := range []string{"", "/", "/?b=2&a=1&a=%C3%A9+%2B&c", "/a%20b/%2F/~*?x=%7E"} {
		r := newRequest(t, "POST", server.URL+target, "Action=GetCallerIdentity", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
		if err := Sign(r, []byte("Action=GetCallerIdentity"), exampleKey, "sts", "us-east-1", exampleTime); err != nil {
			t.Fatal(err)
		}
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if err := <-verified; err != nil {
			t.Errorf("%q: %v", target, err)
		}
	}
}
