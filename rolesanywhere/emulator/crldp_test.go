package emulator

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newPointEnv returns an emulator whose trust anchor checks distribution points, and
// whose client has these.
func newPointEnv(t *testing.T, cfg Config, points ...string) *testEnv {
	t.Helper()
	w := newTestEnv(t, cfg)
	w.must(t, "UpdateTrustAnchor", testAnchor, object{"crlDpRevocationEnabled": true})
	w.usePoints(t, points...)
	return w
}

func (w *testEnv) usePoints(t *testing.T, points ...string) {
	t.Helper()
	template := leafTemplate("client")
	template.CRLDistributionPoints = points
	w.client = w.ca.issue(t, template)
}

func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func serveBytes(t *testing.T, b []byte) string {
	t.Helper()
	return serve(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(b) })
}

func fileURL(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

func TestDistributionPoints(t *testing.T) {
	w := newPointEnv(t, Config{})
	good, bad := w.ca.crl(t, 1), w.ca.crl(t, 1, 0xabc)
	goodURL := serveBytes(t, good)
	file := filepath.Join(t.TempDir(), "a b.crl")
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := write(t, t.TempDir(), "empty.crl", nil)
	u, err := url.Parse(goodURL)
	if err != nil {
		t.Fatal(err)
	}
	outdated := w.ca.revoke(t, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: testNow.Add(-2 * time.Hour), NextUpdate: testNow.Add(-time.Hour)})
	var reached atomic.Bool
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	const revoked = "revoked" // instead of a reason
	for _, tt := range []struct {
		name   string
		points []string
		reason string // in the log; "": accepted
	}{
		{"no distribution point", nil, ""},
		{"not revoked", []string{goodURL}, ""},
		{"not revoked, PEM", []string{serveBytes(t, w.ca.crlPEM(t))}, ""},
		{"localhost", []string{"http://localhost:" + u.Port()}, ""},
		{"revoked", []string{serveBytes(t, bad)}, revoked},
		{"file", []string{fileURL(file)}, revoked},
		{"one of two is usable", []string{"ldap://ca.example/", goodURL}, ""},
		{"one of two revokes", []string{goodURL, fileURL(file)}, revoked},
		{"not signed by the issuer", []string{serveBytes(t, newRoot(t, caTemplate("Root")).crl(t))}, "not signed by the issuer"},
		{"outdated", []string{serveBytes(t, outdated)}, "outdated"},
		{"no CRL", []string{serveBytes(t, []byte("x"))}, "x509"},
		{"too large", []string{serveBytes(t, make([]byte, 2*maxCRL))}, "300001 bytes"},
		{"not found", []string{serve(t, http.NotFound)}, "status 404"},
		{"redirect", []string{serve(t, func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, elsewhere, http.StatusFound) })}, "status 302"},
		{"nobody listens", []string{"http://127.0.0.1:1/"}, "127.0.0.1:1"},
		{"missing file", []string{fileURL(file + "x")}, "a b.crlx"},
		{"empty file", []string{fileURL(empty)}, "the file is empty"},
		{"folder", []string{fileURL(filepath.Dir(file))}, "not a regular file"},
		{"file of another machine", []string{"file://ca.example/x"}, "only file: URLs"},
		{"other machine", []string{"http://192.0.2.1/"}, "only file: URLs"},
		{"other name", []string{"http://ca.example/"}, "only file: URLs"},
		{"name like localhost", []string{"http://localhost.example/"}, "only file: URLs"},
		{"unspecified address", []string{"http://0.0.0.0:" + u.Port()}, "only file: URLs"},
		{"user", []string{"http://a:b@127.0.0.1/"}, "only file: URLs"},
		{"HTTPS", []string{"https://127.0.0.1/"}, "only file: URLs"},
		{"LDAP", []string{"ldap://127.0.0.1/"}, "only file: URLs"},
		{"usable after too many", []string{"ldap:1", "ldap:2", "ldap:3", "ldap:4", goodURL}, "ldap:4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.usePoints(t, tt.points...)
			got := w.do(t, call{})
			switch tt.reason {
			case "":
				got.session(t)
			case revoked:
				checkRefused(t, got, http.StatusForbidden, codeAccessDenied, fmt.Sprintf(msgRevoked, "0abc", w.ca.cert.Subject))
			default:
				checkRefused(t, got, http.StatusForbidden, codeAccessDenied, msgRevocation)
				var refused *refusal
				if _, err := w.server.checkPoints(t.Context(), [][]*x509.Certificate{{w.client.cert, w.ca.cert}}, testNow); !errors.As(err, &refused) ||
					refused.cause == nil || !strings.Contains(refused.cause.Error(), tt.reason) {
					t.Errorf("the reason is %v, want %q", err, tt.reason)
				}
			}
		})
	}
	if reached.Load() {
		t.Error("a redirect was followed")
	}
	w.must(t, "UpdateTrustAnchor", testAnchor, object{"crlDpRevocationEnabled": false})
	w.usePoints(t, fileURL(file))
	w.do(t, call{}).session(t)
}

// The intermediate certificates of the chain are checked too.
func TestDistributionPointsOfIntermediate(t *testing.T) {
	w := newPointEnv(t, Config{})
	template := caTemplate("Intermediate")
	template.SerialNumber = big.NewInt(7)
	template.CRLDistributionPoints = []string{serveBytes(t, w.ca.crl(t, 7))}
	inter := w.ca.issue(t, template)
	w.client = inter.issue(t, leafTemplate("client"))
	checkRefused(t, w.do(t, call{chain: []*x509.Certificate{w.client.cert, inter.cert}}), http.StatusForbidden, codeAccessDenied, fmt.Sprintf(msgRevoked, "07", w.ca.cert.Subject))
}

// A server that does not answer costs its client the request and nobody else.
func TestHangingDistributionPoint(t *testing.T) {
	asked := make(chan struct{}, 1)
	stop := make(chan struct{})
	hanging := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusOK)
		rw.(http.Flusher).Flush()
		asked <- struct{}{}
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	w := newPointEnv(t, Config{}, hanging)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := w.server.checkPoints(ctx, [][]*x509.Certificate{{w.client.cert, w.ca.cert}}, testNow)
		done <- err
	}()
	<-asked
	w.must(t, "DisableProfile", testProfile, nil) // nothing is locked
	cancel()
	if err := <-done; !errors.As(err, new(*refusal)) {
		t.Errorf("error is %v", err)
	}
}

// A CRL is used for some seconds of the emulator's clock.
func TestDistributionPointCache(t *testing.T) {
	var now, requests atomic.Int64
	now.Store(testNow.Unix())
	w := newTestEnv(t, Config{})
	list := w.ca.crl(t)
	point := serve(t, func(rw http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = rw.Write(list)
	})
	w.usePoints(t, point)
	chain := [][]*x509.Certificate{{w.client.cert, w.ca.cert}}
	for _, tt := range []struct {
		after time.Duration
		want  int64
	}{{0, 1}, {0, 1}, {pointsAge - time.Second, 1}, {pointsAge, 2}, {pointsAge, 2}, {0, 3}} {
		if _, err := w.server.checkPoints(t.Context(), chain, testNow.Add(tt.after)); err != nil {
			t.Error(err)
		}
		if got := requests.Load(); got != tt.want {
			t.Errorf("after %v: %d requests, want %d", tt.after, got, tt.want)
		}
	}
	for i := range 2 * maxCachedPoints {
		if _, err := w.server.points.get(t.Context(), fmt.Sprintf("%s/%d", point, i), testNow); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.server.points.lists); n > maxCachedPoints {
		t.Errorf("the cache has %d lists", n)
	}
}

// Only loopback addresses are connected to, whatever a name resolves to.
func TestDialsOnlyLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"192.0.2.1:80": false, "0.0.0.0:80": false, "[::]:80": false, "[fe80::1%lo]:80": false, "169.254.169.254:80": false, "x": false,
	} {
		if err := checkLoopback("tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A certificate whose distribution points have only names of directories is not one
// without distribution points.
func TestDistributionPointWithoutURL(t *testing.T) {
	w := newPointEnv(t, Config{})
	template := leafTemplate("client")
	// One DistributionPoint, whose fullName is an empty directoryName.
	template.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 31}, Value: []byte{0x30, 0x0a, 0x30, 0x08, 0xa0, 0x06, 0xa0, 0x04, 0xa4, 0x02, 0x30, 0x00}}}
	w.client = w.ca.issue(t, template)
	checkRefused(t, w.do(t, call{}), http.StatusForbidden, codeAccessDenied, msgRevocation)
}

// The resources after the distribution points were read decide.
func TestChangeDuringDistributionPoint(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(t *testing.T, w *testEnv)
		message string
	}{
		"nothing":         {func(*testing.T, *testEnv) {}, ""},
		"anchor disabled": {func(t *testing.T, w *testEnv) { w.must(t, "DisableTrustAnchor", testAnchor, nil) }, fmt.Sprintf(msgAnchorDisabled, testAnchor)},
		"anchor deleted":  {func(t *testing.T, w *testEnv) { w.must(t, "DeleteTrustAnchor", testAnchor, nil) }, fmt.Sprintf(msgNotFound, testAnchor)},
		"anchor replaced": {func(t *testing.T, w *testEnv) {
			w.must(t, "UpdateTrustAnchor", testAnchor, object{"source": anchorInput(newRoot(t, caTemplate("Root")).pem())["source"]})
		}, msgUntrusted},
		"revoked": {func(t *testing.T, w *testEnv) {
			w.must(t, "ImportCrl", "", w.crlInput(t, testAnchor, "crlData", w.ca.crlPEM(t, w.client.cert.SerialNumber.Int64())))
		}, fmt.Sprintf(msgRevoked, "0abc", "CN=Root,O=Test")},
		"profile disabled": {func(t *testing.T, w *testEnv) { w.must(t, "DisableProfile", testProfile, nil) }, fmt.Sprintf(msgDisabled, testProfile)},
		"role changed": {func(t *testing.T, w *testEnv) {
			w.mustIAM(t, "UpdateAssumeRolePolicy", "RoleName", "demo", "PolicyDocument", trustRoot)
		}, fmt.Sprintf(msgAssume, testRole)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPointEnv(t, Config{})
			list := w.ca.crl(t)
			w.usePoints(t, serve(t, func(rw http.ResponseWriter, _ *http.Request) {
				tt.change(t, w)
				_, _ = rw.Write(list)
			}))
			if got := w.do(t, call{}); got.message != tt.message {
				t.Errorf("%d %s, want %q", got.status, got.message, tt.message)
			}
		})
	}
}

// A request waits for a file only until its context ends.
func TestDistributionPointFilesHang(t *testing.T) {
	for range cap(pointFiles.channel()) {
		pointFiles.channel() <- struct{}{}
	}
	defer func() {
		for range cap(pointFiles.channel()) {
			<-pointFiles.channel()
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readPoint(ctx, fileURL(filepath.Join(t.TempDir(), "x"))); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
