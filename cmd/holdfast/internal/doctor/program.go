package doctor

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// program is the name of the running program for a configuration.
func program() string {
	if exe, err := os.Executable(); err == nil && strings.HasPrefix(filepath.Base(exe), "holdfast") {
		return exe
	}
	return "holdfast"
}

// badProgram returns the fault if the program cannot be started.
func (p *patient) badProgram(words []string) (result, bool) {
	name := mask(words)[0]
	if !strings.ContainsAny(words[0], `/\`) {
		if p.findProgram(words[0]) != "" {
			return result{}, false
		}
		return p.otherProgram(failed(front.ExitNotFound, "the program %s of credential_process is not in PATH", name), words), true
	}
	info, err := os.Stat(words[0])
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.otherProgram(failed(front.ExitNotFound, "the program %s of credential_process does not exist", name), words), true
	case err != nil:
		return failure(err).with("ls", "-ld", name), true
	case info.IsDir():
		return p.otherProgram(failed(front.ExitUsage, "the program %s of credential_process is a folder", name), words), true
	case !executable(words[0]):
		return failed(front.ExitUnavailable, "the program %s of credential_process is not executable", name).tool("chmod +x FILE", name), true
	case runtime.GOOS != "windows":
		if why := notProgram(words[0]); why != "" {
			return p.otherProgram(failed(front.ExitUnavailable, "the program %s of credential_process cannot be started: %s", name, why), words), true
		}
	}
	return result{}, false
}

// executable reports whether this user may execute a file.
func executable(path string) bool {
	_, err := exec.LookPath(path)
	return !errors.Is(err, fs.ErrPermission)
}

// notProgram says why the system cannot start a file, or returns "". A shell would
// run a file of text, but the AWS CLI uses none.
func notProgram(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "" // it can be executed without being read
	}
	defer f.Close()
	begin := make([]byte, 256)
	n, err := io.ReadFull(f, begin)
	text, script := strings.CutPrefix(string(begin[:n]), "#!")
	switch {
	case errors.Is(err, io.EOF):
		return "it is empty"
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return ""
	case script:
		line, _, _ := strings.Cut(text, "\n")
		words := strings.Fields(line)
		if len(words) == 0 {
			return "its first line names no interpreter"
		}
		if _, err := os.Stat(words[0]); errors.Is(err, fs.ErrNotExist) {
			return "its interpreter " + strings.ReplaceAll(words[0], "\r", "") + " does not exist"
		}
	case !strings.ContainsRune(string(begin[:n]), 0): // programs of machines contain zeros
		return "it is a text whose first line does not begin with #!"
	}
	return ""
}

// otherProgram returns r with a command that replaces the words before
// credential-process by the running program.
func (p *patient) otherProgram(r result, words []string) result {
	switch at := slices.Index(words, "credential-process"); {
	case strings.ContainsAny(words[0], "(){};") || words[0] == "if" || words[0] == "while": // its end is not known
	case at > 0:
		return p.set(r, append([]string{program()}, words[at:]...))
	case len(words) > 1 && strings.HasPrefix(words[1], "-") && !strings.Contains(words[0], "="):
		return p.set(r, append([]string{program(), "credential-process"}, words[1:]...))
	}
	return p.aws.editing(r)
}

// findProgram returns the file of a program that a client finds in PATH, or "".
func (p *patient) findProgram(name string) string {
	for _, dir := range filepath.SplitList(p.Env("PATH")) {
		for _, suffix := range []string{"", ".exe"} {
			path := filepath.Join(dir, name+suffix)
			if info, err := os.Stat(path); err == nil && !info.IsDir() && executable(path) {
				return path
			}
		}
	}
	return ""
}
