//go:build unix

package doctor_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A server answers every request, with the time that its clock shows.
func server(t *testing.T, offset time.Duration) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(offset).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusNotFound)
	}))
	ca := signertest.NewCA(t, "inspecting proxy")
	key := signertest.NewKey(t, "p256")
	cert := ca.Issue(t, key, serverCertificate)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw, ca.Cert.Raw}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func serverCertificate(c *x509.Certificate) {
	c.DNSNames = []string{"localhost"}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
}

// bundle returns the root of the server's certificate in PEM.
func bundle(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.TLS.Certificates[0].Certificate[1]}))
}

const online = goodFlags + " --online --endpoint {url} --timeout 60s"

// Faults of the connection. The key does not matter.
func TestNetwork(t *testing.T) {
	for _, c := range []struct {
		setup
		offset time.Duration
		trust  bool // the CA of the server
	}{
		{setup: setup{name: "unknown CA", args: online, check: "network", seen: "certificate signed by unknown authority", command: "curl -vI", code: 7}},
		{setup: setup{name: "slow clock", args: online + " --ca-bundle {dir}/server.pem", check: "clock", seen: "10 minutes behind that of localhost", command: "set-ntp", code: 1}, trust: true, offset: 10 * time.Minute},
		{setup: setup{name: "fast clock", args: online + " --ca-bundle {dir}/server.pem", check: "clock", seen: "10 minutes ahead of that of localhost", command: "set-ntp", code: 1}, trust: true, offset: -10 * time.Minute},
		{setup: setup{name: "other server", args: online + " --ca-bundle {dir}/server.pem", check: "session", seen: "status 404", command: "", code: 7}, trust: true},
		{setup: setup{name: "proxy that does not answer", args: online + " --ca-bundle {dir}/server.pem", env: []string{"HTTPS_PROXY=http://{closed}"},
			check: "network", seen: "proxyconnect", command: "curl -vI", code: 7}, trust: true},
		{setup: setup{name: "endpoint of a variable", args: goodFlags + " --online --timeout 60s", env: []string{"AWS_ENDPOINT_URL=http://{closed}"},
			check: "network", seen: "the endpoint is from AWS_ENDPOINT_URL", command: "unset AWS_ENDPOINT_URL", code: 7}},
		{setup: setup{name: "name that does not exist", args: strings.Replace(online, "{url}", "https://doctor.invalid", 1), check: "network", seen: "doctor.invalid", command: "curl -vI", code: 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			remote := server(t, c.offset)
			s.url = strings.Replace(remote.URL, "127.0.0.1", "localhost", 1)
			if len(c.env) > 0 {
				s.url = "https://rolesanywhere.example" // a local address would not use the proxy
				c.env = []string{strings.Replace(c.env[0], "{closed}", closedAddress(t), 1)}
			}
			if c.trust {
				s.write("server.pem", bundle(remote))
			}
			s.check(c.setup)
			if c.name == "other server" {
				lines := s.examine(c.setup).of("network")
				if len(lines) != 1 || lines[0].State != "ok" || !strings.Contains(lines[0].Seen, `issued by "CN=inspecting proxy"`) {
					t.Errorf("%+v", lines)
				}
			}
		})
	}
}

// closedAddress returns an address at which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Without --online doctor sends nothing.
func TestOffline(t *testing.T) {
	connected := make(chan struct{}, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.Close()
			connected <- struct{}{}
		}
	}()
	s := newScene(t)
	s.url = "http://" + l.Addr().String()
	s.checkGood(setup{args: goodFlags + " --endpoint {url}", env: []string{"HTTPS_PROXY={url}", "HTTP_PROXY={url}"}})
	select {
	case <-connected:
		t.Error("a connection was made")
	default:
	}
}
