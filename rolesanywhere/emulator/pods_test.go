package emulator

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// podTags returns the session tags of EKS Pod Identity with changes, a list of keys and
// values, all of which are transitive. A tag with the value none is not sent.
//
// Source: Amazon EKS User Guide, "Grant Pods access to AWS resources based on tags".
func podTags(changes ...string) string {
	tags := []string{
		"eks-cluster-arn", "arn:aws:eks:us-east-1:111122223333:cluster/prod", "eks-cluster-name", "prod",
		"kubernetes-namespace", "shop", "kubernetes-service-account", "checkout",
		"kubernetes-pod-name", "checkout-7d4b9", "kubernetes-pod-uid", "6f3c2e7a-0d5b-4c1e-9a60-1f2d3c4b5a69",
	}
	for i := 0; i < len(changes); i += 2 {
		tags[slices.Index(tags, changes[i])+1] = changes[i+1]
	}
	form, n := url.Values{}, 0
	for i := 0; i < len(tags); i += 2 {
		if tags[i+1] == "none" {
			continue
		}
		n++
		member := ".member." + strconv.Itoa(n)
		form.Set("Tags"+member+".Key", tags[i])
		form.Set("Tags"+member+".Value", tags[i+1])
		form.Set("TransitiveTagKeys"+member, tags[i])
	}
	return form.Encode()
}

// The role of a pod is for one service account, and for machines with one organizational
// unit. The log says which condition is not met.
func TestRoleOfPod(t *testing.T) {
	const condition = `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"shop","aws:RequestTag/kubernetes-service-account":"checkout","aws:PrincipalTag/x509Subject/OU":"nodes"}}`
	whole := chainPolicy(allActions, condition)
	for _, tt := range []struct {
		name, policy, unit, tags string
		denied, why              string // action; "": allowed
	}{
		{"all tags", whole, "nodes", podTags(), "", ""},
		{"without the pod", whole, "nodes", podTags("kubernetes-pod-name", "none", "kubernetes-pod-uid", "none"), "", ""},
		{"another pod", whole, "nodes", podTags("kubernetes-pod-name", "other"), "", ""},
		{"another namespace", whole, "nodes", podTags("kubernetes-namespace", "other"), "sts:AssumeRole",
			"statement 1 requires aws:RequestTag/kubernetes-namespace = shop; the request has other"},
		{"another service account", whole, "nodes", podTags("kubernetes-service-account", "default"), "sts:AssumeRole",
			"statement 1 requires aws:RequestTag/kubernetes-service-account = checkout; the request has default"},
		{"no namespace", whole, "nodes", podTags("kubernetes-namespace", "none"), "sts:AssumeRole",
			"statement 1 requires aws:RequestTag/kubernetes-namespace = shop; the request has no kubernetes-namespace"},
		{"no tags", whole, "nodes", "", "sts:AssumeRole",
			"statement 1 requires aws:RequestTag/kubernetes-namespace = shop; the request has no kubernetes-namespace"},
		{"another unit", whole, "laptops", podTags(), "sts:AssumeRole",
			"statement 1 requires x509Subject/OU = nodes; the certificate has laptops"},
		{"no TagSession", chainPolicy(`["sts:AssumeRole","sts:SetSourceIdentity"]`, condition), "nodes", podTags(), "sts:TagSession",
			"statement 1 does not include the action"},
		{"no SetSourceIdentity", chainPolicy(`["sts:AssumeRole","sts:TagSession"]`, condition), "nodes", podTags(), "sts:SetSourceIdentity",
			"statement 1 does not include the action"},
		{"for another role", strings.Replace(whole, "role/base", "role/other", 1), "nodes", podTags(), "sts:AssumeRole",
			"statement 1 has the principal arn:aws:iam::111122223333:role/other; the caller is arn:aws:sts::111122223333:assumed-role/base/0abc"},
	} {
		var log strings.Builder
		w, _ := newChain(t, tt.policy, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		node := leafTemplate("node-1")
		node.Subject.OrganizationalUnit = []string{tt.unit}
		_, refused := w.assume(t, w.session(t, w.ca.issue(t, node)), tt.tags)
		w.stop()
		if tt.denied == "" {
			if refused.Code != "" {
				t.Errorf("%s: %s: %s", tt.name, refused.Code, refused.Message)
			}
			continue
		}
		if message := fmt.Sprintf(msgSTSDenied, "arn:aws:sts::111122223333:assumed-role/base/0abc", tt.denied, otherRole); refused.Code != codeSTSDenied || refused.Message != message {
			t.Errorf("%s: %s: %s, want %s", tt.name, refused.Code, refused.Message, message)
		}
		if want := "(trust policy does not allow " + tt.denied + ": " + tt.why + ")"; !strings.Contains(log.String(), want) {
			t.Errorf("%s: the log has no %s:\n%s", tt.name, want, log.String())
		}
	}
}

// A role that a pod assumes with its credentials can require the tags of the pod, too, and
// the pod cannot change them.
func TestRoleAfterRoleOfPod(t *testing.T) {
	const third = "arn:aws:iam::111122223333:role/third"
	w, _ := newChain(t, "", func(c *Config) {
		c.Roles = append(c.Roles, Role{ARN: third, TrustPolicy: `{"Statement":{"Effect":"Allow","Principal":{"AWS":"` + otherRole + `"},"Action":` + allActions + `,
			"Condition":{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"shop","aws:PrincipalTag/eks-cluster-name":"prod","aws:SourceIdentity":"CN=node-1"}}}}`})
	})
	node := w.session(t, w.ca.issue(t, leafTemplate("node-1")))
	for tags, code := range map[string]string{podTags(): "", podTags("kubernetes-namespace", "other"): codeSTSDenied, podTags("eks-cluster-name", "test"): codeSTSDenied} {
		pod, refused := w.assume(t, node, tags)
		if refused.Code != "" {
			t.Fatalf("%s: %s", refused.Code, refused.Message)
		}
		if _, refused := w.assume(t, pod.issued(t), "RoleArn="+third); refused.Code != code {
			t.Errorf("%s: %s: %s, want %q", tags, refused.Code, refused.Message, code)
		}
		if _, refused := w.assume(t, pod.issued(t), "RoleArn="+third+"&"+podTags()); refused.Code != codeSTSParameter || refused.Message != msgSTSTagConflict {
			t.Errorf("%s: %s, want %s", refused.Code, refused.Message, msgSTSTagConflict)
		}
	}
}
