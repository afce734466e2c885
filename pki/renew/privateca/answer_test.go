package privateca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	testCA   = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/12345678-1234-1234-1234-123456789012"
	testCert = testCA + "/certificate/286535153982981100925020015808220737245"
	secret   = "secret-of-the-session"
)

var session = credentials.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: secret, SessionToken: "token-of-the-session"}

func lend(context.Context, signer.Signer) (credentials.Credentials, error) { return session, nil }

// A site is a key with a certificate and a server in the place of AWS.
type site struct {
	ca      *CA
	request renew.Request
	chain   []*x509.Certificate
	paused  time.Duration
}

// newSite returns a site whose server answers an action with answer.
func newSite(t *testing.T, config Config, answer func(w http.ResponseWriter, r *http.Request, action string, body []byte)) *site {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		signed, err := sigv4.Parse(r)
		if err == nil {
			err = signed.Verify(r, body, secret)
		}
		if err != nil || signed.Service != "acm-pca" || signed.Region != "eu-west-1" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
			t.Errorf("%v: %v", err, r.Header)
		}
		action, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "ACMPrivateCA.")
		answer(w, r, action, body)
	}))
	t.Cleanup(server.Close)
	config.CAARN, config.Endpoint = testCA, server.URL
	if config.Session == nil {
		config.Session = lend
	}
	ca, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{ca: ca}
	ca.pause = func(ctx context.Context, d time.Duration) error {
		s.paused += d
		return ctx.Err()
	}
	root := signertest.NewCA(t, "root")
	key := signer.FromKey(signertest.Key(t, "p256"))
	s.chain = []*x509.Certificate{root.Issue(t, key, nil), root.Cert}
	s.request = renew.Request{Old: signer.WithCertificates(key, signer.Certificates{Chain: s.chain}), CSR: []byte("csr"), Token: strings.Repeat("0a", 16)}
	return s
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func pemOf(certs ...*x509.Certificate) string {
	return strings.TrimSpace(string(signertest.CertPEM(certs...)))
}

func got(certificate, chain string) string {
	return text(map[string]string{"Certificate": certificate, "CertificateChain": chain})
}

var issued = text(map[string]string{"CertificateArn": testCert})

// A request has what AWS needs, and the answer is the chain.
func TestRenew(t *testing.T) {
	var s *site
	var sent issueInput
	inProgress := 3
	s = newSite(t, Config{}, func(w http.ResponseWriter, _ *http.Request, action string, body []byte) {
		switch {
		case action == "IssueCertificate":
			if err := json.Unmarshal(body, &sent); err != nil {
				t.Error(err)
			}
			fmt.Fprint(w, issued)
		case text(json.RawMessage(body)) != text(getInput{testCA, testCert}):
			t.Errorf("%s", body)
		case inProgress > 0:
			inProgress--
			w.WriteHeader(400)
			fmt.Fprint(w, `{"__type":"com.amazonaws.acmpca#RequestInProgressException","message":"wait"}`)
		default:
			fmt.Fprint(w, got(pemOf(s.chain[0]), pemOf(s.chain[1])))
		}
	})
	certs, err := s.ca.Renew(t.Context(), s.request)
	if err != nil || len(certs) != 2 || !certs[0].Equal(s.chain[0]) || !certs[1].Equal(s.chain[1]) {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	block, _ := pem.Decode(sent.Csr)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || string(block.Bytes) != "csr" {
		t.Errorf("CSR: %s", sent.Csr)
	}
	sent.Csr = nil
	want := issueInput{testCA, nil, "SHA256WITHECDSA", "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1", validity{"DAYS", 1}, s.request.Token}
	if text(sent) != text(want) {
		t.Errorf("sent %+v, want %+v", sent, want)
	}
	if s.paused != 500*time.Millisecond+time.Second+2*time.Second {
		t.Errorf("paused %v", s.paused)
	}
}

// A certificate that is not issued in time is asked for again later.
func TestWait(t *testing.T) {
	calls := 0
	s := newSite(t, Config{}, func(w http.ResponseWriter, _ *http.Request, action string, _ []byte) {
		if calls++; action == "IssueCertificate" {
			fmt.Fprint(w, issued)
			return
		}
		w.Header().Set("X-Amzn-Errortype", "RequestInProgressException:http://internal.amazon.com/")
		w.WriteHeader(400)
	})
	_, err := s.ca.Renew(t.Context(), s.request)
	var wait *renew.WaitError
	if !errors.As(err, &wait) || wait.After != askAgain || s.paused <= patience || s.paused > patience+longestPause || calls > 12 {
		t.Errorf("%v after %v and %d calls", err, s.paused, calls)
	}
	s.ca.pause = func(context.Context, time.Duration) error { return context.Canceled }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.ca.Renew(ctx, s.request); !errors.Is(err, context.Canceled) || errors.Is(err, renew.ErrUnreachable) {
		t.Error(err)
	}
}

// A bad answer is one of the errors of ways.
type bad struct {
	status int
	body   string // of the action
	class  error
	want   string // in the error
}

func refusal(code, message string) string {
	return text(map[string]string{"__type": code, "message": message})
}

func badAnswers() map[string]bad {
	no, gone := renew.ErrRejected, renew.ErrUnreachable
	const other = "no valid response from AWS Private CA"
	return map[string]bad{
		"AccessDenied":           {400, refusal("AccessDeniedException", "User: x is not authorized to perform: acm-pca:IssueCertificate"), no, "is not authorized"},
		"AccessDenied, 403":      {403, refusal("AccessDeniedException", "no"), no, "status 403: AccessDeniedException: no"},
		"InvalidState":           {400, refusal("InvalidStateException", "not active"), no, "not active"},
		"LimitExceeded":          {400, refusal("LimitExceededException", "quota"), no, "quota"},
		"MalformedCSR":           {400, refusal("com.amazonaws.acmpca#MalformedCSRException", "bad"), no, "400: MalformedCSRException: bad"},
		"ResourceNotFound":       {400, refusal("ResourceNotFoundException", "none"), no, "none"},
		"InvalidArn":             {400, refusal("InvalidArnException", "none"), no, "none"},
		"InvalidArgs":            {400, refusal("InvalidArgsException", "Signing algorithm SHA384WITHECDSA cannot be used with key type RSA_2048."), no, "RSA_2048"},
		"Validation":             {400, refusal("ValidationException", "1 error"), no, "1 error"},
		"RequestFailed":          {400, refusal("RequestFailedException", ""), no, "RequestFailedException"},
		"unknown code":           {400, refusal("NewException", "new"), no, "new"},
		"signature":              {400, refusal("InvalidSignatureException", "no match"), no, "no match"},
		"unknown client":         {400, refusal("UnrecognizedClientException", "invalid token"), no, "invalid token"},
		"expired token":          {400, refusal("ExpiredTokenException", "expired"), no, "expired"},
		"a message of lines":     {400, refusal("InvalidArgsException", "a\n\x1b[31mb\u202e"), no, "a  [31mb"},
		"a long message":         {400, refusal("InvalidArgsException", strings.Repeat("x", 100_000)), no, "xxx"},
		"a code that is none":    {400, `{"__type":7}`, gone, "returned status 400"},
		"Throttling":             {400, refusal("ThrottlingException", "Rate exceeded"), gone, "Rate exceeded"},
		"429":                    {429, ``, gone, "429"},
		"500":                    {500, refusal("InternalServerException", "sorry"), gone, "sorry"},
		"502 of a proxy":         {502, `<html>`, gone, "502"},
		"503":                    {503, ``, gone, "503"},
		"400 of a proxy":         {400, `<html>no</html>`, gone, "returned status 400"},
		"403 of a proxy":         {403, `<html>no</html>`, gone, "returned status 403"},
		"404":                    {404, `not found`, gone, "404"},
		"407":                    {407, ``, gone, "407"},
		"302":                    {302, ``, gone, "redirect"},
		"201":                    {201, issued, gone, "status 201"},
		"204":                    {204, ``, gone, "status 204"},
		"empty":                  {200, ``, gone, other},
		"HTML":                   {200, `<html>`, gone, "not the JSON"},
		"an array":               {200, `[]`, gone, "not the JSON"},
		"endless":                {200, strings.Repeat(" ", 2<<20), gone, "more than 1024 KiB"},
		"null":                   {200, `null`, gone, other},
		"CBOR":                   {200, "\xbf\x6eCertificateArn", gone, "not the JSON"},
		"a field of other types": {200, `{"CertificateArn":1,"Certificate":[]}`, gone, "not the JSON"},
	}
}

func TestBadAnswers(t *testing.T) {
	for _, action := range []string{"IssueCertificate", "GetCertificate"} {
		for name, b := range badAnswers() {
			t.Run(action+"/"+name, func(t *testing.T) {
				s := newSite(t, Config{}, func(w http.ResponseWriter, r *http.Request, called string, _ []byte) {
					if called != action {
						fmt.Fprint(w, issued)
						return
					}
					w.Header().Set("Location", "https://example.com/elsewhere")
					w.WriteHeader(b.status)
					_, _ = io.WriteString(w, b.body) // the client may have hung up
				})
				checkBad(t, s, b)
			})
		}
	}
}

func checkBad(t *testing.T, s *site, b bad) {
	t.Helper()
	certs, err := s.ca.Renew(t.Context(), s.request)
	if certs != nil || !errors.Is(err, b.class) || errors.Is(err, renew.ErrRejected) == errors.Is(err, renew.ErrUnreachable) {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	if !strings.Contains(err.Error(), b.want) || signer.Hint(err) == "" {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
	checkText(t, err)
}

// checkText checks that the text of an error can be printed and has no secret.
func checkText(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{err.Error(), signer.Hint(err)} {
		if len(text) > 2500 || strings.Contains(text, secret) || strings.Contains(text, session.SessionToken) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", text)
		}
	}
}

func TestBadCertificates(t *testing.T) {
	root := signertest.NewCA(t, "root")
	cert := pemOf(root.Cert)
	key := string(signertest.KeyPEM(t, signertest.NewKey(t, "p256")))
	damaged := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Cert.Raw[:100]}))
	for name, c := range map[string]struct{ issued, got, want string }{
		"no ARN":                      {`{}`, ``, `"", which is not the ARN`},
		"ARN of another CA":           {text(map[string]string{"CertificateArn": strings.Replace(testCert, "1234", "9999", 1)}), ``, "not the ARN of a certificate of the CA"},
		"ARN without a serial number": {text(map[string]string{"CertificateArn": testCA + "/certificate/"}), ``, "not the ARN"},
		"ARN with a path":             {text(map[string]string{"CertificateArn": testCert + "/.."}), ``, "not the ARN"},
		"ARN with control characters": {text(map[string]string{"CertificateArn": testCert + "\x1b"}), ``, "not the ARN"},
		"a long ARN":                  {text(map[string]string{"CertificateArn": testCert + strings.Repeat("1", 1000)}), ``, "not the ARN"},
		"no certificate":              {issued, `{}`, "no certificate"},
		"only the chain":              {issued, got("", cert), "no certificate"},
		"a key":                       {issued, got(key, cert), "not a certificate in PEM"},
		"a key in the chain":          {issued, got(cert, key), "not a certificate in PEM"},
		"text before":                 {issued, got("x"+cert, ""), "not a certificate in PEM"},
		"text after":                  {issued, got(cert, cert+"\nx"), "not a certificate in PEM"},
		"damaged":                     {issued, got(damaged, ""), "damaged"},
		"no end":                      {issued, got(cert[:len(cert)-9], ""), "not a certificate in PEM"},
		"too many":                    {issued, got(cert, strings.Repeat(cert+"\n", maxCertificates)), "more than 16"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, Config{}, func(w http.ResponseWriter, _ *http.Request, action string, _ []byte) {
				fmt.Fprint(w, map[string]string{"IssueCertificate": c.issued, "GetCertificate": c.got}[action])
			})
			checkBad(t, s, bad{class: renew.ErrUnreachable, want: c.want})
		})
	}
}
