package sigv4x509_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var (
	now  = time.Date(2026, 11, 21, 23, 30, 15, 999, time.FixedZone("", -3600)) // the 22nd in UTC
	body = []byte(`{"durationSeconds":3600}`)
)

const date = "20261122T003015Z"

func newRequest(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", "https://rolesanywhere.eu-central-1.amazonaws.com/sessions?b=2&a=1&a=0", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// newChain returns a certificate for key with n intermediates.
func newChain(t *testing.T, key crypto.Signer, n int) []*x509.Certificate {
	t.Helper()
	ca := signertest.NewCA(t, "root")
	for range n {
		ca = ca.Intermediate(t, "issuer")
	}
	return append([]*x509.Certificate{ca.Issue(t, key, nil)}, ca.Chain()...)
}

func sign(t *testing.T, r *http.Request, key crypto.Signer, chain []*x509.Certificate) {
	t.Helper()
	if err := sigv4x509.Sign(r, body, key, chain, "eu-central-1", now); err != nil {
		t.Fatal(err)
	}
}

// field returns a field of the Authorization header.
func field(t *testing.T, r *http.Request, name string) string {
	t.Helper()
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	for part := range strings.SplitSeq(rest, ", ") {
		if value, ok := strings.CutPrefix(part, name+"="); ok {
			return value
		}
	}
	t.Fatalf("Authorization %q has no %s", r.Header.Get("Authorization"), name)
	return ""
}

func TestRoundTrip(t *testing.T) {
	for _, kind := range signertest.KeyKinds() {
		if kind == "ed25519" {
			continue
		}
		for n := range sigv4x509.MaxChain + 1 {
			key := signertest.Key(t, kind)
			chain := newChain(t, key, n)
			r := newRequest(t)
			sign(t, r, key, chain)
			got, err := sigv4x509.Verify(r, body)
			if err != nil {
				t.Fatalf("%s with %d intermediates: %v", kind, n, err)
			}
			algorithm, _ := sigv4x509.Algorithm(key.Public())
			if got.Algorithm != algorithm || got.Region != "eu-central-1" || !got.Time.Equal(now.Truncate(time.Second)) {
				t.Errorf("%s with %d intermediates: got %+v", kind, n, got)
			}
			if !got.Certificate.Equal(chain[0]) || !slices.EqualFunc(got.Chain, chain[1:], (*x509.Certificate).Equal) {
				t.Errorf("%s with %d intermediates: wrong certificates", kind, n)
			}
		}
	}
}

func TestSignHeaders(t *testing.T) {
	key := signertest.Key(t, "p256")
	chain := newChain(t, key, 2)
	r := newRequest(t)
	sign(t, r, key, chain)
	encoded := func(i int) string { return base64.StdEncoding.EncodeToString(chain[i].Raw) }
	for name, want := range map[string]string{
		"X-Amz-Date":       date,
		"X-Amz-X509":       encoded(0),
		"X-Amz-X509-Chain": encoded(1) + "," + encoded(2),
		"Content-Type":     "application/json",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	wantCredential := chain[0].SerialNumber.Text(10) + "/20261122/eu-central-1/rolesanywhere/aws4_request"
	if got := field(t, r, "Credential"); got != wantCredential {
		t.Errorf("Credential is %q, want %q", got, wantCredential)
	}
	if got := field(t, r, "SignedHeaders"); got != "content-type;host;x-amz-date;x-amz-x509;x-amz-x509-chain" {
		t.Errorf("SignedHeaders is %q", got)
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-X509-ECDSA-SHA256 Credential=") {
		t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
	}

	// Signing again replaces all headers of the first signature.
	r.Header.Del("Content-Type")
	r.Header.Add("X-Amz-Date", "another")
	r.Header.Add("Authorization", "another")
	sign(t, r, key, chain[:1])
	if _, err := sigv4x509.Verify(r, body); err != nil {
		t.Error(err)
	}
	if got := slices.Sorted(maps.Keys(r.Header)); !slices.Equal(got, []string{"Authorization", "X-Amz-Date", "X-Amz-X509"}) {
		t.Errorf("headers are %q", got)
	}
	r.Header = nil
	sign(t, r, key, chain)
	if _, err := sigv4x509.Verify(r, body); err != nil {
		t.Errorf("nil header before Sign: %v", err)
	}
}

// stringToSign recomputes the string to sign from a signed request.
func stringToSign(t *testing.T, r *http.Request) string {
	t.Helper()
	canonical, err := sigv4x509.CanonicalRequest(r, body, strings.Split(field(t, r, "SignedHeaders"), ";"))
	if err != nil {
		t.Fatal(err)
	}
	algorithm, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_, scope, _ := strings.Cut(field(t, r, "Credential"), "/")
	return sigv4x509.StringToSign(algorithm, date, scope, canonical)
}

func TestRSASignature(t *testing.T) {
	for _, kind := range []string{"rsa2048", "rsa3072", "rsa4096"} {
		key := signertest.Key(t, kind)
		chain := newChain(t, key, 1)
		first, second := newRequest(t), newRequest(t)
		sign(t, first, key, chain)
		sign(t, second, key, chain)
		if first.Header.Get("Authorization") != second.Header.Get("Authorization") {
			t.Errorf("%s: two signatures differ", kind)
		}
		signature, err := hex.DecodeString(field(t, first, "Signature"))
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(stringToSign(t, first)))
		if err := rsa.VerifyPKCS1v15(key.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], signature); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestSignErrors(t *testing.T) {
	key := signertest.Key(t, "p256")
	ed := signertest.Key(t, "ed25519")
	chain := newChain(t, key, 6)
	errDevice := errors.New("device removed")
	tests := []struct {
		name   string
		key    crypto.Signer
		chain  []*x509.Certificate
		change func(r *http.Request)
		want   error // nil: any error
	}{
		{"no certificate", key, nil, nil, nil},
		{"six intermediates", key, chain, nil, nil},
		{"Ed25519", ed, newChain(t, ed, 0), nil, errors.ErrUnsupported},
		{"key fails", &signertest.Fake{Key: key, OnSign: func(int) error { return errDevice }}, chain[:2], nil, errDevice},
		{"key of another certificate", signertest.NewKey(t, "p256"), chain[:2], nil, nil},
		{"key of another type", signertest.Key(t, "rsa2048"), chain[:2], nil, nil},
		{"bad query", key, chain[:2], func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, nil},
		{"no host", key, chain[:2], func(r *http.Request) { r.Host, r.URL.Host = "", "" }, nil},
	}
	for _, test := range tests {
		for _, header := range []http.Header{
			nil,
			{"Content-Type": {"text/plain"}, "X-Amz-Date": {"x"}, "X-Amz-X509": {"y"}, "X-Amz-X509-Chain": {"z"}, "Authorization": {"a", "b"}},
		} {
			r := newRequest(t)
			r.Header = header.Clone()
			if test.change != nil {
				test.change(r)
			}
			before := *r
			err := sigv4x509.Sign(r, body, test.key, test.chain, "eu-central-1", now)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%s: error %v, want %v", test.name, err, test.want)
			}
			if (r.Header == nil) != (header == nil) || !maps.EqualFunc(r.Header, header, slices.Equal) {
				t.Errorf("%s: headers are now %q", test.name, slices.Sorted(maps.Keys(r.Header)))
			}
			if r.Body != before.Body || r.URL != before.URL || r.Host != before.Host || r.Method != before.Method {
				t.Errorf("%s: the request was changed", test.name)
			}
		}
	}
}

func TestSignWithSigner(t *testing.T) {
	key := signertest.Key(t, "rsa2048")
	s, err := signer.Bind(signer.FromKey(key), newChain(t, key, 1), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := newRequest(t)
	sign(t, r, s, s.Chain())
	if _, err := sigv4x509.Verify(r, body); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sigv4x509.Sign(r, body, s, s.Chain(), "eu-central-1", now); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("closed: error %v, want signer.ErrClosed", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	key := signertest.Key(t, "p256")
	chain := newChain(t, key, 1)
	signed := newRequest(t)
	sign(t, signed, key, chain)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := sigv4x509.Verify(signed, body); err != nil {
				t.Error(err)
			}
			own := newRequest(t)
			own.Header = signed.Header // shared; Sign replaces it
			if err := sigv4x509.Sign(own, body, key, chain, "eu-central-1", now); err != nil {
				t.Error(err)
			}
			if _, err := sigv4x509.Verify(own, body); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAlgorithm(t *testing.T) {
	for kind, want := range map[string]string{
		"rsa2048": sigv4x509.RSA, "rsa4096": sigv4x509.RSA,
		"p256": sigv4x509.ECDSA, "p384": sigv4x509.ECDSA, "p521": sigv4x509.ECDSA,
	} {
		if got, err := sigv4x509.Algorithm(signertest.Key(t, kind).Public()); got != want || err != nil {
			t.Errorf("%s: %q, error %v; want %q", kind, got, err, want)
		}
	}
	for _, pub := range []crypto.PublicKey{nil, "key", signertest.Key(t, "ed25519").Public()} {
		if got, err := sigv4x509.Algorithm(pub); got != "" || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%T: %q, error %v; want errors.ErrUnsupported", pub, got, err)
		}
	}
}
