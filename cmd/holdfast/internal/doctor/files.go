package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
)

// A usedFile is a file that the settings name.
type usedFile struct {
	path   string
	secret string // what everybody could read in it; "": nothing secret
}

// checkFiles checks the files with the key, the certificates and the PIN.
func checkFiles(_ context.Context, p *patient) (results []result) {
	var used []usedFile
	for _, path := range p.key.Files(p.App) {
		f := usedFile{path: path}
		if isInherited(path) { // it can be read once
			used = append(used, f)
			continue
		}
		if data, err := keystore.ReadFile(path, keystore.MaxInput); err == nil && keystore.ContainsPrivateKey(data) {
			f.secret = "the private key"
		}
		used = append(used, f)
	}
	for _, path := range p.key.PINFiles(p.App) {
		used = append(used, usedFile{path, "the PIN"})
	}
	if path := p.connection.Bundle(); path != "" {
		used = append(used, usedFile{path: path})
	}
	var shared []string // what groups can read
	for _, f := range used {
		r := p.checkFile(f)
		if r.State != ok {
			results = append(results, r)
		} else if r.Seen != "" {
			shared = append(shared, r.Seen)
		}
	}
	deciding, what := p.commandFiles(), "program AWS clients run"
	if p.given.ConfigFile != "" {
		deciding, what = []string{p.given.ConfigFile}, "key and role holdfast uses"
	}
	for _, path := range deciding {
		if info, err := os.Stat(path); err == nil {
			if r := writable(usedFile{path: path}, info); r.State != ok {
				r.Seen += "; the file decides which " + what
				results = append(results, r)
			}
		}
	}
	if len(p.aws.words) > 0 && strings.ContainsAny(p.aws.words[0], `/\`) && !filepath.IsAbs(p.aws.words[0]) {
		abs, _ := filepath.Abs(p.aws.words[0]) // it was just found
		results = append(results, p.relative(p.aws.words[0], abs))
	}
	for _, name := range p.key.Variables(p.App) {
		if _, set := p.LookupEnv(name); !set {
			results = append(results, failed(p.absenceCode(name, keystore.Ref.Variable), "the environment variable %s, which the settings name, is not set", name).
				because("AWS clients pass their own environment to the program").paste("export "+name+"=…"))
		}
	}
	switch {
	case len(results) > 0:
	case len(used) == 0:
		results = append(results, fine("the settings name no files"))
	default:
		var names []string
		for _, f := range used {
			names = append(names, f.path)
		}
		results = append(results, fine("can be read: %s", strings.Join(names, ", ")))
	}
	for _, text := range shared {
		results = append(results, fine("%s", text))
	}
	return results
}

// isInherited reports whether a path can be that of an open file of the process, such
// as a pipe.
func isInherited(path string) bool {
	return strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, "/proc/")
}

// commandFiles returns the files of which each decides what AWS clients run: that
// with the credential_process, and its program.
func (p *patient) commandFiles() (paths []string) {
	if len(p.aws.words) == 0 {
		return nil
	}
	program := p.aws.words[0]
	if !strings.ContainsAny(program, `/\`) {
		program = p.findProgram(program)
	}
	return []string{p.aws.line.File, program}
}

// checkFile checks that a file can be read, and who else can read or change it.
func (p *patient) checkFile(f usedFile) result {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r := p.missing(f.path)
		r.code = p.absenceCode(f.path, keystore.Ref.File)
		return r
	case errors.Is(err, fs.ErrPermission):
		return failed(front.ExitUnavailable, "%s: user %s is not allowed to enter its folder", f.path, userName()).with("ls", "-ld", filepath.Dir(f.path))
	case err != nil:
		return failure(err).with("ls", "-ld", f.path)
	case info.IsDir():
		return failed(front.ExitOther, "%s is a folder, not a file", f.path).with("ls", f.path)
	case p.profile != "" && !filepath.IsAbs(f.path):
		abs, _ := filepath.Abs(f.path) // f.path was just found
		return p.relative(f.path, abs)
	}
	if isInherited(f.path) {
		return fine("")
	}
	data, err := keystore.ReadFile(f.path, keystore.MaxInput)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return failed(front.ExitUnavailable, "%s: user %s is not allowed to read it (%s)", f.path, userName(), info.Mode()).
			tool("sudo chown NAME FILE", userName(), f.path)
	case err != nil:
		return failure(fmt.Errorf("%s: %w", f.path, err)).with("ls", "-l", f.path)
	case len(data) == 0 && p.isPINFile(f.path):
		return edit(failed(front.ExitPIN, "%s is empty", f.path).because("write the PIN or password into the file"), f.path, 1)
	case len(data) == 0:
		return failed(front.ExitOther, "%s is empty", f.path).with("ls", "-l", f.path)
	}
	return writable(f, info)
}

// relative is the warning about a relative path in credential_process.
func (p *patient) relative(path, abs string) result {
	r := warn("%s is a relative path: AWS clients find it only if they run in this folder", path).because("write the whole path, " + abs)
	if p.aws.words == nil {
		return r
	}
	return p.set(r, p.aws.words) // corrected makes all paths absolute
}

// writable returns a warning if somebody else can read a secret in a file, or
// change the file.
func writable(f usedFile, info fs.FileInfo) result {
	if runtime.GOOS == "windows" {
		return fine("")
	}
	mode := info.Mode().Perm()
	group, foreign := foreignGroup(info)
	switch folder, err := os.Stat(filepath.Dir(f.path)); {
	case !reachable(f.path):
	case f.secret != "" && mode&0o004 != 0:
		return warn("mode %04o lets every local user read %s, which contains %s", mode, f.path, f.secret).tool("chmod 600 FILE", f.path)
	case mode&0o002 != 0:
		return warn("mode %04o lets every local user change %s", mode, f.path).tool("chmod go-w FILE", f.path)
	case mode&0o020 != 0 && foreign:
		return warn("mode %04o lets the users of group %s change %s", mode, group, f.path).tool("chmod g-w FILE", f.path)
	case err == nil && folder.Mode().Perm()&0o002 != 0 && folder.Mode()&fs.ModeSticky == 0:
		return warn("every local user can replace %s: its folder has mode %04o", f.path, folder.Mode().Perm()).tool("chmod o-w FILE", filepath.Dir(f.path))
	case f.secret != "" && mode&0o040 != 0 && foreign:
		return result{State: ok, Seen: "the users of group " + group + " can read " + f.path}
	}
	return fine("")
}

// reachable reports whether all local users may enter the folders above a file.
func reachable(path string) bool {
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return true
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// missing is the fault of a file that does not exist.
func (p *patient) missing(path string) result {
	r := failed(front.ExitNotFound, "%s does not exist", path)
	if !filepath.IsAbs(path) {
		wd, _ := os.Getwd() // "": unknown
		r = r.because("a relative path starts in the current folder, " + wd)
	}
	dir := filepath.Dir(path)
	files, err := os.ReadDir(dir)
	for err != nil && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		files, err = os.ReadDir(dir)
	}
	var similar []string
	for _, f := range files {
		if filepath.Ext(f.Name()) == filepath.Ext(path) && !f.IsDir() && dir == filepath.Dir(path) {
			similar = append(similar, f.Name())
		}
	}
	slices.Sort(similar)
	if len(similar) > 0 && r.Hint == "" {
		r = r.because("Correct the name. The folder contains " + strings.Join(similar[:min(len(similar), 5)], ", ") + ".")
	}
	return r.with("ls", "-l", dir)
}

// userName is the name of the user of this process for messages and commands.
func userName() string {
	if name := os.Getenv("USER"); name != "" && os.Getuid() != 0 {
		return name
	}
	if uid := os.Getuid(); uid > 0 {
		return fmt.Sprint(uid)
	}
	return "root"
}
