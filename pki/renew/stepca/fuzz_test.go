package stepca

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each answer is either certificates or a printable error of one class, with a
// hint and without the token.
func FuzzAnswer(f *testing.F) {
	cert := strings.ReplaceAll(string(signertest.CertPEM(signertest.NewCA(f, "CA").Cert)), "\n", `\n`)
	for _, body := range []string{
		`{"crt":"` + cert + `","ca":"` + cert + `","certChain":["` + cert + `","` + cert + `"],"tlsOptions":{"minVersion":1.2}}`,
		`{"certChain":["` + cert + `x"]}`, `{"certChain":[]}`, `{"certChain":null}`, `{"certChain":[null]}`, `[]`, ``, `{"status":401,"message":"no"}`, `{"message":"a.b.secret-secret\u202e"}`,
	} {
		for _, status := range []int{200, 201, 302, 400, 401, 404, 429, 500} {
			f.Add(status, []byte(body))
		}
	}
	const token = "e30.e30.secret-secret"
	ca, err := New(Config{URL: "https://ca.example.com", Roots: x509.NewCertPool()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		certs, err := ca.read(request{secret: token}, &caclient.Answer{Status: status, Body: body})
		if err == nil {
			if len(certs) == 0 || len(certs) > 16 || status != http.StatusCreated {
				t.Errorf("%d certificates, status %d", len(certs), status)
			}
			return
		}
		if certs != nil || errors.Is(err, renew.ErrRejected) == errors.Is(err, renew.ErrUnreachable) || signer.Hint(err) == "" {
			t.Errorf("%d certificates, %v; hint: %s", len(certs), err, signer.Hint(err))
		}
		if text := err.Error(); strings.Contains(text, "secret-secret") || len(text) > 4*400 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", text)
		}
	})
}

func TestConcatenated(t *testing.T) {
	der := func(r, s *big.Int) []byte {
		data, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	small, large, one := big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)
	got, err := concatenated(der(small, new(big.Int).Sub(large, one)), 32)
	if err != nil || len(got) != 64 || got[31] != 1 || got[0] != 0 || got[32] != 0xff || got[63] != 0xff {
		t.Errorf("%s, %v", base64.StdEncoding.EncodeToString(got), err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "no DER": []byte("signature"), "too large": der(small, large), "zero": der(new(big.Int), one), "negative": der(one, big.NewInt(-1)), "more after it": append(der(one, one), 0),
	} {
		if got, err := concatenated(bad, 32); err == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}
