package authority_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestRenewRefused(t *testing.T) {
	other := func(l *line) crypto.Signer { return signertest.Key(l, "p256") }
	for name, c := range map[string]struct {
		reason string
		make   func(l *line) authority.Renewal
	}{
		"revoked": {"was revoked at", func(l *line) authority.Renewal {
			l.revoke(l.first, pki.Unspecified)
			return l.request(l.key, l.first)
		}},
		"revoked after it was answered": {"was revoked at", func(l *line) authority.Renewal {
			r := l.request(l.key, l.first)
			l.renew(r)
			l.revoke(l.first, pki.Unspecified)
			return r
		}},
		"the answer is revoked": {"the certificate for this request", func(l *line) authority.Renewal {
			r := l.request(l.key, l.first)
			l.revoke(l.renew(r), pki.Unspecified)
			return r
		}},
		"the newest of the line is revoked": {"the renewed certificate", func(l *line) authority.Renewal {
			l.revoke(l.renew(l.request(l.key, l.renew(l.request(l.key, l.first)))), pki.Superseded)
			return l.request(l.key, l.first)
		}},
		"the key is compromised": {"keyCompromise", func(l *line) authority.Renewal {
			l.revoke(l.issue("other", l.key, pki.Client), pki.KeyCompromise)
			return l.request(l.key, l.first)
		}},
		"the new key is compromised": {"keyCompromise", func(l *line) authority.Renewal {
			l.revoke(l.issue("other", other(l), pki.Client), pki.KeyCompromise)
			return l.request(other(l), l.first)
		}},
		"superseded by another key": {"is superseded", func(l *line) authority.Renewal {
			l.renew(l.request(other(l), l.first))
			return l.request(l.key, l.first)
		}},
		"superseded, for a third key": {"is superseded", func(l *line) authority.Renewal {
			l.renew(l.request(other(l), l.first))
			return l.request(signertest.Key(l, "rsa2048"), l.first)
		}},
		"superseded in another branch of the line": {"is superseded", func(l *line) authority.Renewal {
			branch := l.renew(l.request(l.key, l.first))
			l.renew(l.request(other(l), l.renew(l.request(l.key, l.first))))
			return l.request(l.key, branch)
		}},
		"another key, although it was renewed since": {"was renewed since", func(l *line) authority.Renewal {
			abandoned := l.request(other(l), l.first)
			l.renew(l.request(l.key, l.first))
			return abandoned
		}},
		"another key in another branch of the line": {"was renewed since", func(l *line) authority.Renewal {
			branch := l.renew(l.request(l.key, l.first))
			l.renew(l.request(l.key, l.first))
			return l.request(other(l), branch)
		}},
		"it comes from a compromised key": {"comes from a renewal that a compromised key signed", func(l *line) authority.Renewal {
			c := l.renew(l.request(other(l), l.first))
			l.revoke(l.first, pki.KeyCompromise)
			return l.request(other(l), c)
		}},
		"it comes from a compromised key, over several renewals": {"comes from a renewal that a compromised key signed", func(l *line) authority.Renewal {
			c := l.renew(l.request(l.key, l.first))
			for _, key := range []string{"p256", "p256", "rsa2048", "p521"} {
				c = l.renew(l.request(signertest.Key(l, key), c))
			}
			l.revoke(l.first, pki.KeyCompromise)
			return l.request(signertest.Key(l, "rsa3072"), c)
		}},
		"it comes from a key that was compromised with another certificate": {"comes from a renewal that a compromised key signed", func(l *line) authority.Renewal {
			c := l.renew(l.request(other(l), l.first))
			l.revoke(l.issue("other", l.key, pki.Client), pki.KeyCompromise)
			return l.request(other(l), c)
		}},
		"it comes from a compromised key, and was answered": {"comes from a renewal that a compromised key signed", func(l *line) authority.Renewal {
			r := l.request(other(l), l.renew(l.request(other(l), l.first)))
			l.renew(r)
			l.revoke(l.first, pki.KeyCompromise)
			return r
		}},
		"expired": {"expired at", func(l *line) authority.Renewal {
			l.now = l.first.NotAfter.Add(time.Second)
			return l.request(l.key, l.first)
		}},
		"expired for too long": {"expired at", func(l *line) authority.Renewal {
			l.now = l.first.NotAfter.Add(time.Hour + time.Second)
			r := l.request(l.key, l.first)
			r.AllowExpired = time.Hour
			return r
		}},
		"a certificate of another CA": {"this CA did not issue", func(l *line) authority.Renewal {
			return l.request(l.key, signertest.NewCA(l, "Root").Issue(l, l.key, nil))
		}},
		"a certificate of another CA with the same serial number": {"this CA did not issue", func(l *line) authority.Renewal {
			return l.request(l.key, signertest.NewCA(l, "Root").Issue(l, l.key, func(c *x509.Certificate) {
				c.SerialNumber, c.RawSubject = l.first.SerialNumber, l.first.RawSubject
			}))
		}},
		"the certificate of the CA":                     {"this CA did not issue", func(l *line) authority.Renewal { return l.request(l.key, l.Chain()[0]) }},
		"a certificate that the index does not contain": {"this CA did not issue", func(l *line) authority.Renewal { return l.request(l.key, l.signElsewhere()) }},
		"an adopted certificate": {"the profile of the certificate", func(l *line) authority.Renewal {
			c := l.signElsewhere()
			if _, err := l.Adopt(l.Context(), c); err != nil {
				l.Fatal(err)
			}
			return l.request(l.key, c)
		}},
		"its file is lost": {"this CA did not issue", func(l *line) authority.Renewal {
			if err := os.Remove(l.file(l.first)); err != nil {
				l.Fatal(err)
			}
			return l.request(l.key, l.first)
		}},
		"other names": {"other names", func(l *line) authority.Renewal {
			r := l.request(l.key, l.issue("admin", l.key, pki.Client))
			r.Old = l.first
			return r
		}},
		"one more name": {"other names", func(l *line) authority.Renewal {
			more := *l.first
			more.DNSNames = []string{"app.example.com"}
			r := l.request(l.key, &more)
			r.Old = l.first
			return r
		}},
		"an intermediate CA": {"not renewed without a person", func(l *line) authority.Renewal {
			profile := pki.Intermediate
			profile.IsCA, profile.KeyUsage, profile.Name = false, x509.KeyUsageDigitalSignature, "intermediate" // the root has the path length 0
			return l.request(l.key, l.issue("sub", l.key, profile))
		}},
		"an unknown profile": {"there is no profile", func(l *line) authority.Renewal {
			profile := pki.Client
			profile.Name = "gone"
			return l.request(l.key, l.issue("sub", l.key, profile))
		}},
		"a key that the profile does not permit": {"Ed25519", func(l *line) authority.Renewal { return l.request(signertest.Key(l, "ed25519"), l.first) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t)
			r := c.make(l)
			before, err := os.ReadFile(filepath.Join(l.dir, "index.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			for what, try := range map[string]func() (*x509.Certificate, error){
				"FindRenewal": func() (*x509.Certificate, error) { return l.FindRenewal(r) },
				"Renew":       func() (*x509.Certificate, error) { return l.Renew(t.Context(), l.caKey, r) },
			} {
				if got, err := try(); !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), c.reason) || got != nil {
					t.Errorf("%s: %v, %v; want %q", what, got, err, c.reason)
				}
			}
			if after, err := os.ReadFile(filepath.Join(l.dir, "index.jsonl")); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the index has changed: %v", err)
			}
		})
	}
}

// An index is refused if what it says of renewals contradicts itself.
func TestAlteredRenewal(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	for name, fields := range map[string]string{
		"no request":            `"renews":"FIRST"`,
		"no certificate":        `"request":"` + hash + `"`,
		"an unknown serial":     `"renews":"05","request":"` + hash + `"`,
		"itself":                `"renews":"07","request":"` + hash + `"`,
		"a short hash":          `"renews":"FIRST","request":"0a"`,
		"upper case":            `"renews":"FIRST","request":"` + strings.ToUpper(hash) + `"`,
		"the other order":       `"request":"` + hash + `","renews":"FIRST"`,
		"a renewal":             `"renews":"FIRST","request":"` + hash + `"`, // is accepted
		"a renewal and a field": `"renews":"FIRST","request":"` + hash + `","x":1`,
	} {
		for _, event := range []string{"issue", "adopt"} {
			l := newLine(t)
			path := filepath.Join(l.dir, "index.jsonl")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
			added := fmt.Sprintf(`{"n":3,"previous":"%x","time":"2026-01-01T00:00:00Z","event":"%s","serial":"07","subject":"CN=app","not_after":"2026-01-02T00:00:00Z",%s}`+"\n",
				sha256.Sum256([]byte(lines[1])), event, strings.Replace(fields, "FIRST", serialOf(l.first), 1))
			if err := os.WriteFile(path, append(data, added...), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = authority.Open(l.dir, authority.Options{})
			if good := name == "a renewal" && event == "issue"; good != (err == nil) || !good && !errors.Is(err, authority.ErrIndex) {
				t.Errorf("%s, %s: %v", name, event, err)
			}
		}
	}
}
