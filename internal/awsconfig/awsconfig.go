// Package awsconfig reads the shared configuration of AWS clients, the files
// ~/.aws/config and ~/.aws/credentials, as these clients read it, to find out
// why they do not run a credential process. The clients differ: see [Client].
//
// Sources: botocore 1.43 (configloader.py, credentials.py, compat.py) with
// configparser and shlex of Python 3.11, and the AWS SDK for Go v2, module
// config v1.33 (internal/ini). All functions are safe for concurrent use.
package awsconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Client is a family of AWS clients that read files in the same way.
type Client int

const (
	Python Client = iota // botocore: the AWS CLI and the SDK for Python
	Go                   // the AWS SDK for Go v2
)

// Paths are the names of the two files.
type Paths struct{ Config, Credentials string }

// Find returns the names that clients use: those of the environment variables
// AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE, or else those in the folder
// .aws of home.
func Find(lookup func(string) (string, bool), home string) Paths {
	path := func(variable, name string) string {
		if v, _ := lookup(variable); v != "" {
			v = os.Expand(v, func(name string) string { // botocore replaces variables that are set
				if value, set := lookup(name); set {
					return value
				}
				return "$" + name
			})
			if rest, ok := strings.CutPrefix(v, "~/"); ok {
				return filepath.Join(home, rest)
			}
			return v
		}
		return filepath.Join(home, ".aws", name)
	}
	return Paths{path("AWS_CONFIG_FILE", "config"), path("AWS_SHARED_CREDENTIALS_FILE", "credentials")}
}

// A Setting is a key of a profile with its value.
type Setting struct {
	Value string // several lines are separated by line ends
	File  string
	Line  int
	End   int // the last line of the value

	// Inherited means that the setting is in the section [DEFAULT], with which
	// Python completes all others.
	Inherited bool
}

// A Profile has the settings of a profile from both files. Those of the
// credentials file have precedence. The keys are in lower case.
type Profile struct {
	Name     string
	Settings map[string]Setting
}

// Get returns the value of a setting, or "".
func (p Profile) Get(key string) string { return p.Settings[key].Value }

// The keys of settings that decide which credentials a client uses.
const (
	CredentialProcess = "credential_process"
	SourceProfile     = "source_profile"
	RoleARN           = "role_arn"
	AccessKeyID       = "aws_access_key_id"
)

// A Shared contains the profiles of both files.
type Shared struct {
	Paths    Paths
	Profiles map[string]Profile

	// Misnamed has the sections that clients do not take for a profile,
	// although their name suggests one, by the name of that profile.
	Misnamed map[string]Misnamed

	prefixed map[string]bool // the profiles of sections that begin with "profile "
}

// A Misnamed is a section with the wrong kind of name for its file.
type Misnamed struct {
	File string
	Line int
	Has  string // the name of the section
	Want string // the name that clients expect
}

// Read reads both files as a client does. read reads one file; files that do not
// exist are empty. An error about the contents is a [*SyntaxError].
func Read(paths Paths, client Client, read func(path string) ([]byte, error)) (*Shared, error) {
	s := &Shared{Paths: paths, Profiles: make(map[string]Profile), Misnamed: make(map[string]Misnamed), prefixed: make(map[string]bool)}
	for _, path := range []string{paths.Config, paths.Credentials} {
		data, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
		}
		sections, err := Parse(data, client)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, section := range sections {
			s.add(path, client, section)
		}
	}
	return s, nil
}

// add adds a section to the profile that it belongs to.
func (s *Shared) add(path string, client Client, section Section) {
	name, ok := section.Name, true
	other, prefixed := strings.CutPrefix(section.Name, "profile ")
	other = strings.Trim(strings.TrimSpace(other), `"'`)
	if path == s.Paths.Config {
		name, ok = profileName(section.Name, client)
		if !ok && !strings.ContainsAny(section.Name, " \t") {
			s.Misnamed[section.Name] = Misnamed{path, section.Line, section.Name, "profile " + section.Name}
		}
	} else if prefixed {
		s.Misnamed[other] = Misnamed{path, section.Line, section.Name, other}
	}
	if !ok {
		return
	}
	p, known := s.Profiles[name]
	if path == s.Paths.Config {
		if client == Go && known && s.prefixed[name] && !prefixed {
			return // [profile default] has precedence over [default]
		}
		// In Python the last section with a name has precedence.
		known = known && client == Go && s.prefixed[name] == prefixed
		s.prefixed[name] = prefixed
	}
	if !known {
		p = Profile{name, make(map[string]Setting)}
		s.Profiles[name] = p
	}
	for key, v := range section.Settings {
		v.File = path
		p.Settings[key] = v
	}
}

// withoutPath returns the reason of an error about a file.
func withoutPath(err error) error {
	var target *fs.PathError
	if errors.As(err, &target) {
		return target.Err
	}
	return err
}

// profileName returns the name of the profile of a section in the configuration
// file: "default", or a second word after "profile". Python also accepts another
// first word that begins so.
func profileName(section string, client Client) (string, bool) {
	if section == "default" {
		return section, true
	}
	if client == Go { // which keeps quotation marks
		return strings.CutPrefix(section, "profile ")
	}
	if !strings.HasPrefix(section, "profile") {
		return "", false
	}
	words, err := SplitPython(section)
	if err != nil || len(words) != 2 {
		return "", false
	}
	return words[1], true
}

// Names returns the names of all profiles, sorted.
func (s *Shared) Names() []string {
	var names []string
	for name := range s.Profiles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Errors of [Shared.Chain].
var (
	ErrNoProfile = errors.New("no such profile")
	ErrLoop      = errors.New("source_profile leads back to a profile that needs it")
)

// Chain returns the profile with this name, the profile that its source_profile
// names, and so on: the credentials of the last one are used to assume the roles
// of those before. The error wraps [ErrNoProfile] or [ErrLoop]. The profiles
// before the error are returned with it.
func (s *Shared) Chain(name string) (chain []Profile, err error) {
	seen := make(map[string]bool)
	for {
		p, ok := s.Profiles[name]
		if !ok {
			return chain, fmt.Errorf("%w: %q", ErrNoProfile, name)
		}
		chain = append(chain, p)
		seen[name] = true
		next := p.Get(SourceProfile)
		if next == "" || p.Get(RoleARN) == "" {
			return chain, nil
		}
		if next == name && p.Get(AccessKeyID) != "" {
			return chain, nil // the role is assumed with the profile's own keys; botocore accepts no other credentials
		}
		if seen[next] {
			return chain, fmt.Errorf("%w: %q", ErrLoop, next)
		}
		name = next
	}
}
