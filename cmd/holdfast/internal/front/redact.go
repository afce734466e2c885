package front

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
)

// shortestSecret is the length in bytes from which a part of an argument is
// searched for in messages.
const shortestSecret = 4

// redact returns a message as one line, without the PINs and passwords in it. It
// is the last step before every error is printed. It removes those that
// [keystore.Redact] recognizes, and the parts of arguments that
// [keystore.Excerpt] would not show, wherever they are.
func redact(message string, args []string) string {
	message = keystore.Redact(OneLine(message))
	for _, arg := range args {
		_, value, _ := strings.Cut(arg, "=") // of --name=value
		for _, secret := range append(hidden(arg), hidden(value)...) {
			message = strings.ReplaceAll(message, secret, "…")
		}
	}
	return message
}

// hidden returns the part of a text that an excerpt does not show, in the forms
// in which a message can contain it.
func hidden(text string) (forms []string) {
	shown, cut := strings.CutSuffix(keystore.Excerpt(text), "…")
	if !cut || !strings.HasPrefix(text, shown) {
		return nil
	}
	rest := text[len(shown):]
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
