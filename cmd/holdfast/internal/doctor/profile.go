package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/awsconfig"
	"github.com/holdfast-dev/holdfast/keystore"
)

// An awsProfile is the profile of the AWS configuration whose credential_process
// is examined.
type awsProfile struct {
	name  string              // that the user asked for; "": the settings are from flags
	chain []awsconfig.Profile // the profile, and those that source_profile leads to
	line  awsconfig.Setting   // the credential_process
	words []string            // of the line, if its program is holdfast or one like it
}

// last is the profile whose credentials are used first.
func (a awsProfile) last() awsconfig.Profile { return a.chain[len(a.chain)-1] }

// home is the home folder of the user.
func (p *patient) home() string {
	if home := p.Env("HOME"); home != "" {
		return home
	}
	home, _ := os.UserHomeDir() // "": the files are then relative, and not found
	return home
}

func readConfig(path string) ([]byte, error) { return keystore.ReadFile(path, keystore.MaxInput) }

// readProfile finds the credential_process of the profile and examines it.
func (p *patient) readProfile() (results []result) {
	p.aws.name = cmp.Or(p.profile, p.Env("AWS_PROFILE"), p.Env("AWS_DEFAULT_PROFILE"), "default")
	paths := awsconfig.Find(p.LookupEnv, p.home())
	for variable, path := range variablesOf(paths) {
		if isInherited(path) && path != os.DevNull { // another process could not read it again
			return []result{failed(front.ExitUsage, "%s, from %s, is not a regular file", path, variable).because("write the configuration into a file").with("ls", "-l", path)}
		}
	}
	shared, err := awsconfig.Read(paths, awsconfig.Python, readConfig)
	var syntax *awsconfig.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return []result{p.syntaxFault(paths, err, syntax)}
	case err != nil:
		return []result{failure(err).with("ls", "-ld", filepath.Dir(paths.Config), paths.Config, paths.Credentials)}
	}
	p.aws.chain, err = shared.Chain(p.aws.name)
	if err != nil {
		return []result{p.chainFault(shared, err)}
	}
	first, last := p.aws.chain[0], p.aws.last()
	line, set := last.Settings[awsconfig.CredentialProcess]
	p.aws.line = line
	switch {
	case first.Get(awsconfig.RoleARN) != "" && len(p.aws.chain) == 1 && first.Get(awsconfig.SourceProfile) == "" && first.Get("credential_source") == "" && first.Get("web_identity_token_file") == "":
		role := first.Settings[awsconfig.RoleARN]
		return []result{edit(failed(front.ExitUsage, "profile %q has role_arn, but neither source_profile nor credential_source: AWS clients refuse it", first.Name), role.File, role.Line).
			because("Holdfast takes the role from --role-arn in credential_process; remove role_arn, or move it with source_profile to another profile")}
	case !set:
		return []result{p.noProcess(paths, last)}
	}
	results = append(results, fine("profile %q: credential_process in line %d of %s", last.Name, line.Line, line.File))
	if len(p.aws.chain) > 1 {
		results = append(results, fine("its credentials are used to assume %s of profile %q", first.Get(awsconfig.RoleARN), first.Name))
	}
	return append(results, p.split(paths)...)
}

// syntaxFault is the fault of a file that botocore refuses.
func (p *patient) syntaxFault(paths awsconfig.Paths, err error, syntax *awsconfig.SyntaxError) result {
	file := paths.Config
	if strings.HasPrefix(err.Error(), paths.Credentials+": ") {
		file = paths.Credentials
	}
	r := failed(front.ExitUsage, "%v; the AWS CLI and the SDK for Python refuse the whole file", err)
	for variable, path := range variablesOf(paths) {
		if path == file && p.Env(variable) != "" {
			r.Seen += "; its name is from " + variable
			if data, readErr := readConfig(file); readErr == nil && !hasSection(data) {
				return r.because("the file has no section, so it is no AWS configuration").with("unset", variable)
			}
		}
	}
	if data, readErr := readConfig(file); readErr == nil && strings.HasPrefix(string(data), "\ufeff") && runtime.GOOS == "linux" {
		return r.paste(sed(`1s/^\xef\xbb\xbf//`, file))
	}
	return edit(r, file, syntax.Line)
}

// chainFault is the fault of a profile that does not exist or cannot be resolved.
func (p *patient) chainFault(shared *awsconfig.Shared, err error) result {
	r := failed(front.ExitUsage, "%v in %s and %s", err, shared.Paths.Config, shared.Paths.Credentials)
	if n := len(p.aws.chain); n > 0 { // source_profile is wrong
		s := p.aws.chain[n-1].Settings[awsconfig.SourceProfile]
		r.Seen = fmt.Sprintf("profile %q, line %d of %s: %v", p.aws.chain[n-1].Name, s.Line, s.File, err)
		if s.Value == p.aws.chain[n-1].Name {
			return edit(r, s.File, s.Line).because("AWS clients assume a role only with the credentials of another profile; move role_arn and source_profile into a profile of their own")
		}
		return edit(r, s.File, s.Line).because(profileList(shared))
	}
	if m, found := shared.Misnamed[p.aws.name]; found {
		r = failed(front.ExitUsage, "line %d of %s is [%s]. In this file it must be [%s].", m.Line, m.File, m.Has, m.Want)
		return replaceLine(r, m.File, m.Line, "["+m.Want+"]")
	}
	r.code = front.ExitNotFound
	for variable, path := range variablesOf(shared.Paths) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && p.Env(variable) != "" {
			return failed(front.ExitNotFound, "%s, from %s, does not exist", path, variable).with("unset", variable)
		}
	}
	r = r.because(profileList(shared))
	if similar := similarProfile(p.aws.name, shared.Names()); similar != "" {
		r.Hint = fmt.Sprintf("did you mean %q?", similar)
		return r.paste(p.again("--profile", similar))
	}
	if names := shared.Names(); len(names) == 1 && p.profile == "" && p.Env("AWS_PROFILE") == "" && p.Env("AWS_DEFAULT_PROFILE") == "" {
		return r.paste(p.again("--profile", names[0]))
	}
	return p.suggestSet(r, p.aws.name)
}

// variablesOf returns the files by the variables that can name them.
func variablesOf(paths awsconfig.Paths) map[string]string {
	return map[string]string{"AWS_CONFIG_FILE": paths.Config, "AWS_SHARED_CREDENTIALS_FILE": paths.Credentials}
}

// hasSection reports whether a line of a file begins a section.
func hasSection(data []byte) bool {
	return slices.ContainsFunc(strings.Split(string(data), "\n"), func(line string) bool { return strings.HasPrefix(line, "[") })
}

// similarProfile returns the name that is similar to that of a profile, or "". A
// short name is similar if one character is missing, or one is too many.
func similarProfile(name string, names []string) string {
	if similar := front.Similar(name, names...); similar != "" {
		return similar
	}
	for _, n := range names {
		short, long := name, n
		if len(short) > len(long) {
			short, long = long, short
		}
		for i := range long {
			if len(short) > 1 && len(short)+1 == len(long) && long[:i]+long[i+1:] == short {
				return n
			}
		}
	}
	return ""
}

func profileList(shared *awsconfig.Shared) string {
	names := shared.Names()
	if len(names) == 0 {
		return "there are no profiles"
	}
	shown := names[:min(len(names), 8)]
	return "the profiles are: " + strings.Join(shown, ", ")
}

// suggestSet returns r with a command that sets the credential_process of a
// profile.
func (p *patient) suggestSet(r result, profile string) result {
	line := program() + ` credential-process --certificate CERTIFICATE --private-key KEY --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN`
	return r.with("aws", "configure", "set", awsconfig.CredentialProcess, line, "--profile", profile)
}

// noProcess is the fault of a profile without a credential_process.
func (p *patient) noProcess(paths awsconfig.Paths, last awsconfig.Profile) result {
	r := failed(front.ExitUsage, "profile %q has no credential_process", last.Name)
	if golang, err := awsconfig.Read(paths, awsconfig.Go, readConfig); err == nil {
		if s, has := golang.Profiles[last.Name].Settings[awsconfig.CredentialProcess]; has { // in a line that continues another
			r = failed(front.ExitUsage, "line %d of %s begins with a space, so the AWS CLI takes credential_process for a part of the value above", s.Line, s.File)
			if !indented(s) {
				r.Seen = fmt.Sprintf("the AWS CLI ignores credential_process in line %d of %s, because a later section replaces the one that contains it", s.Line, s.File)
				r.Hint = "write all settings of the profile into one section"
			}
			return edit(r, s.File, s.Line)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(last.Settings)) {
		if s := last.Settings[key]; front.Similar(strings.ReplaceAll(key, "-", "_"), awsconfig.CredentialProcess) != "" {
			r.Seen += fmt.Sprintf(", but %s in line %d of %s", p.hide(key), s.Line, s.File)
			return renameKey(r.because("did you mean credential_process?"), s.File, s.Line, awsconfig.CredentialProcess)
		}
	}
	return p.suggestSet(r, last.Name)
}

// longestLine limits the credential_process that is examined, in bytes.
const longestLine = 16384

// indented reports whether the line of a setting begins with a space.
func indented(s awsconfig.Setting) bool {
	data, err := readConfig(s.File)
	lines := strings.Split(string(data), "\n")
	return err == nil && s.Line <= len(lines) && strings.TrimLeftFunc(lines[s.Line-1], unicode.IsSpace) != lines[s.Line-1]
}

// split shows how AWS clients split the line, and finds the program.
func (p *patient) split(paths awsconfig.Paths) (results []result) {
	text := p.aws.line.Value
	words, err := splitHere(text)
	if err != nil || len(words) == 0 {
		if err == nil {
			err = errors.New("it is empty")
		}
		return []result{p.aws.editing(failed(front.ExitUsage, "credential_process cannot be split into words: %v", err))}
	}
	if len(text) > longestLine {
		return []result{p.aws.editing(warn("credential_process has %d bytes; doctor examines no more than %d", len(text), longestLine))}
	}
	p.learn(strings.Fields(text))
	if r, bad := p.quotedWhole(words); bad {
		return []result{r}
	}
	p.learn(words)
	if r, bad := p.badWords(words); bad {
		return []result{r}
	}
	if r, differs := p.shellDiffers(paths, words); differs {
		results = append(results, r)
	}
	if r, bad := p.badProgram(words); bad {
		return append(results, r)
	}
	name := programName(words[0])
	switch {
	case name != "holdfast" && name != helper:
		p.foreign = true
		return append(results, warn("credential_process runs %s, whose settings doctor does not know", words[0]).
			because("give doctor the flags that the program passes to holdfast").with("holdfast", "help", "doctor"))
	case len(words) > 1 && words[1] == "credential-process":
	case len(words) < 2 || strings.HasPrefix(words[1], "-"):
		fixed := slices.Insert(slices.Clone(words), 1, "credential-process")
		return append(results, p.set(failed(front.ExitUsage, "credential_process runs %s without the command credential-process", words[0]), fixed))
	default:
		return append(results, p.aws.editing(failed(front.ExitUsage, "credential_process runs %s %s, but only credential-process prints what AWS clients read", words[0], words[1])))
	}
	p.aws.words = words
	return append(results, fine("AWS clients run: %s", quoteForAll(mask(words))))
}

// quotedWhole returns the fault if the whole value is in quotation marks.
func (p *patient) quotedWhole(words []string) (result, bool) {
	inner, err := splitHere(words[0])
	if _, statErr := os.Stat(words[0]); len(words) > 1 || err != nil || len(inner) < 2 || statErr == nil {
		return result{}, false
	}
	p.learn(inner)
	r := failed(front.ExitUsage, "the AWS CLI takes the whole value of credential_process for the name of the program, because it is in quotation marks")
	return p.set(r.because("remove the first and the last quotation mark"), inner), true
}

func splitHere(text string) ([]string, error) {
	if runtime.GOOS == "windows" {
		return awsconfig.SplitWindows(text)
	}
	return awsconfig.SplitPython(text)
}
