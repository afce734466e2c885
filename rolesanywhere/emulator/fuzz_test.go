package emulator

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// FuzzRequest sends requests to the handler that are not signed by a valid key.
// In the seeds, everything is valid except the signature.
func FuzzRequest(f *testing.F) {
	w := newFuzzEnv(f)
	for _, c := range []call{
		{},
		{body: body("durationSeconds", 900, "roleSessionName", "me")},
		{query: map[string][]string{"roleArn": {testRole}}, body: body("roleArn", nil)},
		{chain: []*x509.Certificate{w.client.cert, w.ca.cert}},
		{region: "eu-west-1"},
	} {
		c.key = ecKey(f, elliptic.P256())
		r := w.request(f, c)
		b := c.body
		if b == "" {
			b = body()
		}
		f.Add(r.Method, r.URL.RequestURI(), headerBytes(f, r.Header), []byte(b))
	}
	f.Add("POST", "/", []byte("X-Amz-Date: 20310203T040506Z\r\nX-Amz-Security-Token: x\r\nAuthorization: AWS4-HMAC-SHA256 "+
		"Credential=ASIAFUZZ/20310203/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=00\r\n\r\n"), []byte(stsQuery))
	f.Add("GET", "/?"+stsQuery, []byte("\r\n"), []byte(nil))
	f.Add("OPTIONS", "*", []byte("\r\n"), []byte(nil))
	f.Add("POST", "/sessions?%", []byte("\r\n"), []byte(`{"roleArn":null,"x":{"y":[]}}`))

	known := map[int]bool{http.StatusOK: true}
	for _, code := range statuses {
		known[code.Value] = true
	}
	f.Fuzz(func(t *testing.T, method, target string, header, body []byte) {
		var b bytes.Buffer
		b.WriteString(method + " " + target + " HTTP/1.1\r\nHost: x\r\n")
		b.Write(header)
		r, err := http.ReadRequest(bufio.NewReader(&b))
		if err != nil {
			return // net/http handles such requests
		}
		r.Body = http.NoBody
		if len(body) > 0 {
			r.Body = readCloser{bytes.NewReader(body)}
		}
		r.RemoteAddr = "127.0.0.1:1"
		response := httptest.NewRecorder()
		start := time.Now()
		w.server.ServeHTTP(response, r)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("response after %v", d)
		}
		if !known[response.Code] {
			t.Errorf("status is %d", response.Code)
		}
		if response.Code < 400 {
			t.Errorf("status is %d for an unsigned request", response.Code)
		}
		if response.Body.Len() == 0 || response.Header().Get("Date") == "" || response.Header().Get("X-Amzn-Requestid") == "" {
			t.Error("response is incomplete")
		}
	})
}

// newFuzzEnv returns the same certificates and session in every process of a
// fuzzing run, so that a request has the same effect in each of them.
func newFuzzEnv(f *testing.F) *testEnv {
	fixed := func(name string) *ecdsa.PrivateKey {
		scalar := sha256.Sum256([]byte(name))
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
		if err != nil {
			f.Fatal(err)
		}
		return key
	}
	caKey, clientKey := fixed("CA"), fixed("client")
	template := caTemplate("Root")
	w := &testEnv{ca: certKey{certify(f, template, template, caKey.Public(), caKey), caKey}}
	w.client = certKey{w.ca.certify(f, leafTemplate("client"), clientKey.Public()), clientKey}
	w.start(f, Config{})
	s := newSession(assumedRoleUser{}, DefaultAccount, testNow, time.Hour)
	s.AccessKeyID, s.Token = "ASIAFUZZ", "x"
	if err := w.server.change(func(c *changes) error { w.server.addSession(c, s); return nil }); err != nil {
		f.Fatal(err)
	}
	return w
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func headerBytes(f *testing.F, h http.Header) []byte {
	var b bytes.Buffer
	if err := h.Write(&b); err != nil {
		f.Fatal(err)
	}
	return append(b.Bytes(), "\r\n"...)
}
