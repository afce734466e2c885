package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
	"github.com/holdfast-dev/holdfast/keystore"
)

// checkConfiguration reads the settings, from the flags or from a profile of the
// AWS configuration.
func checkConfiguration(_ context.Context, p *patient) []result {
	if p.cmd.Flags().Changed("config") || p.cmd.Flags().Changed("role") {
		return p.readRole()
	}
	if p.profile == "" && len(p.settings) > 0 {
		return p.readSettings(p.cmd, p.given)
	}
	results := p.readProfile()
	if p.aws.words == nil {
		return results
	}
	line := &cobra.Command{Use: "credential-process"}
	var s settings
	s.add(line)
	args := flags.JoinSelector(p.aws.words[2:])
	p.learn(args)
	if p.cmd.Flags().Changed("pin-source") {
		p.stored = p.storedPIN(args)
	}
	p.cmd.Flags().Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				args = append(args, "--"+f.Name+"="+v)
			}
		} else if !isOwn(f.Name) {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	if err := front.ParseFlags(line, args); err != nil {
		return append(results, p.flagFault(line, err))
	}
	if p.isHelper(p.aws.words[0]) {
		results = append(results, p.checkHelper(line)...)
	}
	results = append(results, p.readSettings(line, &s)...)
	for _, name := range []string{"pkcs8-password", "tpm-key-password"} {
		if f := line.Flags().Lookup(name); f.Value.String() != "" && !p.cmd.Flags().Changed(name) {
			r := warn("--%s in credential_process contains a password: every local user can read the command line of a process", name)
			results = append(results, p.aws.editing(r.because("store the password in a file that only you can read, and write --pin-source file:PATH instead")))
		}
	}
	return results
}

// storedPIN returns the file with the PIN that the flags of credential_process
// name, or "".
func (p *patient) storedPIN(args []string) string {
	line := &cobra.Command{Use: "credential-process"}
	var s settings
	s.add(line)
	if front.ParseFlags(line, args) != nil {
		return "" // reported with the flags of the user
	}
	key, err := s.Identity.Key(line)
	place, found := onlyPlace(key.PINSources(p.App))
	if path, ok := place.File(); err == nil && found && ok {
		return path
	}
	return ""
}

// flagFault is the fault of flags in credential_process that cannot be parsed.
func (p *patient) flagFault(line *cobra.Command, err error) result {
	if fixed, path := joined(p.aws.words); path != "" {
		return p.set(failed(front.ExitUsage, "credential_process contains %s without quotation marks, so it is split at the spaces", path).because("put the path in single quotes"), fixed)
	}
	rest := line.Flags().Args()
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return p.aws.editing(failed(front.ExitUsage, "credential_process contains --help, with which the program prints no credentials"))
	case len(rest) > 0:
		return p.aws.editing(failed(front.ExitUsage, "unexpected word %q in credential_process", p.part(keystore.Excerpt(rest[0]))).because("quote values that contain spaces"))
	}
	return p.aws.editing(failure(err))
}

// joined returns words with those joined that together are the absolute path of a
// file, and the first such path, or "".
func joined(words []string) (fixed []string, first string) {
	for i := 0; i < len(words); i++ {
		end, path := i+1, ""
		for e := i + 2; e <= min(len(words), i+8) && path == ""; e++ {
			word := strings.Join(words[i:e], " ")
			p := word
			if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "-") {
				p = value
			}
			if _, err := os.Stat(p); err == nil && filepath.IsAbs(p) {
				end, path = e, p
			}
		}
		fixed = append(fixed, strings.Join(words[i:end], " "))
		first = cmp.Or(first, path)
		i = end - 1
	}
	return fixed, first
}

// readSettings converts the flags of a command to the settings of p.
func (p *patient) readSettings(cmd *cobra.Command, s *settings) (results []result) {
	key, err := s.Identity.Key(cmd)
	if err == nil {
		err = key.Check()
	}
	if err == nil {
		_, err = key.Options(p.App, nil) // --pin-source
	}
	if err != nil {
		results = append(results, p.settingFault(err))
	} else {
		p.key, p.hasKey = key, true
	}
	if err := p.readSession(cmd, s); err != nil {
		return append(results, p.settingFault(err))
	}
	if len(results) > 0 {
		return results
	}
	return append(results, p.validSettings())
}

// validSettings names the roles of the settings.
func (p *patient) validSettings() result {
	text := fmt.Sprintf("the settings are valid: %s in %s", p.config.RoleARN, p.config.TrustAnchorRegion())
	if p.second.RoleARN != "" {
		text += ", and with its session " + p.second.RoleARN
	}
	return fine("%s", text)
}

// readSession converts the flags of the session and the connection.
func (p *patient) readSession(cmd *cobra.Command, s *settings) (err error) {
	if p.config, err = s.Session.Config(cmd, p.App); err != nil {
		return err
	}
	if err = p.config.Check(); err != nil {
		return err
	}
	if p.second, err = s.Assume.Chain(cmd, p.App); err != nil {
		return err
	}
	if err = p.second.Check(p.config); err != nil {
		return secondError{err}
	}
	if p.connection, err = s.Session.Connection(p.App); err != nil {
		return err
	}
	if p.config.Transport, err = p.connection.Transport(); err != nil {
		return err
	}
	p.hasConfig = true
	return nil
}

// settingFault is the fault of a setting, with a command that shows valid values.
func (p *patient) settingFault(err error) result {
	r := failure(err)
	if flag := flagOf(err); flag != "" {
		r.Seen = flag + ": " + strings.TrimPrefix(r.Seen, "invalid configuration: ")
		if p.aws.words == nil {
			return r.paste(p.again(flag, "NAME"))
		}
	}
	if variable := p.variableIn(err); variable != "" {
		return r.with("unset", variable)
	}
	c := p.config
	switch {
	case !p.hasKey || p.hasConfig:
	case c.TrustAnchorARN == "":
		return r.with(asAdmin("aws", "rolesanywhere", "list-trust-anchors", "--query", "trustAnchors[].trustAnchorArn")...)
	case c.ProfileARN == "" && strings.Count(c.TrustAnchorARN, ":") > 3: // its region is the fourth part
		return r.with(asAdmin("aws", "rolesanywhere", "list-profiles", "--region", strings.Split(c.TrustAnchorARN, ":")[3], "--query", "profiles[].profileArn")...)
	case c.RoleARN == "":
		return r.with(asAdmin("aws", "iam", "list-roles", "--query", "Roles[].Arn")...)
	}
	if p.aws.words != nil {
		return p.aws.editing(r)
	}
	return r.with("holdfast", "help", "credential-process")
}

// A secondError is an error of the settings of the second role.
type secondError struct{ error }

// Unwrap returns the error.
func (e secondError) Unwrap() error { return e.error }

// flagOf returns the flag of a setting that an error names only in words, or "".
func flagOf(err error) string {
	var second secondError
	isSecond := errors.As(err, &second)
	for _, f := range []struct {
		text, flag string
		second     bool
	}{
		{"role session name", "--role-session-name", false},
		{"role session name", "--assume-role-session-name", true},
		{"external ID", "--assume-role-external-id", true},
	} {
		if f.second == isSecond && strings.Contains(err.Error(), f.text) && !strings.Contains(err.Error(), f.flag) {
			return f.flag
		}
	}
	return ""
}

var variableName = lazyregexp.Regexp{Expression: `\bAWS_[A-Z0-9_]+\b`}

// variableIn returns the environment variable that an error blames, or "".
func (p *patient) variableIn(err error) string {
	for _, name := range variableName.Get().FindAllString(err.Error(), -1) {
		if p.Env(name) != "" {
			return name
		}
	}
	return ""
}

// quoteForAll quotes words so that a shell and botocore split them in the same
// way.
func quoteForAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = front.ShellQuote(w)
		if strings.Contains(w, "'") && !strings.ContainsAny(w, "\"\\$`") {
			quoted[i] = `"` + w + `"`
		}
	}
	return strings.Join(quoted, " ")
}
