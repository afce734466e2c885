package credentials_test

import (
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

func TestEncoded(t *testing.T) {
	var e credentials.Encoded
	calls := 0
	errOdd := errors.New("odd")
	encode := func(c credentials.Credentials) ([]byte, error) {
		calls++
		if c.AccessKeyID == "odd" {
			return nil, errOdd
		}
		return []byte(c.AccessKeyID + c.SecretAccessKey), nil
	}
	other := complete
	other.SecretAccessKey = "other"
	odd := complete
	odd.AccessKeyID = "odd"
	for _, test := range []struct {
		c     credentials.Credentials
		want  string
		calls int
	}{
		{complete, "ASIAEXAMPLEthe/secret+key", 1},
		{complete, "ASIAEXAMPLEthe/secret+key", 1},
		{other, "ASIAEXAMPLEother", 2},
		{odd, "", 3},
		{other, "ASIAEXAMPLEother", 3},
		{complete, "ASIAEXAMPLEthe/secret+key", 4},
	} {
		got, err := e.Bytes(test.c, encode)
		if string(got) != test.want || (err != nil) != (test.c == odd) || calls != test.calls {
			t.Errorf("got %q, %v after %d calls, want %q after %d", got, err, calls, test.want, test.calls)
		}
	}
}
