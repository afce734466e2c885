//go:build unix

package doctor_test

import (
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// doctor finds no fault with an ML-DSA key, and names it and its CA.
func TestMLDSA(t *testing.T) {
	s := newScene(t)
	signertest.IssueMLDSA(t, s.dir, "ML-DSA-65", "seed-priv")
	url, _, stop, err := clitest.RunEmulator(s.dir, "--trust-anchor", "root.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	s.url = url
	for _, args := range []string{goodFlags, goodFlags + " --trust-anchor {dir}/root.pem", online + " --trust-anchor {dir}/root.pem"} {
		r := s.checkGood(setup{args: args})
		for check, want := range map[string]string{"key": "ML-DSA-65", "rules": ", signed with ML-DSA-65, subject", "chain": `"CN=client" ← "CN=root"`} {
			if lines := r.of(check); len(lines) != 1 || !strings.Contains(lines[0].Seen, want) {
				t.Errorf("%s: %+v has not %q", check, lines, want)
			}
		}
		if l := r.of("session"); args != goodFlags && strings.Contains(args, "--online") && l[0].State != "ok" {
			t.Errorf("%+v", l)
		}
	}
	s.write("roles.toml", strings.Split(rolesFile, "\n[role.assume]")[0]+"\n[role.renew]\nway = \"command\"\ncommand = [\"true\"]\n")
	for _, c := range []setup{
		{name: "a role that renews", args: "--config {dir}/roles.toml", check: "renewal", seen: "the certificate cannot be renewed: "},
		{name: "another trust anchor", args: goodFlags + " --trust-anchor {dir}/ca.pem", check: "chain", seen: `is named "CN=root", like the CA of the trust anchor, but has another key`},
		{name: "another key", args: strings.Replace(goodFlags, "key.pem", "root-key.pem", 1), check: "match", seen: "your key is ML-DSA-65 with the SHA-256 fingerprint", command: "root-key.pem -pubout -outform DER | openssl sha256"},
		{name: "ECDSA key", args: strings.Replace(goodFlags, "key.pem", "other.key", 1), check: "match", seen: `your key is ECDSA P-256; the certificate "CN=client" contains ML-DSA-65`},
	} {
		if l, found := s.examine(c).first("fault"); !found || l.Check != c.check || !strings.Contains(l.Seen, c.seen) || !strings.Contains(l.Command, c.command) ||
			c.command != "" && !strings.Contains(l.Hint, "OpenSSL 3.5 or later") {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
}
