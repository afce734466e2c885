package front

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/holdfast-dev/holdfast/keystore"
)

// shortestSecret is the length in bytes from which a part of an argument is
// searched for in messages.
const shortestSecret = 4

// Redact returns a message as one line, without the PINs, passwords and keys in it.
// It is the last step before a message is printed. args is the command line that
// may contain them. Redact removes those that [keystore.Redact] recognizes, and the
// parts of arguments that [keystore.Excerpt] would not show, wherever they are.
func Redact(message string, args []string) string {
	message = keystore.Redact(OneLine(message))
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		secrets := hidden(value)
		switch {
		case strings.Contains(name, ":"): // a reference, of which value is no part
			secrets = hidden(arg)
		case !strings.HasPrefix(name, "-"):
			secrets = append(secrets, hidden(arg)...)
		case strings.Contains(name, "password"):
			secrets = append(secrets, inForms(value)...)
		}
		for _, secret := range secrets {
			message = remove(message, secret)
		}
	}
	return message
}

// remove replaces a secret in a message. A secret of letters alone can also be a
// word of the message itself, whose absence would tell the secret. So it is replaced
// only where a message has the text of a user: in quotes, after a separator, or as
// the name of a file before a colon.
func remove(message, secret string) string {
	if strings.ContainsFunc(secret, func(r rune) bool { return !unicode.IsLetter(r) }) {
		return strings.ReplaceAll(message, secret, "…")
	}
	var b strings.Builder
	for i := 0; i < len(message); {
		rest, found := strings.CutPrefix(message[i:], secret)
		if found && i > 0 && !isFixedText(rest) && (strings.IndexByte(`"'=:/`, message[i-1]) >= 0 || message[i-1] == ' ' && strings.HasPrefix(rest, ":")) {
			b.WriteString("…")
			i += len(secret)
			continue
		}
		b.WriteByte(message[i])
		i++
	}
	return b.String()
}

// isFixedText reports whether rest continues the name of a PIN source as messages of
// Holdfast do, such as file:PATH.
func isFixedText(rest string) bool {
	return strings.HasPrefix(rest, ":PATH") || strings.HasPrefix(rest, ":NAME") || strings.HasPrefix(rest, "=PATH")
}

// hidden returns the part of a text that an excerpt does not show, in the forms
// in which a message can contain it.
func hidden(text string) []string {
	if strings.HasPrefix(text, "Key=x509") { // of --cert-selector
		return nil
	}
	shown, cut := strings.CutSuffix(keystore.Excerpt(text), "…")
	if !cut || !strings.HasPrefix(text, shown) {
		return nil
	}
	return inForms(text[len(shown):])
}

func inForms(rest string) (forms []string) {
	decoded, _ := url.PathUnescape(rest)
	first, _, _ := strings.Cut(strings.NewReplacer("?", "&", ";", "&", ",", "&", " ", "&").Replace(rest), "&")
	for _, form := range []string{rest, decoded, first} {
		for _, f := range []string{form, strings.Trim(strconv.Quote(form), `"`), OneLine(form)} {
			if len(f) >= shortestSecret {
				forms = append(forms, f)
			}
		}
	}
	return forms
}
