package issuing

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A timer that runs ca check notices an expired list or CA.
func TestProblemsNow(t *testing.T) {
	root := signertest.NewCA(t, "root")
	f := folder{dir: filepath.Join(t.TempDir(), "ca")}
	ca, err := authority.Create(f.dir, []*x509.Certificate{root.Cert}, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.CRL(t.Context(), signer.FromKey(root.Key), time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		now      time.Time
		settings string
		want     string // a part of the last problem; "": none
		hint     string
	}{
		{time.Now(), "", "", ""},
		{time.Now().Add(2 * time.Hour), "", "crl.pem: the revocation list expired at ", "holdfast ca crl --dir "},
		{root.Cert.NotAfter.Add(time.Second), "", "ca.pem: the certificate of the CA expired at ", ""},
		{time.Now(), "nonsense = 1\n", "unknown key nonsense", ""},
	} {
		if err := os.WriteFile(filepath.Join(f.dir, configFile), []byte(c.settings), 0o600); err != nil {
			t.Fatal(err)
		}
		a := front.App{Store: keystore.New(), Now: func() time.Time { return c.now }}
		problems, err := f.problemsNow(t.Context(), a, ca)
		text := ""
		for _, p := range problems {
			text += p.Error() + "\n"
		}
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) || (text == "") != (c.want == "") || !strings.Contains(f.hintOfProblems(problems), c.hint) {
			t.Errorf("%s: %s; hint %s", c.want, text, f.hintOfProblems(problems))
		}
	}
}
