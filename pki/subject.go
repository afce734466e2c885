package pki

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// upperBounds are the maximum lengths of values in characters, by attribute type
// (RFC 5280, appendix A.1). A country is exactly two letters.
var upperBounds = lookup.Table[string, int]{
	{"2.5.4.3", 64}, {"2.5.4.5", 64}, {"2.5.4.6", 2}, {"2.5.4.7", 128}, {"2.5.4.8", 128}, {"2.5.4.10", 64}, {"2.5.4.11", 64},
	{"2.5.4.12", 64}, {"2.5.4.65", 128}, {"1.2.840.113549.1.9.1", 255},
}

const oidCountry = "2.5.4.6"

// ia5Types are the attribute types whose values are IA5Strings (RFC 5280, section
// 4.1.2.4 and appendix A.1; RFC 4519, section 2.4).
var ia5Types = []string{"0.9.2342.19200300.100.1.25", "1.2.840.113549.1.9.1"}

// maxSubject bounds the DER of a subject, in bytes.
const maxSubject = 8 << 10

// rdnSET is the DER of a RelativeDistinguishedName; encoding/asn1 needs a name
// that ends with SET.
type rdnSET []struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// checkSubject returns an error for a subject that a new certificate must not
// have (RFC 5280, section 4.1.2.4, and appendix A.1): one that is encoded in an
// obsolete way, or that people cannot tell from another one.
func (n Names) checkSubject() error {
	if len(n.Subject) == 0 {
		return nil
	}
	if len(n.Subject) > maxSubject {
		return fmt.Errorf("subject: is longer than %d KiB", maxSubject>>10)
	}
	var sets []rdnSET
	if rest, err := asn1.Unmarshal(n.Subject, &sets); err != nil || len(rest) > 0 {
		return errSubject
	}
	for _, set := range sets {
		if len(set) == 0 {
			return errors.New("subject: has a part without attributes")
		}
		for _, a := range set {
			if err := checkValue(a.Type.String(), a.Value); err != nil {
				return fmt.Errorf("subject: the value of %s %w", attributeName(a.Type.String()), err)
			}
		}
	}
	return nil
}

var errSubject = errors.New("subject: is not the DER of a distinguished name")

func checkValue(oid string, v asn1.RawValue) error {
	var text string
	wanted := []int{asn1.TagPrintableString, asn1.TagUTF8String}
	if slices.Contains(ia5Types, oid) {
		wanted = []int{asn1.TagIA5String}
	}
	if v.Class != asn1.ClassUniversal || v.IsCompound || !slices.Contains(wanted, v.Tag) {
		return errors.New("is not encoded as RFC 5280 requires, as a PrintableString or a UTF8String")
	}
	if rest, err := asn1.Unmarshal(v.FullBytes, &text); err != nil || len(rest) > 0 {
		return errors.New("is not text")
	}
	limit, bounded := upperBounds.Find(oid)
	switch count := utf8.RuneCountInString(text); {
	case count == 0:
		return errors.New("is empty")
	case oid == oidCountry && (count != 2 || !isLetter(text[0]) || !isLetter(text[1])):
		return errors.New("is not a country code of two letters")
	case bounded && count > limit:
		return fmt.Errorf("is longer than %d characters", limit)
	case text[0] == ' ' || text[len(text)-1] == ' ':
		return fmt.Errorf("%q begins or ends with a space", text)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
			return fmt.Errorf("%q contains an invisible character, U+%04X", text, r)
		}
	}
	return nil
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// attributeName returns the usual name of an attribute type.
func attributeName(oid string) string {
	if name := attributeNames.Get(oid); name != "" {
		return name
	}
	return oid
}

// attributeNames are the names of attribute types (RFC 4519, section 2).
var attributeNames = lookup.Table[string, string]{
	{"2.5.4.3", "CN"}, {"2.5.4.5", "serialNumber"}, {"2.5.4.6", "C"}, {"2.5.4.7", "L"}, {"2.5.4.8", "ST"}, {"2.5.4.10", "O"}, {"2.5.4.11", "OU"},
	{"2.5.4.12", "title"}, {"0.9.2342.19200300.100.1.25", "DC"}, {"1.2.840.113549.1.9.1", "emailAddress"},
}
