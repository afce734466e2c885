//go:build unix

package role

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

const second = "arn:aws:iam::444455556666:role/second"

// The tags of the second role and the keys of its transitive tags are one
// setting.
func TestPrecedenceOfTags(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "map[Stage:prod Team:table] [Team]"},
		{[]string{"--assume-role-tag=Team=flag"}, "map[Team:flag] []"},
		{[]string{"--assume-role-tag=a=b=c", "--assume-role-tag=Empty=", "--assume-role-transitive-tag-key=a"}, "map[Empty: a:b=c] [a]"},
		{[]string{"--assume-role-tag=a=b, c=d"}, ""}, // a comma does not separate tags
	} {
		src := base()
		src.keys["assume.tags"], src.keys["assume.transitive_tag_keys"] = `{ Team = "table", Stage = "prod" }`, `["Team"]`
		setups, err := src.setups(t, 1, test.args...)
		if test.want == "" {
			if err == nil {
				t.Errorf("%q: no error", test.args)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
		} else if got := fmt.Sprint(setups[0].Chain.Tags, setups[0].Chain.TransitiveTagKeys); got != test.want {
			t.Errorf("%q: %s, want %s", test.args, got, test.want)
		}
	}
}

func TestChainErrors(t *testing.T) {
	for _, test := range []struct {
		tables        int
		args          []string
		keys          map[string]string
		culprit, hint string
	}{
		{1, []string{"--assume-role-session-duration=0"}, nil, "--assume-role-session-duration 0", "one hour"},
		{1, []string{"--assume-role-session-duration=43200"}, nil, "--assume-role-session-duration 43200", "one hour"},
		{1, nil, map[string]string{"assume.session_duration": "3601"}, "assume.session_duration 3601", "one hour"},
		{1, nil, map[string]string{"assume.session_duration": "-1"}, "assume.session_duration -1", "one hour"},
		{1, []string{"--assume-role-tag=Team"}, nil, `"Team"`, "--assume-role-tag Team=blue"},
		{1, []string{"--assume-role-tag=a=b", "--assume-role-tag=a=c"}, nil, "twice", ""},
		{1, nil, map[string]string{"assume.tags": `"Team=blue"`}, "role.assume.tags is not a table", ""},
		{1, nil, map[string]string{"assume.role_arn": `""`}, "[role.assume] has no role_arn", "role_arn ="},
		{1, nil, map[string]string{"assume.role_arn": `""`, "assume.endpoint": `"https://a.example"`}, "[role.assume] has no role_arn", "role_arn ="},
		{1, []string{"--assume-role-tag==b"}, nil, "key", ""},
		{1, []string{"--assume-role-transitive-tag-key=a"}, nil, `"a"`, ""},
		{1, nil, map[string]string{"assume.tags": `{ "aws:a" = "b" }`}, "aws:", ""},
		{1, nil, map[string]string{"assume.rolearn": `"x"`}, "assume.rolearn", "docs/configuration.md"},
		{1, nil, map[string]string{"assume.session_name": `"x"`}, "assume.session_name", "did you mean role_session_name? docs/configuration.md"},
		{1, nil, map[string]string{"assume.externalid": `"x"`}, "assume.externalid", "did you mean external_id?"},
		{1, nil, map[string]string{"way": `"command"`}, "unknown key role.way", "did you mean way below [role.renew]?"},
		{1, nil, map[string]string{"private-key": `"x"`}, "private-key", "did you mean private_key?"},
		{1, nil, map[string]string{"assume.zebra": `"x"`}, "assume.zebra", "docs/configuration.md"},
		{1, nil, map[string]string{"assume.external_id": `"a b"`}, "external ID", ""},
		{1, []string{"--assume-role-arn=app"}, nil, `"app"`, "--assume-role-arn"},
		{1, []string{"--sts-endpoint=https://a.example/x"}, nil, "STS endpoint", ""},
		{1, []string{"--sts-endpoint=https://a.example", "--fips"}, nil, "FIPS", "--sts-endpoint"},
		{2, []string{"--assume-role-arn=" + second}, nil, "--assume-role-arn cannot apply to all 2 roles", "--role"},
	} {
		src := base()
		for key, value := range test.keys {
			src.keys[key] = value
		}
		_, err := src.setups(t, test.tables, test.args...)
		if code, hint := front.Explain(err); err == nil || code != front.ExitUsage || !strings.Contains(err.Error(), test.culprit) || !strings.Contains(hint, test.hint) {
			t.Errorf("%q, %v: %v, exit code %d, hint %q", test.args, test.keys, err, code, hint)
		}
	}
}

// Settings of a second role without its ARN are an error.
func TestChainWithoutRole(t *testing.T) {
	for _, flag := range []string{"--assume-role-session-name=me", "--assume-role-session-duration=900", "--assume-role-external-id=e1", "--assume-role-tag=a=b", "--assume-role-transitive-tag-key=a"} {
		src := base()
		delete(src.keys, "assume.role_arn")
		_, err := src.setups(t, 1, flag)
		var usage *front.UsageError
		if !errors.As(err, &usage) || !strings.Contains(signer.Hint(err), "assume.Config.RoleARN") {
			t.Errorf("%s: %v, hint %q", flag, err, signer.Hint(err))
		}
	}
}

// An empty ARN, for example of an unset variable, must not lead to credentials of
// the first role.
func TestEmptySecondRole(t *testing.T) {
	src := base()
	delete(src.keys, "assume.role_arn")
	_, err := src.setups(t, 1, "--assume-role-arn=")
	var usage *front.UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--assume-role-arn is empty") {
		t.Errorf("error %v", err)
	}
	src = base()
	if setups, err := src.setups(t, 1, "--assume-role-arn="); err != nil || setups[0].Chain.RoleARN != arn+"-second" {
		t.Errorf("with the ARN in the file: %v, %v", setups, err)
	}
}

// The STS endpoint alone is not an error: no request is sent to it.
func TestEndpointWithoutRole(t *testing.T) {
	src := base()
	delete(src.keys, "assume.role_arn")
	if setups, err := src.setups(t, 1, "--sts-endpoint=https://a.example"); err != nil || setups[0].Chain.RoleARN != "" {
		t.Errorf("%v, %v", setups, err)
	}
}

// A role without a name of its own has the name of the second role.
func TestNameOfChain(t *testing.T) {
	args := []string{"--private-key=/flag.key", "--trust-anchor-arn=" + anchor + "1", "--profile-arn=" + profile + "1", "--role-arn=" + arn}
	for _, test := range []struct{ want, flag string }{{"app", "--debug=false"}, {"second", "--assume-role-arn=" + second}} {
		setups, err := (source{}).setups(t, 0, append(slices.Clone(args), test.flag)...)
		if err != nil || setups[0].Name != test.want {
			t.Errorf("%s: %v, %v, want %s", test.flag, setups, err, test.want)
		}
	}
	// The name becomes a part of a path.
	for _, flag := range []string{"--assume-role-arn=arn:aws:iam::444455556666:role/..", "--role-arn=arn:aws:iam::111122223333:role/.."} {
		_, err := (source{}).setups(t, 0, append(slices.Clone(args), flag)...)
		if !errors.Is(err, rolesanywhere.ErrConfig) || !strings.Contains(err.Error(), `ends in ".."`) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
