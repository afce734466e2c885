package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/signer"
)

// serviceAccountFolder has the files that the kubelet writes for a pod.
const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount/"

// A kubernetes says how to reach the API server and how the agent authenticates to it.
type kubernetes struct {
	url         string
	ca          string // PEM file
	token       string // file with a bearer token; "": none
	certificate string // PEM file of a client certificate; "": none
	key         string // PEM file of its key
}

// withDefaults returns k with the settings of the environment and of a pod for those
// that are missing.
func (k kubernetes) withDefaults(env func(string) string) (kubernetes, error) {
	if k.url == "" {
		host, port := env("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return k, signer.WithHint(front.Usagef("--kubernetes-url is not given, and KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"),
				"outside of a pod, give the URL of the API server, such as https://192.0.2.10:6443")
		}
		k.url = "https://" + net.JoinHostPort(host, port)
	}
	if (k.certificate == "") != (k.key == "") {
		return k, signer.WithHint(front.Usagef("only one of --kubernetes-client-certificate and --kubernetes-client-key is given"),
			"give both; they may name the same file")
	}
	if k.ca == "" && strings.HasPrefix(k.url, "https://") {
		k.ca = serviceAccountFolder + "ca.crt"
	}
	if k.token == "" && k.certificate == "" {
		k.token = serviceAccountFolder + "token"
	}
	return k, nil
}

// maxToken limits the size of a token file, in bytes.
const maxToken = 64 << 10

// readToken returns the content of the token file, which the kubelet renews. It returns
// nil if there is none.
func (k kubernetes) readToken() func() (string, error) {
	if k.token == "" {
		return nil
	}
	return func() (string, error) {
		data, err := keystore.ReadFile(k.token, maxToken)
		if err != nil {
			return "", fmt.Errorf("--kubernetes-token-file %s: %w", k.token, err)
		}
		return string(data), nil
	}
}

// tls returns the TLS configuration from the files.
func (k kubernetes) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if k.ca != "" {
		data, err := keystore.ReadFile(k.ca, keystore.MaxInput)
		if err == nil {
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(data) {
				err = signer.WithHint(errors.New("contains no certificate in PEM"), "give the CA of the API server, such as /etc/kubernetes/pki/ca.crt of a control plane node")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("--kubernetes-ca %s: %w", k.ca, err)
		}
	}
	if k.certificate != "" {
		pair, err := k.keyPair()
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// keyPair reads the client certificate and its key. The files of a kubelet contain
// both, in any order.
func (k kubernetes) keyPair() (none tls.Certificate, err error) {
	certificate, err := keystore.ReadFile(k.certificate, keystore.MaxInput)
	if err != nil {
		return none, fmt.Errorf("--kubernetes-client-certificate %s: %w", k.certificate, err)
	}
	key, err := keystore.ReadFile(k.key, keystore.MaxInput)
	if err != nil {
		return none, fmt.Errorf("--kubernetes-client-key %s: %w", k.key, err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	clear(key)
	if err != nil {
		return none, signer.WithHint(fmt.Errorf("--kubernetes-client-certificate %s and --kubernetes-client-key %s: %w", k.certificate, k.key, err),
			"give PEM files with the certificate and its key; they may be one file")
	}
	return pair, nil
}

// A transport is the transport for the API server. It uses new certificates when their
// files change; if it cannot read them, it continues with the old ones. It is safe for
// concurrent use.
type transport struct {
	settings kubernetes
	log      *slog.Logger

	mu      sync.Mutex
	state   filestate.State
	current *http.Transport
}

// newTransport returns a transport. It does not connect.
func newTransport(k kubernetes, log *slog.Logger) (*transport, error) {
	t := &transport{settings: k, log: log}
	t.state = t.files()
	config, err := k.tls()
	if err != nil {
		return nil, err
	}
	t.current = httpTransport(config)
	return t, nil
}

func (t *transport) files() filestate.State {
	return filestate.Of(t.settings.ca, t.settings.certificate, t.settings.key)
}

// RoundTrip implements [http.RoundTripper]. An error about the certificate of the API
// server names the file of the CA.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.latest().RoundTrip(r)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && t.settings.ca != "" {
		err = fmt.Errorf("%w; the CA is that of --kubernetes-ca %s", err, t.settings.ca)
	}
	return resp, err
}

// latest returns the transport for the files as they are now.
func (t *transport) latest() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	state := t.files()
	if state.Equal(t.state) {
		return t.current
	}
	t.state = state
	config, err := t.settings.tls()
	if err != nil {
		t.log.Warn("the new certificates for the API server are not used", "error", err)
		return t.current
	}
	t.log.Info("new certificates for the API server are used")
	t.current.CloseIdleConnections()
	t.current = httpTransport(config)
	return t.current
}

// CloseIdleConnections closes the connections without requests.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.CloseIdleConnections()
}

// httpTransport returns a transport without a proxy: the API server is in the network of
// the node. With HTTP/2, a connection on which nothing arrives any more is closed after
// 15 seconds.
func httpTransport(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    3 * time.Second,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost:    16,
		MaxConnsPerHost:        64,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// maxProbePause is the maximum pause between two probes. The first one is a second, and it
// doubles.
const maxProbePause = 30 * time.Second

// probe sends probes to the API server until a review has worked or ctx ends, so that the
// log and the status tell of a wrong set-up before a pod asks.
func probe(ctx context.Context, r *podidentity.Reviewer) {
	for pause := time.Second; !r.Status().Worked; pause = min(2*pause, maxProbePause) {
		if r.Probe(ctx) == nil || await.Pause(ctx, pause) != nil {
			return
		}
	}
}
