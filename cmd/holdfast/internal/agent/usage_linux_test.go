package agent_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Settings that are missing or wrong are refused before the agent listens or asks for a
// PIN, with a hint.
func TestUsage(t *testing.T) {
	s := newScene(t, nil)
	s.write(t, "bad.toml", "[[pod]]\nnamespace = \"a\"\n")
	s.write(t, "cn.toml", strings.ReplaceAll(pods, "arn:aws:", "arn:aws-cn:"))
	s.write(t, "chained.toml", "[[role]]\nname = \"a\"\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\nrole_arn = \""+baseRole+
		"\"\ntrust_anchor_arn = \""+s.aws.emulator.TrustAnchorARNs()[0]+"\"\nprofile_arn = \""+s.aws.emulator.ProfileARNs()[0]+
		"\"\n[role.assume]\nrole_arn = \""+openRole+"\"\n")
	good := []string{
		"--certificate", "cert.pem", "--private-key", "key.pem", "--trust-anchor-arn", s.aws.emulator.TrustAnchorARNs()[0],
		"--profile-arn", s.aws.emulator.ProfileARNs()[0], "--role-arn", baseRole, "--endpoint", s.aws.URL,
		"--pods", "pods.toml", "--node-name", nodeName, "--listen", "127.0.0.1:0",
		"--kubernetes-url", s.kube.URL, "--kubernetes-ca", "kube-ca.pem", "--kubernetes-token-file", "kube-token",
	}
	without := func(flags ...string) (args []string) {
		for pair := range slices.Chunk(good, 2) {
			if !slices.Contains(flags, pair[0]) {
				args = append(args, pair...)
			}
		}
		return args
	}
	for _, test := range []struct {
		name string
		args []string
		want string
		code int
	}{
		{"no mapping", without("--pods"), "--pods is not given", 2},
		{"mapping that is not there", append(without("--pods"), "--pods", "missing"), "--pods missing", 3},
		{"bad mapping", append(without("--pods"), "--pods", "bad.toml"), "--pods bad.toml: pod 1 (a/): service_account", 2},
		{"mapping of another partition", append(without("--pods"), "--pods", "cn.toml"), "pod 1 (shop/checkout): ", 2},
		{"no node", without("--node-name"), "NODE_NAME is not set", 2},
		{"bad node", append(without("--node-name"), "--node-name", "a b"), "is not the name of a node", 2},
		{"no API server", without("--kubernetes-url"), "--kubernetes-url is not given", 2},
		{"API server without TLS", append(without("--kubernetes-url"), "--kubernetes-url", "http://192.0.2.1"), "must begin with https://", 2},
		{"no CA", append(without("--kubernetes-ca"), "--kubernetes-ca", "missing"), "--kubernetes-ca missing", 3},
		{"no token", append(without("--kubernetes-token-file"), "--kubernetes-token-file", "missing"), "--kubernetes-token-file missing", 3},
		{"half a client certificate", append(good[:len(good):len(good)], "--kubernetes-client-key", "key.pem"), "only one of", 2},
		{"seal without state", append(good[:len(good):len(good)], "--state-seal", "tpm:path=x"), "--state-seal is given without --state", 2},
		{"seal of a file", append(good[:len(good):len(good)], "--state", "session", "--state-seal", "x"), "--state-seal: ", 5},
		{"second role", append(good[:len(good):len(good)], "--assume-role-arn", openRole), "unknown flag", 2},
		{"second role in the file", append([]string{"--config", "chained.toml"}, without("--certificate", "--private-key", "--trust-anchor-arn", "--profile-arn", "--role-arn")...), "[role.assume] is set", 2},
		{"address that clients refuse", append(without("--listen"), "--listen", "0.0.0.0:2704"), "pods cannot use this address", 2},
		{"no port", append(without("--listen"), "--listen", "127.0.0.1"), "--listen: ", 2},
		{"status for everybody", append(good[:len(good):len(good)], "--status-listen", "0.0.0.0:0"), "not a loopback address", 2},
		{"log format", append(good[:len(good):len(good)], "--log-format", "xml"), "neither text nor json", 2},
		{"no ARN", append(good[:len(good):len(good)], "--cluster-arn", "foo"), "--cluster-arn \"foo\" is not an ARN", 2},
		{"short ARN", append(good[:len(good):len(good)], "--cluster-arn", "arn:aws:eks:cluster/lab"), "is not an ARN", 2},
		{"cluster", append(good[:len(good):len(good)], "--cluster-name", strings.Repeat("x", 300)), "session tag", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("holdfast", append([]string{"agent"}, test.args...)...)
			cmd.Dir, cmd.Env = s.dir, []string{"PATH=" + os.Getenv("PATH")}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) || !strings.Contains(string(out), "\nhint: ") || cmd.ProcessState.ExitCode() != test.code {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	if n := s.aws.sessions.Load(); n > 1 { // --state-seal is checked after the key is open
		t.Errorf("%d calls of CreateSession", n)
	}
}
