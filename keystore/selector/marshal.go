package selector

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ia5Types are the attribute types whose values are IA5Strings (RFC 5280,
// section 4.1.2.4 and appendix A.1; RFC 4519, section 2.4).
var ia5Types = []string{"0.9.2342.19200300.100.1.25", "1.2.840.113549.1.9.1"}

// Marshal returns the DER of the name (RFC 5280, section 4.1.2.4). Text is
// encoded as a PrintableString if it can be one, and as a UTF8String otherwise.
// It does not check the rules for names in certificates.
func (d DN) Marshal() ([]byte, error) {
	var sets []rdnSET
	for _, r := range slices.Backward(d.rdns) {
		set := make(rdnSET, len(r.attributes))
		for i, a := range r.attributes {
			value, err := a.marshal()
			if err != nil {
				return nil, fmt.Errorf("the value of %s %w", a.name(), err)
			}
			if set[i].Type, err = parseOID(a.oid); err != nil {
				return nil, err
			}
			set[i].Value = asn1.RawValue{FullBytes: value}
		}
		sets = append(sets, set)
	}
	return asn1.Marshal(sets)
}

// marshal returns the DER of the value.
func (a attribute) marshal() ([]byte, error) {
	if a.der != nil {
		return a.der, nil
	}
	if slices.Contains(ia5Types, a.oid) {
		if strings.ContainsFunc(a.text, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return nil, errors.New("contains a character that is not ASCII")
		}
		return asn1.MarshalWithParams(a.text, "ia5")
	}
	return asn1.Marshal(a.text)
}

func parseOID(dotted string) (oid asn1.ObjectIdentifier, err error) {
	for part := range strings.SplitSeq(dotted, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("has the attribute type %s, whose numbers are too large", dotted)
		}
		oid = append(oid, n)
	}
	if oid[0] > 2 || oid[0] < 2 && oid[1] >= 40 {
		return nil, fmt.Errorf("has the attribute type %s, which is not an object identifier", dotted)
	}
	return oid, nil
}
