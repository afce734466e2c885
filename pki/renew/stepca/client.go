package stepca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// Time limits for the parts of one request. The TLS handshake has none of its
// own, because the device that signs it can be slow.
const (
	connectTimeout = 10 * time.Second
	headerTimeout  = 20 * time.Second
)

// maxAnswer bounds the body of an answer, in bytes. A regular one has some KiB.
const maxAnswer = 1 << 20

// A request is one POST to the API.
type request struct {
	path   string
	client signer.Signer     // authenticates by TLS; borrowed; nil: none
	bearer string            // the token in the header; "": none
	body   map[string]string // nil: none
	secret string            // that the body contains; "": none
}

// post sends r and returns the certificates of the answer. It follows no
// redirect.
func (c *CA) post(ctx context.Context, r request) ([]*x509.Certificate, error) {
	// A device that fails, such as for a wrong PIN, is not a fault of the CA.
	device := &recorder{}
	transport, err := c.transport(ctx, r.client, device)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	body := []byte{}
	if r.body != nil {
		if body, err = json.Marshal(r.body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.JoinPath(r.path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Holdfast")
	if r.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.bearer)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if err := device.failure(); err != nil {
			return nil, err
		}
		return nil, c.unreachable(ctx, r, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, c.unreachable(ctx, r, err)
	}
	return c.read(r, resp, data)
}

// transport returns an HTTP transport for one request.
func (c *CA) transport(ctx context.Context, client signer.Signer, device *recorder) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.config.Roots}
	if client != nil {
		cert, err := signer.TLSCertificate(signer.WithContext(ctx, client))
		if err != nil {
			return nil, err
		}
		if withoutPSS(cert) {
			config.MaxVersion = tls.VersionTLS12
		}
		device.Signer = cert.PrivateKey.(crypto.Signer) // by TLSCertificate
		cert.PrivateKey = device
		// It is sent even if the server names other issuers: the alert of
		// the server then says that it is not accepted.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	t := &http.Transport{
		TLSClientConfig:        config,
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    2 * c.config.Timeout, // the context ends before
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true, // a connection has the identity of one request
		DisableCompression:     true, // answers are small; this prevents decompression bombs
	}
	if !c.config.NoProxy {
		t.Proxy = http.ProxyFromEnvironment
		t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			return &proxyError{proxy.Host, resp.StatusCode}
		}
	}
	return t, nil
}

// withoutPSS reports whether the key is an RSA key that makes no PSS signatures,
// which TLS 1.3 needs (RFC 8446, section 4.2.3).
func withoutPSS(cert tls.Certificate) bool {
	_, isRSA := cert.Leaf.PublicKey.(*rsa.PublicKey)
	pss := []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}
	return isRSA && len(cert.SupportedSignatureAlgorithms) > 0 &&
		!slices.ContainsFunc(cert.SupportedSignatureAlgorithms, func(s tls.SignatureScheme) bool { return slices.Contains(pss, s) })
}

// A recorder keeps the error of a failed signature, of which crypto/tls keeps
// only the text.
type recorder struct {
	crypto.Signer
	mu  sync.Mutex
	err error
}

func (r *recorder) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sig, err := r.Signer.Sign(rand, digest, opts)
	r.err = err
	return sig, err
}

// failure returns the error of the last signature. It waits for one that is being
// made, which ends soon after the context of the request.
func (r *recorder) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
