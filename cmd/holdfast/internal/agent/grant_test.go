package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/signer"
)

// A session name identifies the service account, also if it is cut off.
func TestSessionName(t *testing.T) {
	long := strings.Repeat("a", 63)
	seen := make(map[string]string)
	for _, account := range [][2]string{
		{"shop", "checkout"}, {"shop", "check.out"}, {"a", "b"}, {long, "b"}, {long, "c"}, {long[1:], "b"}, {"a", strings.Repeat("b", 62)}, {"a", strings.Repeat("b", 63)},
		{long, strings.Repeat("b", 253)}, {long, strings.Repeat("b", 252) + "c"}, {long, strings.Repeat("b", 252)},
	} {
		name, of := sessionName(account[0], account[1]), fmt.Sprint(account)
		if len(name) > maxSessionName || len(name) < 2 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.+") != "" {
			t.Errorf("%s: %q", of, name)
		}
		if other, twice := seen[name]; twice {
			t.Errorf("%s and %s are both %s", of, other, name)
		}
		seen[name] = of
	}
	if name := sessionName("shop", "checkout"); name != "shop.checkout" {
		t.Errorf("%q", name)
	}
}

func testSetup() role.Setup {
	return role.Setup{Config: rolesanywhere.Config{
		TrustAnchorARN: "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001",
		ProfileARN:     "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001",
		RoleARN:        "arn:aws:iam::111122223333:role/node",
	}}
}

// The tags are those of EKS Pod Identity, all of them transitive.
func TestTags(t *testing.T) {
	pod := podidentity.Pod{Namespace: "shop", ServiceAccount: "checkout", Name: "checkout-1", UID: "u", Node: "n"}
	for _, test := range []struct {
		e       entry
		cluster cluster
		want    string
	}{
		{entry{}, cluster{}, "kubernetes-namespace=shop kubernetes-service-account=checkout"},
		{entry{TagPod: true}, cluster{name: "lab"}, "eks-cluster-name=lab kubernetes-namespace=shop kubernetes-pod-name=checkout-1 kubernetes-pod-uid=u kubernetes-service-account=checkout"},
		{entry{}, cluster{arn: "arn:c"}, "eks-cluster-arn=arn:c kubernetes-namespace=shop kubernetes-service-account=checkout"},
	} {
		chain := chained(testSetup(), test.e, test.cluster, pod)
		var tags []string
		for _, key := range slices.Sorted(maps.Keys(chain.Tags)) {
			tags = append(tags, key+"="+chain.Tags[key])
		}
		if got := strings.Join(tags, " "); got != test.want || !slices.Equal(chain.TransitiveTagKeys, slices.Sorted(maps.Keys(chain.Tags))) {
			t.Errorf("%s, transitive %v; want %s", got, chain.TransitiveTagKeys, test.want)
		}
	}
}

// Settings that AWS would refuse are refused before there is a request.
func TestGranterCheck(t *testing.T) {
	pod := func(change func(*entry)) entry {
		e := entry{Namespace: "shop", ServiceAccount: "checkout", RoleARN: testARN}
		change(&e)
		return e
	}
	for _, test := range []struct {
		name    string
		e       entry
		cluster cluster
		ok      bool
	}{
		{"plain", pod(func(*entry) {}), cluster{"lab", "arn:aws:eks:us-east-1:111122223333:cluster/lab"}, true},
		{"direct", pod(func(e *entry) { e.Direct = true }), cluster{}, true},
		{"partition", pod(func(e *entry) { e.RoleARN = "arn:aws-cn:iam::111122223333:role/app" }), cluster{}, false},
		{"direct, partition", pod(func(e *entry) { e.Direct, e.RoleARN = true, "arn:aws-cn:iam::111122223333:role/app" }), cluster{}, false},
		{"account", pod(func(e *entry) { e.RoleARN = "arn:aws:iam::1:role/app" }), cluster{}, false},
		{"direct, other account", pod(func(e *entry) { e.Direct, e.RoleARN = true, "arn:aws:iam::444455556666:role/app" }), cluster{}, true},
		{"profile", pod(func(e *entry) { e.Direct, e.ProfileARN = true, "p" }), cluster{}, false},
		{"external ID", pod(func(e *entry) { e.ExternalID = "a b" }), cluster{}, false},
		{"cluster", pod(func(*entry) {}), cluster{name: strings.Repeat("x", 257)}, false},
	} {
		g := &granter{setup: testSetup(), cluster: test.cluster}
		if err := g.check(test.e); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		err              error
		refused, unknown bool
	}{
		{nil, false, false},
		{errors.New("AccessDenied"), false, false},
		{fmt.Errorf("x: %w", &rolesanywhere.APIError{StatusCode: 403, Code: "AccessDenied"}), true, false},
		{&rolesanywhere.APIError{StatusCode: 400, Code: "ValidationError"}, true, false},
		{&rolesanywhere.APIError{StatusCode: 400, Code: "Throttling"}, false, false},
		{&rolesanywhere.APIError{StatusCode: 503}, false, false},
		{&rolesanywhere.APIError{StatusCode: 403, Code: "InvalidClientTokenId"}, false, true},
		{&rolesanywhere.APIError{StatusCode: 403, Code: "ExpiredTokenException"}, false, true},
	} {
		if refused, unknown := isRefused(test.err), isUnknownSession(test.err); refused != test.refused || unknown != test.unknown {
			t.Errorf("%v: refused %t, unknown %t", test.err, refused, unknown)
		}
	}
}

// TestExplain: a hint names the roles of the agent, and no flag that it does not have.
func TestExplain(t *testing.T) {
	err := errors.New("refused")
	hint := signer.Hint(explain(signer.WithHint(err, "add sts:TagSession to the trust policy of the second role and to a policy of the first role, or leave out assume.Config.Tags")))
	if want := "add sts:TagSession to the trust policy of the pod's role and to a policy of the base role"; hint != want {
		t.Errorf("hint %q, want %q", hint, want)
	}
	if explain(nil) != nil || explain(err) != err {
		t.Error("errors without a hint change")
	}
}
