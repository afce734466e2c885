package privateca

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each answer is a certificate, an ARN of the CA, or a printable error of one class
// with a hint.
func FuzzAnswer(f *testing.F) {
	cert := pemOf(signertest.NewCA(f, "CA").Cert)
	for _, body := range []string{
		issued, `{}`, `null`, `[]`, ``, got(cert, cert), got(cert, ""), got(cert+"x", cert), `{"CertificateArn":"` + testCert + `/"}`,
		refusal("com.amazonaws.acmpca#InvalidArgsException", "Signing algorithm\u202e"), refusal("RequestInProgressException:http", ""), refusal("ThrottlingException", "x"), `{"__type":"#:"}`,
	} {
		for _, status := range []int{200, 302, 400, 403, 404, 407, 429, 500} {
			f.Add(status, "", []byte(body))
			f.Add(status, "ValidationException:", []byte(body))
		}
	}
	ca, err := New(Config{CAARN: testCA, Session: lend})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, header string, body []byte) {
		if certs, err := parseCertificates(body); (err == nil) != (len(certs) > 0) || len(certs) > maxCertificates {
			t.Errorf("%d certificates, %v", len(certs), err)
		} else if err != nil {
			checkText(t, ca.server.Unexpected(err))
		}
		if arn, err := ca.parseIssued(body); (err == nil) != strings.HasPrefix(arn, testCA+"/certificate/") || len(arn) > maxARN {
			t.Errorf("%q, %v", arn, err)
		} else if err != nil {
			checkText(t, ca.server.Unexpected(err))
		}
		err := ca.apiError(&http.Response{StatusCode: status, Header: http.Header{"X-Amzn-Errortype": {header}}}, body, credentials.Credentials{})
		if errors.Is(err, renew.ErrRejected) == errors.Is(err, renew.ErrUnreachable) || signer.Hint(err) == "" {
			t.Errorf("%v; hint: %s", err, signer.Hint(err))
		}
		checkText(t, err)
	})
}
