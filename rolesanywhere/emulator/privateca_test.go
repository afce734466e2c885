package emulator

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

var testPrivateCA = DefaultPrivateCAARN(DefaultRegion, DefaultAccount)

// newPrivateCA returns an emulator with a private CA, and credentials for it.
func newPrivateCA(t *testing.T, change func(*Config)) (*testEnv, credentials.Credentials) {
	t.Helper()
	w := &testEnv{ca: newRoot(t, caTemplate("Root"))}
	w.client = w.ca.issue(t, leafTemplate("client"))
	cfg := Config{PrivateCA: PrivateCA{Key: w.ca.key}}
	if change != nil {
		change(&cfg)
	}
	w.start(t, cfg)
	return w, issuedCredentials(w.do(t, call{}).session(t))
}

// A pcaAnswer is the JSON of an answer.
type pcaAnswer struct {
	status                                        int
	Type, Message                                 string
	CertificateArn, Certificate, CertificateChain string
}

// pca calls an action.
func (w *testEnv) pca(t *testing.T, c credentials.Credentials, action string, in map[string]any, change stsCall) (out pcaAnswer) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if change.body == "" {
		change.body = string(body)
	}
	before, auth := change.before, change.auth
	change.before = func(r *http.Request) {
		r.Header.Set("X-Amz-Target", "ACMPrivateCA."+action)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		if before != nil {
			before(r)
		}
	}
	change.auth = func(a *authorization) {
		a.service = "acm-pca"
		a.signedHeaders = append(a.signedHeaders, "x-amz-target")
		if auth != nil {
			auth(a)
		}
	}
	status, header, response := w.sts(t, c, change)
	var fields map[string]string
	if err := json.Unmarshal([]byte(response), &fields); err != nil {
		t.Fatalf("%v: %s", err, response)
	}
	out = pcaAnswer{status, fields["__type"], fields["message"], fields["CertificateArn"], fields["Certificate"], fields["CertificateChain"]}
	if (status == http.StatusOK) != (out.Type == "") || status != http.StatusOK && status != http.StatusBadRequest && out.Message != msgInjected || header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("status %d: %s", status, response)
	}
	return out
}

func newCSR(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// input returns the parameters of IssueCertificate. more is a list of names and
// values; a nil value removes the name.
func input(csr []byte, more ...any) map[string]any {
	in := map[string]any{"CertificateAuthorityArn": testPrivateCA, "Csr": csr, "SigningAlgorithm": "SHA256WITHECDSA",
		"TemplateArn": "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1", "Validity": map[string]any{"Type": "ABSOLUTE", "Value": testNow.Add(time.Hour).Unix()}}
	for i := 0; i < len(more); i += 2 {
		in[more[i].(string)] = more[i+1]
		if more[i+1] == nil {
			delete(in, more[i].(string))
		}
	}
	return in
}

func TestIssueCertificate(t *testing.T) {
	var events bytes.Buffer
	now := testNow
	w, c := newPrivateCA(t, func(cfg *Config) {
		cfg.Faults.InProgress = 2
		cfg.Now = func() time.Time { return now }
		cfg.Events = &events
	})
	key := ecKey(t, elliptic.P256())
	id, err := url.Parse("spiffe://example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	csr := newCSR(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}, DNSNames: []string{"app.example.com"}, URIs: []*url.URL{id},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}}) // CA:TRUE
	in := input(csr, "IdempotencyToken", "t")
	issued := w.pca(t, c, "IssueCertificate", in, stsCall{})
	arn := issued.CertificateArn
	if !strings.HasPrefix(arn, testPrivateCA+"/certificate/") {
		t.Fatalf("%+v", issued)
	}
	get := map[string]any{"CertificateAuthorityArn": testPrivateCA, "CertificateArn": arn}
	for range 2 {
		if got := w.pca(t, c, "GetCertificate", get, stsCall{}); got.Type != "RequestInProgressException" {
			t.Errorf("%+v", got)
		}
	}
	got := w.pca(t, c, "GetCertificate", get, stsCall{})
	block, rest := pem.Decode([]byte(got.Certificate))
	if block == nil || len(rest) > 0 || strings.TrimSpace(got.CertificateChain) != strings.TrimSpace(string(w.ca.pem())) {
		t.Fatalf("%+v", got)
	}
	cert := parse(t, block.Bytes)
	if !key.PublicKey.Equal(cert.PublicKey) || cert.Subject.String() != "CN=app" || cert.IsCA || !slices.Equal(cert.DNSNames, []string{"app.example.com"}) || len(cert.URIs) != 1 ||
		!slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || cert.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment ||
		!cert.NotBefore.Equal(testNow.Add(-time.Hour)) || !cert.NotAfter.Equal(testNow.Add(time.Hour)) || cert.CheckSignatureFrom(w.ca.cert) != nil ||
		!strings.HasSuffix(arn, "/"+cert.SerialNumber.String()) {
		t.Errorf("%+v", cert)
	}
	// The new certificate gets a session.
	w.do(t, call{key: key, chain: []*x509.Certificate{cert}}).session(t)
	now = testNow.Add(5*time.Minute - time.Second)
	at := stsCall{before: func(r *http.Request) { r.Header.Set(headerDate, testNow.Add(4*time.Minute).Format("20060102T150405Z")) }}
	if again := w.pca(t, c, "IssueCertificate", in, at); again.CertificateArn != arn {
		t.Errorf("the same token: %+v", again)
	}
	if other := w.pca(t, c, "IssueCertificate", input(csr, "IdempotencyToken", "u"), at); other.CertificateArn == arn || other.Type != "" {
		t.Errorf("another token: %+v", other)
	}
	now = testNow.Add(5 * time.Minute)
	if later := w.pca(t, c, "IssueCertificate", in, at); later.CertificateArn == arn || later.Type != "" {
		t.Errorf("after five minutes: %+v", later)
	}
	if log := events.String(); strings.Count(log, `"eventName":"IssueCertificate"`) != 4 || !strings.Contains(log, `"responseElements":{"CertificateArn":"`+arn) || strings.Contains(log, c.SecretAccessKey) {
		t.Error(log)
	}
}

func TestRefusedCertificates(t *testing.T) {
	w, c := newPrivateCA(t, nil)
	key := ecKey(t, elliptic.P256())
	csr := newCSR(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}})
	damaged := bytes.Replace(csr, []byte("M"), []byte("N"), 3)
	other := strings.Replace(testPrivateCA, "0001", "0002", 1)
	days := func(kind string, n any) map[string]any { return map[string]any{"Type": kind, "Value": n} }
	for name, tt := range map[string]struct {
		in   map[string]any
		code string
	}{
		"no CA":                  {input(csr, "CertificateAuthorityArn", nil), "ValidationException"},
		"no request":             {input(csr, "Csr", nil), "ValidationException"},
		"no algorithm":           {input(csr, "SigningAlgorithm", nil), "ValidationException"},
		"no validity":            {input(csr, "Validity", nil), "ValidationException"},
		"another CA":             {input(csr, "CertificateAuthorityArn", other), "ResourceNotFoundException"},
		"CA of another account":  {input(csr, "CertificateAuthorityArn", strings.Replace(testPrivateCA, DefaultAccount, "444455556666", 1)), "AccessDeniedException"},
		"CA of another region":   {input(csr, "CertificateAuthorityArn", strings.Replace(testPrivateCA, "us-east-1", "us-west-2", 1)), "InvalidArnException"},
		"ARN of a role":          {input(csr, "CertificateAuthorityArn", testRole), "InvalidArnException"},
		"algorithm for RSA":      {input(csr, "SigningAlgorithm", "SHA256WITHRSA"), "InvalidArgsException"},
		"unknown algorithm":      {input(csr, "SigningAlgorithm", "SHA1WITHECDSA"), "ValidationException"},
		"a long token":           {input(csr, "IdempotencyToken", strings.Repeat("t", 37)), "ValidationException"},
		"template of a CA":       {input(csr, "TemplateArn", "arn:aws:acm-pca:::template/RootCACertificate/V1"), "InvalidArgsException"},
		"a template without ARN": {input(csr, "TemplateArn", "EndEntityCertificate/V1"), "InvalidArnException"},
		"longer than the CA":     {input(csr, "Validity", days("DAYS", 2)), "ValidationException"},
		"no days":                {input(csr, "Validity", days("DAYS", 0)), "ValidationException"},
		"negative days":          {input(csr, "Validity", days("DAYS", -1)), "ValidationException"},
		"a fraction of a day":    {input(csr, "Validity", days("DAYS", 0.5)), "SerializationException"},
		"weeks":                  {input(csr, "Validity", days("WEEKS", 1)), "ValidationException"},
		"the past":               {input(csr, "Validity", days("ABSOLUTE", 1)), "ValidationException"},
		"no date":                {input(csr, "Validity", days("END_DATE", 20319931000000)), "ValidationException"},
		"months":                 {input(csr, "Validity", days("MONTHS", 1)), "ValidationException"},
		"years":                  {input(csr, "Validity", days("YEARS", 1)), "ValidationException"},
		"not a request":          {input([]byte("csr")), "MalformedCSRException"},
		"a certificate":          {input(w.ca.pem()), "MalformedCSRException"},
		"a damaged request":      {input(damaged), "MalformedCSRException"},
		"two requests":           {input(append(csr, csr...)), "MalformedCSRException"},
		"a huge request":         {input(append(bytes.Repeat([]byte("\n"), maxCSR), csr...)), "MalformedCSRException"},
		"no name":                {input(newCSR(t, key, &x509.CertificateRequest{})), "MalformedCSRException"},
		"a parameter of others":  {input(csr, "ApiPassthrough", map[string]any{}), "SerializationException"},
	} {
		if got := w.pca(t, c, "IssueCertificate", tt.in, stsCall{}); got.Type != tt.code || got.Message == "" || got.CertificateArn != "" {
			t.Errorf("%s: %+v, want %s", name, got, tt.code)
		}
	}
	if got := w.pca(t, c, "IssueCertificate", input(csr, "SigningAlgorithm", "SHA384WITHRSA"), stsCall{}); !strings.HasPrefix(got.Message, "Signing algorithm SHA384WITHRSA cannot be used with key type EC_prime256v1. Valid signing algorithms are: SHA256WITHECDSA, ") {
		t.Error(got.Message)
	}
	if got := w.pca(t, c, "IssueCertificate", input(csr, "Validity", days("END_DATE", 310203050000)), stsCall{}); got.CertificateArn == "" {
		t.Errorf("%+v", got)
	}
	for arn, code := range map[string]string{testPrivateCA + "/certificate/1": "ResourceNotFoundException", testPrivateCA: "InvalidArnException", other + "/certificate/1": "InvalidArnException"} {
		if got := w.pca(t, c, "GetCertificate", map[string]any{"CertificateAuthorityArn": testPrivateCA, "CertificateArn": arn}, stsCall{}); got.Type != code {
			t.Errorf("%s: %+v, want %s", arn, got, code)
		}
	}
}

func TestRefusedCallsOfPrivateCA(t *testing.T) {
	w, c := newPrivateCA(t, nil)
	csr := newCSR(t, ecKey(t, elliptic.P256()), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}})
	header := func(name, value string) stsCall {
		return stsCall{before: func(r *http.Request) { r.Header.Set(name, value) }}
	}
	auth := func(change func(*authorization)) stsCall { return stsCall{auth: change} }
	for name, tt := range map[string]struct {
		call stsCall
		code string
	}{
		"another action":    {header("X-Amz-Target", "ACMPrivateCA.DeleteCertificateAuthority"), "UnknownOperationException"},
		"another service":   {header("X-Amz-Target", "KMS.IssueCertificate"), "UnknownOperationException"},
		"no prefix":         {header("X-Amz-Target", "IssueCertificate"), "UnknownOperationException"},
		"JSON 1.0":          {header("Content-Type", "application/x-amz-json-1.0"), "UnknownOperationException"},
		"GET":               {stsCall{method: http.MethodGet}, "UnknownOperationException"},
		"not JSON":          {stsCall{body: "x"}, "SerializationException"},
		"two values":        {stsCall{body: "{}{}"}, "SerializationException"},
		"endless":           {stsCall{body: strings.Repeat(" ", maxBody+1)}, "SerializationException"},
		"service sts":       {auth(func(a *authorization) { a.service = "sts" }), "InvalidSignatureException"},
		"another region":    {auth(func(a *authorization) { a.region = "us-west-2" }), "InvalidSignatureException"},
		"another key":       {auth(func(a *authorization) { a.accessKeyID = "ASIAOTHER" }), "UnrecognizedClientException"},
		"another token":     {header(headerToken, "token"), "UnrecognizedClientException"},
		"no signature":      {stsCall{after: func(r *http.Request) { r.Header.Del("Authorization") }}, "MissingAuthenticationTokenException"},
		"a bad signature":   {stsCall{after: func(r *http.Request) { r.Header.Set("X-Amz-Target", "ACMPrivateCA.GetCertificate") }}, "InvalidSignatureException"},
		"a token unsigned":  {auth(func(a *authorization) { a.signedHeaders = []string{"host", "x-amz-date"} }), "IncompleteSignatureException"},
		"signed long ago":   {header(headerDate, testNow.Add(-time.Hour).Format("20060102T150405Z")), "InvalidSignatureException"},
		"signed in advance": {header(headerDate, testNow.Add(time.Hour).Format("20060102T150405Z")), "InvalidSignatureException"},
	} {
		if got := w.pca(t, c, "IssueCertificate", input(csr), tt.call); got.Type != tt.code {
			t.Errorf("%s: %+v, want %s", name, got, tt.code)
		}
	}
	none := newTestEnv(t, Config{})
	if got := none.pca(t, issuedCredentials(none.do(t, call{}).session(t)), "IssueCertificate", input(csr), stsCall{}); got.Type != "UnknownOperationException" || none.server.PrivateCAARN() != "" {
		t.Errorf("no CA: %+v", got)
	}
}
