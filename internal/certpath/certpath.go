// Package certpath verifies certification paths. It also checks what crypto/x509
// does not: ML-DSA signatures, constraints on directory names and on email addresses
// in subjects, path lengths that do not count self-issued certificates, and weak
// signatures.
//
// Source: RFC 5280, sections 4.2.1.9, 4.2.1.10 and 6.1; RFC 9881. All functions are
// safe for concurrent use.
package certpath

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// Weak reports whether a signature algorithm is based on MD2, MD5 or SHA-1.
func Weak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	}
	return false
}

var oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// Relaxed returns a copy of c for Verify of crypto/x509. The copy lacks the
// limits that [Check] checks: the maximum path length, and constraints on
// directory names, which crypto/x509 would refuse as unknown. The copy shares
// memory with c.
func Relaxed(c *x509.Certificate) *x509.Certificate {
	relaxed := *c
	relaxed.MaxPathLen, relaxed.MaxPathLenZero = -1, false
	if _, err := constraintsOf(c); err == nil {
		relaxed.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(c.UnhandledCriticalExtensions), oidNameConstraints.Equal)
	}
	return &relaxed
}

// Check returns an error if path, leaf first, violates a path length or a
// constraint on directory names of one of its certificates. It applies those of
// the last one too, as crypto/x509 does. It checks nothing else: the
// certificates must have passed Verify of crypto/x509 as [Relaxed] copies.
func Check(path []*x509.Certificate) error {
	below := 0 // certificates between the leaf and c that are not self-issued
	for i, c := range path {
		if i == 0 {
			continue
		}
		if limit, ok := maxPathLen(c); ok && below > limit {
			return fmt.Errorf("certificate of %q allows %d intermediate certificates below it; the path has %d", c.Subject, limit, below)
		}
		if !selfIssued(c) {
			below++
		}
		limits, err := constraintsOf(c)
		if err != nil {
			continue // crypto/x509 has refused it, unless it is not critical
		}
		for j, subject := range path[:i] {
			if j > 0 && selfIssued(subject) {
				continue // RFC 5280, section 6.1.3 (b)
			}
			if err := cmp.Or(limits.check(subject), checkEmail(c, subject)); err != nil {
				return fmt.Errorf("certificate of %q: %w", c.Subject, err)
			}
		}
	}
	return nil
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// maxPathLen reads the extension, because a Relaxed copy has no MaxPathLen.
func maxPathLen(c *x509.Certificate) (limit int, ok bool) {
	for _, e := range c.Extensions {
		var basic struct {
			IsCA       bool `asn1:"optional"`
			MaxPathLen int  `asn1:"optional,default:-1"`
		}
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) {
			continue
		}
		if rest, err := asn1.Unmarshal(e.Value, &basic); err == nil && len(rest) == 0 {
			return basic.MaxPathLen, basic.MaxPathLen >= 0
		}
	}
	return 0, false
}

// Tags of GeneralName (RFC 5280, section 4.2.1.6).
const (
	tagEmail     = 1
	tagDNS       = 2
	tagDirectory = 4
	tagURI       = 6
	tagIP        = 7
)

var errConstraints = errors.New("has name constraints of an unknown form")

// constraints are those on directory names.
type constraints struct{ permitted, excluded []name }

// constraintsOf returns the constraints of c. It returns an error if c has a
// constraint that neither this package nor crypto/x509 knows.
func constraintsOf(c *x509.Certificate) (limits constraints, err error) {
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidNameConstraints) {
			continue
		}
		var parsed struct {
			Permitted []subtree `asn1:"optional,tag:0"`
			Excluded  []subtree `asn1:"optional,tag:1"`
		}
		if rest, err := asn1.Unmarshal(e.Value, &parsed); err != nil || len(rest) > 0 {
			return limits, errConstraints
		}
		if limits.permitted, err = directoryNames(parsed.Permitted); err == nil {
			limits.excluded, err = directoryNames(parsed.Excluded)
		}
		if err != nil {
			return constraints{}, err
		}
	}
	return limits, nil
}

// A subtree is a GeneralSubtree. Its minimum must be 0 and its maximum absent
// (RFC 5280, section 4.2.1.10).
type subtree struct {
	Base    asn1.RawValue
	Minimum int `asn1:"optional,default:0,tag:0"`
	Maximum int `asn1:"optional,default:-1,tag:1"`
}

func directoryNames(trees []subtree) (names []name, err error) {
	for _, t := range trees {
		if t.Minimum != 0 || t.Maximum != -1 || t.Base.Class != asn1.ClassContextSpecific {
			return nil, errConstraints
		}
		switch t.Base.Tag {
		case tagDirectory:
			n, err := parseName(t.Base.Bytes)
			if err != nil {
				return nil, err
			}
			names = append(names, n)
		case tagEmail, tagDNS, tagURI, tagIP: // crypto/x509 checks them
		default:
			return nil, errConstraints
		}
	}
	return names, nil
}

// check applies the constraints to the subject of c and its alternative names.
func (limits constraints) check(c *x509.Certificate) error {
	if len(limits.permitted) == 0 && len(limits.excluded) == 0 {
		return nil
	}
	names, err := namesOf(c)
	if err != nil {
		return err
	}
	for _, n := range names {
		within := func(base name) bool { return n.within(base) }
		switch {
		case len(limits.permitted) > 0 && !slices.ContainsFunc(limits.permitted, within):
			return fmt.Errorf("its name constraints do not permit a name of %q", c.Subject)
		case slices.ContainsFunc(limits.excluded, within):
			return fmt.Errorf("its name constraints exclude a name of %q", c.Subject)
		}
	}
	return nil
}
