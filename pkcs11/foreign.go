package pkcs11

import (
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// foreignNames maps names that other tools use to the attributes of RFC 7512.
var foreignNames = lookup.Table[string, string]{
	{"label", "object"},
	{"name", "object"},
	{"key", "object"},
	{"objecttype", "type"},
	{"object-type", "type"},
	{"object-id", "id"},
	{"keyid", "id"},
	{"key-id", "id"},
	{"token-label", "token"},
	{"slot", "slot-id"},
	{"slotid", "slot-id"},
	{"serial-number", "serial"},
	{"module", "module-path"},
	{"lib", "module-path"},
	{"library", "module-path"},
	{"library-path", "module-path"},
	{"pin", "pin-source"},
	{"pinfile", "pin-source"},
	{"pin-file", "pin-source"},
}

// misplaced returns the error for an attribute that does not belong into a
// component. It does not show the value, which can be a PIN.
func misplaced(name string, in uriComponent) error {
	lower := strings.ToLower(name)
	right, foreign := foreignNames.Find(strings.ReplaceAll(lower, "_", "-"))
	if !foreign {
		right = lower
	}
	for _, c := range []uriComponent{inPath, inQuery} {
		switch {
		case c.find(right) < 0:
		case c.place == in.place: // in the right place, but with another name
			return signer.WithHint(fmt.Errorf("attribute %q is not one of %s", clip(name), names(in.attributes)), fmt.Sprintf("use the attribute %q", right))
		case foreign:
			return signer.WithHint(fmt.Errorf("attribute %q is not one of %s", clip(name), names(in.attributes)), fmt.Sprintf("use the attribute %q, %s", right, c.place))
		default:
			return signer.WithHint(fmt.Errorf("attribute %q belongs %s", right, c.place), "write pkcs11:token=TOKEN;object=LABEL?pin-source=PATH&module-path=PATH, with only the attributes that you need")
		}
	}
	return fmt.Errorf("attribute %q is not one of %s", clip(name), names(in.attributes))
}

// wrongSeparator returns an error if raw, the value of an attribute, continues
// with another attribute after the separator of the other component.
func wrongSeparator(raw string, in uriComponent) error {
	other := ";"
	if in.separator == ";" {
		other = "&"
	}
	_, rest, ok := strings.Cut(raw, other)
	if !ok {
		return nil
	}
	name, _, ok := strings.Cut(rest, "=")
	switch {
	case !ok:
		return nil
	case in.find(name) >= 0:
		return fmt.Errorf("attribute %q follows %q, but it belongs %s", name, other, in.place)
	case inPath.find(name) >= 0 || inQuery.find(name) >= 0:
		return misplaced(name, in)
	}
	return nil
}

// unpad removes the padding with which modules fill the fields of CK_TOKEN_INFO,
// CK_SLOT_INFO and CK_INFO, and a NUL after a label, from a value that was copied
// with it. A value of nothing but padding stays, and is refused.
func (a uriAttribute) unpad(value string) string {
	switch a.name {
	case "token", "manufacturer", "serial", "model", "library-manufacturer", "library-description", "slot-description", "slot-manufacturer":
		value = trim(value)
	case "object":
		value = strings.TrimRight(value, "\x00")
	}
	return value
}
