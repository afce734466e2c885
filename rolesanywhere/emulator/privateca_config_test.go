package emulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Roles, a CA for short-lived certificates, rates, and a CA that has expired.
func TestLimitsOfPrivateCA(t *testing.T) {
	csr := newCSR(t, ecKey(t, elliptic.P256()), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}})
	long := caTemplate("Root")
	long.NotAfter = testNow.AddDate(1, 0, 0)
	now := testNow
	for name, tt := range map[string]struct {
		change func(*Config)
		in     map[string]any
		code   string
	}{
		"another role": {func(cfg *Config) {
			cfg.Roles = []Role{{}, {ARN: baseRole}}
			cfg.PrivateCA.RoleARNs = []string{baseRole}
		}, input(csr), "AccessDeniedException"},
		"this role":   {func(cfg *Config) { cfg.PrivateCA.RoleARNs = []string{testRole} }, input(csr), ""},
		"short-lived": {func(cfg *Config) { cfg.PrivateCA.ShortLived = true }, input(csr, "Validity", map[string]any{"Type": "DAYS", "Value": 8}), "ValidationException"},
		"seven days":  {func(cfg *Config) { cfg.PrivateCA.ShortLived = true }, input(csr, "Validity", map[string]any{"Type": "DAYS", "Value": 7}), ""},
		"expired":     {func(cfg *Config) { cfg.Now = func() time.Time { return now } }, input(csr), "InvalidStateException"},
	} {
		w := &testEnv{ca: newRoot(t, long)}
		w.client = w.ca.issue(t, leafTemplate("client"))
		cfg := Config{PrivateCA: PrivateCA{Key: w.ca.key}}
		tt.change(&cfg)
		w.start(t, cfg)
		c := issuedCredentials(w.do(t, call{}).session(t))
		call := stsCall{}
		if name == "expired" {
			w.server.ca.cert.NotAfter = testNow.Add(-time.Second)
		}
		if got := w.pca(t, c, "IssueCertificate", tt.in, call); got.Type != tt.code {
			t.Errorf("%s: %+v, want %s", name, got, tt.code)
		}
	}
	w, c := newPrivateCA(t, func(cfg *Config) { cfg.Rates = map[string]float64{"IssueCertificate": 1} })
	for i, code := range []string{"", "ThrottlingException"} {
		if got := w.pca(t, c, "IssueCertificate", input(csr), stsCall{}); got.Type != code {
			t.Errorf("call %d: %+v, want %s", i, got, code)
		}
	}
}

func TestConfigOfPrivateCA(t *testing.T) {
	root := newRoot(t, caTemplate("Root"))
	der, err := x509.MarshalPKCS8PrivateKey(root.key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(root.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	file := func(kind string, der []byte) PrivateCA {
		path := filepath.Join(t.TempDir(), "key.pem")
		data := append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return PrivateCA{KeyFile: path}
	}
	for name, tt := range map[string]struct {
		ca  PrivateCA
		err string
	}{
		"none":                  {PrivateCA{}, ""},
		"PKCS #8":               {file("PRIVATE KEY", der), ""},
		"SEC 1":                 {file("EC PRIVATE KEY", sec1), ""},
		"encrypted":             {file("ENCRYPTED PRIVATE KEY", der), "is encrypted"},
		"damaged":               {file("PRIVATE KEY", der[:20]), "is damaged"},
		"a certificate":         {file("CERTIFICATE", root.cert.Raw), "contains no private key"},
		"no file":               {PrivateCA{KeyFile: filepath.Join(t.TempDir(), "none")}, "no such file"},
		"no key":                {PrivateCA{ShortLived: true}, "has no key"},
		"a key of nobody":       {PrivateCA{Key: ecKey(t, elliptic.P256())}, "belongs to no certificate"},
		"another region":        {PrivateCA{Key: root.key, ARN: strings.Replace(testPrivateCA, "us-east-1", "us-west-2", 1)}, "is not the ARN"},
		"a role that is absent": {PrivateCA{Key: root.key, RoleARNs: []string{baseRole}}, "is not configured"},
	} {
		s, err := New(Config{TrustAnchors: []TrustAnchor{{Certificates: root.pem()}}, PrivateCA: tt.ca})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (s.PrivateCAARN() != "") != (name != "none") {
			t.Errorf("%s: %s", name, s.PrivateCAARN())
		}
	}
}
