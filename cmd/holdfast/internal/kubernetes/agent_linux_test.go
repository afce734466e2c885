package kubernetes

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

const (
	agentV4 = "http://169.254.170.23:2704/v1/credentials"
	agentV6 = "http://[fd00:ec2::23]:2704/v1/credentials"
)

// A node has an agent, and a pod's network.
type node struct {
	dir       string
	host, pod netns
	emulator  string // URL, on the host and in the pod
	// disconnect ends all connections of the host to the API server.
	disconnect func()
	events     string // file of the emulator
	args       []string
	env        []string
	log        *clitest.LockedBuffer
}

// newNode makes the node "agent-1" of the cluster. The key of its certificate is in a TPM.
func newNode(t *testing.T, c *cluster) *node {
	t.Helper()
	tpm := tpmtest.Start(t)
	n := &node{dir: t.TempDir(), host: newNetns(t, "node"), pod: newNetns(t, "pod"), log: new(clitest.LockedBuffer),
		env: append(os.Environ(), "NODE_NAME=agent-1", "TPM_DEVICE="+tpm.Path)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log:\n%s", n.log)
		}
	})
	n.host.connect(t, n.pod)
	ca := signertest.NewCA(t, "nodes")
	n.write(t, "ca.pem", string(signertest.CertPEM(ca.Cert)))
	ref, err := keystore.ParseRef("tpm:path=" + n.path("key.pem") + ";" + keystore.FormatAttribute("device", tpm.Path))
	if err != nil {
		t.Fatal(err)
	}
	key, err := all.New().Generate(t.Context(), ref, keystore.KeySpec{Type: "p256"}, keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n.certify(t, ca, "cert.pem", key, "pool-a")
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	other := signertest.NewKey(t, "p256")
	n.write(t, "other.key", string(signertest.KeyPEM(t, other)))
	n.certify(t, ca, "other.pem", other, "pool-b")
	n.certify(t, ca, "file.pem", other, "pool-a")

	n.startEmulator(t)
	n.disconnect = n.host.relay(t, port(t, c.url))
	n.host.relay(t, port(t, n.emulator))
	n.pod.relay(t, port(t, n.emulator))
	n.configure(t, c)
	return n
}

// port returns the port of a URL.
func port(t *testing.T, text string) int {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (n *node) certify(t *testing.T, ca *signertest.CA, file string, key crypto.Signer, pool string) {
	t.Helper()
	n.write(t, file, string(signertest.CertPEM(ca.Issue(t, key, func(cert *x509.Certificate) {
		cert.Subject = pkix.Name{CommonName: "agent-1", OrganizationalUnit: []string{pool}}
	}))))
}

// startEmulator starts an emulator with the trust policies of docs/kubernetes.md.
func (n *node) startEmulator(t *testing.T) {
	t.Helper()
	trust, _ := policies(t)
	n.write(t, "base.json", trust[0])
	n.write(t, "pod.json", trust[1])
	n.write(t, "emulator.toml", `
[[trust_anchors]]
certificate_files = ["ca.pem"]
[[profiles]]
duration_seconds = 43200
role_arns = ["arn:aws:iam::111122223333:role/node"]
[[roles]]
arn = "arn:aws:iam::111122223333:role/node"
max_session_duration = 43200
trust_policy_file = "base.json"
[[roles]]
arn = "arn:aws:iam::111122223333:role/pods/orders"
trust_policy_file = "pod.json"
`)
	n.events = n.path("events.jsonl")
	u, _, stop, err := clitest.RunEmulator(n.dir, "--config", "emulator.toml", "--events", n.events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	n.emulator = u
}

// configure makes the arguments of the agent: those of the DaemonSet in agent.yaml, with
// the files, the servers and the token of this node.
func (n *node) configure(t *testing.T, c *cluster) {
	t.Helper()
	manifest, err := os.ReadFile(deployment + "/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var daemon struct {
		Spec struct{ Containers []container }
	}
	if err := json.Unmarshal([]byte(c.podsOf(t, string(manifest))[0]), &daemon); err != nil {
		t.Fatal(err)
	}
	for _, arg := range daemon.Spec.Containers[0].Args {
		for from, to := range map[string]string{
			"/etc/holdfast/key.pem":           "tpm:path=" + n.path("key.pem"),
			"/etc/holdfast/cert.pem":          n.path("cert.pem"),
			"/etc/holdfast-agent/pods.toml":   n.path("pods.toml"),
			"/var/lib/holdfast-agent/session": n.path("session"),
		} {
			if name, value, _ := strings.Cut(arg, "="); value == from {
				arg = name + "=" + to
			}
		}
		n.args = append(n.args, arg)
	}
	n.write(t, "token", strings.TrimSpace(c.kubectl(t, "", "create", "token", "holdfast-agent", "--namespace=holdfast-system")))
	n.write(t, "pods.toml", c.kubectl(t, "", "get", "configmap", "holdfast-agent", "--namespace=holdfast-system", "--output=jsonpath={.data.pods\\.toml}")+`
# A mistake, against which the trust policy is the last defence.
[[pod]]
namespace = "shop"
service_account = "impostor"
role_arn = "arn:aws:iam::111122223333:role/pods/orders"
`)
	n.args = append(n.args, "--endpoint="+n.emulator, "--sts-endpoint="+n.emulator, "--log-format=json",
		"--kubernetes-url="+c.url, "--kubernetes-ca="+c.path("ca.pem"), "--kubernetes-token-file="+n.path("token"))
}

// start starts the agent and waits until it is ready. more are arguments that replace
// earlier ones. See await.
func (n *node) start(t *testing.T, more ...string) (stop func()) {
	t.Helper()
	cmd := n.host.command(context.WithoutCancel(t.Context()), append(append([]string{"holdfast"}, n.args...), more...)...)
	cmd.Env = n.env
	return n.await(t, cmd)
}

// await starts a command that runs the agent and waits until it is ready. The agent ends
// with the test, unless stop is called before.
func (n *node) await(t *testing.T, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	cmd.Stderr = n.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("the agent: %v", err)
		}
	}
	t.Cleanup(stop)
	client := n.host.client()
	clitest.Eventually(t, "the agent is ready", func() bool {
		select {
		case err := <-ended:
			stopped = true
			t.Fatalf("the agent ended: %v", err)
		default:
		}
		resp, err := client.Get("http://127.0.0.1:2705/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return stop
}

// ask sends a token to the agent as a pod with this network does.
func (n *node) ask(t *testing.T, from netns, u, token string) (status int, answer struct{ Code, Message, AccessKeyID, Expiration string }) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := from.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", resp.Status, err, body)
	}
	return resp.StatusCode, answer
}

// sessions returns how many sessions and assumed roles the emulator has granted.
func (n *node) sessions(t *testing.T) (created, assumed int) {
	t.Helper()
	events, err := os.ReadFile(n.events)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(events) {
		if !bytes.Contains(line, []byte(`"errorCode"`)) {
			created += bytes.Count(line, []byte(`"eventName":"CreateSession"`))
			if bytes.Contains(line, []byte(`"type":"AssumedRole"`)) { // not by Roles Anywhere
				assumed += bytes.Count(line, []byte(`"eventName":"AssumeRole"`))
			}
		}
	}
	return created, assumed
}

// caller is a client of AWS that prints the ARN that STS knows it by.
type caller struct {
	name string
	args []string
}

func callers(t *testing.T, url string) []caller {
	return []caller{
		{"boto3", []string{clitest.Cached(t, "boto3-eks", "boto3-1/run"), "-c", clitest.CallerBoto3, url}},
		{"js", clitest.CallerJS(t, url)},
		{"go", []string{signertest.Require(t, "aws-sdk-go", clitest.BuildCallerGo(t, "../interop/testdata/aws-sdk-go")), url}},
	}
}

// call runs a client in the pod. env is that of its container.
func (n *node) call(t *testing.T, c caller, env ...string) (string, error) {
	t.Helper()
	cmd := n.pod.command(t.Context(), c.args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_REGION=us-east-1", "NODE_NO_WARNINGS=1"}, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// environment returns the environment of a pod's first container, with the token in a file
// instead of the volume.
func environment(p pod, tokenFile string) (env []string) {
	for _, e := range p.Spec.Containers[0].Env {
		if e.Name == tokenVariable {
			e.Value = tokenFile
		}
		env = append(env, e.Name+"="+e.Value)
	}
	slices.Sort(env)
	return env
}
