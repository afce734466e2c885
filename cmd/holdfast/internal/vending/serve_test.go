package vending

import (
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/daemon"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestListenAddress(t *testing.T) {
	for _, test := range []struct {
		listen    string
		port      int
		portGiven bool
		want      string // "": an error
	}{
		{"127.0.0.1:9921", daemon.DefaultPort, false, "127.0.0.1:9921"},
		{"127.0.0.1:0", daemon.DefaultPort, false, "127.0.0.1:0"},
		{"[::1]:9921", daemon.DefaultPort, false, "[::1]:9921"},
		{"localhost:9921", daemon.DefaultPort, false, "localhost:9921"},
		{":9921", daemon.DefaultPort, false, ":9921"},
		{"127.0.0.2", daemon.DefaultPort, false, "127.0.0.2:9911"},
		{"127.0.0.2", 9921, true, "127.0.0.2:9921"},
		{"::1", 9921, true, "[::1]:9921"},
		{"[::1]", 9921, true, "[::1]:9921"},
		{"", 9921, true, ":9921"},
		{"127.0.0.1:9921", 9921, true, ""},
		{"127.0.0.1:", daemon.DefaultPort, false, ""},
		{"127.0.0.1:x", daemon.DefaultPort, false, ""},
		{"127.0.0.1:65536", daemon.DefaultPort, false, ""},
		{"127.0.0.1:-1", daemon.DefaultPort, false, ""},
		{"[::1", daemon.DefaultPort, false, ""},
		{"[]", daemon.DefaultPort, false, ""},
		{"1:2:3", daemon.DefaultPort, false, ""},
		{"/run/holdfast.sock", daemon.DefaultPort, false, ""},
		{"unix:/run/holdfast.sock", daemon.DefaultPort, false, ""},
		{"http://127.0.0.1:9911", daemon.DefaultPort, false, ""},
	} {
		got, err := listenAddress(test.listen, test.port, test.portGiven)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%q, port %d: %q, %v; want %q", test.listen, test.port, got, err, test.want)
		}
		var usage *front.UsageError
		if err != nil && (!errors.As(err, &usage) || signer.Hint(err) == "") {
			t.Errorf("%q: %v, hint %q", test.listen, err, signer.Hint(err))
		}
	}
}
