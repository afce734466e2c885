package process_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/process"
)

// writes records each call of Write.
type writes struct {
	calls []string
	err   error
}

func (w *writes) Write(b []byte) (int, error) {
	w.calls = append(w.calls, string(b))
	if w.err != nil {
		return 0, w.err
	}
	return len(b), nil
}

func TestWrite(t *testing.T) {
	const start = `{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"the/secret+key","SessionToken":"the/session+token=",`
	full := credentials.Credentials{
		AccessKeyID:     "ASIAEXAMPLE",
		SecretAccessKey: "the/secret+key",
		SessionToken:    "the/session+token=",
		Expires:         time.Date(2026, 11, 21, 13, 14, 15, 0, time.UTC),
		AccountID:       "123456789012",
	}
	tests := []struct {
		name   string
		change func(c *credentials.Credentials)
		want   string
	}{
		{"all", nil, start + `"Expiration":"2026-11-21T13:14:15Z","AccountId":"123456789012"}`},
		{"no account", func(c *credentials.Credentials) { c.AccountID = "" }, start + `"Expiration":"2026-11-21T13:14:15Z"}`},
		{"account with zeros", func(c *credentials.Credentials) { c.AccountID = "000000000001" },
			start + `"Expiration":"2026-11-21T13:14:15Z","AccountId":"000000000001"}`},
		{"rounded down", func(c *credentials.Credentials) { c.Expires = c.Expires.Add(999_999_999); c.AccountID = "" },
			start + `"Expiration":"2026-11-21T13:14:15Z"}`},
		{"other zone", func(c *credentials.Credentials) {
			c.Expires, c.AccountID = c.Expires.In(time.FixedZone("", -11*3600-1800)), ""
		}, start + `"Expiration":"2026-11-21T13:14:15Z"}`},
		{"another day in UTC", func(c *credentials.Credentials) {
			c.Expires, c.AccountID = time.Date(2026, 12, 31, 23, 30, 0, 1, time.FixedZone("", -3600)), ""
		}, start + `"Expiration":"2027-01-01T00:30:00Z"}`},
		{"whole minute", func(c *credentials.Credentials) { c.Expires, c.AccountID = c.Expires.Truncate(time.Hour), "" },
			start + `"Expiration":"2026-11-21T13:00:00Z"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := full
			if test.change != nil {
				test.change(&c)
			}
			var w writes
			if err := process.Write(&w, c); err != nil {
				t.Fatal(err)
			}
			if len(w.calls) != 1 {
				t.Fatalf("%d calls of Write, want 1", len(w.calls))
			}
			if want := test.want + "\n"; w.calls[0] != want {
				t.Errorf("wrote\n%swant\n%s", w.calls[0], want)
			}
		})
	}
}

func TestWriteError(t *testing.T) {
	errPipe := errors.New("pipe is closed")
	w := writes{err: errPipe}
	err := process.Write(&w, credentials.Credentials{SecretAccessKey: "the/secret+key"})
	if !errors.Is(err, errPipe) {
		t.Errorf("error %v, want %v", err, errPipe)
	}
	if len(w.calls) != 1 {
		t.Errorf("%d calls of Write, want 1", len(w.calls))
	}
	if strings.Contains(err.Error(), "secret+key") {
		t.Error("the error contains the secret")
	}
}

// Characters that AWS does not use are escaped as package encoding/json does it.
func TestWriteEscapes(t *testing.T) {
	for _, text := range []string{"a\"b", `a\b`, "<&>", "é", "a\nb", "\x7f", "\xff", "plain +/="} {
		want, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := process.Write(&out, credentials.Credentials{SessionToken: text}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), `"SessionToken":`+string(want)+`,`) {
			t.Errorf("%q: %s, want %s", text, out.String(), want)
		}
	}
}
