//go:build unix

package role

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// For every setting of a renewal, a flag overrides the file.
func TestPrecedenceOfRenewal(t *testing.T) {
	var f flags.RenewalFlags
	cmd := new(cobra.Command)
	f.Add(cmd, Ways())
	if err := cmd.ParseFlags([]string{"--way=flag", "--ca-url=flag", "--ca-roots=flag", "--ca-label=flag", "--ca-role=flag", "--ca-mount=flag", "--ca-namespace=flag", "--ca-login-role=flag", "--ca-login-mount=flag", "--ca-arn=flag", "--ca-template=flag", "--ca-algorithm=flag", "--ca-days=1", "--trust-anchor=flag", "--requests=flag", "--deploy-command=flag", "--rekey", "--allow-change", "--signed", "--state-file=flag"}); err != nil {
		t.Fatal(err)
	}
	flagged := f.Renewal([]string{"flag", "x"})
	table := flags.Renewal{Way: "table", CAURL: "table", CARoots: "table", CALabel: "table", CARole: "table", CAMount: "table", CANamespace: "table", CALoginRole: "table", CALoginMount: "table", CAARN: "table", CATemplate: "table", CAAlgorithm: "table", CADays: 2, TrustAnchor: "table", Requests: "table", Command: []string{"table"}, DeployCommand: []string{"table", "y"}, StateFile: "table"}
	for i := range reflect.TypeFor[flags.Renewal]().NumField() {
		if reflect.ValueOf(flagged).Field(i).IsZero() {
			t.Errorf("%s has no flag", reflect.TypeFor[flags.Renewal]().Field(i).Name)
		}
	}
	if got := flagged.OrElse(table); !reflect.DeepEqual(got, flagged) {
		t.Errorf("%+v", got)
	}
	if err := cmd.ParseFlags([]string{"--rekey=false", "--allow-change=false", "--signed=false"}); err != nil {
		t.Fatal(err)
	}
	if got := f.Renewal(nil).OrElse(flags.Renewal{Rekey: true, AllowChange: true, Signed: true}); got.Rekey || got.AllowChange || got.Signed {
		t.Errorf("a flag with the value false is ignored: %+v", got)
	}
	if got := (flags.Renewal{}).OrElse(table); !reflect.DeepEqual(got, table) {
		t.Errorf("%+v", got)
	}
}

// Relative paths in a file are relative to its folder, also those of programs,
// unless they are looked for in PATH.
func TestRebaseOfRenewal(t *testing.T) {
	got := flags.Renewal{CAURL: "https://ca", CARoots: "r.pem", Requests: "/abs", Command: []string{"bin/get", "arg/x"}, DeployCommand: []string{"systemctl", "reload"}}.Rebase("/etc")
	want := flags.Renewal{CAURL: "https://ca", CARoots: "/etc/r.pem", Requests: "/abs", Command: []string{"/etc/bin/get", "arg/x"}, DeployCommand: []string{"systemctl", "reload"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

const caARN = "arn:aws:acm-pca:us-east-1:111122223333:certificate-authority/00000000-0000-0000-0000-000000000001"

func TestRenewalErrors(t *testing.T) {
	for _, c := range []struct {
		keys          map[string]string
		culprit, hint string
	}{
		{map[string]string{"renew.allow_change": "true"}, "[role.renew] has no way", "way ="},
		{map[string]string{"renew.way": `"magic"`}, `the way "magic" of getting a certificate is unknown`, "command"},
		{map[string]string{"renew.way": `"command"`}, `the way "command" needs a program`, "[role.renew]"},
		{map[string]string{"renew.way": `"est"`}, `the way "est" needs ca_url`, "--ca-url"},
		{map[string]string{"renew.way": `"est"`, "renew.ca_url": `"https://ca"`}, `the way "est" needs ca_roots`, "--ca-roots"},
		{map[string]string{"renew.way": `"vault"`}, `the way "vault" needs ca_role`, "--ca-role"},
		{map[string]string{"renew.way": `"vault"`, "renew.ca_role": `"app"`}, `the way "vault" needs ca_url`, "--ca-url"},
		{map[string]string{"renew.way": `"command"`, "renew.command": `"text"`}, "renew.command", ""},
		{map[string]string{"renew.way": `"private-ca"`}, `the way "private-ca" needs ca_arn`, "[role.renew]"},
		{map[string]string{"renew.way": `"private-ca"`, "renew.ca_arn": `"arn:aws:acm-pca:eu-west-1:1:x"`}, "is not the ARN of a CA", "list-certificate-authorities"},
		{map[string]string{"renew.way": `"private-ca"`, "renew.ca_arn": `"` + caARN + `"`, "renew.ca_days": "-1"}, "-1 days", ""},
		{map[string]string{"renew.way": `"private-ca"`, "renew.ca_arn": `"` + caARN + `"`, "renew.ca_days": `"7"`}, "renew.ca_days", ""},
		{map[string]string{"renew.way": `"private-ca"`, "renew.ca_arn": `"` + caARN + `"`, "renew.ca_algorithm": `"SHA1"`}, `algorithm "SHA1" is unknown`, "SHA256WITHECDSA"},
		{map[string]string{"renew.way": `"private-ca"`, "renew.ca_arn": `"` + caARN + `"`, "renew.ca_template": `"x"`}, `"x" is not the ARN of a template`, "EndEntityClientAuthCertificate"},
		{map[string]string{"renew.way": `"private-ca"`, "renew.ca_arn": `"` + caARN + `"`, "renew.ca_url": `"http://ca.example.com"`}, "unencrypted", "https"},
		{map[string]string{"renew.way": `"command"`, "renew.url": `"x"`}, "renew.url", "did you mean ca_url?"},
	} {
		src := base()
		for key, value := range c.keys {
			src.keys[key] = value
		}
		_, err := src.setups(t, 1)
		if code, hint := front.Explain(err); err == nil || code != front.ExitUsage || !strings.Contains(err.Error(), c.culprit) || !strings.Contains(hint, c.hint) {
			t.Errorf("%v: %v, exit code %d, hint %q", c.keys, err, code, hint)
		}
	}
	src := base()
	src.keys["renew.way"], src.keys["renew.command"] = `"command"`, `["get"]`
	if setups, err := src.setups(t, 1); err != nil || setups[0].Renewal.Way != "command" {
		t.Errorf("%v, %v", setups, err)
	}
}
