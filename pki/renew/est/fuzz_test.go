package est

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/est/esttest"
	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each answer is certificates, a time to wait, or a printable error of one class
// with a hint and without the password.
func FuzzAnswer(f *testing.F) {
	cert := signertest.NewCA(f, "CA").Cert
	good := base64.StdEncoding.EncodeToString(esttest.CertsOnly(cert, cert))
	for _, body := range []string{good, good[:90], "MAA=", "", "no", "secret-password\u202e"} {
		for _, status := range []int{200, 202, 302, 400, 401, 404, 429, 500} {
			f.Add(status, mediaType, "5", []byte(body))
			f.Add(status, "text/plain", "Sun, 01 Nov 2026 12:10:00 GMT", []byte(body))
		}
	}
	ca, err := New(Config{URL: "https://ca.example.com", Roots: x509.NewCertPool()})
	if err != nil {
		f.Fatal(err)
	}
	request := caclient.Request{Method: http.MethodPost, Secrets: []string{"secret-password"}}
	f.Fuzz(func(t *testing.T, status int, media, retry string, body []byte) {
		header := http.Header{"Content-Type": {media}, "Retry-After": {retry}, "Www-Authenticate": {media}}
		certs, err := ca.read(enrolment{}, request, &caclient.Answer{Status: status, Header: header, Body: body})
		if err == nil {
			if len(certs) == 0 || len(certs) > maxCertificates || status != http.StatusOK {
				t.Errorf("%d certificates, status %d", len(certs), status)
			}
			return
		}
		var wait *renew.WaitError
		if errors.As(err, &wait) {
			if status != http.StatusAccepted || wait.After < 0 || wait.After > maxWait {
				t.Errorf("status %d, %v", status, wait.After)
			}
			return
		}
		if certs != nil || errors.Is(err, renew.ErrRejected) == errors.Is(err, renew.ErrUnreachable) || signer.Hint(err) == "" {
			t.Errorf("%d certificates, %v; hint: %s", len(certs), err, signer.Hint(err))
		}
		if text := err.Error(); strings.Contains(text, "secret-password") || len(text) > 4*500 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", text)
		}
	})
}

// What is read as a certs-only message has the certificates that are written again.
func FuzzCertsOnly(f *testing.F) {
	cert := signertest.NewCA(f, "CA").Cert
	f.Add(esttest.CertsOnly())
	f.Add(esttest.CertsOnly(cert))
	f.Add(esttest.CertsOnly(cert, cert))
	f.Fuzz(func(t *testing.T, der []byte) {
		certs, err := parseCertsOnly(der)
		if err != nil {
			return
		}
		again, err := parseCertsOnly(esttest.CertsOnly(certs...))
		if err != nil || len(again) != len(certs) || len(certs) > maxCertificates {
			t.Errorf("%d and %d certificates, %v", len(certs), len(again), err)
		}
	})
}
