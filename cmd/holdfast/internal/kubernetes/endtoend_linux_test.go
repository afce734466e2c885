package kubernetes

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// testAgent: from a pod to its role, with the objects and the trust policies that this
// repository contains.
func testAgent(t *testing.T, c *cluster) {
	n := newNodeWithObjects(t, c)
	add := n.host.command(t.Context(), "holdfast", "agent", "add-address")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	stop := n.start(t)
	orders, _ := c.create(t, "shop", "metadata: {name: orders-1}\nspec: {nodeName: agent-1, serviceAccountName: orders, containers: [{name: app, image: x}]}\n")
	if !orders.Spec.Containers[0].injected() {
		t.Fatalf("the policy does not inject: %+v", orders)
	}
	kubelet := c.user(t, "agent-1", "system:node:agent-1", "system:nodes")
	var token string
	clitest.Eventually(t, "the kubelet gets the token of the pod", func() bool {
		a := c.as(t, kubelet, "", tokenFor("shop", "orders", orders, orders.audience(t))...)
		token = strings.TrimSpace(a.stdout)
		return a.err == nil
	})
	n.write(t, "orders.token", token)

	t.Run("clients", func(t *testing.T) {
		const want = "arn:aws:sts::111122223333:assumed-role/orders/shop.orders"
		for _, client := range callers(t, n.emulator) {
			for _, address := range []string{agentV4, agentV6} {
				env := append(environment(orders, n.path("orders.token")), uriVariable+"="+address)
				if got, err := n.call(t, client, env...); err != nil || got != want {
					t.Errorf("%s, %s: %q, want %q; %v", client.name, address, got, want, err)
				}
			}
		}
		// A pod with hostNetwork.
		if status, answer := n.ask(t, n.host, agentV4, token); status != http.StatusOK {
			t.Errorf("from the network of the node: %d %+v", status, answer)
		}
		if created, assumed := n.sessions(t); created != 1 || assumed != 1 {
			t.Errorf("six programs needed %d sessions and %d assumed roles", created, assumed)
		}
	})
	t.Run("refused", func(t *testing.T) { testRefused(t, c, n, token) })
	stop()
	for name, state := range map[string][]string{
		"restart":                nil,
		"restart, sealed by TPM": {"--state=" + n.path("sealed"), "--state-seal=tpm:path=" + n.path("seal.pem")},
	} {
		t.Run(name, func(t *testing.T) {
			n.start(t, state...)()
			before, _ := n.sessions(t)
			n.start(t, state...)
			if status, answer := n.ask(t, n.pod, agentV4, token); status != http.StatusOK {
				t.Errorf("%d %+v", status, answer)
			}
			if created, _ := n.sessions(t); created != before {
				t.Errorf("the session was not kept: %d sessions, and %d before", created, before)
			}
		})
	}
	reconnect := func() { n.disconnect = n.host.relay(t, port(t, c.url)) } // until all of these end
	t.Run("outage of the API server", func(t *testing.T) {
		n.start(t)
		if status, answer := n.ask(t, n.pod, agentV4, token); status != http.StatusOK {
			t.Fatalf("%d %+v", status, answer)
		}
		fresh := strings.TrimSpace(c.kubectl(t, "", tokenFor("shop", "orders", orders, orders.audience(t))...))
		n.disconnect()
		if status, answer := n.ask(t, n.pod, agentV4, token); status != http.StatusOK {
			t.Errorf("a token that was checked before: %d %+v", status, answer)
		}
		if status, answer := n.ask(t, n.pod, agentV4, fresh); status != http.StatusServiceUnavailable {
			t.Errorf("a new token: %d %+v", status, answer)
		}
		reconnect()
		clitest.Eventually(t, "the agent accepts the new token", func() bool {
			status, _ := n.ask(t, n.pod, agentV4, fresh)
			return status == http.StatusOK
		})
	})
	t.Run("new mapping", func(t *testing.T) {
		n.start(t)
		before, err := os.ReadFile(n.path("pods.toml"))
		if err != nil {
			t.Fatal(err)
		}
		replace := func(text string) {
			n.write(t, "pods.new", text)
			if err := os.Rename(n.path("pods.new"), n.path("pods.toml")); err != nil {
				t.Fatal(err)
			}
		}
		replace(strings.Replace(string(before), `service_account = "orders"`, `service_account = "former"`, 1))
		clitest.Eventually(t, "the pod has no role", func() bool {
			status, _ := n.ask(t, n.pod, agentV4, token)
			return status == http.StatusForbidden
		})
		replace(string(before))
		clitest.Eventually(t, "the pod has its role again", func() bool {
			status, _ := n.ask(t, n.pod, agentV4, token)
			return status == http.StatusOK
		})
	})
	t.Run("certificate of the kubelet", func(t *testing.T) {
		n.start(t, "--kubernetes-token-file=", "--kubernetes-client-certificate="+c.path("agent-1.pem"), "--kubernetes-client-key="+c.path("agent-1.key"))
		if status, answer := n.ask(t, n.pod, agentV4, token); status != http.StatusOK {
			t.Errorf("%d %+v", status, answer)
		}
	})
	// Root of a node of another pool cannot say that it is one of this.
	t.Run("node of another pool", func(t *testing.T) {
		n.start(t, "--certificate="+n.path("other.pem"), "--private-key="+n.path("other.key"))
		status, answer := n.ask(t, n.pod, agentV4, token)
		if status != http.StatusForbidden || answer.Code != "AccessDenied" {
			t.Errorf("%d %+v", status, answer)
		}
	})
	t.Run("container", func(t *testing.T) { testContainer(t, c, n, token) })
	t.Run("log", func(t *testing.T) {
		log := n.log.String()
		m := regexp.MustCompile(`"role":"node","credentials":\{[^}]*"expires":"([^"]+)"`).FindStringSubmatch(log)
		if m == nil {
			t.Fatalf("no session of the base role in the log:\n%s", log)
		}
		if expires, err := time.Parse(time.RFC3339, m[1]); err != nil || time.Until(expires) < 11*time.Hour {
			t.Errorf("the base session ends at %s, error %v; want 12 hours", m[1], err)
		}
		for _, want := range []string{`"namespace":"shop"`, `"service_account":"orders"`, `"pod":"orders-1"`, `"role_arn":"arn:aws:iam::111122223333:role/pods/orders"`, `"address":"10.77.0.2"`} {
			if !strings.Contains(log, want) {
				t.Errorf("the log does not have %s:\n%s", want, log)
			}
		}
		agentToken, err := os.ReadFile(n.path("token"))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range append(strings.Split(token, ".")[1:], strings.Split(string(agentToken), ".")[1:]...) {
			if strings.Contains(log, secret) {
				t.Error("a part of a token is in the log")
			}
		}
	})
}

// newNodeWithObjects applies the manifests, and makes the node and the service accounts.
func newNodeWithObjects(t *testing.T, c *cluster) *node {
	t.Helper()
	c.applyAgent(t)
	c.kubectl(t, "", "apply", "--validate=strict", "--filename="+deployment+"/inject.yaml")
	t.Cleanup(func() { c.kubectl(t, "", "delete", "--filename="+deployment+"/inject.yaml") })
	c.namespace(t, "shop", optIn, "orders", "impostor", "unmapped")
	c.namespace(t, "other", optIn, "orders")
	for _, name := range []string{"agent-1", "agent-2"} {
		c.kubectl(t, fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s}}", name), "apply", "--filename=-")
	}
	clitest.Eventually(t, "the policy is in force", func() bool {
		p, _ := c.create(t, "shop", plainPod, "--dry-run=server")
		return p.Spec.Containers[0].injected()
	})
	return newNode(t, c)
}

// audience returns the audience of the token in the volume that the policy adds.
func (p pod) audience(t *testing.T) string {
	t.Helper()
	for _, v := range p.Spec.Volumes {
		if v.Name == tokenVolume {
			return v.Projected.Sources[0].ServiceAccountToken.Audience
		}
	}
	t.Fatal("the pod has no such volume")
	return ""
}

// testRefused: everything but the token of a pod of this node for this agent is refused,
// with a message of its own.
func testRefused(t *testing.T, c *cluster, n *node, good string) {
	const audience = "pods.eks.amazonaws.com"
	tokenOf := func(namespace, account string, p pod, audience string) string {
		t.Helper()
		return strings.TrimSpace(c.kubectl(t, "", tokenFor(namespace, account, p, audience)...))
	}
	podOf := func(namespace, name, account, node string) pod {
		t.Helper()
		p, _ := c.create(t, namespace, fmt.Sprintf("metadata: {name: %s}\nspec: {nodeName: %s, serviceAccountName: %s, containers: [{name: app, image: x}]}\n", name, node, account))
		return p
	}
	mine := podOf("shop", "mine", "orders", "agent-1")
	gone := podOf("shop", "gone", "orders", "agent-1")
	tokenOfGone := tokenOf("shop", "orders", gone, audience)
	c.kubectl(t, "", "delete", "pod", "gone", "--namespace=shop", "--grace-period=0", "--force")
	changed := []byte(good)
	middle := strings.LastIndex(good, ".") + 20 // the last character has bits that do not count
	changed[middle] = 'A' + (changed[middle]-'A'+1)%26

	messages := map[string]string{}
	for _, test := range []struct {
		name, token string
		status      int
		code, want  string
	}{
		{"no token", "", http.StatusBadRequest, "", ""},
		{"no JWT", "a.b", http.StatusBadRequest, "", ""},
		{"another namespace", tokenOf("other", "orders", podOf("other", "orders", "orders", "agent-1"), audience),
			http.StatusForbidden, "AccessDenied", "other/orders has no role"},
		{"another service account", tokenOf("shop", "unmapped", podOf("shop", "unmapped", "unmapped", "agent-1"), audience),
			http.StatusForbidden, "AccessDenied", "shop/unmapped has no role"},
		{"refused by the trust policy", tokenOf("shop", "impostor", podOf("shop", "impostor", "impostor", "agent-1"), audience),
			http.StatusForbidden, "AccessDenied", "AWS refuses"},
		{"another node", tokenOf("shop", "orders", podOf("shop", "elsewhere", "orders", "agent-2"), audience),
			http.StatusUnauthorized, "InvalidToken", `of the node "agent-2"`},
		{"bound to no pod", tokenOf("shop", "orders", pod{}, audience), http.StatusUnauthorized, "InvalidToken", "not bound to a pod"},
		{"another audience", tokenOf("shop", "orders", mine, "sts.amazonaws.com"), http.StatusUnauthorized, "InvalidToken", "audience"},
		{"a deleted pod", tokenOfGone, http.StatusUnauthorized, "InvalidToken", "invalid bearer token"},
		{"a changed signature", string(changed), http.StatusUnauthorized, "InvalidToken", "refuses the token"},
	} {
		status, answer := n.ask(t, n.pod, agentV4, test.token)
		t.Logf("%s: %d %s: %s", test.name, status, answer.Code, answer.Message)
		if status != test.status || test.code != "" && answer.Code != test.code || !strings.Contains(answer.Message, test.want) {
			t.Errorf("%s: %d %+v, want %d, %s and a message with %q", test.name, status, answer, test.status, test.code, test.want)
		}
		if other, twice := messages[answer.Message]; twice {
			t.Errorf("%s and %s have the same message: %s", test.name, other, answer.Message)
		}
		messages[answer.Message] = test.name
		if answer.AccessKeyID != "" || strings.Contains(answer.Message, good) || test.token != "" && strings.Contains(answer.Message, test.token) {
			t.Errorf("%s: a secret is in the answer", test.name)
		}
	}
}
