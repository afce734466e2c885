package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/awsconfig"
)

// An override is a set of environment variables with which AWS clients find other
// credentials, if the first of them is set.
type override struct {
	variables []string
	clear     []string // further variables to unset
	what      string
	refused   string // what happens if only the first one is set
}

// overrides have precedence over a profile that a client does not name itself, as
// with --profile. Sources: credentials.py of botocore, resolve_credentials.go of
// the AWS SDK for Go v2.
var overrides = []override{
	{[]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, []string{"AWS_SESSION_TOKEN"}, "the keys in the environment", "the AWS CLI and the SDK for Python fail"},
	{[]string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"}, nil, "the web identity in the environment", "AWS clients fail"},
}

// stronger has the settings of a profile that have precedence over its
// credential_process, with what clients do instead. Those that only some clients
// prefer are a warning. Sources: credentials.py of botocore, shared_config.go of
// the AWS SDK for Go v2.
var stronger = []struct {
	key, what string
	some      string // the only clients; "": all
}{
	{"web_identity_token_file", "use a web identity", ""},
	{"sso_account_id", "use IAM Identity Center", ""},
	{"sso_role_name", "use IAM Identity Center", ""},
	{"sso_session", "uses IAM Identity Center", sdkForGo},
	{"sso_start_url", "uses IAM Identity Center", sdkForGo},
	{"sso_region", "uses IAM Identity Center", sdkForGo},
	{awsconfig.AccessKeyID, "use fixed keys", ""},
	{"aws_secret_access_key", "refuses fixed keys without aws_access_key_id", sdkForGo},
	{"login_session", "use the session of aws login", ""},
	{"credential_source", "use another source of credentials", ""},
}

const sdkForGo = "the SDK for Go"

// checkEnvironment finds the variables and settings with which AWS clients do not
// use the credentials of Holdfast.
func checkEnvironment(_ context.Context, p *patient) (results []result) {
	for _, o := range overrides {
		if p.Env(o.variables[0]) != "" {
			results = append(results, p.overridden(o))
		}
	}
	if len(p.aws.chain) > 0 {
		results = append(results, p.strongerSettings()...)
		results = append(results, p.emptyRole()...)
	}
	results = append(results, p.onlyInGo()...)
	if name := p.Env("AWS_PROFILE"); p.profile != "" && name != "" && name != p.profile {
		results = append(results, warn("AWS_PROFILE is %s: clients that do not name a profile use that one", name).with("export", "AWS_PROFILE="+p.profile))
	}
	if python, golang := p.Env("AWS_DEFAULT_PROFILE"), p.Env("AWS_PROFILE"); p.profile == "" && python != "" && golang != "" && python != golang {
		results = append(results, warn("the AWS CLI and the SDK for Python use profile %s of AWS_DEFAULT_PROFILE, other clients use %s of AWS_PROFILE", python, golang).with("unset", "AWS_DEFAULT_PROFILE"))
	}
	if len(p.aws.chain) > 0 && p.hasConfig && p.aws.chain[0].Get("region") == "" && p.Env("AWS_REGION") == "" && p.Env("AWS_DEFAULT_REGION") == "" {
		results = append(results, warn("profile %q has no region, which clients of most services need", p.aws.name).
			with("aws", "configure", "set", "region", p.config.TrustAnchorRegion(), "--profile", p.aws.name))
	}
	results = append(results, p.endpoints(inContainer())...)
	if len(results) == 0 {
		results = append(results, fine("nothing overrides credential_process"))
	}
	return results
}

// overridden is the result for variables that are set. They matter only to
// clients that use a profile.
func (p *patient) overridden(o override) result {
	unset := append(append([]string{"unset"}, o.variables...), o.clear...)
	text := fmt.Sprintf("%s is set: AWS clients use %s", o.variables[0], o.what)
	switch {
	case p.Env(o.variables[1]) == "" && p.profile == "" && p.aws.name != "":
		return failed(front.ExitOther, "%s is set without %s: %s", o.variables[0], o.variables[1], o.refused).with("unset", o.variables[0])
	case p.aws.name == "":
		return warn("%s instead of a profile", text).with(unset...)
	case p.profile != "":
		return warn("%s, unless the command names the profile, as in aws --profile %s", text, p.aws.name).with(unset...)
	}
	return failed(front.ExitOther, "%s instead of credential_process, unless the command names the profile, as in aws --profile %s", text, p.aws.name).with(unset...)
}

// strongerSettings returns the results for settings beside the credential_process,
// and beside the source_profile that leads to it.
func (p *patient) strongerSettings() (results []result) {
	last := p.aws.last()
	if _, has := last.Settings[awsconfig.CredentialProcess]; !has {
		return nil
	}
	identityCenter := false // is reported; it has several settings
	for _, s := range stronger {
		setting, set := last.Settings[s.key]
		inGo := s.some != "" || s.key == awsconfig.AccessKeyID && !isCredentials(setting.File) && len(p.aws.chain) == 1
		switch _, keyID := last.Settings[awsconfig.AccessKeyID]; {
		case !set, identityCenter && strings.HasPrefix(s.key, "sso_"),
			inGo && setting.Inherited, // Go has no section [DEFAULT]
			s.key == "aws_secret_access_key" && keyID:
			continue
		}
		identityCenter = identityCenter || strings.HasPrefix(s.key, "sso_")
		text := fmt.Sprintf("%s in line %d of %s: ", s.key, setting.Line, setting.File)
		var r result
		switch {
		case s.key == "credential_source" && last.Get(awsconfig.RoleARN) == "":
			r = warn("%s%s refuses it without role_arn", text, sdkForGo)
		case s.key == awsconfig.AccessKeyID && inGo:
			r = warn("%s%s uses fixed keys instead of credential_process; the AWS CLI does not", text, sdkForGo)
		case s.some != "":
			r = warn("%s%s %s instead of credential_process", text, s.some, s.what)
		default:
			r = failed(front.ExitOther, "%sAWS clients %s instead of credential_process", text, s.what)
		}
		if setting.Inherited { // other profiles have it, too
			results = append(results, edit(r, setting.File, setting.Line))
			continue
		}
		results = append(results, removeLines(r, last, setting.File))
	}
	return append(results, p.besideSource()...)
}

// emptyRole returns the fault of a role_arn without a value, beside the
// credential_process.
func (p *patient) emptyRole() []result {
	role, set := p.aws.last().Settings[awsconfig.RoleARN]
	if !set || role.Value != "" {
		return nil
	}
	r := failed(front.ExitOther, "role_arn in line %d of %s is empty: the AWS CLI and the SDK for Python refuse the profile", role.Line, role.File)
	return []result{edit(r.because("remove the line"), role.File, role.Line)}
}

// onlyInGo returns warnings about variables that the SDK for Go reads differently.
func (p *patient) onlyInGo() (results []result) {
	if p.Env("AWS_ACCESS_KEY_ID") == "" && p.Env("AWS_ACCESS_KEY") != "" && p.Env("AWS_SECRET_KEY") != "" {
		results = append(results, warn("AWS_ACCESS_KEY and AWS_SECRET_KEY are set: %s uses these keys; the AWS CLI does not", sdkForGo).with("unset", "AWS_ACCESS_KEY", "AWS_SECRET_KEY"))
	}
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		if v := p.Env(name); strings.HasPrefix(v, "~/") || strings.Contains(v, "$") {
			results = append(results, warn("%s contains ~ or a variable, which %s does not replace", name, sdkForGo).because("set it to the whole path").paste("export "+name+"=PATH"))
		}
	}
	return results
}

// isCredentials reports whether a file is that with the credentials.
func isCredentials(file string) bool { return strings.HasSuffix(file, "credentials") }

// besideSource returns the results for profiles whose source_profile clients
// ignore or refuse.
func (p *patient) besideSource() (results []result) {
	for i, profile := range p.aws.chain {
		source, set := profile.Settings[awsconfig.SourceProfile]
		if !set || source.Value == "" {
			continue
		}
		if own, has := profile.Settings[awsconfig.CredentialProcess]; has && i < len(p.aws.chain)-1 {
			r := warn("credential_process in line %d of %s: %s refuses it beside role_arn and source_profile, and the AWS CLI ignores it", own.Line, own.File, sdkForGo)
			results = append(results, edit(r, own.File, own.Line))
		}
		if i == len(p.aws.chain)-1 && profile.Get(awsconfig.RoleARN) == "" {
			results = append(results, edit(warn("source_profile in line %d of %s: %s refuses it without role_arn", source.Line, source.File, sdkForGo), source.File, source.Line))
			continue
		}
		for _, key := range []string{"credential_source", "web_identity_token_file"} {
			if s, has := profile.Settings[key]; has && i < len(p.aws.chain)-1 {
				r := failed(front.ExitOther, "%s in line %d of %s: AWS clients refuse it beside source_profile", key, s.Line, s.File)
				results = append(results, edit(r, s.File, s.Line))
			}
		}
	}
	return results
}

// removeLines returns r with a command that removes the settings of a profile in
// a file that are in stronger, or that belong to them.
func removeLines(r result, p awsconfig.Profile, file string) result {
	var removed []awsconfig.Setting
	for key, s := range p.Settings {
		part := strings.HasPrefix(key, "aws_access") || strings.HasPrefix(key, "aws_se") || strings.HasPrefix(key, "sso_") ||
			key == "web_identity_token_file" || key == "login_session" || key == "credential_source" ||
			key == awsconfig.RoleARN && p.Get(awsconfig.SourceProfile) == "" // belongs to credential_source or the web identity
		if part && s.File == file {
			removed = append(removed, s)
		}
	}
	text, known := deleteLines(file, removed)
	if !known {
		return edit(r, file, removed[0].Line)
	}
	return r.paste(text).because(fmt.Sprintf("the command deletes these settings of profile %s; a copy of the file keeps them", p.Name))
}
