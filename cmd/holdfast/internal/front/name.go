package front

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// nameHints are the hints for a file that does not exist because its name is
// something else. The first one that matches applies.
func nameHints() []nameHint {
	return []nameHint{
		{func(s string) bool { return strings.HasPrefix(s, "$") && !strings.ContainsAny(s, "/{") }, func(s string) string {
			return "only a shell replaces variables, and not in single quotes; if the variable contains the key or certificate itself, write env:" + s[1:]
		}},
		{needsShell, func(s string) string {
			return "only a shell replaces ~ and variables, and AWS clients run credential_process without a shell; write the whole path" + wholePath(s)
		}},
		{func(s string) bool { return strings.HasPrefix(s, "'") || strings.HasPrefix(s, `"`) },
			always("the quotes are part of the name; write it without them")},
		{func(s string) bool { return strings.HasSuffix(s, `\`) },
			always("the backslash is part of the name; " + hintOneLine)},
		{startsWithAttribute, func(s string) string {
			return "for a key in a PKCS #11 token, write the scheme before the attributes, as in pkcs11:" + strings.Replace(s, "label=", "object=", 1)
		}},
		{func(s string) bool { return strings.HasPrefix(s, "slot_") },
			always("for a key in a PKCS #11 token, write its label or ID, as in pkcs11:token=TOKEN;object=LABEL or pkcs11:token=TOKEN;id=%01")},
	}
}

type nameHint struct {
	matches func(name string) bool
	hint    func(name string) string
}

// schemes are those of references to whole stores, which people write without the colon.
var schemes = []string{"pkcs11", "tpm", "spiffe", "sshagent", "keychain", "winstore"}

const hintOneLine = "write the command on one line: in the configuration file of AWS, a backslash does not continue a line"

func always(hint string) func(string) string { return func(string) string { return hint } }

// hintOfName returns the hint for a file that does not exist because its name is
// something else, such as the name of a variable. It returns "" for any other error.
func hintOfName(err error) string {
	if !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	var names []string
	var own *signer.Error
	if errors.As(err, &own) {
		if scheme := strings.ReplaceAll(own.Ref, "-", ""); own.Backend == "file" && slices.Contains(schemes, scheme) {
			return "did you mean " + scheme + ":?"
		}
		names = append(names, own.Ref)
	}
	names = append(names, strings.FieldsFunc(err.Error(), func(r rune) bool { return strings.ContainsRune(` "'=:;`, r) })...)
	for _, name := range names {
		if i := strings.Index(name, "/~/"); i >= 0 { // a relative path in a configuration file
			name = name[i+1:]
		}
		for _, h := range nameHints() {
			if h.matches(name) {
				return h.hint(name)
			}
		}
	}
	return ""
}

// needsShell reports whether a path contains ~ or a variable.
func needsShell(path string) bool {
	return strings.HasPrefix(path, "~") || strings.HasPrefix(path, "$") || strings.Contains(path, "/$") ||
		strings.HasPrefix(path, "%") && strings.Count(path, "%") == 2
}

// wholePath returns an example of a path without ~, or "" if the path contains
// other variables.
func wholePath(path string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/home/app"
	}
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		rest, ok = strings.CutPrefix(path, "$HOME/")
	}
	if !ok || strings.Contains(rest, "$") {
		return ""
	}
	return ", such as " + filepath.Join(home, rest)
}

// startsWithAttribute reports whether a name is a list of PKCS #11 attributes
// without the scheme.
func startsWithAttribute(name string) bool {
	first, _, ok := strings.Cut(name, "=")
	return ok && (first == "token" || first == "object" || first == "label" || first == "id")
}
