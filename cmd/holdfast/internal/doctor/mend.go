package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/awsconfig"
)

// editing returns r with a command that opens the line in an editor.
func (a awsProfile) editing(r result) result { return edit(r, a.line.File, a.line.Line) }

func edit(r result, file string, line int) result {
	if runtime.GOOS == "windows" {
		return r.with("notepad", file)
	}
	return r.paste(fmt.Sprintf("${EDITOR:-vi} +%d %s", line, front.ShellQuote(file)))
}

// set returns r with a command that replaces the credential_process by words, or,
// if that would lose or show a part of the value, with one that opens an editor.
func (p *patient) set(r result, words []string) result {
	a := p.aws
	words = p.corrected(words)
	text := quoteForAll(words)
	switch {
	case strings.Contains(filepath.Base(a.line.File), "credentials"): // aws configure set writes only to the other file
		return a.editing(r)
	case !a.canSet():
		return a.editing(r)
	case len(secretValues(words)) > 0, len(text) > longestText, p.hide(text) != text, !readsBack(text, words):
		return a.editing(r)
	}
	line := command("aws", "configure", "set", awsconfig.CredentialProcess, text, "--profile", a.last().Name)
	if a.line.End > a.line.Line { // aws configure set replaces only the first line
		if runtime.GOOS != "linux" {
			return a.editing(r)
		}
		line = sed(fmt.Sprintf("%d,%dd", a.line.Line+1, a.line.End), a.line.File) + " && " + line
	}
	return r.paste(line)
}

// canSet reports whether aws configure set finds the setting: it does not replace one
// whose name, or whose section, is written differently.
func (a awsProfile) canSet() bool {
	data, err := readConfig(a.line.File)
	lines := strings.Split(string(data), "\n")
	if err != nil || a.line.Line > len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[a.line.Line-1]), awsconfig.CredentialProcess) {
		return false
	}
	for _, line := range slices.Backward(lines[:a.line.Line]) {
		if strings.HasPrefix(line, "[") {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "["), "]")
			return name == "profile "+a.last().Name && a.last().Name != "default" || name == "default" && a.last().Name == "default"
		}
	}
	return false
}

// corrected returns the words of a credential_process with all corrections that
// need no decision, so that no command takes back what another one corrects.
func (p *patient) corrected(words []string) []string {
	fixed := slices.Clone(words)
	for i, w := range fixed {
		if path, complete := p.expanded(w); complete {
			fixed[i] = path
		}
	}
	if at := slices.Index(fixed, "credential-process"); at > 0 && !strings.ContainsAny(fixed[0], `/\`) && p.findProgram(fixed[0]) == "" {
		fixed = append([]string{program()}, fixed[at:]...)
	}
	var paths []string
	if p.hasKey {
		paths = slices.Concat(p.key.Files(p.App), p.key.PINFiles(p.App), []string{p.connection.Bundle()})
	}
	for i, w := range fixed {
		if abs, err := filepath.Abs(w); i == 0 && strings.ContainsAny(w, `/\`) && err == nil && isFile(w) {
			fixed[i] = abs
		}
		for _, path := range paths {
			before, found := strings.CutSuffix(w, path)
			abs, err := filepath.Abs(path)
			if found && path != "" && err == nil && abs != path && isFile(path) && (before == "" || strings.HasSuffix(before, "=") || strings.HasSuffix(before, ":")) {
				fixed[i] = before + abs
			}
		}
	}
	return fixed
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// newFile returns the name of a file in the current folder that a command can
// write: name, or if that exists, name with a number. No command of the report
// writes to a file that exists.
func newFile(name string) string {
	ending := filepath.Ext(name)
	base := strings.TrimSuffix(name, ending)
	for i := 2; ; i++ {
		if _, err := os.Lstat(name); err != nil {
			return name
		}
		name = fmt.Sprintf("%s-%d%s", base, i, ending)
	}
}

// asAdmin returns the words of a command for an administrator, who has other
// credentials than those of the profile that is examined.
func asAdmin(words ...string) []string { return append(words, "--profile", "ADMIN") }

// readsBack reports whether all clients read the value text as these words.
func readsBack(text string, words []string) bool {
	for _, client := range []awsconfig.Client{awsconfig.Python, awsconfig.Go} {
		sections, err := awsconfig.Parse([]byte("[default]\n"+awsconfig.CredentialProcess+" = "+text+"\n"), client)
		if err != nil || len(sections) != 1 || sections[0].Settings[awsconfig.CredentialProcess].Value != text {
			return false
		}
	}
	back, err := splitHere(text)
	if err != nil || !slices.Equal(back, words) {
		return false
	}
	if runtime.GOOS == "windows" {
		return true
	}
	shell, err := awsconfig.SplitShell(text)
	return err == nil && len(shell.Specials) == 0 && slices.Equal(shell.Words, words)
}

// sed returns the command of GNU sed that changes a file with a script, and keeps a
// copy with a new name. sed would replace a symbolic link by a file, so the command
// names the file that the link leads to.
func sed(script, file string) string {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	return command("sed", "-i"+backup(file), script, file)
}

// backup returns the ending of a copy of a file that does not exist.
func backup(file string) string {
	ending := ".bak"
	for i := 2; ; i++ {
		if _, err := os.Lstat(file + ending); err != nil {
			return ending
		}
		ending = fmt.Sprintf(".bak%d", i)
	}
}

// deleteLines returns a command that deletes lines of a file and keeps a copy, or
// false if no such command is known. A setting of several lines is deleted whole.
func deleteLines(file string, settings []awsconfig.Setting) (string, bool) {
	if runtime.GOOS != "linux" || len(settings) == 0 {
		return "", false
	}
	slices.SortFunc(settings, func(a, b awsconfig.Setting) int { return a.Line - b.Line })
	var script []string
	for _, s := range settings {
		if s.End > s.Line {
			script = append(script, fmt.Sprintf("%d,%dd", s.Line, s.End))
		} else {
			script = append(script, fmt.Sprintf("%dd", s.Line))
		}
	}
	return sed(strings.Join(script, ";"), file), true
}

// replaceLine returns r with a command that replaces a line of a file and keeps a
// copy.
func replaceLine(r result, file string, line int, text string) result {
	if runtime.GOOS != "linux" || front.OneLine(text) != text {
		return edit(r, file, line)
	}
	text = strings.NewReplacer(`\`, `\\`, "&", `\&`, "|", `\|`).Replace(text)
	return r.paste(sed(fmt.Sprintf("%ds|.*|%s|", line, text), file))
}

// renameKey returns r with a command that replaces the name of a setting.
func renameKey(r result, file string, line int, name string) result {
	if runtime.GOOS != "linux" {
		return edit(r, file, line)
	}
	return r.paste(sed(fmt.Sprintf(`%ds/^[^=:]*/%s /`, line, name), file))
}
