package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
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
	return append(results, p.readSettings(line, &s)...)
}

// flagFault is the fault of flags in credential_process that cannot be parsed.
func (p *patient) flagFault(line *cobra.Command, err error) result {
	words := p.aws.words
	for i := range words {
		for end := i + 2; end <= min(len(words), i+8); end++ {
			joined := strings.Join(words[i:end], " ")
			path := joined
			if name, value, ok := strings.Cut(joined, "="); ok && strings.HasPrefix(name, "-") {
				path = value
			}
			if _, statErr := os.Stat(path); statErr == nil && filepath.IsAbs(path) {
				fixed := slices.Concat(words[:i], []string{joined}, words[end:])
				return p.set(failed(front.ExitUsage, "credential_process contains %s without quotation marks, so it is split at the spaces", path).because("put the path in single quotes"), fixed)
			}
		}
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
		return err
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
	c := p.config
	switch {
	case !p.hasKey || p.hasConfig:
	case c.TrustAnchorARN == "":
		return r.with("aws", "rolesanywhere", "list-trust-anchors", "--query", "trustAnchors[].trustAnchorArn")
	case c.ProfileARN == "" && strings.Count(c.TrustAnchorARN, ":") > 3: // its region is the fourth part
		return r.with("aws", "rolesanywhere", "list-profiles", "--region", strings.Split(c.TrustAnchorARN, ":")[3], "--query", "profiles[].profileArn")
	case c.RoleARN == "":
		return r.with("aws", "iam", "list-roles", "--query", "Roles[].Arn")
	}
	if p.aws.words != nil {
		return p.aws.editing(r)
	}
	return r.with("holdfast", "help", "credential-process")
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
