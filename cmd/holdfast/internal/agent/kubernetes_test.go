package agent

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The agent uses a new client certificate and a new CA when their files change, and the
// old ones while it cannot read them.
func TestTransportReloads(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := signertest.NewCA(t, "clients")
	roots := x509.NewCertPool()
	roots.AddCert(ca.Root())
	var client string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		client = r.TLS.PeerCertificates[0].SerialNumber.String()
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	kubelet := func() (serial string, pair []byte) { // one file, as that of a kubelet
		key := signertest.NewKey(t, "p256")
		leaf := ca.Issue(t, key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		return leaf.SerialNumber.String(), append(signertest.CertPEM(leaf), signertest.KeyPEM(t, key)...)
	}
	serverCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	serial, pair := kubelet()
	pem := write("kubelet.pem", pair)
	var log strings.Builder
	tr, err := newTransport(kubernetes{url: server.URL, ca: write("ca.pem", serverCA), certificate: pem, key: pem}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	get := func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			return err
		}
		resp, err := tr.RoundTrip(r)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	for range 2 {
		if err := get(); err != nil || client != serial {
			t.Errorf("%v, certificate %s, want %s", err, client, serial)
		}
	}
	next, pair := kubelet()
	write("kubelet.pem", pair)
	if err := get(); err != nil || client != next {
		t.Errorf("after a change: %v, certificate %s, want %s", err, client, next)
	}
	write("kubelet.pem", []byte("damaged"))
	for range 3 {
		if err := get(); err != nil || client != next {
			t.Errorf("with a damaged file: %v, certificate %s, want %s", err, client, next)
		}
	}
	if n := strings.Count(log.String(), "not used"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, &log)
	}
	write("kubelet.pem", pair)
	write("ca.pem", signertest.CertPEM(ca.Root()))
	var unknown x509.UnknownAuthorityError
	if err := get(); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "--kubernetes-ca "+dir) {
		t.Errorf("with another CA: %v", err)
	}
}

func TestKubernetesDefaults(t *testing.T) {
	pod := map[string]string{"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
	folder := serviceAccountFolder
	for _, test := range []struct {
		name        string
		given, want kubernetes
		env         map[string]string
		ok          bool
	}{
		{"in a pod", kubernetes{}, kubernetes{url: "https://[fd00::1]:443", ca: folder + "ca.crt", token: folder + "token"}, pod, true},
		{"on a host", kubernetes{url: "https://a:6443", ca: "ca", certificate: "c", key: "k"}, kubernetes{url: "https://a:6443", ca: "ca", certificate: "c", key: "k"}, nil, true},
		{"both", kubernetes{url: "https://a:6443", ca: "ca", certificate: "c", key: "k", token: "t"}, kubernetes{url: "https://a:6443", ca: "ca", certificate: "c", key: "k", token: "t"}, nil, true},
		{"nothing", kubernetes{}, kubernetes{}, nil, false},
		{"no key", kubernetes{certificate: "c"}, kubernetes{}, pod, false},
		{"no certificate", kubernetes{key: "k"}, kubernetes{}, pod, false},
	} {
		got, err := test.given.withDefaults(func(name string) string { return test.env[name] })
		var usage *front.UsageError
		if (err == nil) != test.ok || test.ok && got != test.want || !test.ok && !errors.As(err, &usage) {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
	}
}

// Errors name the file. A token does not appear in them.
func TestKubernetesFiles(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for _, k := range []kubernetes{{ca: missing}, {ca: empty}, {certificate: missing, key: missing}, {certificate: empty, key: missing}, {certificate: empty, key: empty}} {
		if _, err := newTransport(k, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), dir) || signer.Hint(err) == "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v, hint %q", k, err, signer.Hint(err))
		}
	}
	if (kubernetes{}).readToken() != nil {
		t.Error("there is a token without a file")
	}
	if _, err := (kubernetes{token: missing}).readToken()(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if token, err := (kubernetes{token: empty}).readToken()(); err != nil || token != "" {
		t.Errorf("%q, %v", token, err)
	}
}
