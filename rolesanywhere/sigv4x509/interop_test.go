package sigv4x509_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestOpenSSLVerifies(t *testing.T) {
	openssl := signertest.Require(t, "openssl", "openssl")
	for _, kind := range []string{"rsa2048", "p256", "p384", "p521"} {
		t.Run(kind, func(t *testing.T) {
			key := signertest.Key(t, kind)
			r := newRequest(t)
			sign(t, r, key, newChain(t, key, 1))
			signature, err := hex.DecodeString(field(t, r, "Signature"))
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			write := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			verify := func(message string) error {
				out, err := exec.CommandContext(t.Context(), openssl, "dgst", "-sha256",
					"-verify", write("public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
					"-signature", write("signature", signature), write("message", []byte(message))).CombinedOutput()
				t.Logf("openssl: %s", out)
				return err
			}
			message := stringToSign(t, r)
			if err := verify(message); err != nil {
				t.Error(err)
			}
			if err := verify(message + "\n"); err == nil {
				t.Error("openssl accepts the signature for a different message")
			}
		})
	}
}

// A signature stays valid when net/http sends the request.
func TestOverHTTP(t *testing.T) {
	key := signertest.Key(t, "p256")
	chain := newChain(t, key, 2)
	for _, http2 := range []bool{false, true} {
		verified := make(chan error, 1)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			received, err := io.ReadAll(r.Body)
			if err == nil {
				_, err = sigv4x509.Verify(r, received)
			}
			verified <- err
		}))
		server.EnableHTTP2 = http2
		server.StartTLS()
		t.Cleanup(server.Close)
		for _, target := range []string{"", "/", "/sessions?b=2&a=1&a=%C3%A9+%2B&c", "/a%20b/%2F/~*?x=%7E"} {
			r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+target, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json;  charset=utf-8 ")
			sign(t, r, key, chain)
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if err := <-verified; err != nil {
				t.Errorf("HTTP/2 %t, %q: %v", http2, target, err)
			}
		}
	}
}
