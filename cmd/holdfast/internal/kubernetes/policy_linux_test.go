package kubernetes

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

const (
	uriVariable    = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	tokenVariable  = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
	tokenVolume    = "eks-pod-identity-token"
	tokenFolder    = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
	credentialsURL = "http://169.254.170.23:2704/v1/credentials"
	missingVolume  = "no volume with a token for pods.eks.amazonaws.com"
)

// A pod has the fields of a pod that a policy changes.
type pod struct {
	Metadata struct{ Name, Namespace, UID string }
	Spec     struct {
		InitContainers, Containers, EphemeralContainers []container
		Volumes                                         []volume
	}
}

type container struct {
	Name          string
	Command, Args []string
	RestartPolicy string
	Env           []struct {
		Name, Value string
		ValueFrom   json.RawMessage
	}
	VolumeMounts []struct {
		Name, MountPath string
		ReadOnly        bool
	}
}

type volume struct {
	Name      string
	Projected *struct {
		Sources []struct {
			ServiceAccountToken *struct {
				Audience, Path    string
				ExpirationSeconds int
			}
		}
	}
}

// values returns the values of a variable, in order.
func (c container) values(name string) (values []string) {
	for _, e := range c.Env {
		if e.Name == name {
			values = append(values, e.Value)
		}
	}
	return values
}

// injected reports whether a container has what the policy adds, and only once.
func (c container) injected() bool {
	mounts := 0
	for _, m := range c.VolumeMounts {
		if m.Name == tokenVolume && m.MountPath == tokenFolder && m.ReadOnly {
			mounts++
		}
	}
	return mounts == 1 && reflect.DeepEqual(c.values(uriVariable), []string{credentialsURL}) &&
		reflect.DeepEqual(c.values(tokenVariable), []string{tokenFolder + "/" + tokenVolume})
}

// untouched reports whether a container has nothing of it.
func (c container) untouched() bool {
	for _, m := range c.VolumeMounts {
		if m.Name == tokenVolume {
			return false
		}
	}
	return !slices.Contains(c.values(uriVariable), credentialsURL) && c.values(tokenVariable) == nil
}

func (p pod) containers() []container {
	return slices.Concat(p.Spec.InitContainers, p.Spec.Containers, p.Spec.EphemeralContainers)
}

// volumes returns the names of the volumes, without that of the token for the API server,
// which the server adds.
func (p pod) volumes() (names []string) {
	for _, v := range p.Spec.Volumes {
		if !strings.HasPrefix(v.Name, "kube-api-access-") {
			names = append(names, v.Name)
		}
	}
	return names
}

// create creates a pod in a namespace. stderr has the warnings.
func (c *cluster) create(t *testing.T, namespace, text string, args ...string) (p pod, stderr string) {
	t.Helper()
	a := c.as(t, c.kubeconfig, "apiVersion: v1\nkind: Pod\n"+text, append([]string{"create", "--filename=-", "--output=json", "--namespace=" + namespace}, args...)...)
	if a.err != nil {
		t.Fatalf("%v\n%s%s", a.err, a.stdout, a.stderr)
	}
	return parsePod(t, a.stdout), a.stderr
}

func parsePod(t *testing.T, text string) (p pod) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// namespace makes a namespace with service accounts. label is "" or one label. No
// controller runs that could remove it.
func (c *cluster) namespace(t *testing.T, name, label string, accounts ...string) {
	t.Helper()
	text := fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {%s}}}\n", name, label)
	for _, account := range append(accounts, "default") {
		text += fmt.Sprintf("---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: %s, namespace: %s}}\n", account, name)
	}
	c.kubectl(t, text, "apply", "--filename=-")
}

const (
	optIn    = "holdfast.dev/pod-identity: enabled"
	plainPod = "metadata: {name: plain}\nspec: {containers: [{name: app, image: x}]}\n"
)

// testPolicies: the policies on the API server.
func testPolicies(t *testing.T, c *cluster) {
	c.namespace(t, "policy-in", optIn, "app")
	c.namespace(t, "policy-out", "")
	c.namespace(t, "policy-off", "holdfast.dev/pod-identity: disabled")
	apply := func(t *testing.T, file string, works func(pod, string) bool) {
		t.Helper()
		c.kubectl(t, "", "apply", "--validate=strict", "--filename="+deployment+"/"+file)
		t.Cleanup(func() { c.kubectl(t, "", "delete", "--filename="+deployment+"/"+file) })
		clitest.Eventually(t, file+" is in force", func() bool {
			return works(c.create(t, "policy-in", plainPod, "--dry-run=server"))
		})
	}

	apply(t, "warn.yaml", func(_ pod, warning string) bool { return strings.Contains(warning, missingVolume) })
	if p, _ := c.create(t, "policy-in", plainPod, "--dry-run=server"); !p.Spec.Containers[0].untouched() {
		t.Fatalf("without the policy that injects: %+v", p)
	}
	for namespace, pods := range map[string][]string{
		"policy-out": {plainPod}, "policy-off": {plainPod},
		"policy-in": {skippedPod, manualPod},
	} {
		for _, text := range pods {
			if _, warning := c.create(t, namespace, text, "--dry-run=server"); warning != "" {
				t.Errorf("%s, %s: %s", namespace, text, warning)
			}
		}
	}
	apply(t, "inject.yaml", func(p pod, _ string) bool { return p.Spec.Containers[0].injected() })
	for _, test := range injections() {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
	t.Run("mirror pod", func(t *testing.T) { testMirror(t, c) })
	t.Run("region", func(t *testing.T) { testRegion(t, c) })
	t.Run("ephemeral container", func(t *testing.T) { testEphemeral(t, c) })
}

const (
	skippedPod = `
metadata: {name: skipped, annotations: {holdfast.dev/skip: "it has a role of its own"}}
spec: {containers: [{name: app, image: x}]}
`
	// The four lines and the volume of docs/kubernetes.md.
	manualPod = `
metadata: {name: manual}
spec:
  containers:
  - name: app
    image: x
    env:
    - {name: AWS_CONTAINER_CREDENTIALS_FULL_URI, value: "http://169.254.170.23:2704/v1/credentials"}
    - {name: AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, value: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token}
    volumeMounts:
    - {name: eks-pod-identity-token, mountPath: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount, readOnly: true}
  volumes:
  - name: eks-pod-identity-token
    projected:
      sources:
      - serviceAccountToken: {audience: pods.eks.amazonaws.com, expirationSeconds: 86400, path: eks-pod-identity-token}
`
)

// An injection is a pod and what becomes of it.
type injection struct {
	name, namespace, pod string
	injected             []string // names of containers; all others are untouched
	volumes              []string
	also                 func(t *testing.T, p pod)
}

func (i injection) run(t *testing.T, c *cluster) {
	dry, _ := c.create(t, i.namespace, i.pod, "--dry-run=server")
	p, stderr := c.create(t, i.namespace, i.pod)
	// Each pod has a different name of the volume with the token for the API server.
	if !reflect.DeepEqual(dry.volumes(), p.volumes()) {
		t.Errorf("volumes: %v; with --dry-run=server %v", p.volumes(), dry.volumes())
	}
	if strings.Contains(stderr, missingVolume) {
		t.Errorf("a warning: %s", stderr)
	}
	for _, p := range []pod{dry, p} {
		for _, container := range p.containers() {
			if wanted := slices.Contains(i.injected, container.Name); wanted && !container.injected() || !wanted && !container.untouched() {
				t.Errorf("container %s: want injected %t: %+v", container.Name, wanted, container)
			}
		}
		if got := p.volumes(); !reflect.DeepEqual(got, i.volumes) {
			t.Errorf("volumes %v, want %v", got, i.volumes)
		}
		if i.also != nil {
			i.also(t, p)
		}
	}
}

// testRegion: with a region, the policy adds it where a container has none.
func testRegion(t *testing.T, c *cluster) {
	c.kubectl(t, render(t, "--set=policies.inject=true,policies.region=eu-west-1", "--show-only=templates/inject.yaml"), "apply", "--filename=-")
	var p pod
	clitest.Eventually(t, "the policy has a region", func() bool {
		p, _ = c.create(t, "policy-in", `
metadata: {name: region}
spec:
  initContainers: [{name: default, image: x, env: [{name: AWS_DEFAULT_REGION, value: us-east-1}]}]
  containers: [{name: none, image: x}, {name: own, image: x, env: [{name: AWS_REGION, value: us-east-2}]}]
`, "--dry-run=server")
		return len(p.Spec.Containers[0].Env) == 4
	})
	for _, container := range p.containers() {
		got := [2][]string{container.values("AWS_REGION"), container.values("AWS_DEFAULT_REGION")}
		want := map[string][2][]string{"none": {{"eu-west-1"}, {"eu-west-1"}}, "own": {{"us-east-2"}, nil}, "default": {nil, {"us-east-1"}}}
		if !container.injected() || !reflect.DeepEqual(got, want[container.Name]) {
			t.Errorf("%s has the regions %v: %+v", container.Name, got, container)
		}
	}
}

// testEphemeral: a container for debugging gets nothing, and nothing keeps it from being
// added.
func testEphemeral(t *testing.T, c *cluster) {
	c.create(t, "policy-in", "metadata: {name: debugged}\nspec: {containers: [{name: app, image: x}]}\n")
	c.kubectl(t, "", "debug", "debugged", "--namespace=policy-in", "--image=x", "--container=debug", "--attach=false")
	p := parsePod(t, c.kubectl(t, "", "get", "pod", "debugged", "--namespace=policy-in", "--output=json"))
	if len(p.Spec.EphemeralContainers) != 1 || !p.Spec.EphemeralContainers[0].untouched() || !p.Spec.Containers[0].injected() {
		t.Errorf("%+v", p)
	}
}
