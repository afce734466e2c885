package awssdk_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A cloud is an emulator that is called without a network, so that tests can use it
// in the bubbles of synctest.
type cloud struct {
	*emulator.Server
	events   events
	down     atomic.Bool  // Roles Anywhere cannot be reached
	requests atomic.Int32 // to Roles Anywhere
}

const endpoint = "http://127.0.0.1:1" // nothing listens there

// startCloud makes an emulator that trusts ca.
func startCloud(t *testing.T, ca *signertest.CA, faults emulator.Faults) *cloud {
	t.Helper()
	c := &cloud{}
	server, err := emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(ca.Root())}},
		Faults:       faults,
		Events:       &c.events,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Server = server
	return c
}

// RoundTrip makes a cloud an [http.RoundTripper].
func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/sessions" {
		c.requests.Add(1)
		if c.down.Load() {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
	}
	r = r.Clone(r.Context())
	r.Host, r.RequestURI, r.RemoteAddr = r.URL.Host, r.URL.RequestURI(), "127.0.0.1:2"
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if r.ContentLength > 0 { // package http writes this field, and its server reads it
		r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Result(), nil
}

// Do makes a cloud an [aws.HTTPClient].
func (c *cloud) Do(r *http.Request) (*http.Response, error) { return c.RoundTrip(r) }

// config returns the Config of a client of c, without a Signer.
func (c *cloud) config() rolesanywhere.Config {
	return rolesanywhere.Config{
		TrustAnchorARN: c.TrustAnchorARNs()[0], ProfileARN: c.ProfileARNs()[0], RoleARN: c.RoleARNs()[0],
		Endpoint: endpoint, Transport: c,
	}
}

// sts returns a client of the STS of c.
func (c *cloud) sts(provider aws.CredentialsProvider) *sts.Client {
	return sts.NewFromConfig(aws.Config{Region: "us-east-1", Credentials: provider, BaseEndpoint: aws.String(endpoint), HTTPClient: c})
}

// sessions returns how many sessions were created.
func (c *cloud) sessions() int { return c.events.count("CreateSession") }

// events are the records of CloudTrail.
type events struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(p)
}

func (e *events) count(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Count(e.text.String(), `"eventName":"`+name+`"`)
}

// identity returns a key with a certificate of ca.
func identity(t *testing.T, ca *signertest.CA) signer.Signer {
	t.Helper()
	key := signertest.Key(t, "p256")
	s, err := signer.Bind(signer.FromKey(key), append(ca.Chain(), ca.Issue(t, key, nil)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A source is a credentials.Source.
type source func(ctx context.Context) (credentials.Credentials, error)

func (s source) Credentials(ctx context.Context) (credentials.Credentials, error) { return s(ctx) }
