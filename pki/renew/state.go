package renew

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/signer"
)

// stateVersion is the version of the format of the state file.
const stateVersion = 1

// maxState bounds the state file, in bytes. Its largest part is a chain of a few
// certificates.
const maxState = 1 << 20

// A state is what survives the process: when the certificate was obtained, and
// the renewal that was begun.
type state struct {
	Version     int       `json:"version"`
	Certificate string    `json:"certificate"`       // SHA-256 of the certificate in use, in hexadecimal
	Subject     string    `json:"subject,omitempty"` // of that certificate
	Obtained    time.Time `json:"obtained"`
	Pending     *pending  `json:"pending,omitempty"`
	Undeployed  bool      `json:"undeployed,omitempty"` // no Config.Deploy has succeeded for the certificate
	Failures    int       `json:"failures,omitempty"`   // tries in a row
	Next        time.Time `json:"next,omitzero"`        // there is no try before
	Problem     string    `json:"problem,omitempty"`    // of the last try that had one
	Hint        string    `json:"hint,omitempty"`       // of that problem
	Tried       time.Time `json:"tried,omitzero"`       // when that try ended
}

// A pending renewal was written down before the CA was asked.
type pending struct {
	CSR      []byte    `json:"csr"` // in DER
	Token    string    `json:"token"`
	Key      string    `json:"key,omitempty"` // names the new key; "": the key stays
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`

	// Obtained are the certificates from the CA, in DER, which are not in use
	// yet, and ObtainedAt is when it issued them.
	Obtained   [][]byte  `json:"obtained,omitempty"`
	ObtainedAt time.Time `json:"obtained_at,omitzero"`
}

// isFor reports whether p is a renewal for the key with the name.
func (p *pending) isFor(name string, key crypto.PublicKey) bool {
	if p == nil || p.Key != name {
		return false
	}
	csr, err := x509.ParseCertificateRequest(p.CSR)
	return err == nil && signer.SamePublicKey(csr.PublicKey, key)
}

// certificates returns the certificates that were obtained.
func (p *pending) certificates() (certs []*x509.Certificate, err error) {
	for _, der := range p.Obtained {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// isIncomplete reports whether the certificate in use is that of a renewal that was
// interrupted in or after its installation.
func (s state) isIncomplete(leaf *x509.Certificate) bool {
	return s.Pending != nil && slices.ContainsFunc(s.Pending.Obtained, func(der []byte) bool { return bytes.Equal(der, leaf.Raw) })
}

// newToken returns a token for a renewal.
func newToken() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func hashOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// load reads the state for the certificate in use. A state of another certificate
// counts as none: somebody else has replaced it. So does one that is damaged or of
// another version. When the certificate was obtained is then unknown, and the beginning
// of its validity is a time before that. load returns this state also with an error.
func (r *Renewer) load(leaf *x509.Certificate) (s state, err error) {
	s = state{Version: stateVersion, Certificate: hashOf(leaf), Subject: leaf.Subject.String(), Obtained: leaf.NotBefore}
	info, err := os.Stat(r.config.StateFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return s, err
	case !info.Mode().IsRegular(): // a FIFO would wait for its writer
		return s, signer.WithHint(fmt.Errorf("%s: the state of the renewal is not a regular file", r.config.StateFile), "name another file with Config.StateFile")
	}
	f, err := os.Open(r.config.StateFile)
	if err != nil {
		return s, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return s, err
	}
	var stored state
	if len(data) > maxState || json.Unmarshal(data, &stored) != nil || stored.Version != stateVersion {
		// The certificate is worth more than a renewal that was begun.
		r.config.Logger.Warn("the state of the renewal is damaged or of another version, and is not used", "file", r.config.StateFile)
		return s, nil
	}
	if stored.Certificate == s.Certificate {
		if stored.Obtained.After(r.config.Now()) || !stored.Obtained.Before(leaf.NotAfter) { // by a clock that was wrong
			stored.Obtained = leaf.NotBefore
		}
		return stored, nil
	}
	if stored.isIncomplete(leaf) {
		s = renewed(leaf, stored.Pending.ObtainedAt)
		s.Pending = stored.Pending
	}
	if stored.Pending != nil && stored.Subject != s.Subject {
		r.config.Logger.Warn("the state of the renewal belongs to another certificate, whose renewal was begun; if both are renewed on this machine, give each a state file of its own",
			"file", r.config.StateFile, "subject", stored.Subject)
	}
	return s, nil
}

// renewed returns the state after a renewal.
func renewed(leaf *x509.Certificate, obtained time.Time) state {
	return state{Version: stateVersion, Certificate: hashOf(leaf), Subject: leaf.Subject.String(), Obtained: obtained, Undeployed: true}
}

// save writes the state.
func (r *Renewer) save(s state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	f := atomicfile.File{Name: r.config.StateFile}
	if err := f.Replace(append(data, '\n')); err != nil {
		return err
	}
	return f.SyncFolder()
}
