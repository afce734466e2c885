package podidentity

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	apiVersion = "authentication.k8s.io/v1"
	kind       = "TokenReview"

	// extraPrefix begins the keys of user.extra that the API server sets.
	extraPrefix = "authentication.kubernetes.io/"
)

// A request is a TokenReview for the API server.
type request struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Spec       requestSpec `json:"spec"`
}

type requestSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

// An answer has the fields of a TokenReview that matter here.
type answer struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Status     struct {
		Authenticated bool     `json:"authenticated"`
		Audiences     []string `json:"audiences"`
		Error         string   `json:"error"`
		User          struct {
			Username string              `json:"username"`
			Extra    map[string][]string `json:"extra"`
		} `json:"user"`
	} `json:"status"`
}

// pod returns the pod that the API server attests in the body of an answer for a token of
// this audience. The error is a [*RefusedError] unless the body is not a TokenReview. If it is
// a pod of another node, the pod is returned with the error.
func pod(body []byte, audience, node, token string) (Pod, error) {
	var a answer
	if json.Unmarshal(body, &a) != nil {
		return Pod{}, errors.New("the answer of the API server is not a TokenReview in JSON")
	}
	refuse := func(format string, args ...any) (Pod, error) {
		return Pod{}, &RefusedError{InvalidToken, fmt.Sprintf(format, args...)}
	}
	status := &a.Status
	switch {
	case a.APIVersion != apiVersion || a.Kind != kind:
		return Pod{}, fmt.Errorf("the API server answered with the kind %s of %s instead of a %s", quote(without(a.Kind, token)), quote(without(a.APIVersion, token)), kind)
	case !status.Authenticated && status.Error != "":
		return refuse("the API server refuses the token: %s", quote(without(status.Error, token)))
	case !status.Authenticated:
		return refuse("the API server does not authenticate the token")
	case !slices.Contains(status.Audiences, audience):
		// A server that knows no audiences leaves the list out.
		return refuse("the token is not for the audience %s", quote(audience))
	}
	p := Pod{}
	account, isAccount := strings.CutPrefix(status.User.Username, "system:serviceaccount:")
	p.Namespace, p.ServiceAccount, _ = strings.Cut(account, ":")
	if !isAccount || !isLabel(p.Namespace) || !isSubdomain(p.ServiceAccount) {
		return refuse("the token belongs to %s, which is not a service account", quote(without(status.User.Username, token)))
	}
	for _, field := range []struct {
		to           *string
		key, missing string
		valid        func(string) bool
	}{
		{&p.Name, "pod-name", "the token is not bound to a pod", isSubdomain},
		{&p.UID, "pod-uid", "the token is bound to a pod without a UID", isUID},
		{&p.Node, "node-name", "the token does not name the node of its pod; Kubernetes 1.32 and later do", isSubdomain},
	} {
		values := status.User.Extra[extraPrefix+field.key]
		switch {
		case len(values) == 0:
			return refuse("%s", field.missing)
		case len(values) > 1:
			return refuse("the API server attests %d values of %s", len(values), field.key)
		case !field.valid(values[0]):
			return refuse("the API server attests the invalid %s %s", field.key, quote(without(values[0], token)))
		}
		*field.to = values[0]
	}
	if p.Node != node {
		_, err := refuse("the token belongs to a pod of the node %s, but this is the node %s", quote(p.Node), quote(node))
		return p, err
	}
	return p, nil
}

// isLabel reports whether s is a label of RFC 1123, as the name of a namespace is.
func isLabel(s string) bool { return len(s) <= 63 && isPart(s) }

// isSubdomain reports whether s is a subdomain of RFC 1123 in the form of Kubernetes, as
// most names are: the parts between its dots may be longer than a label.
func isSubdomain(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !isPart(part) {
			return false
		}
	}
	return len(s) <= 253
}

func isPart(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[len(s)-1] != '-'
}

// isUID reports whether s can be the UID of an object. Kubernetes uses UUIDs, but does not
// promise it.
func isUID(s string) bool {
	const others = "-_."
	for i := range len(s) {
		c := s[i]
		if lower := c | 0x20; (lower < 'a' || lower > 'z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// without removes the token, and each segment of it, from a text of the API server.
func without(text, token string) string {
	const secretLength = 16 // shorter segments are in no token that is worth something
	for _, secret := range append([]string{token}, strings.Split(token, ".")...) {
		if len(secret) >= secretLength {
			text = strings.ReplaceAll(text, secret, "[token]")
		}
	}
	return text
}

// quote quotes the beginning of a text that can contain anything.
func quote(text string) string {
	const limit = 300
	if len(text) > limit {
		end := limit
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return fmt.Sprintf("%q", text)
}
