package sigv4x509_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// testdata/README.md describes the origin of the vectors.
func TestVectors(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d vectors, error %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := make(map[string]string)
			for _, f := range archive.Files {
				files[f.Name] = strings.TrimSuffix(string(f.Data), "\n")
			}
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(files["request"] + "\n")))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := sigv4x509.CanonicalRequest(r, body, strings.Split(files["signed-headers"], ";"))
			if err != nil {
				t.Fatal(err)
			}
			if want := files["canonical"]; got != want {
				t.Errorf("canonical request\n%s\nwant\n%s", got, want)
			}
			date := files["date"]
			scope := date[:8] + "/" + files["region"] + "/rolesanywhere/aws4_request"
			got = sigv4x509.StringToSign(files["algorithm"], date, scope, files["canonical"])
			if want := files["string-to-sign"]; got != want {
				t.Errorf("string to sign\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// line returns the n-th line of r's canonical request, counted from 0.
func line(t *testing.T, n int, r *http.Request, signedHeaders ...string) string {
	t.Helper()
	c, err := sigv4x509.CanonicalRequest(r, nil, append(signedHeaders, "host"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(c, "\n")[n]
}

// The canonical path is escaped once more than the path on the wire.
func TestCanonicalPath(t *testing.T) {
	for target, want := range map[string]string{
		"":             "/",
		"/":            "/",
		"/sessions":    "/sessions",
		"/sessions/":   "/sessions/",
		"/a b":         "/a%2520b",
		"/a%20b":       "/a%2520b",
		"/a%2Fb":       "/a%252Fb",
		"/a+b=c&d":     "/a%2Bb%3Dc%26d",
		"/%61":         "/%2561",
		"/é":           "/%25C3%25A9",
		"/~._-":        "/~._-",
		"/a/../b//c/.": "/a/../b//c/.", // not normalized
	} {
		u, err := url.Parse("https://example.com" + target)
		if err != nil {
			t.Fatal(err)
		}
		if got := line(t, 1, &http.Request{URL: u}); got != want {
			t.Errorf("%q becomes %q, want %q", target, got, want)
		}
	}
}

func TestCanonicalHeaders(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   string
	}{
		{[]string{"a"}, "a"},
		{[]string{""}, ""},
		{[]string{"  a \t b  "}, "a b"},
		{[]string{" a", "", "b "}, "a,,b"},
		{[]string{"a,b", "c"}, "a,b,c"},
		{[]string{"a\r\nhost:evil"}, "a host:evil"}, // a value never becomes two lines
		{[]string{"\u00a0a\u2003 b\u0085"}, "\u00a0a\u2003 b\u0085"},
		{[]string{"\xa0\x85"}, "\xa0\x85"},
	} {
		r := &http.Request{URL: &url.URL{Host: "example.com"}, Header: http.Header{"A": test.values}}
		if got := line(t, 3, r, "a"); got != "a:"+test.want {
			t.Errorf("values %q become %q, want %q", test.values, got, test.want)
		}
	}
	u := &url.URL{Host: "url.example"}
	if got := line(t, 3, &http.Request{URL: u}); got != "host:url.example" {
		t.Errorf("host of the URL: %q", got)
	}
	if got := line(t, 3, &http.Request{URL: u, Host: "request.example:8443", Header: http.Header{"Host": {"x"}}}); got != "host:request.example:8443" {
		t.Errorf("host of the request: %q", got)
	}
}

func TestCanonicalRequestErrors(t *testing.T) {
	for _, test := range []struct {
		name, host, query string
		header            http.Header
	}{
		{"missing header", "h", "", nil},
		{"header without values", "h", "", http.Header{"A": {}}},
		{"bad escape", "h", "a=%zz", http.Header{"A": {"1"}}},
		{"truncated escape", "h", "a=%4", http.Header{"A": {"1"}}},
		{"bad escape in a name", "h", "%=1", http.Header{"A": {"1"}}},
		{"semicolon", "h", "a=1;b=2", http.Header{"A": {"1"}}},
		{"no host", "", "", http.Header{"A": {"1"}}},
	} {
		r := &http.Request{URL: &url.URL{Host: test.host, RawQuery: test.query}, Header: test.header}
		if got, err := sigv4x509.CanonicalRequest(r, nil, []string{"a", "host"}); err == nil || got != "" {
			t.Errorf("%s: %q, error %v; want \"\" and an error", test.name, got, err)
		}
	}
}

// queryOracle computes the canonical query without net/url. ok is false if the
// query cannot be parsed.
func queryOracle(raw string) (canonical string, ok bool) {
	const hex = "0123456789ABCDEF"
	encode := func(s string) (string, bool) {
		var b bytes.Buffer
		for i := 0; i < len(s); i++ {
			c := s[i]
			switch c {
			case '+':
				c = ' '
			case '%':
				if i+2 >= len(s) {
					return "", false
				}
				high := strings.IndexByte(hex, bytes.ToUpper([]byte{s[i+1]})[0])
				low := strings.IndexByte(hex, bytes.ToUpper([]byte{s[i+2]})[0])
				if high < 0 || low < 0 {
					return "", false
				}
				c = byte(high*16 + low)
				i += 2
			}
			if strings.IndexByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", c) >= 0 {
				b.WriteByte(c)
			} else {
				b.Write([]byte{'%', hex[c/16], hex[c%16]})
			}
		}
		return b.String(), true
	}
	if strings.Contains(raw, ";") {
		return "", false
	}
	type pair struct{ name, value string }
	var pairs []pair
	for p := range strings.SplitSeq(raw, "&") {
		if p == "" {
			continue
		}
		name, value := p, ""
		if i := strings.IndexByte(p, '='); i >= 0 {
			name, value = p[:i], p[i+1:]
		}
		name, ok1 := encode(name)
		value, ok2 := encode(value)
		if !ok1 || !ok2 {
			return "", false
		}
		pairs = append(pairs, pair{name, value})
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.value, b.value) })
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	var parts []string
	for _, p := range pairs {
		parts = append(parts, p.name+"="+p.value)
	}
	return strings.Join(parts, "&"), true
}

func FuzzCanonicalQuery(f *testing.F) {
	for _, raw := range []string{
		"", "a", "a=1&b=2", "b=1&a=2&a=1", "a=%zz", "a=%2", "%", "a;b", "a+b=c%20d", "&&=&", "a=b=c",
		"a-b=1&a=2&ab=3", "%C3%A9=1&z=2&\xff=3", "a=1&a=10&a=2", "b=&a=&b", "%61=%7e",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Count(raw, "&") > 9000 {
			return // net/url refuses more than 10000 parameters
		}
		r := &http.Request{URL: &url.URL{Host: "h", RawQuery: raw}}
		got, err := sigv4x509.CanonicalRequest(r, nil, []string{"host"})
		want, ok := queryOracle(raw)
		if (err == nil) != ok {
			t.Fatalf("query %q: error %v, but the oracle accepts it: %t", raw, err, ok)
		}
		if lines := strings.Split(got, "\n"); ok && lines[2] != want {
			t.Errorf("query %q becomes\n%s\nwant\n%s", raw, lines[2], want)
		}
	})
}
