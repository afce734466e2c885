//go:build unix

package doctor_test

import (
	"crypto/x509"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var good = []setup{
	{name: "flags", args: goodFlags},
	{name: "trust anchor", args: goodFlags + " --trust-anchor {dir}/ca.pem"},
	{name: "intermediate as trust anchor", args: goodFlags + " --trust-anchor {dir}/intermediate.pem"},
	{name: "trust policy", args: policy, prepare: trust(strings.Replace(trustRoles, "%s", `,"Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"client"},"ArnEquals":{"aws:SourceArn":"`+anchorARN+`"}}`, 1))},
	{name: "trust policy of the second role", args: policy + " --assume-role-arn arn:aws:iam::444455556666:role/second --assume-role-external-id e-1 --assume-role-tag Team=blue", prepare: trust(trustSecond)},
	{name: "trust policy that also trusts a provider of OpenID Connect", args: policy, prepare: trust(`{"Version":"2012-10-17","Statement":[` +
		`{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringLike":{"token.actions.githubusercontent.com:sub":"repo:o/r:*"}}},` +
		`{"Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`)},
	{name: "response of get-role", args: policy, prepare: trust("\ufeff{\"Role\":{\"AssumeRolePolicyDocument\":" + strings.Replace(trustRoles, "%s", "", 1) + "}}")},
	{name: "key that a closed folder hides", args: goodFlags, prepare: mode("key.pem", 0o644)},
	{name: "trust policy that doctor cannot evaluate", args: policy, prepare: trust(strings.Replace(trustRoles, "%s", `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, 1))},
	{name: "ssh-agent", args: agentFlags, prepare: func(s *scene) { inAgent(s, "p256") }},
	{name: "profile", args: app, prepare: config(goodConfig)},
	{name: "default profile", prepare: config(strings.Replace(goodConfig, "profile app", "default", 1))},
	{name: "profile of AWS_PROFILE", env: []string{"AWS_PROFILE=app"}, prepare: config(goodConfig)},
	{name: "profile in another file", args: app, env: []string{"AWS_CONFIG_FILE={dir}/aws.ini"}, prepare: write("aws.ini", goodConfig)},
	{name: "profile in the credentials file", args: app, prepare: write(".aws/credentials", strings.Replace(goodConfig, "profile ", "", 1))},
	{name: "source_profile", args: "--profile other", prepare: config(goodConfig + "[profile other]\nregion = us-east-1\nrole_arn = " + roleARN + "\nsource_profile = app\n")},
	{name: "aws_signing_helper", args: app, prepare: steps(helperWith(goodFlags+" --intermediates {dir}/intermediate.pem"),
		func(s *scene) { s.write("cert.pem", string(signertest.CertPEM(s.ca.Issue(s, s.key, nil)))) })},
	{name: "link named aws_signing_helper", args: app, prepare: func(s *scene) {
		program, err := exec.LookPath("holdfast")
		if err != nil {
			s.Fatal(err)
		}
		if err := os.Symlink(program, s.path("aws_signing_helper")); err != nil {
			s.Fatal(err)
		}
		s.write(".aws/config", strings.Replace(goodConfig, "holdfast", "{dir}/aws_signing_helper", 1))
	}},
	{name: "keys in the section DEFAULT", args: app, prepare: config("[DEFAULT]\naws_access_key_id = A\naws_secret_access_key = x\n" + goodConfig)},
	{name: "only general flags", args: "--timeout 60s", prepare: config(strings.Replace(goodConfig, "profile app", "default", 1))},
	{name: "profile of AWS_DEFAULT_PROFILE", env: []string{"AWS_DEFAULT_PROFILE=app"}, prepare: config(goodConfig)},
	{name: "quoted words", args: app, env: []string{"AWS_REGION=us-east-1"}, prepare: profileWith(strings.Replace(goodLine, "{dir}/key.pem", `"{dir}/key.pem"`, 1))},
	{name: "flags beside the profile", args: app + " --session-duration 900", prepare: config(goodConfig)},
	{name: "cache", args: app, prepare: config(strings.Replace(goodConfig, "credential-process", "credential-process --cache", 1))},
	{name: "second role", args: goodFlags + " --assume-role-arn arn:aws:iam::444455556666:role/other"},
	{name: "intermediates in a file", args: goodFlags + " --intermediates {dir}/intermediate.pem --trust-anchor {dir}/ca.pem",
		prepare: func(s *scene) { s.write("cert.pem", string(signertest.CertPEM(s.ca.Issue(s, s.key, nil)))) }},
	{name: "encrypted key", args: goodFlags + " --pin-source file:{dir}/pin", prepare: steps(write("pin", "secret\n"), encrypted)},
	{name: "key in a variable", args: "--private-key env:KEY --certificate {dir}/cert.pem " + sessionFlags, prepare: func(s *scene) {
		data, err := os.ReadFile(s.path("key.pem"))
		if err != nil {
			s.Fatal(err)
		}
		s.env = append(s.env, "KEY="+string(data))
	}},
	{name: "RSA", args: goodFlags, prepare: func(s *scene) {
		s.key = signertest.Key(s, "rsa2048")
		s.write("key.pem", string(signertest.KeyPEM(s, s.key)))
		s.issue(nil)
	}},
	{name: "PKCS12", args: "--certificate {dir}/app.p12 --pin-source file:{dir}/pin " + sessionFlags, prepare: func(s *scene) {
		s.write("pin", "secret\n")
		s.tool(signertest.Require(s, "openssl", "openssl"), "pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "app.p12", "-passout", "file:pin")
	}},
}

// Good configurations have neither faults nor warnings.
func TestGood(t *testing.T) {
	if len(good) < 10 {
		t.Errorf("%d configurations", len(good))
	}
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := preparedScene(t, c)
			s.checkGood(c)
		})
	}
}

// checkGood examines a configuration and returns the report.
func (s *scene) checkGood(c setup) report {
	s.Helper()
	r := s.examine(c)
	if l, found := r.first("fault", "warning"); found || r.Code != 0 || r.State != "ok" {
		s.Errorf("%+v\n%s", l, r.raw)
	}
	names := []string{"configuration", "files", "key", "match", "chain", "rules", "tags", "policy", "clock", "network", "session", "identity", "environment", "modules", "tpm", "renewal"}
	i := 0
	for _, l := range r.Checks {
		if i < len(names) && l.Check == names[i] {
			i++
		}
	}
	if i < len(names) {
		s.Errorf("no check %s in its place: %s", names[i], r.raw)
	}
	out, _ := s.run(c)
	for line := range strings.Lines(out) {
		oneWord := len(strings.Fields(strings.TrimSuffix(line[min(len(line), 24):], " \\\n"))) <= 1
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !oneWord {
			s.Errorf("%d columns: %s", n, line)
		}
		if strings.Contains(line, "\x1b") {
			s.Errorf("colors in a pipe: %q", line)
		}
	}
	return r
}

// Warnings do not fail the command.
func TestWarnings(t *testing.T) {
	for _, c := range []setup{
		{name: "key that everybody can read", args: goodFlags, prepare: steps(open, mode("key.pem", 0o644)), check: "files", seen: "mode 0644 lets every local user read {dir}/key.pem", command: "chmod 600"},
		{name: "semicolon in a reference", args: app, prepare: profileWith("holdfast credential-process " + keyFlags + " " + sessionFlags + " --intermediates file:{dir}/a;b"),
			check: "configuration", seen: "does not pass ;b", command: "file:{dir}/a;b"},
		{name: "several lines", args: app, prepare: profileWith(goodLine + "\n  --cache"),
			check: "configuration", seen: "does not pass a line end", command: "sed -i.bak 3,3d"},
		{name: "several lines with an equals sign", args: app, prepare: profileWith(strings.ReplaceAll(goodLine, " --trust-anchor-arn ", "\n  --trust-anchor-arn=")),
			check: "configuration", seen: "the SDK for Go and the AWS CLI read different commands", command: "sed -i.bak 3,3d"},
		{name: "relative path", args: app, prepare: profileWith(strings.ReplaceAll(goodLine, "{dir}/key.pem", "key.pem")),
			check: "files", seen: "key.pem is a relative path", command: "--private-key {dir}/key.pem"},
		{name: "PIN that everybody can read", args: goodFlags + " --pin-source file:{dir}/pin", prepare: steps(open, encrypted, write("pin", "secret\n"), mode("pin", 0o644)),
			check: "files", seen: "mode 0644 lets every local user read {dir}/pin, which contains the PIN", command: "chmod 600 {dir}/pin"},
		{name: "password in credential_process", args: app, prepare: steps(encrypted, profileWith(goodLine+" --pkcs8-password secret\nregion = us-east-1")),
			check: "configuration", seen: "--pkcs8-password in credential_process contains a password", command: "${EDITOR:-vi} +2"},
		{name: "PKCS12 without a password", args: "--certificate {dir}/app.p12 " + sessionFlags, prepare: func(s *scene) {
			s.write("pin", "secret\n")
			s.tool(signertest.Require(s, "openssl", "openssl"), "pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "app.p12", "-passout", "file:pin")
		}, check: "key", seen: "needs a password", command: "--pin-source file:PATH"},
		{name: "password missing", args: goodFlags, prepare: encrypted, check: "key", seen: "only clients on a terminal", command: "--pin-source file:PATH"},
		{name: "helper with intermediates in the certificate file", args: app, prepare: helperWith(goodFlags),
			check: "configuration", seen: "ignores the intermediate certificates in {dir}/cert.pem", command: "holdfast credential-process --certificate"},
		{name: "keys in the environment beside --profile", args: app, prepare: config(goodConfig), env: []string{"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=x"},
			check: "environment", seen: "unless the command names the profile", command: "unset AWS_ACCESS_KEY_ID"},
		{name: "only the session of Identity Center", args: app, prepare: config(goodConfig + "sso_session = x\n"),
			check: "environment", seen: "the SDK for Go uses IAM Identity Center", command: "sed -i.bak 4d"},
		{name: "only a secret key", args: app, prepare: steps(config(goodConfig), write(".aws/credentials", "[app]\naws_secret_access_key = x\n")),
			check: "environment", seen: "aws_secret_access_key in line 2", command: "sed -i.bak 2d"},
		{name: "keys in the configuration", args: app, prepare: config(goodConfig + "aws_access_key_id = A\naws_secret_access_key = x\n"),
			check: "environment", seen: "the AWS CLI does not", command: "sed -i.bak '4d;5d'"},
		{name: "credential_source without a role", args: app, prepare: config(goodConfig + "credential_source = Environment\n"),
			check: "environment", seen: "the SDK for Go refuses it without role_arn", command: "sed -i.bak 4d"},
		{name: "source_profile without a role", args: app, prepare: config(goodConfig + "source_profile = b\n[profile b]\nregion = x\n"),
			check: "environment", seen: "the SDK for Go refuses it without role_arn", command: "+4"},
		{name: "process beside source_profile", args: "--profile other", prepare: config(goodConfig + "[profile other]\nregion = us-east-1\nrole_arn = " + roleARN + "\nsource_profile = app\ncredential_process = " + goodLine + "\n"),
			check: "environment", seen: "the SDK for Go refuses it beside role_arn and source_profile", command: "+8"},
		{name: "old names of variables", args: app, prepare: config(goodConfig), env: []string{"AWS_ACCESS_KEY=A", "AWS_SECRET_KEY=x"},
			check: "environment", seen: "the SDK for Go uses these keys", command: "unset AWS_ACCESS_KEY AWS_SECRET_KEY"},
		{name: "tilde in AWS_CONFIG_FILE", args: app, prepare: config(goodConfig), env: []string{"AWS_CONFIG_FILE=~/.aws/config"},
			check: "environment", seen: "AWS_CONFIG_FILE contains ~ or a variable", command: "export AWS_CONFIG_FILE=PATH"},
		{name: "no region", args: app, prepare: profileWith(goodLine), check: "environment", seen: "has no region", command: "aws configure set region us-east-1 --profile app"},
		{name: "two variables with a profile", prepare: config(goodConfig + "[profile b]\nregion = x\n"), env: []string{"AWS_PROFILE=app", "AWS_DEFAULT_PROFILE=b"},
			check: "environment", seen: "use profile b of AWS_DEFAULT_PROFILE", command: "unset AWS_DEFAULT_PROFILE"},
		{name: "configuration that everybody can change", args: app, prepare: steps(config(goodConfig), open, mode(".aws", 0o755), mode(".aws/config", 0o666)),
			check: "files", seen: "mode 0666 lets every local user change {dir}/.aws/config", command: "chmod go-w {dir}/.aws/config"},
		{name: "folder of the configuration that everybody can change", args: app, prepare: steps(config(goodConfig), open, mode(".aws", 0o777)),
			check: "files", seen: "every local user can replace {dir}/.aws/config", command: "chmod o-w {dir}/.aws"},
		{name: "program that everybody can change", args: app, prepare: func(s *scene) {
			helperWith(goodFlags + " --intermediates {dir}/intermediate.pem")(s)
			s.write("cert.pem", string(signertest.CertPEM(s.ca.Issue(s, s.key, nil))))
			steps(open, mode("bin", 0o755), mode("bin/aws_signing_helper", 0o777))(s)
		}, check: "files", seen: "lets every local user change {dir}/bin/aws_signing_helper", command: "chmod go-w"},
		{name: "name of the profile in quotation marks", args: app, prepare: config(strings.Replace(goodConfig, "profile app", `profile "app"`, 1)),
			check: "configuration", seen: `the SDK for Go finds no credential_process in profile "app"`, command: "+3"},
		{name: "long line", args: app, prepare: profileWith(goodLine + strings.Repeat(" --x=pkcs11:pin-value=1", 10_000) + strings.Repeat("x", 500_000)),
			check: "configuration", seen: "doctor examines no more than 16384", command: "+2"},
		{name: "wrapper", args: app, prepare: profileWith("/bin/sh get-credentials"), check: "configuration", seen: "doctor does not know", command: "holdfast help doctor"},
		{name: "soon expired", args: goodFlags, prepare: issue(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(time.Hour)
		}),
			check: "renewal", seen: "less than a third", command: "openssl req -new"},
		{name: "intermediate expired", args: goodFlags, prepare: func(s *scene) {
			old := *s.ca
			root := signertest.NewCA(s, "root of the old one")
			old.Cert = root.Issue(s, s.ca.Key, func(c *x509.Certificate) {
				c.Subject.CommonName, c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.NotAfter = "intermediate", true, x509.KeyUsageCertSign, nil, time.Now().Add(-time.Minute)
			})
			s.write("cert.pem", string(signertest.CertPEM(s.ca.Issue(s, s.key, nil), old.Cert)))
		}, check: "chain", seen: "expired", command: "holdfast list"},
		{name: "another AWS_PROFILE", args: app, prepare: config(goodConfig), env: []string{"AWS_PROFILE=other"}, check: "environment", seen: "AWS_PROFILE is other", command: "export AWS_PROFILE=app"},
		{name: "keys without a profile", args: goodFlags, env: []string{"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=x"},
			check: "environment", seen: "AWS_ACCESS_KEY_ID is set", command: "unset"},
		{name: "IMDS turned off", args: goodFlags, env: []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9911", "AWS_EC2_METADATA_DISABLED=true"},
			check: "environment", seen: "AWS_EC2_METADATA_DISABLED is true", command: "unset AWS_EC2_METADATA_DISABLED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := preparedScene(t, c)
			r := s.examine(c)
			l, _ := r.first("warning", "fault")
			if l.State != "warning" || l.Check != c.check || !strings.Contains(l.Seen, s.expand(c.seen)) || !strings.Contains(l.Command, s.expand(c.command)) {
				t.Errorf("%+v, want %s: %q, %q\n%s", l, c.check, s.expand(c.seen), s.expand(c.command), r.raw)
			}
			if c.name != "semicolon in a reference" && (r.Code != 0 || r.State != "warning") {
				t.Errorf("state %s, exit code %d", r.State, r.Code)
			}
		})
	}
}

// With an emulator, doctor creates a session, and says whose it is.
func TestOnline(t *testing.T) {
	s := newScene(t)
	url, _, stop, err := clitest.RunEmulator(s.dir, "--trust-anchor", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	s.url = url
	c := setup{args: goodFlags + " --online --endpoint {url} --sts-endpoint {url} --trust-anchor {dir}/ca.pem"}
	r := s.checkGood(c)
	for check, want := range map[string]string{
		"clock":    "agrees with",
		"network":  strings.TrimPrefix(url, "http://"),
		"session":  strings.TrimPrefix(url, "http://") + " created a session of " + roleARN,
		"identity": "arn:aws:sts::111122223333:assumed-role/demo/",
	} {
		if lines := r.of(check); len(lines) != 1 || lines[0].State != "ok" || !strings.Contains(lines[0].Seen, want) {
			t.Errorf("%s: %+v, want %q", check, lines, want)
		}
	}
	s.check(setup{args: goodFlags + " --online --endpoint {url} --sts-endpoint {url} --assume-role-arn arn:aws:iam::111122223333:role/other",
		check: "identity", seen: "role/other", command: "aws iam get-role --role-name other --query Role.AssumeRolePolicyDocument --output json --profile ADMIN >second.json && holdfast", code: 6})
	s.write("second.json", "{}")
	s.check(setup{args: goodFlags + " --online --endpoint {url} --sts-endpoint {url} --assume-role-arn arn:aws:iam::111122223333:role/other",
		check: "identity", seen: "role/other", command: ">second-2.json && holdfast doctor --trust-policy second-2.json", code: 6})
	s.check(setup{args: strings.Replace(goodFlags, profileARN, profileARN[:len(profileARN)-1]+"9", 1) + " --online --endpoint {url}",
		check: "session", seen: "profile/00000000-0000-0000-0000-000000000009", command: "aws rolesanywhere list-profiles", code: 6})
	s.issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	s.check(setup{args: goodFlags + " --online --endpoint {url}", check: "rules", seen: "not valid before", command: "openssl req -new", code: 1})
	s.issue(nil)
	s.write(".aws/config", "[profile app]\ncredential_process = /bin/sh get-credentials\n")
	if lines := s.examine(setup{args: app + " --online"}).of("session"); len(lines) != 1 || !strings.HasSuffix(lines[0].Seen, "are not known") {
		t.Errorf("%+v", lines)
	}
	r = s.examine(setup{args: goodFlags + " --online --endpoint {url}"})
	if lines := r.of("identity"); len(lines) != 1 || lines[0].State != "skipped" || !strings.Contains(lines[0].Seen, "--sts-endpoint") {
		t.Errorf("%+v", lines)
	}

	s.check(setup{args: goodFlags + " --online --endpoint {url} --assume-role-arn arn:aws:iam::111122223333:role/other",
		check: "identity", seen: "--endpoint is not that of AWS", command: "--sts-endpoint " + url, code: 2})
	s.write(".aws/config", strings.Replace(goodConfig, "credential-process", "credential-process --endpoint {url} --sts-endpoint {url}", 1)+
		"[profile child]\nrole_arn = arn:aws:iam::111122223333:role/other\nsource_profile = app\n")
	r = s.examine(setup{args: "--profile child --online"})
	if lines := r.of("identity"); len(lines) != 2 || lines[1].State != "skipped" || !strings.Contains(lines[1].Seen, `does not assume arn:aws:iam::111122223333:role/other of profile "child"`) {
		t.Errorf("%s", r.raw)
	}

	s.write("other.pem", string(signertest.CertPEM(signertest.NewCA(t, "other").Cert)))
	otherURL, _, stopOther, err := clitest.RunEmulator(s.dir, "--trust-anchor", "other.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stopOther)
	s.url = otherURL
	s.check(setup{args: goodFlags + " --online --endpoint {url}", check: "session", seen: "Untrusted", command: ">anchor.pem && holdfast doctor --trust-anchor anchor.pem", code: 6})
	stopOther()
	s.check(setup{args: goodFlags + " --online --endpoint {url}", check: "network", seen: "refused", command: "curl -vI", code: 7})
}
