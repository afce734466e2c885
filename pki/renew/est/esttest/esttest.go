// Package esttest runs an EST server for tests. It was written from RFC 7030 and
// RFC 8951, and refuses what they require to refuse.
package esttest

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// What a server knows.
const (
	User     = "app"
	Password = "secret-password"
	Label    = "factory" // of the same CA
)

// A CA is an EST server. Its methods are safe for concurrent use.
type CA struct {
	URL   string
	Roots *x509.CertPool
	Root  *signertest.CA

	// Issuer issues the certificates. A test can use it for certificates that
	// the server would not issue, such as one that has expired.
	Issuer *signertest.CA

	tb     testing.TB
	server *httptest.Server
	life   time.Duration

	mu      sync.Mutex
	hold    int
	revoked map[string]bool // by serial numbers
	counts  map[string]int  // of requests, by operations
}

// Start starts a server that is stopped at the end of the test. Its certificates
// are valid for life.
func Start(tb testing.TB, life time.Duration) *CA {
	tb.Helper()
	root := signertest.NewCA(tb, "Root of EST")
	ca := &CA{Root: root, Issuer: root.Intermediate(tb, "Issuer of EST"), Roots: x509.NewCertPool(), tb: tb, life: life,
		revoked: map[string]bool{}, counts: map[string]int{}}
	ca.Roots.AddCert(root.Cert)
	mux := http.NewServeMux()
	for _, prefix := range []string{"/.well-known/est/", "/.well-known/est/" + Label + "/"} {
		mux.HandleFunc("GET "+prefix+"cacerts", ca.caCerts)
		mux.HandleFunc("POST "+prefix+"simpleenroll", ca.enroll)
		mux.HandleFunc("POST "+prefix+"simplereenroll", ca.reenroll)
	}
	ca.server = httptest.NewUnstartedServer(mux)
	ca.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	key := signertest.NewKey(tb, "p256")
	cert := root.Issue(tb, key, func(t *x509.Certificate) {
		t.Subject = pkix.Name{CommonName: "EST"}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	ca.server.TLS = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    ca.Roots,
	}
	ca.server.StartTLS()
	tb.Cleanup(ca.server.Close)
	ca.URL = ca.server.URL
	return ca
}

// Stop stops the server.
func (ca *CA) Stop() { ca.server.Close() }

// Hold makes the server answer the next n enrolments with 202.
func (ca *CA) Hold(n int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.hold = n
}

// Revoke makes the server refuse a certificate.
func (ca *CA) Revoke(cert *x509.Certificate) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.revoked[cert.SerialNumber.String()] = true
}

// Count returns how often an operation was asked for.
func (ca *CA) Count(operation string) int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.counts[operation]
}

func (ca *CA) count(operation string) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.counts[operation]++
}

func (ca *CA) caCerts(w http.ResponseWriter, _ *http.Request) {
	ca.count("cacerts")
	answer(w, ca.Issuer.Cert, ca.Root.Cert)
}

// enroll wants the password, or a certificate of its CA (RFC 7030, section 3.3).
func (ca *CA) enroll(w http.ResponseWriter, r *http.Request) {
	ca.count("simpleenroll")
	user, password, _ := r.BasicAuth()
	if len(r.TLS.PeerCertificates) == 0 && (user != User || password != Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="EST"`)
		http.Error(w, "wrong user name or password", http.StatusUnauthorized)
		return
	}
	ca.issue(w, r, func(*x509.CertificateRequest) error { return nil })
}

// reenroll wants a request with the names of the certificate of the client
// (RFC 7030, section 4.2.2).
func (ca *CA) reenroll(w http.ResponseWriter, r *http.Request) {
	ca.count("simplereenroll")
	if len(r.TLS.PeerCertificates) == 0 {
		http.Error(w, "a client certificate is required", http.StatusUnauthorized)
		return
	}
	current := r.TLS.PeerCertificates[0]
	ca.mu.Lock()
	revoked := ca.revoked[current.SerialNumber.String()]
	ca.mu.Unlock()
	if revoked {
		http.Error(w, "the certificate has been revoked", http.StatusForbidden)
		return
	}
	ca.issue(w, r, func(csr *x509.CertificateRequest) error {
		if !bytes.Equal(csr.RawSubject, current.RawSubject) || !bytes.Equal(altNames(csr.Extensions), altNames(current.Extensions)) {
			return errors.New("subject and SubjectAltName must be identical to those of the current certificate")
		}
		return nil
	})
}

func altNames(extensions []pkix.Extension) []byte {
	for _, e := range extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			return e.Value
		}
	}
	return nil
}

func (ca *CA) issue(w http.ResponseWriter, r *http.Request, allowed func(*x509.CertificateRequest) error) {
	csr, status, err := readRequest(r)
	if err == nil {
		status, err = http.StatusForbidden, allowed(csr)
	}
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	ca.mu.Lock()
	held := ca.hold > 0
	ca.hold = max(0, ca.hold-1)
	ca.mu.Unlock()
	if held {
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer(w, ca.Issuer.Issue(ca.tb, public{csr.PublicKey}, func(t *x509.Certificate) {
		t.RawSubject = csr.RawSubject
		for _, e := range csr.Extensions {
			if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
				t.ExtraExtensions = append(t.ExtraExtensions, e)
			}
		}
		t.NotAfter = time.Now().Add(ca.life)
	}))
}

// readRequest returns the request, or the status for an invalid one.
func readRequest(r *http.Request) (*x509.CertificateRequest, int, error) {
	if kind := r.Header.Get("Content-Type"); kind != "application/pkcs10" {
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("the media type is %q", kind)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	der, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		return nil, http.StatusBadRequest, errors.New("the request is not base64")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	return csr, http.StatusBadRequest, err
}

type public struct{ key crypto.PublicKey }

func (p public) Public() crypto.PublicKey { return p.key }
func (public) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// answer sends certificates as base64 with line breaks.
func answer(w http.ResponseWriter, certs ...*x509.Certificate) {
	text := base64.StdEncoding.EncodeToString(CertsOnly(certs...))
	var lines strings.Builder
	for len(text) > 76 {
		lines.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	lines.WriteString(text + "\r\n")
	w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	w.Header().Set("Content-Transfer-Encoding", "base64")
	_, _ = io.WriteString(w, lines.String()) // the client may have gone
}

// CertsOnly returns a certs-only CMS message (RFC 8551, section 3.8) in DER.
func CertsOnly(certs ...*x509.Certificate) []byte {
	var all []byte
	for _, c := range certs {
		all = append(all, c.Raw...)
	}
	empty := asn1.RawValue{Tag: asn1.TagSet, IsCompound: true}
	data := marshal(struct {
		Version int
		Digests asn1.RawValue
		Content struct{ Type asn1.ObjectIdentifier }
		Certs   asn1.RawValue
		Signers asn1.RawValue
	}{1, empty, struct{ Type asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}},
		asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: all}, empty})
	return marshal(struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: data}})
}

func marshal(value any) []byte {
	der, err := asn1.Marshal(value)
	if err != nil {
		panic(err) // the values are those above
	}
	return der
}
