package vault

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each answer is either certificates or a printable error of one class, with a
// hint and without the token.
func FuzzAnswer(f *testing.F) {
	cert := strings.ReplaceAll(string(signertest.CertPEM(signertest.NewCA(f, "CA").Cert)), "\n", `\n`)
	for _, body := range []string{
		`{"data":{"certificate":"` + cert + `","issuing_ca":"` + cert + `","ca_chain":["` + cert + `"]}}`,
		`{"data":{"certificate":"` + cert + `x"}}`, `{"data":null}`, `[]`, ``, `{"errors":["permission denied"]}`, `{"errors":[]}`, `{"errors":["hvs.secret-secret\u202e"]}`,
	} {
		for _, status := range []int{200, 204, 302, 400, 403, 404, 429, 500, 503} {
			f.Add(status, []byte(body))
		}
	}
	ca, err := New(Config{URL: "https://vault.example.com", Roots: x509.NewCertPool(), Role: "app"})
	if err != nil {
		f.Fatal(err)
	}
	request := ca.request("pki/sign/app", "hvs.secret-secret", nil)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		var answer struct{ Data signed }
		err := ca.read(request, &caclient.Answer{Status: status, Header: http.Header{}, Body: body}, &answer)
		if err == nil {
			certs, err := answer.Data.certificates()
			if (err == nil) != (len(certs) > 0) || len(certs) > 16 || status != http.StatusOK {
				t.Errorf("%d certificates, status %d, %v", len(certs), status, err)
			}
			return
		}
		if errors.Is(err, renew.ErrRejected) == errors.Is(err, renew.ErrUnreachable) || signer.Hint(err) == "" {
			t.Errorf("%v; hint: %s", err, signer.Hint(err))
		}
		if text := err.Error(); strings.Contains(text, "hvs.secret-secret") || len(text) > 4*400 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", text)
		}
	})
}

func TestParseNames(t *testing.T) {
	key := signertest.Key(t, "p256")
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "app"}, DNSNames: []string{"a.example.com", "b.example.com"}, EmailAddresses: []string{"app@example.com"},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/app"}, {Scheme: "urn", Opaque: "x"}},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseNames(der)
	if err != nil || b.CommonName != "app" || b.AltNames != "a.example.com,b.example.com,app@example.com" || b.URISANs != "spiffe://example.com/app,urn:x" || b.IPSANs != "192.0.2.1,2001:db8::1" || !signer.SamePublicKey(b.key, key.Public()) {
		t.Errorf("%+v, %v", b, err)
	}
}
