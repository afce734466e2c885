package front

import (
	"log/slog"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
	"github.com/holdfast-dev/holdfast/keystore"
)

// Fields maps the fields of Go types in the hints of libraries to flags of the
// command line. A phrase precedes the field names that it contains.
var Fields = [][2]string{
	{"and let Options.PIN ask", "--pin-source prompt"},
	{"let Options.PIN ask", "--pin-source prompt"},
	{"give the password with Options.PIN", "give the PIN or password with --pin-source file:PATH, env:NAME, prompt or pinentry"},
	{"a Config.PIN that returns nothing", "--no-tpm-key-password"},
	{"List with the reference", "holdfast list --in"},

	{"Identity.Certificate", "--certificate"},
	{"Identity.Intermediates", "--intermediates"},
	{"Identity.Key", "--private-key"},
	{"Options.PIN", "--pin-source"},
	{"Selector.UseLatestExpiring", "--use-latest-expiring-certificate"},

	{"Installation.File", "--to FILE"},
	{"Installation.Replace", "--replace"},

	{"Trust.Endorsements", "--ek-allow"},
	{"Trust.Roots", "--ek-roots"},

	{"revoke it by its serial number", "revoke it with: holdfast ca revoke --serial"},
	{"answer the requests in the folder; then try again", "run holdfast ca issue --renew-folder; then run this command again"},
	{"Config.AllowChange", "--allow-change"},
	{"Config.Roots", "--ca-roots"},
	{"Config.StateFile", "--state-file"},
	{"Renewal.AllowExpired", "--allow-expired"},
	{"Config.Certificates", "--certificate FILE"},
	{"Config.Logger", "--debug"},
	{"Config.Module", "--pkcs11-lib"},
	{"Config.PIN", "--pin-source file:PATH"},
	{"URI.Isolation", "--pkcs11-isolation"},

	{"assume.Config.Duration", "--assume-role-session-duration"},
	{"assume.Config.Endpoint", "--sts-endpoint"},
	{"assume.Config.RoleARN", "--assume-role-arn"},
	{"assume.Config.Tags", "--assume-role-tag"},

	{"privateca.Config.CAARN", "--ca-arn"},
	{"privateca.Config.Days", "--ca-days"},
	{"privateca.Config.Endpoint", "--ca-url"},
	{"privateca.Config.SigningAlgorithm", "--ca-algorithm"},
	{"privateca.Config.TemplateARN", "--ca-template"},

	{"Config.ProfileARN", "--profile-arn"},
	{"Config.RoleARN", "--role-arn"},
	{"Config.TrustAnchorARN", "--trust-anchor-arn"},
	{"Config.DualStack", "--dual-stack (AWS_USE_DUALSTACK_ENDPOINT)"},
	{"Config.Duration", "--session-duration"},
	{"Config.Endpoint", "--endpoint"},
	{"Config.FIPS", "--fips (AWS_USE_FIPS_ENDPOINT)"},
	{"Config.Insecure", "--no-verify-ssl"},
	{"Config.Region", "--region"},
	{"Config.SessionName", "--role-session-name"},
	{"Config.Timeout", "--timeout"},
	{"Config.TouchTimeout", "--touch-timeout"},
	{"TransportConfig.CABundle", "--ca-bundle or AWS_CA_BUNDLE"},
	{"TransportConfig.NoProxy", "--with-proxy=false"},
}

// endsWord reports whether a word ends before text: it is followed by
// punctuation and a space or the end of the hint.
func endsWord(text string) bool {
	text = strings.TrimLeft(text, ",;:.)")
	return text == "" || text[0] == ' '
}

// withFlags returns a hint with the fields in it replaced by flags. It replaces
// only whole words, because a reference or a file name may contain the same
// text.
func withFlags(hint string) string {
	var b strings.Builder
	for hint != "" {
		word := len(hint)
		if i := strings.IndexAny(hint, " ("); i >= 0 {
			word = i + 1
		}
		text := hint[:word]
		for _, f := range Fields {
			if after, ok := strings.CutPrefix(hint, f[0]); ok && endsWord(after) {
				text, word = f[1], len(f[0])
				break
			}
		}
		b.WriteString(text)
		hint = hint[word:]
	}
	return b.String()
}

// A word is a reference if a scheme and an attribute begin it.
var reference = lazyregexp.Regexp{Expression: `^\(*[a-z][a-z0-9]*:[a-z][a-z-]*=[^']*[;?]`}

// quoteReferences quotes the words of a hint that are references with several
// attributes, so that they can be pasted into a shell.
func quoteReferences(hint string) string {
	words := strings.Split(hint, " ")
	for i, w := range words {
		bare := strings.TrimRight(strings.TrimLeft(w, "("), ",;:.)")
		if reference.Get().MatchString(bare) {
			words[i] = strings.Replace(w, bare, ShellQuote(bare), 1)
		}
	}
	return strings.Join(words, " ")
}

// HintText returns the hint of a library for users: with flags in the place of field
// names, and without PINs that it quotes.
func HintText(hint string) string { return keystore.Redact(quoteReferences(withFlags(hint))) }

// HintAttr replaces the field names in the hints of a log with flags, as in the
// hints of errors, and removes PINs that a text quotes. It is a function for
// [slog.HandlerOptions.ReplaceAttr].
func HintAttr(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "hint" {
		return slog.String(a.Key, HintText(a.Value.String()))
	}
	if k := a.Value.Kind(); k == slog.KindString || k == slog.KindAny {
		text := a.Value.Resolve().String()
		if redacted := keystore.Redact(text); redacted != text {
			return slog.String(a.Key, redacted)
		}
	}
	return a
}
