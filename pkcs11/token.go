package pkcs11

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// A token is a token in a slot of a module.
type token struct {
	mod  module
	slot uint
	info tokenInfo
}

// wrap adds the label of the token to err.
func (t token) wrap(err error) error { return withPrefix("token "+quote(trim(t.info.label)), err) }

// withPrefix adds a prefix to err unless err is nil.
func withPrefix(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// tokens returns the tokens that match u. It skips slots that return an error,
// for example because the card is being removed.
func tokens(mod module, u URI) ([]token, error) {
	found, _, err := readTokens(mod, u)
	return found, err
}

// readTokens is like tokens, but also returns the errors of the slots.
func readTokens(mod module, u URI) (found []token, unread []error, err error) {
	if u.LibraryManufacturer != "" || u.LibraryDescription != "" || u.LibraryVersion != "" {
		info, err := mod.info()
		if err != nil {
			return nil, nil, err
		}
		if !u.matchesLibrary(info) {
			return nil, nil, nil
		}
	}
	slots, err := mod.slots()
	if err != nil {
		return nil, nil, err
	}
	for _, slot := range slots {
		if !numberMatches(u.SlotID, slot) {
			continue
		}
		info, ok, err := readToken(mod, slot, u)
		switch {
		case errors.As(err, new(*endedError)):
			return nil, nil, err
		case err != nil:
			unread = append(unread, fmt.Errorf("token in slot %d: %w", slot, err))
		case ok:
			found = append(found, token{mod, slot, info})
		}
	}
	return found, unread, nil
}

// readToken reports whether the token in a slot matches u.
func readToken(mod module, slot uint, u URI) (info tokenInfo, ok bool, err error) {
	info, err = mod.tokenInfo(slot)
	if err != nil || info.flags&cktFlagTokenInitialized == 0 || !u.matchesToken(info) {
		return info, false, err
	}
	if u.SlotDescription != "" || u.SlotManufacturer != "" {
		s, err := mod.slotInfo(slot)
		if err != nil || !matches(u.SlotDescription, s.description) || !matches(u.SlotManufacturer, s.manufacturer) {
			return info, false, err
		}
	}
	return info, true, nil
}

// oneToken returns the only token that matches u. The hint of its error lists
// the tokens that are present.
func oneToken(mod module, u URI) (token, error) {
	found, err := tokens(mod, u)
	if err != nil {
		return token{}, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		all, err := tokens(mod, URI{})
		if err != nil {
			return token{}, err
		}
		if len(all) == 0 {
			hint := "insert the card or start the HSM; if there are several modules, select one with ?module-path=… in the reference"
			switch soft := softHSMHint(); {
			case isSoftHSM(u.ModulePath):
				hint = cmp.Or(soft, hintNoSoftToken)
			case soft != "":
				hint += ". " + soft
			}
			return token{}, signer.WithHint(fmt.Errorf("no token is present: %w", signer.ErrUnavailable), hint)
		}
		return token{}, signer.WithHint(fmt.Errorf("no token matches the reference: %w", signer.ErrUnavailable),
			mismatch(mod, u)+"use one of the tokens that are present: "+listTokens(all, u))
	}
	return token{}, signer.WithHint(fmt.Errorf("%d tokens match: %w", len(found), signer.ErrAmbiguous),
		"use one of: "+listTokens(found, u))
}

// mismatch returns the start of a hint, which names the attributes of u without
// one of which a token would match. It returns "" if there are none.
func mismatch(mod module, u URI) string {
	var wrong []string
	for _, a := range inPath.attributes {
		without := u
		*a.field(&without) = ""
		if without == u {
			continue
		}
		if found, err := tokens(mod, without); err == nil && len(found) > 0 {
			wrong = append(wrong, a.name)
		}
	}
	switch len(wrong) {
	case 0:
		return ""
	case 1:
		return "the attribute " + wrong[0] + " does not match; "
	}
	return "no token matches all of the attributes " + strings.Join(wrong, ", ") + "; "
}

// listTokens returns the URIs of tokens, with the module of u.
func listTokens(all []token, u URI) string {
	var uris []string
	for _, t := range all {
		uris = append(uris, t.uri().toUse(u).String())
	}
	return strings.Join(uris, "  ")
}

// uri returns a URI that matches the token in any slot.
func (t token) uri() URI {
	return URI{Token: uriText(t.info.label), Manufacturer: uriText(t.info.manufacturer), Model: uriText(t.info.model), Serial: uriText(t.info.serial)}
}

// withModuleOf returns u with the module of another URI.
func (u URI) withModuleOf(other URI) URI {
	u.ModuleName, u.ModulePath, u.Isolation = other.ModuleName, other.ModulePath, other.Isolation
	return u
}

// toUse returns u with the module and the PIN source of the URI that the caller
// gave, so that it can be used instead of that one. A PIN source without a path or
// a scheme can be the PIN itself.
func (u URI) toUse(given URI) URI {
	if strings.ContainsAny(given.PINSource, ":/") {
		u.PINSource = given.PINSource
	}
	return u.withModuleOf(given)
}

// uriText returns a field of CK_TOKEN_INFO for use in a URI: without padding,
// and "" if it is not UTF-8 text.
func uriText(s string) string {
	if s = trim(s); checkText(s) != nil {
		return ""
	}
	return s
}

// trim removes the padding of modules.
func trim(s string) string { return strings.TrimRight(s, " \x00") }

func (u URI) matchesToken(t tokenInfo) bool {
	return matches(u.Token, t.label) && matches(u.Manufacturer, t.manufacturer) &&
		matches(u.Serial, t.serial) && matches(u.Model, t.model)
}

func (u URI) matchesLibrary(l libraryInfo) bool {
	if u.LibraryVersion != "" {
		major, minor, ok := strings.Cut(u.LibraryVersion, ".")
		if !ok {
			minor = "0"
		}
		if !numberMatches(major, uint(l.major)) || !numberMatches(minor, uint(l.minor)) {
			return false
		}
	}
	return matches(u.LibraryManufacturer, l.manufacturer) && matches(u.LibraryDescription, l.description)
}

// numberMatches reports whether want is the number got, perhaps with leading
// zeros, or empty.
func numberMatches(want string, got uint) bool {
	n, err := strconv.ParseUint(want, 10, strconv.IntSize)
	return want == "" || err == nil && uint(n) == got
}

// matches reports whether want is the value of a padded field, or empty.
func matches(want, got string) bool {
	return want == "" || want == trim(got)
}
