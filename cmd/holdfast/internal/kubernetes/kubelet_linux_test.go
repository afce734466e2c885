package kubernetes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// podOn is a pod by hand on a node.
func podOn(node, name, account string) string {
	text := strings.Replace(manualPod, "name: manual", "name: "+name, 1)
	return strings.Replace(text, "spec:", fmt.Sprintf("spec:\n  nodeName: %s\n  serviceAccountName: %s", node, account), 1)
}

// tokenFor are the arguments of kubectl that ask for a token of a service account, which is
// bound to a pod unless that is the zero value.
func tokenFor(namespace, account string, p pod, audience string) []string {
	args := []string{"create", "token", account, "--namespace=" + namespace, "--audience=" + audience}
	if p.Metadata.Name != "" {
		args = append(args, "--bound-object-kind=Pod", "--bound-object-name="+p.Metadata.Name, "--bound-object-uid="+p.Metadata.UID)
	}
	return args
}

// testKubelet: what root of a node can do with the certificate of its kubelet.
func testKubelet(t *testing.T, c *cluster) {
	const namespace, audience = "kubelet", "pods.eks.amazonaws.com"
	c.namespace(t, namespace, "", "orders", "other")
	for _, node := range []string{"kubelet-1", "kubelet-2"} {
		c.kubectl(t, fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s}}", node), "apply", "--filename=-")
	}
	mine, _ := c.create(t, namespace, podOn("kubelet-1", "mine", "orders"))
	theirs, _ := c.create(t, namespace, podOn("kubelet-2", "theirs", "orders"))
	kubelet := c.user(t, "kubelet-1", "system:node:kubelet-1", "system:nodes")
	// The server learns of pods after they are created.
	clitest.Eventually(t, "the kubelet gets the token of its own pod", func() bool {
		return c.as(t, kubelet, "", tokenFor(namespace, "orders", mine, audience)...).err == nil
	})
	for _, test := range []struct {
		name, stdin string
		args        []string
		want        string // in the message of the refusal, "" if there is none
	}{
		{"token of a pod of another node", "", tokenFor(namespace, "orders", theirs, audience), "scheduled on a different node"},
		{"token that is bound to no pod", "", tokenFor(namespace, "orders", pod{}, audience), "not bound to a pod"},
		{"token for an audience that the pod does not mount", "", tokenFor(namespace, "orders", mine, "sts.amazonaws.com"), `not authorized to request tokens for audience "sts.amazonaws.com"`},
		{"token of another service account", "", tokenFor(namespace, "other", mine, audience), "no relationship found"},
		{"a pod of its own with a service account", "apiVersion: v1\nkind: Pod\n" + podOn("kubelet-1", "made", "orders"),
			[]string{"create", "--validate=false", "--namespace=" + namespace, "--filename=-"}, "mirror pods"},
		{"a mirror pod with a service account", "apiVersion: v1\nkind: Pod\n" +
			strings.Replace(podOn("kubelet-1", "made", "orders"), "name: made", `name: made, annotations: {kubernetes.io/config.mirror: x}`, 1),
			[]string{"create", "--validate=false", "--namespace=" + namespace, "--filename=-"}, "service account"},
		{"moving its pod", "", []string{"patch", "pod", "mine", "--namespace=" + namespace, `--patch={"spec":{"serviceAccountName":"other"}}`}, "Forbidden"},
		{"secrets", "", []string{"get", "secrets", "--namespace=" + namespace}, "cannot list resource"},
		{"the label of a namespace", "", []string{"label", "namespace", namespace, "holdfast.dev/pod-identity=enabled"}, "cannot get resource"},
		{"review of a token", `{apiVersion: authentication.k8s.io/v1, kind: TokenReview, spec: {token: x}}`, []string{"create", "--validate=false", "--filename=-"}, ""},
	} {
		a := c.as(t, kubelet, test.stdin, test.args...)
		if refused := a.err != nil; refused != (test.want != "") || !strings.Contains(a.stderr, test.want) {
			t.Errorf("%s: %v, want a message with %q\n%s%s", test.name, a.err, test.want, a.stdout, a.stderr)
		}
		t.Logf("%s: %s", test.name, a.stderr)
	}
}

// testMirror: in a namespace of the policies, a kubelet can show its static pods, to which
// the API server allows no token.
func testMirror(t *testing.T, c *cluster) {
	const node = "mirror-1"
	c.kubectl(t, fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s}}", node), "apply", "--filename=-")
	uid := strings.TrimSpace(c.kubectl(t, "", "get", "node", node, "--output=jsonpath={.metadata.uid}"))
	kubelet := c.user(t, node, "system:node:"+node, "system:nodes")
	a := c.as(t, kubelet, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: mirror
  annotations: {kubernetes.io/config.mirror: x}
  ownerReferences: [{apiVersion: v1, kind: Node, name: %s, uid: %s, controller: true}]
spec: {nodeName: %[1]s, containers: [{name: app, image: x}]}
`, node, uid), "create", "--validate=false", "--filename=-", "--output=json", "--namespace=policy-in")
	if a.err != nil || strings.Contains(a.stderr, missingVolume) {
		t.Fatalf("%v\n%s", a.err, a.stderr)
	}
	if p := parsePod(t, a.stdout); !p.Spec.Containers[0].untouched() || len(p.volumes()) != 0 {
		t.Errorf("%+v", p)
	}
}
