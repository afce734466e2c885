package emulator

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// Limits of the memory for subjects. AWS documents none.
const (
	maxSubjects = 10_000
	maxSeen     = 20 // certificates, and sets of instance properties, of a subject

	maxSeenBytes   = 32 << 10 // of the certificates, and of the sets, in JSON
	maxX509Subject = 2 << 10  // bytes of the name of a subject
)

// A subject is the record of the certificates with one subject that asked for
// credentials.
type subject struct {
	resource
	X509Subject string             `json:"x509Subject"` // RFC 2253
	LastSeen    time.Time          `json:"lastSeen"`
	Credentials []seenCertificate  `json:"credentials"` // the last one seen is the first
	Properties  []instanceProperty `json:"instanceProperties,omitempty"`
}

// A seenCertificate is a certificate with the time and the result of its last request.
type seenCertificate struct {
	SerialNumber string    `json:"serialNumber"` // hexadecimal
	Issuer       string    `json:"issuer"`       // RFC 2253
	PEM          string    `json:"pem"`
	Seen         time.Time `json:"seen"`
	Failed       bool      `json:"failed"`
}

// An instanceProperty is the instance properties of a request.
type instanceProperty struct {
	Properties map[string]string `json:"properties"`
	Seen       time.Time         `json:"seen"`
	Failed     bool              `json:"failed"`
}

// see records a request of an authenticated certificate in its subject.
func (s *Server) see(c *changes, cert *x509.Certificate, properties map[string]string, now time.Time, failed bool) {
	now = now.UTC().Truncate(time.Second)
	sub := &subject{resource: resource{ARN: s.subjectARN(cert), Enabled: true, Created: now}, X509Subject: clipTo(cert.Subject.String(), maxX509Subject)}
	if old, ok := s.subjects.get(sub.ARN); ok {
		sub = old.with(func(*resource) {})
	} else if len(s.subjects.keys) >= maxSubjects {
		s.subjects.remove(c, s.longestUnseen())
	}
	sub.Updated, sub.LastSeen = now, now
	seen := seenCertificate{
		SerialNumber: trustpolicy.SerialNumber(cert), Issuer: cert.Issuer.String(), Seen: now, Failed: failed,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
	}
	sub.Credentials = putFirst(sub.Credentials, seen, func(old seenCertificate) bool {
		return old.SerialNumber == seen.SerialNumber && old.Issuer == seen.Issuer
	})
	if len(properties) > 0 {
		sub.Properties = putFirst(sub.Properties, instanceProperty{properties, now, failed}, func(old instanceProperty) bool {
			return maps.Equal(old.Properties, properties)
		})
	}
	s.subjects.put(c, sub.ARN, sub)
}

// longestUnseen returns the key of the subject that was seen longest ago. It looks at all
// subjects, but is called only for a new subject while the table is full.
func (s *Server) longestUnseen() string {
	return slices.MinFunc(s.subjects.keys, func(a, b string) int {
		return s.subjects.rows[a].Value.LastSeen.Compare(s.subjects.rows[b].Value.LastSeen)
	})
}

// putFirst returns a new list with v before those elements of old that are not the same,
// without the last ones if there are too many. It is empty if v alone is too large.
func putFirst[T any](old []T, v T, same func(T) bool) []T {
	all := append([]T{v}, slices.DeleteFunc(slices.Clone(old), same)...)
	all = all[:min(len(all), maxSeen)]
	for len(all) > 0 && sizeJSON(all) > maxSeenBytes {
		all = all[:len(all)-1]
	}
	return all
}
