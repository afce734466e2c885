package emulator

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

// FuzzRPC sends bodies to CloudTrail and AWS Private CA that the administrator has signed.
// Each one meets the same new emulator, so that it has the same effect in every process.
func FuzzRPC(f *testing.F) {
	ca := newRoot(f, caTemplate("Root"))
	csr := newCSR(f, ca.key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}})
	seeds := map[string][]map[string]any{
		actionLookupEvents: {
			{}, {"MaxResults": 1, "NextToken": "1.00"}, {"EventCategory": "insight", "StartTime": 0, "EndTime": 1},
			{"LookupAttributes": []map[string]any{{"AttributeKey": "ReadOnly", "AttributeValue": "true"}}},
		},
		actionIssueCertificate: {input(csr, "IdempotencyToken", "t"), input(csr[:20], "Validity", map[string]any{"Type": "END_DATE", "Value": 310203050000})},
		actionGetCertificate:   {{"CertificateAuthorityArn": testPrivateCA, "CertificateArn": testPrivateCA + "/certificate/1"}},
	}
	for operation, all := range seeds {
		for _, in := range all {
			b, err := json.Marshal(in)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(operation, b)
		}
	}
	f.Add(actionLookupEvents, []byte(strings.Repeat("[", 30)))
	f.Fuzz(func(t *testing.T, operation string, body []byte) {
		s := newServer(t, Config{
			Now: func() time.Time { return testNow }, TrustAnchors: []TrustAnchor{{Certificates: ca.pem()}}, PrivateCA: PrivateCA{Key: ca.key},
		})
		service := rpcServices[0]
		if privateCAOperations.Get(operation) != nil {
			service = rpcServices[1]
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", bytes.NewReader(body))
		r.Header.Set(headerTarget, service.shape+"."+operation)
		r.Header.Set("Content-Type", jsonRPC.contentType)
		if err := sigv4.Sign(r, body, s.Administrator(), service.name, DefaultRegion, testNow); err != nil {
			return // not a header
		}
		response := httptest.NewRecorder()
		start := time.Now()
		s.ServeHTTP(response, r)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("response after %v", d)
		}
		var out map[string]any
		if err := json.Unmarshal(response.Body.Bytes(), &out); err != nil {
			t.Errorf("%v: %q", err, response.Body)
		}
		_, failed := out["__type"]
		if response.Code != http.StatusOK && response.Code != http.StatusBadRequest || failed != (response.Code == http.StatusBadRequest) {
			t.Errorf("status is %d: %q", response.Code, response.Body)
		}
		if strings.Contains(response.Body.String(), s.Administrator().SecretAccessKey) {
			t.Error("the response contains the secret of the administrator")
		}
	})
}
