//go:build unix

package doctor_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func config(text string) func(*scene) {
	return func(s *scene) { s.write(".aws/config", text) }
}

func profileWith(line string) func(*scene) {
	return config("[profile app]\ncredential_process = " + line + "\n")
}

func remove(names ...string) func(*scene) {
	return func(s *scene) {
		for _, name := range names {
			if err := os.RemoveAll(s.path(name)); err != nil {
				s.Fatal(err)
			}
		}
	}
}

func write(name, text string) func(*scene) { return func(s *scene) { s.write(name, text) } }

func issue(mutate func(*x509.Certificate)) func(*scene) {
	return func(s *scene) { s.issue(mutate) }
}

func steps(all ...func(*scene)) func(*scene) {
	return func(s *scene) {
		for _, f := range all {
			f(s)
		}
	}
}

// encrypted replaces key.pem by an encrypted one with the password "secret".
func encrypted(s *scene) {
	s.tool(signertest.Require(s, "openssl", "openssl"), "pkcs8", "-topk8", "-in", "key.pem", "-out", "encrypted.pem", "-passout", "pass:secret")
	if err := os.Rename(s.path("encrypted.pem"), s.path("key.pem")); err != nil {
		s.Fatal(err)
	}
}

const app = "--profile app"

// listModules returns the command that shows modules.
func listModules() string {
	if found, _ := filepath.Glob("/usr/lib*/softhsm"); len(found) > 0 {
		return "ls /usr/"
	}
	return "holdfast list"
}

// brokenConfigurations are faults of the settings.
var brokenConfigurations = []setup{
	{name: "no files", args: app, check: "configuration", seen: `no such profile: "app"`, command: "aws configure set", code: 3},
	{name: "another profile", args: "--profile ops", prepare: config(goodConfig), check: "configuration", seen: `no such profile: "ops"`, command: "--profile ops", code: 3},
	{name: "only a profile with another name", prepare: config(goodConfig), check: "configuration", seen: `no such profile: "default"`, command: "holdfast doctor --profile app", code: 3},
	{name: "profile of two letters", args: "--profile ap", prepare: config(goodConfig), check: "configuration", seen: `no such profile: "ap"`, command: "holdfast doctor --profile app", code: 3},
	{name: "source_profile of itself", args: app, prepare: config(goodConfig + "role_arn = " + roleARN + "\nsource_profile = app\n"),
		check: "configuration", seen: "leads back to a profile that needs it", command: "+5", code: 2},
	{name: "AWS_CA_BUNDLE", args: app, env: []string{"AWS_CA_BUNDLE=/none.pem"}, prepare: config(goodConfig),
		check: "configuration", seen: "AWS_CA_BUNDLE /none.pem", command: "unset AWS_CA_BUNDLE", code: 3},
	{name: "AWS_MAX_ATTEMPTS", args: app, env: []string{"AWS_MAX_ATTEMPTS=x"}, prepare: config(goodConfig),
		check: "configuration", seen: "AWS_MAX_ATTEMPTS", command: "unset AWS_MAX_ATTEMPTS", code: 2},
	{name: "AWS_USE_FIPS_ENDPOINT", args: goodFlags, env: []string{"AWS_USE_FIPS_ENDPOINT=yes"},
		check: "configuration", seen: "AWS_USE_FIPS_ENDPOINT", command: "unset AWS_USE_FIPS_ENDPOINT", code: 2},
	{name: "key as credentials file", args: app, env: []string{"AWS_SHARED_CREDENTIALS_FILE={dir}/key.pem"}, prepare: config(goodConfig),
		check: "configuration", seen: "its name is from AWS_SHARED_CREDENTIALS_FILE", command: "unset AWS_SHARED_CREDENTIALS_FILE", code: 2},
	{name: "session name", args: goodFlags, words: []string{"--role-session-name", "a b"}, check: "configuration", seen: "--role-session-name: role session name", command: "--role-session-name NAME", code: 2},
	{name: "session name of the second role", args: goodFlags + " --assume-role-arn arn:aws:iam::444455556666:role/second", words: []string{"--assume-role-session-name", "a b"},
		check: "configuration", seen: "--assume-role-session-name: role session name", command: "--assume-role-session-name NAME", code: 2},
	{name: "external ID", args: goodFlags + " --assume-role-arn arn:aws:iam::444455556666:role/second", words: []string{"--assume-role-external-id", "a b"},
		check: "configuration", seen: "--assume-role-external-id: ", command: "--assume-role-external-id NAME", code: 2},
	{name: "typographic quotation marks", args: app, prepare: profileWith(strings.Replace(goodLine, "{dir}/cert.pem", "“{dir}/cert.pem”", 1)),
		check: "configuration", seen: "typographic characters instead of those of a command line: “{dir}/cert.pem”", command: "--certificate {dir}/cert.pem", code: 2},
	{name: "en dash", args: app, prepare: profileWith(strings.Replace(goodLine, "--certificate", "–certificate", 1)),
		check: "configuration", seen: "typographic characters instead of those of a command line: –certificate", command: "--certificate {dir}/cert.pem", code: 2},
	{name: "no-break space", args: app, prepare: config("[profile app]\nregion = us-east-1\n\u00a0credential_process = " + goodLine + "\n"),
		check: "configuration", seen: "begins with a space", command: "+3", code: 2},
	{name: "empty role", args: app, prepare: config(goodConfig + "role_arn =\n"), check: "environment", seen: "role_arn in line 4", command: "+4", code: 1},
	{name: "configuration in a pipe", args: app, env: []string{"AWS_CONFIG_FILE=/dev/fd/63"}, check: "configuration", seen: "from AWS_CONFIG_FILE, is not a regular file", command: "ls -l /dev/fd/63", code: 2},
	{name: "subshell", args: app, prepare: profileWith("(" + goodLine + ")"), check: "configuration", seen: "(holdfast of credential_process is not in PATH", command: "${EDITOR:-vi} +2", code: 3},
	{name: "two paths with spaces", args: app, prepare: steps(
		write("a b/cert.pem", "x"), write("a b/key.pem", "x"), profileWith(strings.ReplaceAll(strings.ReplaceAll(goodLine, "{dir}/cert.pem", "{dir}/a b/cert.pem"), "{dir}/key.pem", "{dir}/a b/key.pem"))),
		check: "configuration", seen: "split at the spaces", command: `'\''{dir}/a b/cert.pem'\'' --private-key '\''{dir}/a b/key.pem'\''`, code: 2},
	{name: "upper case in the key", args: app, prepare: config("[profile app]\nCredential_Process = " + strings.Replace(goodLine, "{dir}/key.pem", "~/key.pem", 1) + "\n"),
		check: "configuration", seen: "passes ~/key.pem unchanged", command: "${EDITOR:-vi} +2", code: 2},
	{name: "section profile default", prepare: config("[profile default]\ncredential_process = " + strings.Replace(goodLine, "{dir}/key.pem", "~/key.pem", 1) + "\n"),
		check: "configuration", seen: "passes ~/key.pem unchanged", command: "${EDITOR:-vi} +2", code: 2},
	{name: "program that is a text", args: app, prepare: steps(helperWith(goodFlags), write("bin/aws_signing_helper", "exec holdfast\n")),
		check: "configuration", seen: "first line does not begin with #!", command: "holdfast credential-process", code: 5},
	{name: "program without its interpreter", args: app, prepare: steps(helperWith(goodFlags), write("bin/aws_signing_helper", "#!/none/sh\n")),
		check: "configuration", seen: "its interpreter /none/sh does not exist", command: "holdfast credential-process", code: 5},
	{name: "empty program", args: app, prepare: steps(helperWith(goodFlags), write("bin/aws_signing_helper", "")),
		check: "configuration", seen: "cannot be started: it is empty", command: "holdfast credential-process", code: 5},
	{name: "mistyped profile", args: "--profile apq", prepare: config(goodConfig), check: "configuration", seen: `no such profile: "apq"`, command: "holdfast doctor --profile app", code: 3},
	{name: "configuration of a variable missing", args: app, env: []string{"AWS_CONFIG_FILE=/nope"},
		check: "configuration", seen: "/nope, from AWS_CONFIG_FILE, does not exist", command: "unset AWS_CONFIG_FILE", code: 3},
	{name: "dash in the key", args: app, prepare: config("[profile app]\ncredential-process = " + goodLine + "\n"),
		check: "configuration", seen: "but credential-process in line 2", command: "sed -i.bak '2s/", code: 2},
	{name: "space in a path", args: app, prepare: steps(func(s *scene) {
		s.write("a b/cert.pem", string(signertest.CertPEM(append([]*x509.Certificate{s.ca.Issue(s, s.key, nil)}, s.ca.Chain()...)...)))
	}, profileWith(strings.Replace(goodLine, "{dir}/cert.pem", "{dir}/a b/cert.pem", 1))),
		check: "configuration", seen: "split at the spaces", command: "{dir}/a b/cert.pem", code: 2},
	{name: "unexpected word", args: app, prepare: profileWith(goodLine + " extra"), check: "configuration", seen: `unexpected word "extra"`, command: "+2", code: 2},
	{name: "help", args: app, prepare: profileWith(goodLine + " --help"), check: "configuration", seen: "contains --help", command: "+2", code: 2},
	{name: "helper with a flag of holdfast", args: app, prepare: helperWith(goodFlags + " --pin-source file:/x"),
		check: "configuration", seen: "aws_signing_helper does not know --pin-source", command: "holdfast credential-process --certificate", code: 2},
	{name: "helper with a second role", args: app, prepare: helperWith(goodFlags + " --assume-role-arn arn:aws:iam::444455556666:role/other"),
		check: "configuration", seen: "aws_signing_helper does not know --assume-role-arn", command: "holdfast credential-process --certificate", code: 2},
	{name: "helper with a reference", args: app, prepare: helperWith(strings.Replace(goodFlags, "{dir}/key.pem", "env:KEY", 1)),
		check: "configuration", seen: "references that begin with env:", command: "holdfast credential-process --certificate", code: 2},
	{name: "section without profile", args: app, prepare: config("[app]\ncredential_process = x\n"),
		check: "configuration", seen: "[profile app]", command: "sed -i.bak '1s|.*|[profile app]|'", code: 2},
	{name: "section with profile in credentials", args: app, prepare: write(".aws/credentials", "[profile app]\ncredential_process = x\n"),
		check: "configuration", seen: "In this file it must be [app].", command: "sed", code: 2},
	{name: "no credential_process", args: app, prepare: config("[profile app]\nregion = us-east-1\n"),
		check: "configuration", seen: "no credential_process", command: "aws configure set", code: 2},
	{name: "section twice", args: app, prepare: config(goodConfig + "[profile app]\n"),
		check: "configuration", seen: "line 4: section [profile app] occurs twice", command: "+4", code: 2},
	{name: "nonsense line", args: app, prepare: config(goodConfig + "nonsense\n"),
		check: "configuration", seen: "line 4", command: "+4", code: 2},
	{name: "byte order mark", args: app, prepare: config("\ufeff" + goodConfig), check: "configuration", seen: "byte order mark", command: "sed -i", code: 2},
	{name: "not UTF-8", args: app, prepare: config(goodConfig + "# \xff\n"), check: "configuration", seen: "line 4: is not UTF-8", command: "+4", code: 2},
	{name: "indented key", args: app, prepare: config("[profile app]\nregion = us-east-1\n  credential_process = " + goodLine + "\n"),
		check: "configuration", seen: "begins with a space", command: "+3", code: 2},
	{name: "quote not closed", args: app, prepare: profileWith(`holdfast credential-process --certificate "{dir}/cert.pem`),
		check: "configuration", seen: "quotation mark is not closed", command: "+2", code: 2},
	{name: "empty line", args: app, prepare: profileWith(""), check: "configuration", seen: "empty", command: "+2", code: 2},
	{name: "tilde", args: app, prepare: profileWith(strings.Replace(goodLine, "{dir}/key.pem", "~/key.pem", 1)),
		check: "configuration", seen: "passes ~/key.pem unchanged", command: "{dir}/key.pem", code: 2},
	{name: "variable", args: app, prepare: profileWith(strings.Replace(goodLine, "{dir}/key.pem", "$HOME/key.pem", 1)),
		check: "configuration", seen: "passes $HOME/key.pem unchanged", command: "{dir}/key.pem", code: 2},
	{name: "tilde in a PIN source", args: app, prepare: profileWith(goodLine + " --pin-source file:~/pin"),
		check: "configuration", seen: "file:~/pin unchanged", command: "file:{dir}/pin", code: 2},
	{name: "backslash at the end of a line", args: app, prepare: profileWith(strings.Replace(goodLine, " --trust", " \\\n  --trust", 1)),
		check: "configuration", seen: "ends with a backslash. AWS clients do not join lines there", command: "--trust-anchor-arn", code: 2},
	{name: "program not in PATH", args: app, prepare: profileWith(strings.Replace(goodLine, "holdfast", "holdfsat", 1)),
		check: "configuration", seen: "holdfsat of credential_process is not in PATH", command: "holdfast credential-process", code: 3},
	{name: "program does not exist", args: app, prepare: profileWith(strings.Replace(goodLine, "holdfast", "/opt/holdfast", 1)),
		check: "configuration", seen: "/opt/holdfast of credential_process does not exist", command: "aws configure set", code: 3},
	{name: "program not executable", args: app, prepare: steps(write("holdfast", ""), profileWith(strings.Replace(goodLine, "holdfast", "{dir}/holdfast", 1))),
		check: "configuration", seen: "not executable", command: "chmod +x", code: 5},
	{name: "command forgotten", args: app, prepare: profileWith("holdfast " + goodFlags),
		check: "configuration", seen: "without the command credential-process", command: "holdfast credential-process", code: 2},
	{name: "whole line quoted", args: app, prepare: profileWith("'" + goodLine + "'"),
		check: "configuration", seen: "in quotation marks", command: "--role-arn " + roleARN + "' --profile app", code: 2},
	{name: "comment at the end", args: app, prepare: profileWith(goodLine + " # prod"),
		check: "configuration", seen: "cannot have a comment", command: "demo' --profile app", code: 2},
	{name: "redirection", args: app, prepare: profileWith(goodLine + " 2>/dev/null"),
		check: "configuration", seen: "cannot redirect output", command: "demo' --profile app", code: 2},
	{name: "redirection to the next word", args: app, prepare: profileWith(goodLine + " > /dev/null"),
		check: "configuration", seen: "cannot redirect output", command: "demo' --profile app", code: 2},
	{name: "redirection in the middle", args: app, prepare: profileWith(strings.Replace(goodLine, " --trust", " > x --trust", 1)),
		check: "configuration", seen: "cannot redirect output", command: "${EDITOR:-vi} +2", code: 2},
	{name: "semicolon at the end", args: app, prepare: profileWith(goodLine + " ;"),
		check: "configuration", seen: "only one program", command: "demo' --profile app", code: 2},
	{name: "two programs", args: app, prepare: profileWith(goodLine + " | tee log"),
		check: "configuration", seen: "only one program", command: "${EDITOR:-vi} +2", code: 2},
	{name: "exec of the shell", args: app, prepare: profileWith("exec /opt/" + goodLine),
		check: "configuration", seen: "exec of credential_process is not in PATH", command: "holdfast credential-process --certificate", code: 3},
	{name: "other command", args: app, prepare: profileWith("holdfast exec -- aws s3 ls"),
		check: "configuration", seen: "runs holdfast exec", command: "${EDITOR:-vi} +2", code: 2},
	{name: "variable with another value", args: app, prepare: profileWith(strings.Replace(goodLine, "{dir}/key.pem", "$KEYS/key.pem", 1)), env: []string{"KEYS={dir}"},
		check: "configuration", seen: "passes $KEYS/key.pem unchanged", command: "${EDITOR:-vi} +2", code: 2},
	{name: "section with a slash", args: "--profile team/r&d", prepare: config("[team/r&d]\ncredential_process = x\n"),
		check: "configuration", seen: "[profile team/r&d]", command: "sed -i.bak '1s|.*|[profile team/r\\&d]|'", code: 2},
	{name: "mistyped flag", args: app, prepare: profileWith(strings.Replace(goodLine, "--private-key", "--privat-key", 1)),
		check: "configuration", seen: "--privat-key", command: "+2", code: 2},
	{name: "source_profile does not exist", args: app, prepare: config("[profile app]\nrole_arn = " + roleARN + "\nsource_profile = bsae\n[profile base]\n"),
		check: "configuration", seen: `"bsae"`, command: "+3", code: 2},
	{name: "source_profile in a circle", args: app, prepare: config("[profile app]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = app\n"),
		check: "configuration", seen: "leads back", command: "+6", code: 2},
	{name: "role_arn without source", args: app, prepare: config(goodConfig + "role_arn = " + roleARN + "\n"),
		check: "configuration", seen: "neither source_profile nor credential_source", command: "+4", code: 2},
	{name: "no ARNs", args: keyFlags, check: "configuration", seen: "trust anchor", command: "aws rolesanywhere list-trust-anchors", code: 2},
	{name: "no profile ARN", args: keyFlags + " --trust-anchor-arn " + anchorARN + " --role-arn " + roleARN, check: "configuration", seen: "profile", command: "aws rolesanywhere list-profiles --region us-east-1", code: 2},
	{name: "keys in the profile of a chain", args: "--profile other", prepare: config(goodConfig + "aws_access_key_id = A\naws_secret_access_key = x\n[profile other]\nrole_arn = " + roleARN + "\nsource_profile = app\n"),
		check: "environment", seen: "AWS clients use fixed keys", command: "sed -i.bak '4d;5d'", code: 1},
	{name: "no role", args: keyFlags + " --trust-anchor-arn " + anchorARN + " --profile-arn " + profileARN, check: "configuration", seen: "role", command: "aws iam list-roles", code: 2},
	{name: "ARN of another region", args: goodFlags + " --region eu-west-1", check: "configuration", seen: "eu-west-1", command: "holdfast", code: 2},
	{name: "no key", args: sessionFlags, check: "configuration", seen: "--certificate", command: "holdfast", code: 2},
	{name: "CA bundle missing", args: goodFlags + " --ca-bundle {dir}/none.pem", check: "configuration", seen: "none.pem", command: "holdfast", code: 3},
	{name: "keys in the environment", prepare: config(goodConfig), env: []string{"AWS_PROFILE=app", "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=x"},
		check: "environment", seen: "AWS_ACCESS_KEY_ID is set", command: "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN", code: 1},
	{name: "key ID in the environment without a secret", prepare: config(goodConfig), env: []string{"AWS_PROFILE=app", "AWS_ACCESS_KEY_ID=AKIAEXAMPLE"},
		check: "environment", seen: "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY", command: "unset AWS_ACCESS_KEY_ID", code: 1},
	{name: "web identity without a role", prepare: config(goodConfig), env: []string{"AWS_PROFILE=app", "AWS_WEB_IDENTITY_TOKEN_FILE=/x"},
		check: "environment", seen: "without AWS_ROLE_ARN", command: "unset AWS_WEB_IDENTITY_TOKEN_FILE", code: 1},
	{name: "web identity in the environment", prepare: config(goodConfig), env: []string{"AWS_PROFILE=app", "AWS_WEB_IDENTITY_TOKEN_FILE=/x", "AWS_ROLE_ARN=" + roleARN},
		check: "environment", seen: "AWS_WEB_IDENTITY_TOKEN_FILE is set", command: "unset AWS_WEB_IDENTITY_TOKEN_FILE", code: 1},
	{name: "keys in the profile", args: app, prepare: steps(config(goodConfig), write(".aws/credentials", "[app]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = x\n")),
		check: "environment", seen: "aws_access_key_id in line 2", command: "sed -i.bak '2d;3d'", code: 1},
	{name: "only the role of Identity Center", args: app, prepare: config(goodConfig + "sso_role_name = x\n"),
		check: "environment", seen: "sso_role_name in line 4", command: "sed -i.bak 4d", code: 1},
	{name: "credential_source with a role", args: app, prepare: config(goodConfig + "role_arn = " + roleARN + "\ncredential_source = Environment\n"),
		check: "environment", seen: "credential_source in line 5", command: "sed -i.bak '4d;5d'", code: 1},
	{name: "keys of several lines", args: app, prepare: steps(config(goodConfig), write(".aws/credentials", "[app]\naws_access_key_id = A\n  B\naws_secret_access_key = x\n")),
		check: "environment", seen: "aws_access_key_id in line 2", command: "sed -i.bak '2,3d;4d'", code: 1},
	{name: "source_profile and credential_source", args: "--profile other", prepare: config(goodConfig + "[profile other]\nrole_arn = " + roleARN + "\nsource_profile = app\ncredential_source = Environment\n"),
		check: "environment", seen: "credential_source in line 7", command: "+7", code: 1},
	{name: "source_profile and a web identity", args: "--profile other", prepare: config(goodConfig + "[profile other]\nrole_arn = " + roleARN + "\nsource_profile = app\nweb_identity_token_file = /x\n"),
		check: "environment", seen: "web_identity_token_file in line 7", command: "+7", code: 1},
	{name: "profile twice with quotation marks", args: app, prepare: config(goodConfig + "[profile \"app\"]\nregion = us-east-1\n"),
		check: "configuration", seen: "a later section replaces", command: "+3", code: 2},
	{name: "configuration is a folder", args: app, prepare: write(".aws/config/x", ""), check: "configuration", seen: "/.aws/config", command: "ls -ld", code: 1},
	{name: "Identity Center in the profile", args: app, prepare: config(goodConfig + "sso_session = s\nsso_account_id = 111122223333\n"),
		check: "environment", seen: "sso_account_id in line 5", command: "sed -i.bak '4d;5d'", code: 1},
}

// TestDoctor examines broken configurations: the first fault names the cause, and
// has a command.
func TestDoctor(t *testing.T) {
	var all []setup
	for _, group := range [][]setup{brokenConfigurations, brokenKeys, brokenPolicies} {
		all = append(all, group...)
	}
	if len(all) < 40 {
		t.Errorf("%d configurations", len(all))
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := preparedScene(t, c)
			s.check(c)
		})
	}
}

// check examines a configuration and compares the first fault.
func (s *scene) check(c setup) {
	s.Helper()
	r := s.examine(c)
	first, found := r.first("fault")
	switch {
	case !found:
		s.Fatalf("no fault: %s", r.raw)
	case first.Check != c.check, !strings.Contains(first.Seen, s.expand(c.seen)):
		s.Errorf("first fault %+v, want %s: %q", first, c.check, s.expand(c.seen))
	case !strings.Contains(first.Command, strings.ReplaceAll(s.expand(c.command), "\\\n", "")):
		s.Errorf("command %q, want %q", first.Command, c.command)
	case r.Code != c.code:
		s.Errorf("exit code %d, want %d: %+v", r.Code, c.code, first)
	}
	for _, l := range r.Checks {
		if l.State == "fault" && l.Command == "" {
			s.Errorf("a fault without a command: %+v", l)
		}
	}
	// The text has the same first fault.
	out, _ := s.run(c)
	_, fault, _ := strings.Cut("\n"+out, "\nfault ")
	if fault = "fault " + fault; !strings.HasPrefix(strings.Join(strings.Fields(fault), " "), "fault "+c.check) || !strings.Contains(fault, "→ ") {
		s.Errorf("text: %s", out)
	}
}

// A fault that one check has told is no fault of another.
func TestToldOnce(t *testing.T) {
	for _, c := range []setup{
		{name: "key missing", args: goodFlags, prepare: remove("key.pem"), check: "key", seen: "see files"},
		{name: "certificate missing", args: goodFlags, prepare: remove("cert.pem"), check: "match", seen: "see files"},
		{name: "PIN file missing", args: goodFlags + " --pin-source file:{dir}/pin", prepare: encrypted, check: "key", seen: "see files"},
		{name: "module missing", args: "--private-key pkcs11:token=x?module-path=/none.so --certificate {dir}/cert.pem " + sessionFlags, check: "modules", seen: "see key"},
		{name: "module missing, tries", args: "--private-key pkcs11:token=x?module-path=/none.so --certificate {dir}/cert.pem " + sessionFlags, check: "tpm", seen: "see key"},
		{name: "module that is no module", args: "--certificate {dir}/cert.pem --private-key pkcs11:token=x?module-path={dir}/key.pem --module-timeout 60s " + sessionFlags, check: "modules", seen: "see key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := preparedScene(t, c)
			r := s.examine(c)
			faults := 0
			for _, l := range r.Checks {
				if l.State == "fault" {
					faults++
				}
			}
			lines := r.of(c.check)
			if faults != 1 || len(lines) != 1 || lines[0].State != "skipped" || !strings.Contains(lines[0].Seen, c.seen) {
				t.Errorf("%d faults: %s", faults, r.raw)
			}
		})
	}
}
