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

	"github.com/fxamacker/cbor/v2"

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
			f.Add(false, operation, b)
			for _, name := range []string{"StartTime", "EndTime"} {
				if v, ok := in[name]; ok {
					in[name] = cbor.Tag{Number: timeTag, Content: v}
				}
			}
			f.Add(true, operation, []byte(encodedCBOR(f, in)))
		}
	}
	f.Add(true, actionLookupEvents, []byte("\xbf\x70LookupAttributes\x9f\xbf\x6cAttributeKey\x7f\x61x\xff\xff\xff\x69NextToken\xf7\xff"))
	f.Add(true, actionLookupEvents, []byte(strings.Repeat("\x9f", 30)))
	f.Add(false, actionLookupEvents, []byte(strings.Repeat("[", 30)))
	f.Fuzz(func(t *testing.T, inCBOR bool, operation string, body []byte) {
		s := newServer(t, Config{
			Now: func() time.Time { return testNow }, TrustAnchors: []TrustAnchor{{Certificates: ca.pem()}}, PrivateCA: PrivateCA{Key: ca.key},
		})
		service := rpcServices[0]
		if privateCAOperations[operation] != nil {
			service = rpcServices[1]
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", bytes.NewReader(body))
		protocol, decode := jsonRPC, json.Unmarshal
		if inCBOR {
			protocol, decode = cborRPC, cbor.Unmarshal
			r.URL.Path = "/service/" + service.shape + "/operation/" + operation
			r.Header.Set(headerProtocol, protocol.id)
		} else {
			r.Header.Set(headerTarget, service.shape+"."+operation)
		}
		r.Header.Set("Content-Type", protocol.contentType)
		if err := sigv4.Sign(r, body, s.Administrator(), service.name, DefaultRegion, testNow); err != nil {
			return // not a path or a header
		}
		response := httptest.NewRecorder()
		start := time.Now()
		s.ServeHTTP(response, r)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("response after %v", d)
		}
		var out map[string]any
		if err := decode(response.Body.Bytes(), &out); err != nil {
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
