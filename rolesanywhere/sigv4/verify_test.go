package sigv4

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

const exampleBody = "Action=AssumeRole"

// signed returns a signed request.
func signed(t testing.TB) *http.Request {
	t.Helper()
	r := newRequest(t, "POST", "https://sts.amazonaws.com/?a=b", exampleBody, http.Header{"Content-Type": {"text/plain"}})
	c := exampleKey
	c.SessionToken = "token"
	if err := Sign(r, []byte(exampleBody), c, "sts", "us-east-1", exampleTime); err != nil {
		t.Fatal(err)
	}
	return r
}

func verify(r *http.Request, body, secret string) (*Request, error) {
	req, err := Parse(r)
	if err != nil {
		return nil, err
	}
	return req, req.Verify(r, []byte(body), secret)
}

func TestVerify(t *testing.T) {
	req, err := verify(signed(t), exampleBody, exampleKey.SecretAccessKey)
	if err != nil {
		t.Fatal(err)
	}
	headers := []string{"content-type", "host", "x-amz-date", "x-amz-security-token"}
	if req.AccessKeyID != "AKIDEXAMPLE" || req.Region != "us-east-1" || req.Service != "sts" || !req.Time.Equal(exampleTime) || !reflect.DeepEqual(req.SignedHeaders, headers) {
		t.Errorf("%+v", req)
	}
}

func TestVerifyRefuses(t *testing.T) {
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	add := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Add(name, r.Header.Get(name)) }
	}
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
		}
	}
	for _, test := range []struct {
		name   string
		change func(*http.Request)
		want   error
	}{
		{"method", func(r *http.Request) { r.Method = "GET" }, ErrSignature},
		{"path", func(r *http.Request) { r.URL.Path = "/x" }, ErrSignature},
		{"query", func(r *http.Request) { r.URL.RawQuery = "a=c" }, ErrSignature},
		{"bad query", func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, ErrMalformed},
		{"host", func(r *http.Request) { r.Host = "example.com" }, ErrSignature},
		{"content type", set("Content-Type", "text/html"), ErrSignature},
		{"content type missing", func(r *http.Request) { r.Header.Del("Content-Type") }, ErrMalformed},
		{"token", set("X-Amz-Security-Token", "other"), ErrSignature},
		{"time", set("X-Amz-Date", exampleTime.Add(time.Second).Format(TimeFormat)), ErrSignature},
		{"day", set("X-Amz-Date", exampleTime.Add(24*time.Hour).Format(TimeFormat)), ErrMalformed},
		{"fraction", set("X-Amz-Date", "20150830T123600.5Z"), ErrMalformed},
		{"empty time", set("X-Amz-Date", ""), ErrMalformed},
		{"two times", add("X-Amz-Date"), ErrMalformed},
		{"two tokens", add("X-Amz-Security-Token"), ErrMalformed},
		{"two authorizations", add("Authorization"), ErrMalformed},
		{"no authorization", func(r *http.Request) { r.Header.Del("Authorization") }, ErrMalformed},
		{"region", replace("us-east-1", "us-east-2"), ErrSignature},
		{"service", replace("/sts/", "/s3/"), ErrSignature},
		{"key", replace("AKIDEXAMPLE", "AKIDOTHER"), nil}, // the caller finds the secret of the key
		{"terminator", replace("aws4_request", "aws5_request"), ErrMalformed},
		{"short scope", replace("/sts/", "/"), ErrMalformed},
		{"empty region", replace("us-east-1", ""), ErrMalformed},
		{"algorithm", replace("AWS4-HMAC-SHA256", "AWS4-X509-RSA-SHA256"), ErrMalformed},
		{"field twice", replace(", Signature=", ", SignedHeaders=host, Signature="), ErrMalformed},
		{"no signature", func(r *http.Request) {
			before, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature")
			r.Header.Set("Authorization", before)
		}, ErrMalformed},
		{"empty signature", func(r *http.Request) {
			before, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", before+"Signature=")
		}, ErrMalformed},
		{"short signature", func(r *http.Request) {
			h := r.Header.Get("Authorization")
			r.Header.Set("Authorization", h[:len(h)-2])
		}, ErrSignature},
		{"signature not hexadecimal", replace("Signature=", "Signature=x"), ErrMalformed},
		{"headers not sorted", replace("content-type;host", "host;content-type"), ErrMalformed},
		{"header twice", replace("content-type;", "content-type;content-type;"), ErrMalformed},
		{"header in capitals", replace("content-type;", "Content-Type;"), ErrMalformed},
		{"host not signed", replace("host;", ""), ErrMalformed},
		{"date not signed", replace("x-amz-date;", ""), ErrMalformed},
		{"content type not signed", replace("content-type;", ""), ErrMalformed},
		{"content type added", func(r *http.Request) {
			r.Header.Del("Content-Type")
			if err := Sign(r, []byte(exampleBody), exampleKey, "sts", "us-east-1", exampleTime); err != nil {
				t.Error(err)
			}
			r.Header.Set("Content-Type", "text/html")
		}, ErrMalformed},
		{"target added", set("X-Amz-Target", "other"), ErrMalformed},
		{"empty header added", set("X-Amz-Meta", ""), ErrMalformed},
		{"trace ID added", set("X-Amzn-Trace-Id", "other"), nil}, // begins differently
		{"token not signed", replace(";x-amz-security-token", ""), ErrMalformed},
	} {
		r := signed(t)
		test.change(r)
		if _, err := verify(r, exampleBody, exampleKey.SecretAccessKey); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if _, err := verify(signed(t), exampleBody+"x", exampleKey.SecretAccessKey); !errors.Is(err, ErrSignature) {
		t.Errorf("another body: %v", err)
	}
	if _, err := verify(signed(t), exampleBody, "another secret"); !errors.Is(err, ErrSignature) {
		t.Errorf("another secret: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	r := signed(f)
	f.Add(r.Header.Get("Authorization"), r.Header.Get("X-Amz-Date"))
	f.Fuzz(func(t *testing.T, authorization, date string) {
		r := signed(t)
		r.Header.Set("Authorization", authorization)
		r.Header.Set("X-Amz-Date", date)
		req, err := Parse(r)
		if (err == nil) == (req == nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v, %v", req, err)
		}
		if req != nil {
			_ = req.Verify(r, []byte(exampleBody), exampleKey.SecretAccessKey)
		}
	})
}
