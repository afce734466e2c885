package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	root       = "../../../.."
	chart      = root + "/packaging/chart/holdfast-agent"
	deployment = root + "/docs/deployment/kubernetes"
)

var update = flag.Bool("update", false, "write the manifests that the chart renders")

// runHelm runs Helm with a kubeconfig file, "" for none.
func runHelm(t *testing.T, kubeconfig string, args ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, build(t)["helm"], args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECONFIG=" + kubeconfig, "PATH=" + os.Getenv("PATH")}
	err := cmd.Run()
	return answer{stdout.String(), stderr.String(), errors.Join(err, ctx.Err())}
}

// withChart are the arguments of a command of Helm for the chart with the example of its
// settings.
func withChart(command string, args ...string) []string {
	return named("holdfast-agent", command, args...)
}

func named(name, command string, args ...string) []string {
	return append([]string{command, name, chart, "--namespace=holdfast-system", "--values=" + deployment + "/values.yaml"}, args...)
}

// render renders the chart with more arguments.
func render(t *testing.T, args ...string) string {
	t.Helper()
	a := runHelm(t, "", withChart("template", args...)...)
	if a.err != nil {
		t.Fatalf("helm template %v: %v\n%s", args, a.err, a.stderr)
	}
	return a.stdout
}

// TestManifests: the manifests are what the chart renders.
func TestManifests(t *testing.T) {
	for name, args := range map[string][]string{
		"agent.yaml":  nil,
		"inject.yaml": {"--set=policies.inject=true", "--show-only=templates/inject.yaml"},
		"warn.yaml":   {"--set=policies.warn=true", "--show-only=templates/warn.yaml"},
	} {
		// Helm names the template of each object in a comment.
		var lines []string
		for line := range strings.Lines(render(t, args...)) {
			if !strings.HasPrefix(line, "# Source: ") {
				lines = append(lines, line)
			}
		}
		want := "# Made by \"helm template\" from the chart packaging/chart/holdfast-agent; docs/kubernetes.md explains it.\n" + strings.Join(lines, "")
		file := filepath.Join(deployment, name)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is not what the chart renders (error %v); run: go test ./cmd/holdfast/internal/kubernetes -run TestManifests -update", file, err)
		}
	}
}

func TestLint(t *testing.T) {
	if a := runHelm(t, "", "lint", "--strict", "--values="+deployment+"/values.yaml", chart); a.err != nil {
		t.Errorf("%v\n%s%s", a.err, a.stdout, a.stderr)
	}
}

// TestChartRefuses: the chart names the setting that is missing or wrong.
func TestChartRefuses(t *testing.T) {
	for _, test := range []struct{ set, want string }{
		{"image=", "set image"},
		{"pods=", "set pods"},
		{"base.roleARN=", "set base.roleARN"},
		{"base.profileARN=", "set base.profileARN"},
		{"base.trustAnchorARN=", "set base.trustAnchorARN"},
		{"clusterNane=x", "clusterNane"},
		{"base.roleArn=x", "roleArn"},
		{"tpm.groups=1", "groups"},
		{"status.ports=1", "ports"},
		{"policies.injects=true", "injects"},
		{"resources.limit.memory=1Gi", "limit"},
		{"createNamespace=yes", "createNamespace"},
		{"tpm.privileged=true,tpm.resource=example.com/tpm", "not both"},
	} {
		if a := runHelm(t, "", withChart("template", "--set="+test.set)...); a.err == nil || !strings.Contains(a.stderr, test.want) {
			t.Errorf("%s: %v\n%s", test.set, a.err, a.stderr)
		}
	}
}

// testChart: the API server accepts what the chart renders, and the pods that the
// DaemonSet would have.
func testChart(t *testing.T, c *cluster) {
	c.kubectl(t, "{apiVersion: v1, kind: Namespace, metadata: {name: holdfast-system}}", "apply", "--filename=-")
	t.Run("install", func(t *testing.T) { testInstall(t, c) })
	c.applyAgent(t)
	t.Run("access", func(t *testing.T) { testAccess(t, c) })
	for name, args := range map[string][]string{
		"defaults":             nil,
		"TPM by device plugin": {"--set=tpm.resource=squat.ai/tpm,tpm.group=116"},
		"TPM of the host":      {"--set=tpm.privileged=true,tpm.group=116"},
		"less":                 {"--set=createNamespace=false,tolerations=null,nodeSelector=null,clusterName="},
		"more": {"--set=stateFolder=/var/lib/holdfast-agent,status.remote=true,status.port=9100,imagePullSecrets[0].name=registry",
			"--set=policies.inject=true,policies.warn=true,policies.ipv6=true,clusterARN=arn:aws:eks:us-east-1:111122223333:cluster/a"},
		"PKCS #11": {"--set-json=extraVolumes=[{\"name\":\"module\",\"secret\":{\"secretName\":\"hsm\"}}]",
			"--set-json=extraVolumeMounts=[{\"name\":\"module\",\"mountPath\":\"/opt/hsm\",\"readOnly\":true}]",
			"--set-json=extraEnv=[{\"name\":\"HSM_CONF\",\"value\":\"/opt/hsm/conf\"}]", "--set=extraArgs[0]=--pkcs11-lib=/opt/hsm/module.so"},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := render(t, args...)
			c.kubectl(t, manifest, "apply", "--dry-run=server", "--validate=strict", "--filename=-")
			for _, pod := range c.podsOf(t, manifest) {
				c.kubectl(t, pod, "create", "--dry-run=server", "--validate=strict", "--filename=-")
			}
		})
	}
}

// applyAgent applies agent.yaml. Its objects are removed at the end of the test, but not
// the namespace.
func (c *cluster) applyAgent(t *testing.T) {
	t.Helper()
	c.kubectl(t, "", "apply", "--validate=strict", "--filename="+deployment+"/agent.yaml")
	t.Cleanup(func() {
		c.kubectl(t, "", "delete", "daemonset,configmap,serviceaccount,clusterrole,clusterrolebinding", "--namespace=holdfast-system",
			"--selector=app.kubernetes.io/name=holdfast-agent")
	})
}

// testInstall: Helm installs the chart twice, for two pools of nodes, and removes it.
func testInstall(t *testing.T, c *cluster) {
	run := func(args ...string) {
		t.Helper()
		if a := runHelm(t, c.kubeconfig, args...); a.err != nil {
			t.Fatalf("helm %v: %v\n%s%s", args, a.err, a.stdout, a.stderr)
		}
	}
	run(withChart("install", "--set=createNamespace=false,policies.inject=true,policies.warn=true")...)
	run(named("pool-b", "install", "--set=createNamespace=false,nodeSelector.pool=b")...)
	run(withChart("upgrade", "--set=createNamespace=false,clusterName=other")...)
	for _, name := range []string{"holdfast-agent", "pool-b"} {
		c.kubectl(t, "", "get", "daemonset,serviceaccount,configmap", name, "--namespace=holdfast-system")
		run("uninstall", name, "--namespace=holdfast-system")
	}
	if left := c.kubectl(t, "", "get", "clusterrole,clusterrolebinding,mutatingadmissionpolicy,validatingadmissionpolicy",
		"--selector=app.kubernetes.io/name=holdfast-agent", "--output=name"); left != "" {
		t.Errorf("uninstalled, but there is %s", left)
	}
}

// testAccess: the agent may do one thing more than every service account.
func testAccess(t *testing.T, c *cluster) {
	rules := func(account string) (rules []string) {
		for line := range strings.Lines(c.kubectl(t, "", "auth", "can-i", "--list", "--as=system:serviceaccount:holdfast-system:"+account)) {
			rules = append(rules, strings.Join(strings.Fields(line), " "))
		}
		return rules
	}
	var more []string
	every := rules("default")
	for _, rule := range rules("holdfast-agent") {
		if !slices.Contains(every, rule) {
			more = append(more, rule)
		}
	}
	if want := []string{"tokenreviews.authentication.k8s.io [] [] [create]"}; !slices.Equal(more, want) {
		t.Errorf("the agent may do %q, want %q", more, want)
	}
}

// agentPod returns the pod that agent.yaml would have on a node, in JSON.
func (c *cluster) agentPod(t *testing.T) string {
	t.Helper()
	manifest, err := os.ReadFile(deployment + "/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c.podsOf(t, string(manifest))[0]
}

// podsOf returns the pods that a manifest's DaemonSets would have on a node.
func (c *cluster) podsOf(t *testing.T, manifest string) (pods []string) {
	t.Helper()
	var list struct{ Items []json.RawMessage }
	text := c.kubectl(t, manifest, "create", "--dry-run=client", "--output=json", "--filename=-")
	for decoder := json.NewDecoder(strings.NewReader(text)); ; {
		var object json.RawMessage
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list.Items = append(list.Items, object)
	}
	for _, item := range list.Items {
		var object struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
			Spec     struct {
				Template struct {
					Metadata struct{ Labels map[string]string }
					Spec     map[string]any
				}
			}
		}
		if err := json.Unmarshal(item, &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind != "DaemonSet" {
			continue
		}
		spec := object.Spec.Template.Spec
		spec["nodeName"] = "node-1"
		pod, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": spec, "metadata": map[string]any{
			"name": object.Metadata.Name + "-x", "namespace": object.Metadata.Namespace, "labels": object.Spec.Template.Metadata.Labels}})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, string(pod))
	}
	if len(pods) != 1 {
		t.Fatalf("the manifest has %d DaemonSets", len(pods))
	}
	return pods
}
