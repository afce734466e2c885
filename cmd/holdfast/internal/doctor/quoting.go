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
// only a shell would replace, or that contains a line end.
func (p *patient) badWords(words []string) (result, bool) {
	fixed := slices.Clone(words)
	bad := ""
	for i, w := range words {
		switch {
		case strings.Contains(w, "\n"):
			r := failed(front.ExitUsage, "the backslash at the end of a line of credential_process makes the line end a part of the word %q", strings.TrimSpace(w))
			for i, w := range fixed {
				fixed[i] = strings.TrimLeft(w, "\n")
			}
			return p.aws.set(r.because("write the whole command on one line"), slices.DeleteFunc(fixed, func(w string) bool { return w == "" })), true
		case p.expanded(w) != w:
			fixed[i] = p.expanded(w)
			if bad == "" {
				bad = w
			}
		}
	}
	if bad == "" {
		return result{}, false
	}
	r := failed(front.ExitUsage, "the AWS CLI starts the program without a shell, so it passes %s unchanged", bad)
	return p.aws.set(r.because("write the whole path"), fixed), true
}

// expanded returns a word with what a shell would make of ~ and variables, also in
// the value of a flag or an attribute. A word that names an existing file stays as
// it is.
func (p *patient) expanded(w string) string {
	if _, err := os.Lstat(w); err == nil {
		return w
	}
	for _, before := range []string{"", "=", ":"} {
		if i := strings.Index(w, before+"~/"); i == 0 || i > 0 && before != "" {
			w = w[:i] + before + p.home() + w[i+len(before)+1:]
		}
	}
	if !strings.Contains(w, "$") {
		return w
	}
	return os.Expand(w, func(name string) string {
		if v := p.Env(name); v != "" {
			return v
		}
		return "VALUE_OF_" + name
	})
}

// shellDiffers returns a warning if the SDKs that use a shell, or read the file
// differently, start another command than the AWS CLI.
func (p *patient) shellDiffers(paths awsconfig.Paths, words []string) (result, bool) {
	text := p.aws.line.Value
	if golang, err := awsconfig.Read(paths, awsconfig.Go, readConfig); err == nil {
		other := golang.Profiles[p.aws.last().Name].Get(awsconfig.CredentialProcess)
		if other != text {
			return p.aws.set(warn("the SDK for Go reads another command than the AWS CLI: it ends in %q", tail(other)).
				because(goReason(text)), words), true
		}
	}
	shell, err := awsconfig.SplitShell(text)
	specials := slices.DeleteFunc(shell.Specials, func(s string) bool { return strings.ContainsAny(s[:1], "*?[") }) // unless a file matches, they stay
	switch {
	case err != nil:
		return p.aws.set(warn("a shell cannot split credential_process: %v", err).because(usesShell), words), true
	case len(specials) > 0:
		return p.aws.set(warn("a shell does not pass %s to the program, but interprets it", specials[0]).because(usesShell), words), true
	case !slices.Equal(shell.Words, words):
		return p.aws.set(warn("a shell splits credential_process differently: %s", firstDifference(words, shell.Words)).because(usesShell), words), true
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
		return "it takes a # or ; after a space for the beginning of a comment"
	}
	return "it removes a quotation mark at the beginning and at the end of the value"
}

// tail returns the end of a text, which is not the program.
func tail(s string) string {
	if r := []rune(s); len(r) > 30 {
		return "…" + string(r[len(r)-30:])
	}
	return s
}

func firstDifference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("word %d is %q, not %q", i+1, b[i], a[i])
		}
	}
	return fmt.Sprintf("into %d words, not %d", len(b), len(a))
}
