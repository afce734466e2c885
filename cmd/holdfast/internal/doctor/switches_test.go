package doctor

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// The value of a flag that is on or off is no secret, and neither is the word after it.
func TestSwitchesAreNoSecrets(t *testing.T) {
	on := 0
	Doctor(front.App{Stdout: io.Discard, Stderr: io.Discard, LookupEnv: func(string) (string, bool) { return "", false }}).Flags().VisitAll(func(f *pflag.Flag) {
		if f.Value.Type() != "bool" {
			return
		}
		on++
		for _, words := range [][]string{{"--" + f.Name + "=true"}, {"--" + f.Name, "/bin/true"}} {
			if secrets := secretValues(words); len(secrets) > 0 {
				t.Errorf("%q: secrets %v", words, secrets)
			}
		}
	})
	if on == 0 {
		t.Error("doctor has no such flag")
	}
	p := &patient{}
	p.learnSecrets([]string{"--use-pin=true", "--reuse-pin", "--certificate", "cert.pem"})
	const text = "/bin/true and --certificate cert.pem"
	if got := p.hide(text); got != text {
		t.Errorf("got %q", got)
	}
	p.learnSecrets([]string{"--pin", "hunter22"})
	if got := p.hide("the word hunter22"); strings.Contains(got, "hunter22") {
		t.Errorf("got %q", got)
	}
}
