package sigv4x509_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// publicOnly is a public key for which a certificate can be issued.
type publicOnly struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (p publicOnly) Public() crypto.PublicKey { return p.pub }

func encode(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }

// authorize replaces old with new in the Authorization header.
func authorize(old, new string) func(t *testing.T, r *http.Request) {
	return func(t *testing.T, r *http.Request) {
		before := r.Header.Get("Authorization")
		if !strings.Contains(before, old) {
			t.Fatalf("Authorization %q does not contain %q", before, old)
		}
		r.Header.Set("Authorization", strings.Replace(before, old, new, 1))
	}
}

func set(name string, values ...string) func(*testing.T, *http.Request) {
	return func(_ *testing.T, r *http.Request) { r.Header[name] = values }
}

func remove(name string) func(*testing.T, *http.Request) {
	return func(_ *testing.T, r *http.Request) { delete(r.Header, name) }
}

func query(raw string) func(*testing.T, *http.Request) {
	return func(_ *testing.T, r *http.Request) { r.URL.RawQuery = raw }
}

func signature(f func(hex string) string) func(*testing.T, *http.Request) {
	return func(t *testing.T, r *http.Request) {
		s := field(t, r, "Signature")
		authorize("Signature="+s, "Signature="+f(s))(t, r)
	}
}

func TestVerifyRefuses(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "outer").Intermediate(t, "inner")
	leaf := ca.Issue(t, key, nil)
	chain := append([]*x509.Certificate{leaf}, ca.Chain()...)
	sameSerial := func(c *x509.Certificate) { c.SerialNumber = leaf.SerialNumber }
	chainHeader := func(certs ...*x509.Certificate) func(*testing.T, *http.Request) {
		var parts []string
		for _, c := range certs {
			parts = append(parts, encode(c))
		}
		return set("X-Amz-X509-Chain", strings.Join(parts, ","))
	}
	withKey := func(pub crypto.PublicKey) *x509.Certificate {
		return ca.Issue(t, publicOnly{pub: pub}, sameSerial)
	}
	serial := leaf.SerialNumber.String()
	const scope = "/20261122/eu-central-1/rolesanywhere/aws4_request"
	const signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-x509;x-amz-x509-chain"
	huge := new(big.Int).Lsh(big.NewInt(1), 16383)
	huge.Add(huge, big.NewInt(1))

	malformed, wrong := sigv4x509.ErrMalformed, sigv4x509.ErrSignature
	tests := []struct {
		name   string
		change func(t *testing.T, r *http.Request)
		want   error
	}{
		{"Authorization removed", remove("Authorization"), malformed},
		{"Authorization empty", set("Authorization", ""), malformed},
		{"Authorization twice", set("Authorization", "a", "b"), malformed},
		{"Authorization without a space", set("Authorization", "AWS4-X509-ECDSA-SHA256"), malformed},
		{"Authorization of another kind", set("Authorization", "Basic YTpi"), malformed},
		{"algorithm of RSA", authorize("-ECDSA-", "-RSA-"), malformed},
		{"algorithm of HMAC", authorize("AWS4-X509-ECDSA-SHA256", "AWS4-HMAC-SHA256"), malformed},
		{"algorithm in lower case", authorize("AWS4-X509-ECDSA-SHA256", "aws4-x509-ecdsa-sha256"), malformed},
		{"field missing", authorize(signed+", ", ""), malformed},
		{"field empty", authorize(signed, "SignedHeaders="), malformed},
		{"field twice", authorize(signed, signed+", "+signed), malformed},
		{"field twice, another missing", authorize(signed, "Signature=00"), malformed},
		{"field unknown, another missing", authorize("SignedHeaders=", "signedHeaders="), malformed},
		{"additional field", authorize(signed, signed+", A=b"), malformed},
		{"field without a value", authorize(signed, signed+", A"), malformed},

		{"other serial number", authorize(serial, "1"+serial), malformed},
		{"serial number in hexadecimal", authorize(serial, leaf.SerialNumber.Text(16)), malformed},
		{"serial number with a zero", authorize(serial, "0"+serial), malformed},
		{"serial number missing", authorize("Credential="+serial, "Credential="), malformed},
		{"other date in the scope", authorize("/20261122/", "/20261121/"), malformed},
		{"longer date in the scope", authorize("/20261122/", "/202611220/"), malformed},
		{"other region in the scope", authorize("/eu-central-1/", "/us-east-1/"), wrong},
		{"no region in the scope", authorize("/eu-central-1/", "//"), malformed},
		{"other service in the scope", authorize("/rolesanywhere/", "/sts/"), malformed},
		{"other terminator in the scope", authorize("/aws4_request", "/aws5_request"), malformed},
		{"scope too long", authorize(scope, scope+"/x"), malformed},
		{"scope missing", authorize(scope, ""), malformed},

		{"signature truncated", signature(func(s string) string { return s[:len(s)-2] }), wrong},
		{"signature with an odd number of digits", signature(func(s string) string { return s[:len(s)-1] }), malformed},
		{"signature with an extra byte", signature(func(s string) string { return s + "00" }), wrong},
		{"signature empty", signature(func(string) string { return "" }), malformed},
		{"signature not hexadecimal", signature(func(s string) string { return "xy" + s[2:] }), malformed},
		{"signature of one byte", signature(func(string) string { return "00" }), wrong},
		{"signature of zeros", signature(func(string) string { return "3006020100020100" }), wrong},
		{"signature of another request", func(t *testing.T, r *http.Request) {
			other := newRequest(t)
			other.Method = "PUT"
			sign(t, other, key, chain)
			r.Header.Set("Authorization", other.Header.Get("Authorization"))
		}, wrong},

		{"SignedHeaders not sorted", authorize("content-type;host", "host;content-type"), malformed},
		{"SignedHeaders in upper case", authorize("content-type;host", "Content-Type;host"), malformed},
		{"SignedHeaders with one in upper case", func(t *testing.T, r *http.Request) {
			r.Header.Set("Accept", "*/*")
			authorize("content-type;host", "Accept;content-type;host")(t, r)
		}, malformed},
		{"SignedHeaders with a duplicate", authorize("content-type;host", "content-type;host;host"), malformed},
		{"SignedHeaders with an empty name", authorize("content-type;host", ";content-type;host"), malformed},
		{"SignedHeaders with an unknown name", authorize("content-type;host", "accept;content-type;host"), malformed},
		{"host not signed", authorize("host;", ""), malformed},
		{"date not signed", authorize("x-amz-date;", ""), malformed},
		{"certificate not signed", authorize("x-amz-x509;", ""), malformed},
		{"chain not signed", authorize(";x-amz-x509-chain", ""), malformed},
		{"Content-Type not signed", authorize("content-type;", ""), malformed},

		{"X-Amz-Date removed", remove("X-Amz-Date"), malformed},
		{"X-Amz-Date twice", set("X-Amz-Date", date, date), malformed},
		{"X-Amz-Date a second later", set("X-Amz-Date", "20261122T003016Z"), wrong},
		{"X-Amz-Date a day later", set("X-Amz-Date", "20261123T003015Z"), malformed},
		{"X-Amz-Date with a fraction", set("X-Amz-Date", "20261122T003015.0Z"), malformed},
		{"X-Amz-Date with a comma", set("X-Amz-Date", "20261122T003015,5Z"), malformed},
		{"X-Amz-Date with an offset", set("X-Amz-Date", "20261122T003015+0000"), malformed},
		{"X-Amz-Date of RFC 3339", set("X-Amz-Date", "2026-11-22T00:30:15Z"), malformed},
		{"X-Amz-Date impossible", set("X-Amz-Date", "20261122T246015Z"), malformed},
		{"X-Amz-Date short", set("X-Amz-Date", "2026"), malformed},
		{"Host changed", func(_ *testing.T, r *http.Request) { r.Host = "sts.amazonaws.com" }, wrong},
		{"Host removed", func(_ *testing.T, r *http.Request) { r.Host, r.URL.Host = "", "" }, malformed},
		{"Content-Type changed", set("Content-Type", "text/plain"), wrong},
		{"Content-Type removed", remove("Content-Type"), malformed},
		{"Content-Type twice", set("Content-Type", "application/json", "text/plain"), wrong},

		{"certificate removed", remove("X-Amz-X509"), malformed},
		{"certificate twice", set("X-Amz-X509", encode(leaf), encode(leaf)), malformed},
		{"certificate not base64", set("X-Amz-X509", "*"), malformed},
		{"certificate base64 of another alphabet", set("X-Amz-X509", strings.NewReplacer("+", "-", "/", "_").Replace(encode(leaf))+"_"), malformed},
		{"certificate garbage", set("X-Amz-X509", "AAAA"), malformed},
		{"certificate truncated", set("X-Amz-X509", base64.StdEncoding.EncodeToString(leaf.Raw[:len(leaf.Raw)-1])), malformed},
		{"certificate with trailing data", set("X-Amz-X509", base64.StdEncoding.EncodeToString(append(leaf.Raw[:len(leaf.Raw):len(leaf.Raw)], 0))), malformed},
		{"certificate of the same key", set("X-Amz-X509", encode(ca.Issue(t, key, nil))), malformed},
		{"certificate of the same key and serial number", set("X-Amz-X509", encode(ca.Issue(t, key, sameSerial))), wrong},
		{"certificate of another key with the same serial number", set("X-Amz-X509", encode(ca.Issue(t, signertest.NewKey(t, "p256"), sameSerial))), wrong},
		{"certificate of another curve with the same serial number", set("X-Amz-X509", encode(ca.Issue(t, signertest.Key(t, "p384"), sameSerial))), wrong},
		{"certificate of RSA with the same serial number", set("X-Amz-X509", encode(ca.Issue(t, signertest.Key(t, "rsa2048"), sameSerial))), malformed},
		{"certificate of Ed25519 with the same serial number", set("X-Amz-X509", encode(ca.Issue(t, signertest.Key(t, "ed25519"), sameSerial))), malformed},

		{"chain removed", remove("X-Amz-X509-Chain"), malformed},
		{"chain empty", set("X-Amz-X509-Chain", ""), malformed},
		{"chain garbage", set("X-Amz-X509-Chain", "AAAA,AAAA"), malformed},
		{"chain with an empty part", set("X-Amz-X509-Chain", encode(chain[1])+","), malformed},
		{"chain reversed", chainHeader(chain[2], chain[1]), wrong},
		{"chain shortened", chainHeader(chain[1]), wrong},
		{"chain lengthened", chainHeader(chain[1], chain[2], ca.Root()), wrong},
		{"chain of six", chainHeader(chain[1], chain[1], chain[1], chain[1], chain[1], chain[1]), malformed},
		{"chain of six in two headers", set("X-Amz-X509-Chain", strings.Repeat(encode(leaf)+",", 2)+encode(leaf), strings.Repeat(encode(leaf)+",", 2)+encode(leaf)), malformed},
		{"chain with a huge RSA key", chainHeader(chain[1], withKey(&rsa.PublicKey{N: huge, E: 65537})), malformed},

		{"method", func(_ *testing.T, r *http.Request) { r.Method = "GET" }, wrong},
		{"path", func(_ *testing.T, r *http.Request) { r.URL.Path = "/session" }, wrong},
		{"path with an extra slash", func(_ *testing.T, r *http.Request) { r.URL.Path = "/sessions/" }, wrong},
		{"path in another encoding", func(_ *testing.T, r *http.Request) { r.URL.RawPath = "/%73essions" }, wrong},
		{"query removed", query(""), wrong},
		{"query with another value", query("b=2&a=1&a=3"), wrong},
		{"query with another name", query("c=2&a=1&a=0"), wrong},
		{"query with an extra parameter", query("b=2&a=1&a=0&c"), wrong},
		{"query with a missing parameter", query("b=2&a=1"), wrong},
		{"query with swapped values", query("b=1&a=2&a=0"), wrong},
		{"query with a bad escape", query("b=2&a=1&a=0&c=%"), malformed},
		{"query with a semicolon", query("b=2;a=1&a=0"), malformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRequest(t)
			sign(t, r, key, chain)
			test.change(t, r)
			refuse(t, r, body, test.want)
		})
	}

	r := newRequest(t)
	sign(t, r, key, chain)
	for _, b := range []string{"", "{}", string(body) + " ", string(body[:len(body)-1]), strings.ToUpper(string(body))} {
		refuse(t, r, []byte(b), wrong)
	}
}

func refuse(t *testing.T, r *http.Request, body []byte, want error) {
	t.Helper()
	got, err := sigv4x509.Verify(r, body)
	if got != nil || !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if errors.Is(err, sigv4x509.ErrMalformed) && errors.Is(err, sigv4x509.ErrSignature) {
		t.Errorf("error %v wraps both ErrMalformed and ErrSignature", err)
	}
}

// An empty Content-Type hides the second one from http.Header.Get.
func TestVerifyFindsContentType(t *testing.T) {
	key := signertest.Key(t, "p256")
	for _, values := range [][]string{{""}, {"", "text/html"}, {"text/html"}} {
		r := newRequest(t)
		r.Header.Del("Content-Type")
		sign(t, r, key, newChain(t, key, 0))
		r.Header["Content-Type"] = values
		refuse(t, r, body, sigv4x509.ErrMalformed)

		sign(t, r, key, newChain(t, key, 0))
		if _, err := sigv4x509.Verify(r, body); err != nil {
			t.Errorf("signed with Content-Type %q: %v", values, err)
		}
	}
}

// Unusual RSA keys must be refused quickly.
func TestVerifyRefusesRSAKeys(t *testing.T) {
	key := signertest.Key(t, "rsa2048")
	modulus := key.Public().(*rsa.PublicKey).N
	bits := func(n uint) *big.Int {
		i := new(big.Int).Lsh(big.NewInt(1), n-1)
		return i.Add(i, big.NewInt(1))
	}
	ca := signertest.NewCA(t, "root")
	for _, test := range []struct {
		name string
		n    *big.Int
		e    int
		want error
	}{
		{"8192 bits", bits(8192), 65537, sigv4x509.ErrSignature},
		{"8193 bits", bits(8193), 65537, sigv4x509.ErrMalformed},
		{"a million bits", bits(1_000_000), 65537, sigv4x509.ErrMalformed},
		{"512 bits", bits(512), 65537, sigv4x509.ErrSignature},
		{"8 bits", bits(8), 3, sigv4x509.ErrSignature},
		{"even modulus", new(big.Int).Lsh(modulus, 1), 65537, sigv4x509.ErrSignature},
		{"exponent 1", modulus, 1, sigv4x509.ErrSignature},
		{"even exponent", modulus, 2, sigv4x509.ErrSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaf := ca.Issue(t, key, nil)
			r := newRequest(t)
			sign(t, r, key, []*x509.Certificate{leaf})
			unusual := ca.Issue(t, publicOnly{pub: &rsa.PublicKey{N: test.n, E: test.e}}, func(c *x509.Certificate) {
				c.SerialNumber = leaf.SerialNumber
			})
			r.Header.Set("X-Amz-X509", encode(unusual))
			refuse(t, r, body, test.want)
		})
	}
}

// Changes that keep the meaning of a request do not invalidate its signature.
func TestVerifyAccepts(t *testing.T) {
	key := signertest.Key(t, "p256")
	chain := newChain(t, key, 2)
	for name, change := range map[string]func(*testing.T, *http.Request){
		"query reordered":                  query("a=0&b=2&a=1"),
		"query encoded in another way":     query("%62=%32&a=1&a=0&"),
		"spaces in a header":               set("Content-Type", "  application/json "),
		"chain in two headers":             set("X-Amz-X509-Chain", encode(chain[1]), encode(chain[2])),
		"headers that are not signed":      set("User-Agent", "holdfast"),
		"fields without spaces":            authorize(", SignedHeaders", ",SignedHeaders"),
		"signature in capitals":            signature(strings.ToUpper),
		"host in the request, not the URL": func(_ *testing.T, r *http.Request) { r.URL = &url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest(t)
			sign(t, r, key, chain)
			change(t, r)
			if _, err := sigv4x509.Verify(r, body); err != nil {
				t.Error(err)
			}
		})
	}
}

// Parse uses only the headers.
func TestParseDoesNotVerify(t *testing.T) {
	key := signertest.Key(t, "p256")
	r := newRequest(t)
	sign(t, r, key, newChain(t, key, 1))
	r.Method = "GET"
	req, err := sigv4x509.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Verify(r, body); !errors.Is(err, sigv4x509.ErrSignature) {
		t.Errorf("error %v, want ErrSignature", err)
	}
	r.Method = "POST"
	if err := req.Verify(r, body); err != nil {
		t.Error(err)
	}
	if _, err := sigv4x509.Parse(newRequest(t)); !errors.Is(err, sigv4x509.ErrMalformed) {
		t.Errorf("unsigned request: error %v, want ErrMalformed", err)
	}
}
