package authority

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
)

// Version is the version of the format of the folder.
const Version = 1

// ErrIndex is wrapped by the errors about an index that is damaged or was
// changed.
var ErrIndex = errors.New("the index is damaged")

// An event is one line of the index.
type event struct {
	N        int       `json:"n"` // from 1
	Previous string    `json:"previous"`
	Time     time.Time `json:"time"`
	Kind     kind      `json:"event"`

	Version int    `json:"version,omitempty"` // of a creation
	CA      string `json:"ca,omitempty"`      // SHA-256 of the certificate of the CA, of a creation

	Serial   string    `json:"serial,omitempty"` // in hexadecimal
	Subject  string    `json:"subject,omitempty"`
	NotAfter time.Time `json:"not_after,omitzero"`
	Key      string    `json:"key,omitempty"` // SHA-256 of the SubjectPublicKeyInfo
	Profile  string    `json:"profile,omitempty"`
	Evidence string    `json:"evidence,omitempty"`

	Renews  string `json:"renews,omitempty"`  // serial number of the certificate that was renewed
	Request string `json:"request,omitempty"` // SHA-256 of the certificate request and the transaction, of a renewal

	Reason pki.Reason `json:"reason,omitempty"`

	Number     string    `json:"number,omitempty"` // of a revocation list
	NextUpdate time.Time `json:"next_update,omitzero"`
}

type kind string

const (
	created kind = "create"
	issued  kind = "issue"
	adopted kind = "adopt" // of a certificate that the index did not contain
	revoked kind = "revoke"
	listed  kind = "crl"
)

// maxLine bounds a line of the index, in bytes.
const maxLine = 64 << 10

var errTooLong = errors.New("is longer than 64 KiB") // maxLine

// isReason reports whether r is a reason that RFC 5280, section 5.3.1, defines,
// except removeFromCRL.
func isReason(r pki.Reason) bool { return r >= 0 && r <= 10 && r != 7 && r != removeFromCRL }

// A Certificate is an entry of the index.
type Certificate struct {
	Serial   string // in hexadecimal
	Subject  string // RFC 4514
	Issued   time.Time
	NotAfter time.Time
	Key      string // SHA-256 of the SubjectPublicKeyInfo, in hexadecimal; "": unknown
	Profile  string // "": it was adopted
	Evidence string // SHA-256 of the evidence of an attestation; "": none
	Renews   string // serial number of the certificate that it renewed; "": none
	Request  string // SHA-256 of the certificate request and the transaction, of a renewal
	Line     string // serial number of the first certificate of the line of renewals; its own, if it renewed none

	Revoked time.Time // zero: not revoked
	Reason  pki.Reason

	// Missing means that there is no file of the certificate: its signature
	// was interrupted or is being made, or the file was lost.
	Missing bool

	// Unlisted means that no revocation list was made since the certificate
	// was revoked.
	Unlisted bool

	revokedBy int // number of the event
}

// A state is what the events of an index result in.
type state struct {
	events   int
	previous string // hash of the last line
	size     int64  // of the lines read, in bytes

	ca           string
	certificates map[string]*Certificate // by serial
	serials      []string                // in the order of issue
	compromised  map[string]string       // from the key of a certificate to its serial
	number       big.Int                 // of the last revocation list
	listedBy     int                     // number of its event
	listedAt     time.Time
	nextUpdate   time.Time
}

func newState() *state {
	return &state{certificates: make(map[string]*Certificate), compromised: make(map[string]string)}
}

// add applies complete lines. Its errors wrap [ErrIndex].
func (x *state) add(lines []byte) error {
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n')
		if end < 0 {
			return fmt.Errorf("%w: line %d has no end", ErrIndex, x.events+1)
		}
		if err := x.addLine(lines[:end]); err != nil {
			return fmt.Errorf("%w: line %d %w", ErrIndex, x.events+1, err)
		}
		lines = lines[end+1:]
	}
	return nil
}

func (x *state) addLine(line []byte) error {
	var e event
	switch {
	case len(line) > maxLine:
		return errTooLong
	case !e.parse(line):
		return errors.New("is not an event in JSON as this program writes it")
	case e.N != x.events+1:
		return fmt.Errorf("has the number %d", e.N)
	case e.Previous != x.previous:
		return errors.New("does not follow the line before it")
	}
	if err := x.apply(e); err != nil {
		return err
	}
	x.events, x.previous, x.size = e.N, hashOf(line), x.size+int64(len(line))+1
	return nil
}

// parse parses a line. It accepts only what json.Marshal writes, so that no other
// text has the same meaning.
func (e *event) parse(line []byte) bool {
	if json.Unmarshal(line, e) != nil {
		return false
	}
	same, err := json.Marshal(e)
	return err == nil && bytes.Equal(same, line)
}

// apply changes the state, unless it returns an error.
func (x *state) apply(e event) error {
	if (e.Kind == created) != (x.events == 0) {
		return fmt.Errorf("has the event %q", e.Kind)
	}
	if err := x.checkRenewal(e); err != nil {
		return err
	}
	switch e.Kind {
	case created:
		if e.Version != Version {
			return fmt.Errorf("has version %d of the format; this program supports version %d", e.Version, Version)
		}
		x.ca = e.CA
	case issued, adopted:
		if _, ok := x.certificates[e.Serial]; ok || !isSerial(e.Serial) {
			return fmt.Errorf("has the serial number %q, which is invalid or was used before", e.Serial)
		}
		x.certificates[e.Serial] = &Certificate{
			Serial: e.Serial, Subject: e.Subject, Issued: e.Time, NotAfter: e.NotAfter, Key: e.Key, Profile: e.Profile, Evidence: e.Evidence,
			Renews: e.Renews, Request: e.Request, Line: e.Serial,
		}
		if e.Renews != "" {
			x.certificates[e.Serial].Line = x.certificates[e.Renews].Line
		}
		x.serials = append(x.serials, e.Serial)
	case revoked:
		c, ok := x.certificates[e.Serial]
		if !ok || !c.Revoked.IsZero() {
			return fmt.Errorf("revokes the serial number %q, which was not issued or is revoked", e.Serial)
		}
		if !isReason(e.Reason) {
			return fmt.Errorf("has the unknown reason %d", e.Reason)
		}
		c.Revoked, c.Reason, c.revokedBy = e.Time, e.Reason, e.N
		if c.Reason == pki.KeyCompromise && c.Key != "" {
			x.compromised[c.Key] = c.Serial
		}
	case listed:
		var n big.Int
		if _, ok := n.SetString(e.Number, 10); !ok || n.Cmp(&x.number) <= 0 {
			return fmt.Errorf("has the CRL number %q, which does not follow %v", e.Number, &x.number)
		}
		x.number, x.listedAt, x.nextUpdate, x.listedBy = n, e.Time, e.NextUpdate, e.N
	default:
		return fmt.Errorf("has the unknown event %q", e.Kind)
	}
	return nil
}

// checkRenewal checks the fields that only the issue of a renewed certificate has.
func (x *state) checkRenewal(e event) error {
	sum, err := hex.DecodeString(e.Request)
	switch {
	case e.Renews == "" && e.Request == "":
		return nil
	case e.Kind != issued:
		return fmt.Errorf("has the event %q and renews a certificate", e.Kind)
	case x.certificates[e.Renews] == nil:
		return fmt.Errorf("renews the serial number %q, which was not issued", e.Renews)
	case err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != e.Request:
		return errors.New("renews a certificate, but has no hash of the request")
	}
	return nil
}

// isSerial reports whether s is a positive number of at most 20 octets as
// serialText writes it.
func isSerial(s string) bool {
	n, ok := new(big.Int).SetString(s, 16)
	return ok && n.Sign() > 0 && n.BitLen() < 160 && serialText(n) == s
}

// serialText returns a serial number in hexadecimal with an even number of
// digits, as OpenSSL prints it, in lower case.
func serialText(n *big.Int) string { return hex.EncodeToString(n.Bytes()) }
