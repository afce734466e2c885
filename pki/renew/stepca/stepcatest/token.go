package stepcatest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"
)

// Token returns a one-time token for a certificate with the common name and the
// alternative names, or, without any, with the common name as one.
func (ca *CA) Token(tb testing.TB, provisioner, name string, alternatives ...string) string {
	tb.Helper()
	if len(alternatives) == 0 {
		alternatives = []string{name}
	}
	return ca.sign(tb, "/1.0/sign", provisioner, map[string]any{"sub": name, "sans": alternatives})
}

// Revoke revokes a certificate: it is not renewed any more.
func (ca *CA) Revoke(tb testing.TB, cert *x509.Certificate) {
	tb.Helper()
	serial := cert.SerialNumber.String()
	body, err := json.Marshal(map[string]any{"serial": serial, "passive": true,
		"ott": ca.sign(tb, "/1.0/revoke", Provisioner, map[string]any{"sub": serial})})
	if err != nil {
		tb.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Roots}, DisableKeepAlives: true}}
	resp, err := client.Post(ca.URL+"/1.0/revoke", "application/json", bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		tb.Fatalf("revoke: %s, %v\n%s", resp.Status, err, text)
	}
}

// sign returns a token of a provisioner for a path of the API.
func (ca *CA) sign(tb testing.TB, path, provisioner string, claims map[string]any) string {
	tb.Helper()
	now := time.Now()
	claims["iss"], claims["aud"], claims["jti"] = provisioner, ca.URL+path, rand.Text()
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), now.Add(5*time.Minute).Unix()
	text := encode(tb, map[string]any{"alg": "ES256", "typ": "JWT", "kid": ca.publicJWK()["kid"]}) + "." + encode(tb, claims)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, ca.key, digest[:])
	if err != nil {
		tb.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func encode(tb testing.TB, v any) string {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// publicJWK is the key of the provisioners (RFC 7517) with its thumbprint (RFC
// 7638) as kid.
func (ca *CA) publicJWK() map[string]string {
	point, err := ca.key.PublicKey.Bytes()
	if err != nil {
		panic(err) // a key of P-256
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return map[string]string{"use": "sig", "alg": "ES256", "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": base64.RawURLEncoding.EncodeToString(sum[:])}
}
