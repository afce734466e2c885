package issuing

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
)

// writeConfig writes the settings of the new CA and returns the reference to its
// key in them. A reference with a secret is not stored.
func (f *initFlags) writeConfig(a front.App, key flags.Key) (stored string, err error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	ref := a.Store.Rebase(key.Identity.Key, wd)
	var text bytes.Buffer
	text.WriteString("# Settings of the CA; see docs/ca.md.\n")
	c := config{CRLURLs: f.crlURLs}
	if again, err := keystore.ParseRef(ref.String()); err == nil && again == ref {
		c.PrivateKey, c.PINSource = ref.String(), f.pinSource(a, key, wd)
	}
	if err := toml.NewEncoder(&text).Encode(c); err != nil {
		return "", err
	}
	return c.PrivateKey, atomicfile.File{Name: filepath.Join(f.dir, configFile)}.Replace(text.Bytes())
}

// pinSource returns --pin-source for the settings, "" if it was not given.
func (f *initFlags) pinSource(a front.App, key flags.Key, wd string) string {
	if key.PINSource.Asks() || key.PINSource.Ref.IsZero() {
		return f.device.PINSource
	}
	return a.Store.Rebase(key.PINSource.Ref, wd).String()
}

// A newCA is the output of ca init --json.
type newCA struct {
	Folder      string `json:"folder"`
	Subject     string `json:"subject"`
	Serial      string `json:"serial"`
	NotAfter    string `json:"not_after"`
	PrivateKey  string `json:"private_key,omitempty"`
	Certificate string `json:"certificate"` // PEM
	Commands    string `json:"commands"`
	TrustPolicy any    `json:"trust_policy"`
}

func (f *initFlags) print(a front.App, ca *authority.Authority, stored string) error {
	c := ca.Chain()[0]
	subject := pki.NamesOf(c).SubjectText()
	commands := awsCommands(ca.Chain())
	if f.json {
		return front.WriteJSON(a.Stdout, newCA{f.dir, subject, serialOf(c), stamp(c.NotAfter), stored,
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})), commands, trustPolicy("TRUST_ANCHOR_ARN", "COMMON_NAME")})
	}
	fmt.Fprintf(a.Stderr, "created the CA %s in the folder %s; its certificate expires at %s\nnext: create a trust anchor with the script on standard output, and issue certificates with: %s\n",
		front.OneLine(named(subject)), front.OneLine(f.dir), day(c.NotAfter), f.command("issue", "--csr", "FILE", "--subject", "CN=NAME"))
	_, err := a.Stdout.Write([]byte(commands))
	return err
}

// serialOf returns the serial number of a certificate in hexadecimal.
func serialOf(c *x509.Certificate) string { return fmt.Sprintf("%x", c.SerialNumber.Bytes()) }
