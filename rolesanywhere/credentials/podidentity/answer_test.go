package podidentity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// badAnswers are answers that attest no pod of this node, and why.
var badAnswers = []struct {
	name   string
	change func(*answer)
	reason string
}{
	{"not authenticated", func(a *answer) { a.Status.Authenticated = false }, "does not authenticate the token"},
	{"pod deleted", func(a *answer) {
		a.Status.Authenticated, a.Status.Error = false, `[invalid bearer token, pod "cart-7d4b9" not found]`
	}, `the API server refuses the token: "[invalid bearer token, pod \"cart-7d4b9\" not found]"`},
	{"an error with anything", func(a *answer) {
		a.Status.Authenticated, a.Status.Error = false, "\x1b[2J\n\u202eevil\x00"
	}, `refuses the token: "\x1b[2J\n\u202eevil\x00"`},
	{"a long error", func(a *answer) {
		a.Status.Authenticated, a.Status.Error = false, "x"+strings.Repeat("ä", 10_000)
	}, "…"},
	{"an error with the token", func(a *answer) {
		a.Status.Authenticated, a.Status.Error = false, "bad: "+secretToken
	}, `"bad: [token]"`},
	{"an error with the signature", func(a *answer) {
		a.Status.Authenticated, a.Status.Error = false, "bad: "+secretToken[strings.LastIndex(secretToken, ".")+1:]
	}, `"bad: [token]"`},
	{"no audiences", func(a *answer) { a.Status.Audiences = nil }, `not for the audience "pods.eks.amazonaws.com"`},
	{"other audience", func(a *answer) { a.Status.Audiences = []string{"https://kubernetes.default.svc"} }, "not for the audience"},
	{"audience in another case", func(a *answer) { a.Status.Audiences = []string{"Pods.eks.amazonaws.com"} }, "not for the audience"},
	{"a person", func(a *answer) { a.Status.User.Username = "admin" }, `"admin", which is not a service account`},
	{"a node", func(a *answer) { a.Status.User.Username = "system:node:node-1" }, "not a service account"},
	{"nobody", func(a *answer) { a.Status.User.Username = "" }, "not a service account"},
	{"no service account", func(a *answer) { a.Status.User.Username = "system:serviceaccount:shop" }, "not a service account"},
	{"empty service account", func(a *answer) { a.Status.User.Username = "system:serviceaccount:shop:" }, "not a service account"},
	{"empty namespace", func(a *answer) { a.Status.User.Username = "system:serviceaccount::cart" }, "not a service account"},
	{"three names", func(a *answer) { a.Status.User.Username = "system:serviceaccount:shop:cart:x" }, "not a service account"},
	{"a namespace with a dot", func(a *answer) { a.Status.User.Username = "system:serviceaccount:a.b:cart" }, "not a service account"},
	{"a namespace in upper case", func(a *answer) { a.Status.User.Username = "system:serviceaccount:Shop:cart" }, "not a service account"},
	{"a long namespace", func(a *answer) { a.Status.User.Username = "system:serviceaccount:" + strings.Repeat("a", 64) + ":cart" }, "not a service account"},
	{"a path as service account", func(a *answer) { a.Status.User.Username = "system:serviceaccount:shop:../cart" }, "not a service account"},
	{"a user name that is huge", func(a *answer) { a.Status.User.Username = strings.Repeat("x", 50_000) }, "…"},
	{"no extra", func(a *answer) { a.Status.User.Extra = nil }, "not bound to a pod"},
	{"no pod", extra("pod-name"), "not bound to a pod"},
	{"no UID", extra("pod-uid"), "a pod without a UID"},
	{"no node", extra("node-name"), "does not name the node of its pod; Kubernetes 1.32"},
	{"empty pod", extra("pod-name", ""), `invalid pod-name ""`},
	{"empty UID", extra("pod-uid", ""), `invalid pod-uid ""`},
	{"empty node", extra("node-name", ""), `invalid node-name ""`},
	{"two pods", extra("pod-name", "cart-7d4b9", "other"), "2 values of pod-name"},
	{"two UIDs", extra("pod-uid", "1", "2"), "2 values of pod-uid"},
	{"two nodes", extra("node-name", testNode, "node-2"), "2 values of node-name"},
	{"a pod with a space", extra("pod-name", "cart 7d4b9"), "invalid pod-name"},
	{"a pod that begins with a hyphen", extra("pod-name", "-cart"), "invalid pod-name"},
	{"a pod with an empty part", extra("pod-name", "a..b"), "invalid pod-name"},
	{"a long pod", extra("pod-name", strings.Repeat("a", 254)), "invalid pod-name"},
	{"a UID with a line feed", extra("pod-uid", "1\n2"), "invalid pod-uid"},
	{"a long UID", extra("pod-uid", strings.Repeat("1", 129)), "invalid pod-uid"},
	{"a node that is not ASCII", extra("node-name", "nöde"), "invalid node-name"},
	{"another node", extra("node-name", "node-2"), `a pod of the node "node-2", but this is the node "node-1.example.com"`},
	{"a longer node", extra("node-name", testNode+".evil"), "but this is the node"},
}

var secretToken = makeToken(`{"exp":2000000000}`, "a pod")

func extra(key string, values ...string) func(*answer) {
	return func(a *answer) { a.Status.User.Extra[extraPrefix+key] = values }
}

func TestAnswer(t *testing.T) {
	got, err := pod(goodAnswer(nil), DefaultAudience, testNode, secretToken)
	if err != nil || got != testPod {
		t.Errorf("good answer: %+v, %v", got, err)
	}
	got, err = pod(goodAnswer(func(a *answer) { a.Status.Audiences = []string{"x", DefaultAudience} }), DefaultAudience, testNode, secretToken)
	if err != nil || got != testPod {
		t.Errorf("two audiences: %+v, %v", got, err)
	}
	got, _ = pod(goodAnswer(extra("node-name", "node-2")), DefaultAudience, testNode, secretToken)
	if want := (Pod{testPod.Namespace, testPod.ServiceAccount, testPod.Name, testPod.UID, "node-2"}); got != want {
		t.Errorf("another node: %+v", got)
	}
	for _, test := range badAnswers {
		got, err := pod(goodAnswer(test.change), DefaultAudience, testNode, secretToken)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != InvalidToken || !strings.Contains(refused.Reason, test.reason) || (got != Pod{}) != strings.Contains(test.reason, "but this is the node") {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		} else {
			checkReason(t, refused.Reason, secretToken)
		}
	}
}

// TestNotJSON: an answer that is not a TokenReview at all says nothing about the token.
func TestNotJSON(t *testing.T) {
	for _, body := range []string{"", "ok", "<html>", "[]", `"x"`, `{"kind":1}`, `{"status":{"authenticated":"true"}}`, string(goodAnswer(nil)) + "{}", "{}",
		string(goodAnswer(func(a *answer) { a.Kind = "SubjectAccessReview" })),
		string(goodAnswer(func(a *answer) { *a = answer{APIVersion: "v1", Kind: "Status"} })),
		string(goodAnswer(func(a *answer) { a.APIVersion = "authentication.k8s.io/v1beta1" })),
		string(goodAnswer(nil)[:100]), strings.Repeat("[", 60_000)} {
		got, err := pod([]byte(body), DefaultAudience, testNode, secretToken)
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) || got != (Pod{}) {
			t.Errorf("%.40q: %+v, %v", body, got, err)
		}
	}
}

func checkReason(t *testing.T, reason, token string) {
	t.Helper()
	if len(reason) > 4*300+200 || !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("the reason is not clean: %.400q", reason)
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) >= 16 && strings.Contains(reason, part) {
			t.Errorf("the reason has the token: %.400q", reason)
		}
	}
}

func FuzzReview(f *testing.F) {
	f.Add(goodAnswer(nil))
	for _, test := range badAnswers {
		f.Add(goodAnswer(test.change))
	}
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := pod(body, DefaultAudience, testNode, secretToken)
		if err != nil {
			checkReason(t, err.Error(), secretToken)
			if got != (Pod{}) && (!isRefusal(err) || got.Node == testNode) {
				t.Fatalf("%+v with %v", got, err)
			}
			return
		}
		var a answer
		if json.Unmarshal(body, &a) != nil || !a.Status.Authenticated || got.Node != testNode || got.UID == "" || !isSubdomain(got.Name) ||
			a.Status.User.Username != fmt.Sprintf("system:serviceaccount:%s:%s", got.Namespace, got.ServiceAccount) {
			t.Fatalf("%+v from %q", got, body)
		}
	})
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		s                string
		label, subdomain bool
	}{
		{"a", true, true}, {"kube-system", true, true}, {"0", true, true}, {strings.Repeat("a", 63), true, true},
		{"a.b", false, true}, {strings.Repeat("a", 64), false, true}, {strings.Repeat("a", 253), false, true},
		{"", false, false}, {"-a", false, false}, {"a-", false, false}, {"a_b", false, false}, {"A", false, false},
		{".a", false, false}, {"a.", false, false}, {"a.-b", false, false}, {"a/b", false, false}, {"ä", false, false},
		{strings.Repeat("a", 254), false, false},
	} {
		if isLabel(test.s) != test.label || isSubdomain(test.s) != test.subdomain {
			t.Errorf("%q: label %t, subdomain %t", test.s, isLabel(test.s), isSubdomain(test.s))
		}
	}
}

func TestMemory(t *testing.T) {
	var m memory[int, string]
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	at := func(s time.Duration) time.Time { return now.Add(s * time.Second) }
	m.put(1, "a", now, at(3600))
	m.put(2, "b", now, at(10))
	m.put(3, "c", now, now)
	for _, test := range []struct {
		key   int
		after time.Duration
		want  string
	}{
		{1, 0, "a"}, {1, 59, "a"}, {2, 9, "b"}, {2, 10, ""}, {3, 0, ""}, {4, 0, ""}, {1, 60, ""}, {1, 1, ""}, // forgotten
	} {
		if got, found := m.get(test.key, at(test.after)); got != test.want || found != (got != "") {
			t.Errorf("%d after %d s: %q, %t", test.key, test.after, got, found)
		}
	}
	m.put(1, "a", now, at(60))
	if _, found := m.get(1, at(-1)); found {
		t.Error("a value was found before it was remembered: the clock was set back")
	}
	for i := range maxRemembered + 5 {
		m.put(i, "x", now, at(60))
	}
	_, first := m.get(4, now)
	_, last := m.get(5, now)
	if len(m.all) != maxRemembered || m.order.Len() != maxRemembered || first || !last {
		t.Errorf("%d values, %t, %t", len(m.all), first, last)
	}
	m.put(7, "y", at(60), at(61))
	if len(m.all) != 1 || m.order.Len() != 1 {
		t.Errorf("%d values after a minute", len(m.all))
	}
}
