package doctor

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
)

// longestText limits the texts of a result, in bytes. Much longer ones are cut
// before the search for secrets, which takes time.
const longestText = 4096

// secretName matches the names of flags and variables whose values are secret.
var secretName = lazyregexp.Regexp{Expression: `(?i)(pass(word|wd|phrase|code)?|secret|token|(^|[-_])pin|api-?key)$|^AWS_SECRET|^AWS_SESSION`}

// userInfo matches the name and the password in a URL.
var userInfo = lazyregexp.Regexp{Expression: `://[^\s@]+@`}

// sourceAttribute matches the attributes of references that name the source of a
// PIN.
var sourceAttribute = lazyregexp.Regexp{Expression: `(?i)(?:pin|auth)-source=([^&;?'"\s]+)`}

// sourcesThatArePINs returns the values of attributes for a source of a PIN that can
// be the PIN itself.
func sourcesThatArePINs(text string) (pins []string) {
	for _, m := range sourceAttribute.Get().FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(m[1]); err != nil && !strings.ContainsAny(m[1], ":/") && m[1] != "prompt" && m[1] != "pinentry" {
			pins = append(pins, m[1])
		}
	}
	return pins
}

// switches are flags without a value whose names end as those of secrets do.
var switches = []string{"--use-pin", "--reuse-pin", "--no-tpm-key-password"}

// isSecretName reports whether the value of a flag or variable is secret.
func isSecretName(name string) bool {
	return secretName.Get().MatchString(name) && !slices.Contains(switches, name)
}

// secretValues returns the secrets among the words of a command line by the index
// of their word: the values of flags and variables whose names suggest a secret,
// and a PIN source that can be a PIN itself.
func secretValues(words []string) map[int]string {
	secrets := make(map[int]string)
	for i, w := range words {
		name, value, joined := strings.Cut(w, "=")
		at := i
		switch {
		case !joined && strings.HasPrefix(w, "-") && i+1 < len(words):
			at, value = i+1, words[i+1]
		case !joined || strings.ContainsAny(name, "/:"):
			continue
		}
		isPIN := strings.HasSuffix(name, "pin-source") && !strings.ContainsAny(value, ":/") && value != "prompt"
		if value != "" && (isPIN || isSecretName(name)) {
			secrets[at] = value
		}
	}
	return secrets
}

// learn remembers the words of a command line, so that no text of the report
// contains the secrets in them.
func (p *patient) learn(words []string) {
	const shortestKey = 16 // as text; shorter words are secret only as values
	for _, w := range words {
		if w = strings.TrimSpace(w); len(w) >= shortestKey || strings.ContainsAny(w, "=:") {
			p.args = append(p.args, w)
		}
	}
	p.learnSecrets(words)
}

// learnSecrets remembers only the secrets in the words of a command line.
func (p *patient) learnSecrets(words []string) {
	secrets := slices.Collect(maps.Values(secretValues(words)))
	for _, w := range words {
		secrets = append(secrets, sourcesThatArePINs(w)...)
	}
	for _, secret := range secrets {
		if slices.Contains(p.secrets, secret) {
			continue
		}
		p.secrets = append(p.secrets, secret)
		for _, form := range []string{secret, strings.Trim(secret, `'"`), front.ShellQuote(secret), quoteForAll([]string{secret})} {
			p.args = append(p.args, "--password="+form, "--password="+strings.ToLower(form))
		}
	}
}

// mask returns words without the secrets among them.
func mask(words []string) []string {
	shown := slices.Clone(words)
	for i := range secretValues(words) {
		shown[i] = "…"
		if name, _, joined := strings.Cut(words[i], "="); joined && (strings.HasPrefix(name, "-") || isSecretName(name)) {
			shown[i] = name + "=…"
		}
	}
	return shown
}

// part returns a part of a command line for a message, or "…" if it belongs to a
// secret.
func (p *patient) part(text string) string {
	for _, secret := range p.secrets {
		if strings.Contains(secret, text) || strings.Contains(text, secret) {
			return "…"
		}
	}
	return text
}

// hide returns a text as one line without secrets.
func (p *patient) hide(text string) string {
	return userInfo.Get().ReplaceAllString(front.Redact(text, p.args), "://…@")
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// redact removes the secrets from the texts of a result, and cuts long ones. It is
// the last step before the report.
func (p *patient) redact(r result) result {
	for _, text := range []*string{&r.Seen, &r.Hint} {
		*text = cut(p.hide(cut(*text, 16*longestText)), longestText) // the first cut can be in a secret
	}
	if len(r.Command) > 4*longestText { // a part of a command is of no use
		r.Command = ""
	}
	r.Command = p.hide(r.Command)
	return r
}
