package kubernetes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// blocks returns the code blocks of docs/kubernetes.md in a language.
func blocks(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("the page has no block of %q", language)
	}
	return blocks
}

// A policy of IAM.
type policy struct {
	Statement []struct {
		Principal any
		Action    []string
		Resource  string
	}
}

// policies returns the policies on the page: those with a principal are trust policies.
func policies(t *testing.T) (trust []string, others []policy) {
	t.Helper()
	for _, block := range blocks(t, "json") {
		var p policy
		if err := json.Unmarshal([]byte(block), &p); err != nil {
			t.Fatalf("%v\n%s", err, block)
		}
		switch {
		case len(p.Statement) == 0: // not a policy
		case p.Statement[0].Principal != nil:
			trust = append(trust, block)
		default:
			others = append(others, p)
		}
	}
	return trust, others
}

func TestPoliciesOfPage(t *testing.T) {
	trust, others := policies(t)
	if len(trust) != 2 || len(others) != 1 {
		t.Fatalf("%d trust policies and %d others", len(trust), len(others))
	}
	for _, text := range trust {
		if _, err := trustpolicy.Parse([]byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	if got := others[0].Statement[0]; !slices.Equal(got.Action, trustpolicy.RolesAnywhereActions()) || got.Resource != "arn:aws:iam::111122223333:role/pods/*" {
		t.Errorf("the base role may %+v", got)
	}
}

// TestFilesOfPage: the files that commands on the page name are there.
func TestFilesOfPage(t *testing.T) {
	for _, block := range blocks(t, "") {
		for _, name := range regexp.MustCompile(`\b(docs|packaging)/[\w./-]+`).FindAllString(block, -1) {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Error(err)
			}
		}
	}
}

// The kinds of Cilium, as far as the page needs them.
const ciliumKinds = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ciliumnetworkpolicies.cilium.io}
spec:
  group: cilium.io
  scope: Namespaced
  names: {plural: ciliumnetworkpolicies, singular: ciliumnetworkpolicy, kind: CiliumNetworkPolicy}
  versions:
  - {name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// testPage: the API server accepts the YAML of the page. Of the objects of Cilium, only
// the syntax is checked.
func testPage(t *testing.T, c *cluster) {
	c.namespace(t, "shop", "", "orders")
	c.kubectl(t, "{apiVersion: v1, kind: Namespace, metadata: {name: holdfast-system}}", "apply", "--filename=-")
	c.kubectl(t, ciliumKinds, "apply", "--filename=-")
	c.kubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd/ciliumnetworkpolicies.cilium.io")
	for _, block := range blocks(t, "yaml") {
		if a := c.as(t, c.kubeconfig, block, "apply", "--dry-run=server", "--validate=strict", "--filename=-"); a.err != nil {
			t.Errorf("%v\n%s%s\n%s", a.err, a.stdout, a.stderr, block)
		}
	}
	t.Run("containers.md", func(t *testing.T) {
		text, err := os.ReadFile(root + "/docs/containers.md")
		if err != nil {
			t.Fatal(err)
		}
		_, block, _ := strings.Cut(string(text), "```yaml\n")
		block, _, _ = strings.Cut(block, "```")
		c.kubectl(t, block, "apply", "--dry-run=server", "--validate=strict", "--namespace=shop", "--filename=-")
	})
}
