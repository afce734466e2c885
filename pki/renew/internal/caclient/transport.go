package caclient

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
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

// transport returns an HTTP transport for one identity.
func (c *Client) transport(ctx context.Context, identity signer.Signer, device *recorder) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.config.Roots}
	if identity != nil {
		cert, err := signer.TLSCertificate(signer.WithContext(ctx, identity))
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
	return r.record(func() ([]byte, error) { return r.Signer.Sign(rand, digest, opts) })
}

func (r *recorder) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return r.record(func() ([]byte, error) { return crypto.SignMessage(r.Signer, rand, message, opts) })
}

func (r *recorder) record(sign func() ([]byte, error)) (sig []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sig, r.err = sign()
	return sig, r.err
}

// failure returns the error of the last signature. It waits for one that is being
// made, which ends soon after the context of the request.
func (r *recorder) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
