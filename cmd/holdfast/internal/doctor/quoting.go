package doctor

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/awsconfig"
)

// badWords returns the fault if the AWS CLI would pass a word to the program that
// only a shell would interpret, or that contains a line end.
func (p *patient) badWords(words []string) (result, bool) {
	if r, bad := p.typographic(words); bad {
		return r, true
	}
	for i, w := range words {
		if strings.Contains(w, "\n") {
			fixed := slices.Clone(words)
			for i, w := range fixed {
				fixed[i] = strings.TrimLeft(w, "\n")
			}
			r := failed(front.ExitUsage, "a line of credential_process ends with a backslash. AWS clients do not join lines there; they pass a line end before %s", p.part(strings.TrimSpace(w)))
			return p.set(r.because("write the whole command on one line"), slices.DeleteFunc(fixed, func(w string) bool { return w == "" })), true
		}
		if r, bad := p.shellSyntax(words, i); bad {
			return r, true
		}
	}
	fixed, bad, all := slices.Clone(words), -1, true
	for i, w := range words {
		switch path, complete := p.expanded(w); {
		case path == w && complete:
		case bad < 0:
			bad = i
			fallthrough
		default:
			fixed[i], all = path, all && complete
		}
	}
	if bad < 0 {
		return result{}, false
	}
	shown := mask(words)[bad]
	if shown == "…" && bad > 0 {
		shown = "the word after " + words[bad-1]
	}
	r := failed(front.ExitUsage, "the AWS CLI starts the program without a shell, so it passes %s unchanged", shown)
	if !all { // the values of other variables can be secret
		return p.aws.editing(r.because("write the value instead of the variable")), true
	}
	return p.set(r.because("write the whole path"), fixed), true
}

// plainText replaces the characters that text processors make of quotation marks,
// spaces and dashes.
func plainText(text string) string {
	return strings.NewReplacer("“", `"`, "”", `"`, "„", `"`, "‘", "'", "’", "'", "\u00a0", " ", " –", " --", " —", " --", " ‑", " -").Replace(text)
}

// typographic returns the fault if a word contains characters of a text processor
// instead of those of a command line.
func (p *patient) typographic(words []string) (result, bool) {
	text := p.aws.line.Value
	plain := plainText(text)
	fixed, err := splitHere(plain)
	at := slices.IndexFunc(words, func(w string) bool {
		_, statErr := os.Lstat(w)
		return plainText(" "+w) != " "+w && statErr != nil
	})
	if plain == text || err != nil || at < 0 {
		return result{}, false
	}
	p.learn(fixed)
	r := failed(front.ExitUsage, "credential_process contains typographic characters instead of those of a command line: %s", p.part(mask(words)[at]))
	return p.set(r.because("write quotation marks as \" or ', and the beginning of a flag as --"), fixed), true
}

// shellSyntax returns the fault if word i begins a comment, or redirects output.
// The command to paste is without it.
func (p *patient) shellSyntax(words []string, i int) (result, bool) {
	w := words[i]
	if rest := strings.TrimLeft(w, "0123456789"); strings.HasPrefix(rest, ">") { // with the number of a file
		w = rest
	}
	if w == "" || !strings.Contains("#><;|&", w[:1]) {
		return result{}, false
	}
	shell, err := awsconfig.SplitShell(p.aws.line.Value)
	begins := func(special string) bool { return strings.HasPrefix(special, w) || strings.HasPrefix(w, special) }
	switch {
	case i == 0 || err != nil || !slices.ContainsFunc(shell.Specials, begins):
	case strings.HasPrefix(w, "#"):
		r := failed(front.ExitUsage, "credential_process cannot have a comment: the AWS CLI passes %s to the program", p.part(w))
		return p.set(r.because("write the comment on a line of its own"), words[:i]), true
	case strings.HasPrefix(w, ">"), strings.HasPrefix(w, "<"):
		end := i + 1
		if strings.Trim(w, "<>") == "" { // the name of the file is the next word
			end++
		}
		r := failed(front.ExitUsage, "credential_process cannot redirect output: the AWS CLI passes %s to the program", p.part(w))
		if end < len(words) {
			return p.aws.editing(r), true
		}
		return p.set(r.because("remove the redirection"), words[:i]), true
	case slices.Contains([]string{";", "|", "||", "&", "&&"}, w):
		r := failed(front.ExitUsage, "credential_process can run only one program: the AWS CLI passes %s to it", w)
		if i+1 < len(words) {
			return p.aws.editing(r.because("write a script that runs both programs, and name the script")), true
		}
		return p.set(r, words[:i]), true
	}
	return result{}, false
}

// expanded returns a word with what a shell would make of ~ and of the variables
// with the home folder and the name of the user, also in the value of a flag or an
// attribute. Values of other variables can be secret; complete reports whether the
// word has none. A word that names an existing file stays as it is.
func (p *patient) expanded(w string) (path string, complete bool) {
	if _, err := os.Lstat(w); err == nil {
		return w, true
	}
	for _, before := range []string{"", "=", ":"} {
		if i := strings.Index(w, before+"~/"); i == 0 || i > 0 && before != "" {
			w = w[:i] + before + p.home() + w[i+len(before)+1:]
		}
	}
	complete = true
	return os.Expand(w, func(name string) string {
		values := map[string]string{"HOME": p.home(), "USER": p.Env("USER"), "LOGNAME": p.Env("LOGNAME")}
		if v := values[name]; v != "" {
			return v
		}
		complete = false
		return "$" + name
	}), complete
}

// shellDiffers returns a warning if the SDKs that use a shell, or read the file
// differently, start another command than the AWS CLI.
func (p *patient) shellDiffers(paths awsconfig.Paths, words []string) (result, bool) {
	text := p.aws.line.Value
	if golang, err := awsconfig.Read(paths, awsconfig.Go, readConfig); err == nil {
		profile, found := golang.Profiles[p.aws.last().Name]
		other := profile.Get(awsconfig.CredentialProcess)
		switch {
		case !found || other == "":
			return p.aws.editing(warn("the SDK for Go finds no credential_process in profile %q", p.aws.last().Name).
				because("write the header of its section as [profile NAME], without quotation marks or a text after it, and all its settings into one section")), true
		case other != text:
			shell, _ := awsconfig.SplitShell(other) // its words up to an error
			return p.set(warn("the SDK for Go and the AWS CLI read different commands here: for Go, %s", p.firstDifference(words, shell.Words)).
				because(goReason(text)), words), true
		}
	}
	shell, err := awsconfig.SplitShell(text)
	specials := slices.DeleteFunc(shell.Specials, func(s string) bool { return strings.ContainsAny(s[:1], "*?[") }) // unless a file matches, they stay
	switch {
	case err != nil:
		return p.set(warn("a shell cannot split credential_process: %v", err).because(usesShell), words), true
	case len(specials) > 0 && strings.ContainsAny(specials[0][:1], "`~") || len(specials) > 0 && strings.HasPrefix(specials[0], "$("):
		return p.aws.editing(warn("the SDKs for Go, Java and JavaScript use a shell, which replaces %s; the AWS CLI and the SDK for Python pass it unchanged", p.part(specials[0])).
			because("write the value instead")), true
	case len(specials) > 0 && specials[0][0] == ';':
		return p.set(warn("the SDKs for Go, Java and JavaScript use a shell, which ends the command at the first ; and does not pass %s to the program", p.part(specials[0])).
			because("put the value in single quotes, and the whole command on one line"), words), true
	case len(specials) > 0:
		return p.set(warn("the SDKs for Go, Java and JavaScript use a shell, which does not pass %s to the program", p.part(specials[0])).
			because("put the value in single quotes, and the whole command on one line"), words), true
	case !slices.Equal(shell.Words, words):
		return p.set(warn("a shell splits credential_process differently: %s", p.firstDifference(words, shell.Words)).because(usesShell), words), true
	}
	return result{}, false
}

const usesShell = "the SDKs for Go, Java and JavaScript run credential_process with a shell, the AWS CLI and the SDK for Python do not"

// goReason says why the SDK for Go reads a value differently.
func goReason(text string) string {
	switch {
	case strings.Contains(text, "\n"):
		return "it takes an indented line with an equals sign or a colon for a setting of its own; write the whole command on one line"
	case strings.Contains(text, " #") || strings.Contains(text, " ;") || strings.Contains(text, "\t#") || strings.Contains(text, "\t;"):
		return "it ignores everything after a # or ; that follows a space"
	}
	return "it removes a quotation mark at the beginning and at the end of the value"
}

// firstDifference describes where b differs from a.
func (p *patient) firstDifference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("word %d is %q, not %q", i+1, p.part(b[i]), p.part(a[i]))
		}
	}
	return fmt.Sprintf("it has %d words, not %d", len(b), len(a))
}
