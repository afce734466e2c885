package program

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-dev/holdfast/signer"
)

func FuzzAnswer(f *testing.F) {
	const p256 = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKcxXCm1Y1ka9Q5Ux3nHqXvMSx6lNlSZ3m9b6dY9hFQyZ7CzsUI5x5xGJ2J3Lkq0l3uKz5c8H9Q5aX2qk1mYt2Q=="
	for _, seed := range []string{
		`{}`, `[]`, `null`, `{"id":1}`, "\x00", "{\"id\":\"\xff\"}", `{"id":1e999}`, `{"id":1,"version":1,"input":"digest","public_key":"` + p256 + `","certificates":["MAA="],"algorithms":["ecdsa_sha256"]}`,
		`{"id":1,"version":1,"input":"message","public_key":"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"}`,
		`{"id":2,"signature":"MEUCIQ=="}`, `{"id":2,"error":{"code":"pin-required","message":"\u001b[2J","hint":"` + strings.Repeat("y", 1000) + `"}}`,
		`{"id":1,"ID":2,"Signature":"AA==","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := parseAnswer(line)
		if (err == nil) != (json.Valid(line) && err == nil) {
			t.Errorf("accepted what is no JSON: %q", line)
		}
		_ = a.check(1)
		told := a.err()
		o, openErr := a.opened()
		for _, err := range []error{err, told, openErr} {
			if err == nil {
				continue
			}
			if text := err.Error() + signer.Hint(err); len(text) > 4*maxText || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q: %q", line, text)
			}
		}
		if err == nil && openErr == nil && (o.pub == nil || len(o.algorithms) == 0 || len(o.certs) > maxCertificates || kindOf(o.pub) != o.algorithms[0].kind) {
			t.Errorf("%q: %+v", line, o)
		}
		if openErr == nil && !errors.Is(told, nil) && told.Error() == "" {
			t.Errorf("%q: an error without a text", line)
		}
	})
}
