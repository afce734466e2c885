// Package vaulttest runs a server for tests that has the parts of Vault's API that
// package vault needs. It was written from Vault's documentation and source, and
// refuses what they refuse. It is not Vault.
package vaulttest

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// What a server knows: a role of both mounts, which allows one common name and the
// names below one domain.
const (
	Role   = "app"
	Name   = "app-17"
	Domain = "example.com"
)

// A CA is a server. Its methods are safe for concurrent use.
type CA struct {
	URL   string
	Roots *x509.CertPool
	Root  *signertest.CA

	// Issuer issues the certificates. A test can use it for certificates that
	// the server would not issue, such as one that has expired.
	Issuer *signertest.CA

	tb                    testing.TB
	server                *httptest.Server
	life                  time.Duration
	namespace, pki, login string

	mu     sync.Mutex
	sealed bool
	tokens map[string]bool // the valid ones
}

// Start starts a server that is stopped at the end of the test. Its mounts are at
// the default paths, and its certificates are valid for life.
func Start(tb testing.TB, life time.Duration) *CA { return StartAt(tb, life, "", "pki", "cert") }

// StartAt is [Start] with other mounts. Only a request with the namespace finds
// them.
func StartAt(tb testing.TB, life time.Duration, namespace, pki, login string) *CA {
	tb.Helper()
	root := signertest.NewCA(tb, "Root of Vault")
	ca := &CA{Root: root, Issuer: root.Intermediate(tb, "Issuer of Vault"), Roots: x509.NewCertPool(), tb: tb, life: life,
		namespace: namespace, pki: pki, login: login, tokens: map[string]bool{}}
	ca.Roots.AddCert(root.Cert)
	ca.server = httptest.NewUnstartedServer(http.HandlerFunc(ca.serve))
	ca.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	key := signertest.NewKey(tb, "p256")
	cert := root.Issue(tb, key, func(t *x509.Certificate) {
		t.Subject = pkix.Name{CommonName: "Vault"}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	// Vault asks for a certificate, and only the auth method verifies it.
	ca.server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, ClientAuth: tls.RequestClientCert}
	ca.server.StartTLS()
	tb.Cleanup(ca.server.Close)
	ca.URL = ca.server.URL
	return ca
}

// Stop stops the server.
func (ca *CA) Stop() { ca.server.Close() }

// Seal makes the server answer every request with 503, or no more.
func (ca *CA) Seal(sealed bool) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.sealed = sealed
}

// Token returns a new token that may sign.
func (ca *CA) Token() string {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails
	token := "hvs." + hex.EncodeToString(random)
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.tokens[token] = true
	return token
}

// Tokens returns how many tokens are valid.
func (ca *CA) Tokens() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return len(ca.tokens)
}

func (ca *CA) valid(token string) bool {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.tokens[token]
}

func (ca *CA) revoke(token string) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	delete(ca.tokens, token)
}

func (ca *CA) isSealed() bool {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.sealed
}

func fail(w http.ResponseWriter, status int, messages ...string) {
	if messages == nil {
		messages = []string{}
	}
	send(w, status, map[string]any{"errors": messages})
}

func send(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client may have gone
}

func (ca *CA) serve(w http.ResponseWriter, r *http.Request) {
	token := r.Header.Get("X-Vault-Token")
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	role, signs := strings.CutPrefix(path, ca.pki+"/sign/")
	switch {
	case ca.isSealed():
		fail(w, http.StatusServiceUnavailable, "Vault is sealed")
	case r.Method != http.MethodPost:
		fail(w, http.StatusMethodNotAllowed, "unsupported operation")
	case strings.Trim(r.Header.Get("X-Vault-Namespace"), "/") != ca.namespace:
		fail(w, http.StatusNotFound)
	case path == "auth/"+ca.login+"/login":
		ca.logIn(w, r)
	case !ca.valid(token):
		fail(w, http.StatusForbidden, "permission denied")
	case path == "auth/token/revoke-self":
		ca.revoke(token)
		w.WriteHeader(http.StatusNoContent)
	case signs:
		ca.sign(w, r, role)
	default:
		fail(w, http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", path))
	}
}

func (ca *CA) logIn(w http.ResponseWriter, r *http.Request) {
	var body struct{ Name string }
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	certs := r.TLS.PeerCertificates
	if body.Name != Role {
		fail(w, http.StatusBadRequest, "no chain matching all constraints could be found for this login certificate")
		return
	}
	if len(certs) == 0 || !ca.trusts(certs) {
		fail(w, http.StatusBadRequest, "invalid certificate or no client certificate supplied")
		return
	}
	send(w, http.StatusOK, map[string]any{"auth": map[string]any{"client_token": ca.Token(), "policies": []string{"default", Role}, "lease_duration": 3600}})
}

func (ca *CA) trusts(certs []*x509.Certificate) bool {
	issuers := x509.NewCertPool()
	for _, c := range certs[1:] {
		issuers.AddCert(c)
	}
	issuers.AddCert(ca.Issuer.Cert)
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: ca.Roots, Intermediates: issuers, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

func (ca *CA) sign(w http.ResponseWriter, r *http.Request, role string) {
	var body struct{ CSR string }
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	if role != Role {
		fail(w, http.StatusBadRequest, "unknown role: "+role)
		return
	}
	block, _ := pem.Decode([]byte(body.CSR))
	if block == nil {
		fail(w, http.StatusBadRequest, "csr contains no data")
		return
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "certificate request could not be parsed: "+err.Error())
		return
	}
	if err := allowed(csr); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	// The names come from the request (use_csr_common_name, use_csr_sans); the
	// rest of the subject is the role's.
	cert := ca.Issuer.Issue(ca.tb, public{csr.PublicKey}, func(t *x509.Certificate) {
		t.Subject = pkix.Name{CommonName: csr.Subject.CommonName}
		t.DNSNames, t.URIs, t.IPAddresses, t.EmailAddresses = csr.DNSNames, csr.URIs, csr.IPAddresses, csr.EmailAddresses
		t.NotAfter = time.Now().Add(ca.life)
	})
	send(w, http.StatusOK, map[string]any{"data": map[string]any{
		"certificate": inPEM(cert), "issuing_ca": inPEM(ca.Issuer.Cert), "ca_chain": []string{inPEM(ca.Issuer.Cert), inPEM(ca.Root.Cert)},
		"expiration": cert.NotAfter.Unix(), "serial_number": cert.SerialNumber.String(),
	}, "warnings": nil})
}

func allowed(csr *x509.CertificateRequest) error {
	isAllowed := func(name string) bool { return name == Name || strings.HasSuffix(name, "."+Domain) }
	if name := csr.Subject.CommonName; !isAllowed(name) {
		return fmt.Errorf("common name %s not allowed by this role", name)
	}
	if i := slices.IndexFunc(csr.DNSNames, func(name string) bool { return !isAllowed(name) }); i >= 0 {
		return fmt.Errorf("subject alternate name %s not allowed by this role", csr.DNSNames[i])
	}
	return nil
}

// inPEM returns a certificate as Vault writes it, without a line break at the end.
func inPEM(c *x509.Certificate) string {
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
}

type public struct{ key crypto.PublicKey }

func (p public) Public() crypto.PublicKey { return p.key }
func (public) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
