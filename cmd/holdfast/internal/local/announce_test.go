package local

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A role that no profile contains is printed as a second role.
func TestAnnounce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, signertest.CertPEM(signertest.NewCA(t, "root").Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	const first, second = "arn:aws:iam::111122223333:role/first", "arn:aws:iam::444455556666:role/second"
	s, err := emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{file}}},
		Roles:        []emulator.Role{{ARN: first}, {ARN: second}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := new(emulatorFlags).announce(&b, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, s); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, " --role-arn "+second) || !strings.Contains(got, "  --role-arn "+first+"\n") || !strings.Contains(got, "  --assume-role-arn "+second+"\n") {
		t.Errorf("%s", got)
	}
}

// The page is announced only with --ui, and is a comment for eval.
func TestAnnouncePage(t *testing.T) {
	s, err := emulator.New(emulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		ui, export bool
		want       string // the last line
	}{
		{true, false, "page: http://127.0.0.1:1/ui"},
		{true, true, "# page: http://127.0.0.1:1/ui"},
		{false, false, ""},
		{false, true, ""},
	} {
		var b strings.Builder
		f := emulatorFlags{config: emulator.Config{UI: test.ui}, export: test.export}
		if err := f.announce(&b, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, s); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); strings.Contains(got, "page: ") != test.ui || test.ui && !strings.HasSuffix(got, "\n"+test.want+"\n") {
			t.Errorf("--ui=%t --export=%t:\n%s", test.ui, test.export, got)
		}
	}
}
