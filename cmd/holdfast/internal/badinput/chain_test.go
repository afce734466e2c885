//go:build linux

package badinput

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// testSecond is the ARN of the second role.
const testSecond = "arn:aws:iam::444455556666:role/second"

const testAssumed = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
	<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>x</SessionToken><Expiration>%s</Expiration>
	</Credentials></AssumeRoleResult></AssumeRoleResponse>`

// chainCases are those of a second role.
func chainCases(*pki) (all []badInput) {
	const second = testSecond
	chain := []string{"--assume-role-arn", second, "--sts-endpoint", "{url}"}
	usage := func(name, culprit, hint string, args ...string) {
		all = append(all, badInput{name: "second role: " + name, args: args, code: front.ExitUsage, culprit: culprit, hint: hint})
	}
	usage("no ARN", `"second"`, "--assume-role-arn", "--assume-role-arn=second")
	usage("ARN of a user", "not the ARN of a role", "--assume-role-arn", "--assume-role-arn=arn:aws:iam::444455556666:user/second")
	usage("partition", "partition aws-cn", "--assume-role-arn", "--assume-role-arn=arn:aws-cn:iam::444455556666:role/second")
	usage("control character", "role", "--assume-role-arn", "--assume-role-arn="+second+"\x1b[2J")
	usage("too long", "which does not identify a role", "--assume-role-arn", "--assume-role-arn="+second+strings.Repeat("x", 1<<16))
	usage("twelve hours", "--assume-role-session-duration 43200", "one hour", "--assume-role-arn="+second, "--assume-role-session-duration=43200")
	usage("duration is text", "--assume-role-session-duration", "900 to 3600", "--assume-role-arn="+second, "--assume-role-session-duration=1h")
	usage("session name", "role session name", "credential-process --help", "--assume-role-arn="+second, "--assume-role-session-name=a b")
	usage("external ID", "external ID", "credential-process --help", "--assume-role-arn="+second, "--assume-role-external-id="+strings.Repeat("é", 100))
	usage("tag without a value", `"Team"`, "Team=blue", "--assume-role-arn="+second, "--assume-role-tag=Team")
	usage("tag value", `session tag "Team"`, "credential-process --help", "--assume-role-arn="+second, "--assume-role-tag=Team=\x1b[2J")
	usage("transitive key", `"Team"`, "session tag", "--assume-role-arn="+second, "--assume-role-transitive-tag-key=Team")
	usage("settings without a role", "not its ARN", "--assume-role-arn", "--assume-role-tag=Team=blue")
	usage("STS endpoint", "STS endpoint", "https://HOST", "--assume-role-arn="+second, "--sts-endpoint=ftp://example.com")
	usage("STS endpoint without brackets", "STS endpoint", "in brackets", "--assume-role-arn="+second, "--sts-endpoint=http://::1:9911")
	usage("STS endpoint over the network", "unencrypted", "--no-verify-ssl", "--assume-role-arn="+second, "--sts-endpoint=http://192.0.2.1")

	sts := func(status int, body string) server {
		return answer(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/sessions" {
				created(w, r)
				return
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
	failure := func(code, message string) string {
		return "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + "</Message></Error><RequestId>id</RequestId></ErrorResponse>"
	}
	for _, c := range []struct {
		name, body string
		status     int
		code       int
		hint       string
		sent       int // to STS
	}{
		{"denied", failure("AccessDenied", "User: x is not authorized to perform: sts:AssumeRole on resource: y"), 403, front.ExitRefused, "trust policy", 1},
		{"no source identity", failure("AccessDenied", "User: x is not authorized to perform: sts:SetSourceIdentity on resource: y"), 403, front.ExitRefused, "sts:SetSourceIdentity", 1},
		{"no tags", failure("AccessDenied", "User: x is not authorized to perform: sts:TagSession on resource: y"), 403, front.ExitRefused, "--assume-role-tag", 1},
		{"too many tags", failure("PackedPolicyTooLarge", "Packed size of session tags consumes 142% of allotted space."), 400, front.ExitRefused, "fewer", 1},
		{"another STS", failure("InvalidClientTokenId", "The security token included in the request is invalid."), 403, front.ExitRefused, "--sts-endpoint", 1},
		{"region not activated", failure("RegionDisabledException", "STS is not activated in this region"), 403, front.ExitRefused, "activate", 1},
		{"throttled", failure("Throttling", "Rate exceeded"), 400, front.ExitRefused, "quota", attempts},
		{"trouble", failure("InternalFailure", "Sorry"), 500, front.ExitRefused, "later", attempts},
		{"control characters", failure("Odd", "\u009b2J\u202e"+strings.Repeat("x", 9999)), 400, front.ExitRefused, "CloudTrail", 1},
		{"empty answer", "", 200, front.ExitUnreachable, "endpoint", 1},
		{"a web page", "<html><body>Please log in</body></html>", 200, front.ExitUnreachable, "endpoint", 1},
		{"JSON", `{"AssumeRoleResponse":{}}`, 200, front.ExitUnreachable, "endpoint", 1},
		{"no credentials", "<AssumeRoleResponse/>", 200, front.ExitUnreachable, "endpoint", 1},
		{"XML nested deeply", strings.Repeat("<a>", 100_000), 200, front.ExitUnreachable, "endpoint", 1},
		{"entities", `<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><AssumeRoleResponse>&b;</AssumeRoleResponse>`, 200, front.ExitUnreachable, "endpoint", 1},
		{"a past expiration", fmt.Sprintf(testAssumed, "2001-01-01T00:00:00Z"), 200, front.ExitUnreachable, "clock", 1},
		{"a bad expiration", fmt.Sprintf(testAssumed, testPassword), 200, front.ExitUnreachable, "endpoint", 1},
		{"redirect", "", 307, front.ExitUnreachable, "endpoint", 1},
		{"not found", "404 page not found", 404, front.ExitUnreachable, "endpoint", 1},
	} {
		all = append(all, badInput{name: "second role: STS: " + c.name, args: chain, serve: sts(c.status, c.body), code: c.code,
			culprit: second, hint: c.hint, secret: testPassword, sent: 1 + c.sent})
	}
	return append(all, badInput{name: "second role: STS is down, AWS_MAX_ATTEMPTS=2", args: chain, env: []string{"AWS_MAX_ATTEMPTS=2"}, serve: sts(503, ""),
		code: front.ExitUnreachable, culprit: second, hint: "endpoint", sent: 3})
}
