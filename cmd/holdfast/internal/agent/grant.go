package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/signer"
)

// The session tags of EKS Pod Identity.
//
// Source: Amazon EKS User Guide, "Grant Pods access to AWS resources based on tags".
const (
	tagClusterARN     = "eks-cluster-arn"
	tagClusterName    = "eks-cluster-name"
	tagNamespace      = "kubernetes-namespace"
	tagServiceAccount = "kubernetes-service-account"
	tagPodName        = "kubernetes-pod-name"
	tagPodUID         = "kubernetes-pod-uid"
)

// A granter says which credentials a pod gets. It is safe for concurrent use after its
// fields are set.
type granter struct {
	setup   role.Setup // of the base role, as it was configured
	base    *role.Role
	cluster cluster
	mapping func() mapping
	counts  *counts
	unknown func(credentials.Credentials) // called when STS does not accept a session of the base role
}

// A cluster is what session tags say about the cluster. Empty texts are left out.
type cluster struct{ name, arn string }

// grant is the Grant of a podidentity.Handler.
func (g *granter) grant(pod podidentity.Pod) (podidentity.Grant, error) {
	e, ok := g.mapping().of(pod)
	if !ok {
		return podidentity.Grant{}, &podidentity.RefusedError{
			Code: podidentity.AccessDenied, Reason: "service account " + pod.Namespace + "/" + pod.ServiceAccount + " has no role",
		}
	}
	key := e.grantKey
	if e.TagPod {
		key += podSeparator + pod.UID
	}
	return podidentity.Grant{Key: key, RoleARN: e.RoleARN, Open: func() (credentials.Source, error) {
		source, err := g.source(e.entry, pod)
		if err != nil {
			return nil, err
		}
		return g.counts.source(e.RoleARN, source), nil
	}}, nil
}

// podSeparator separates the key of an entry from the UID of a pod. No ARN contains it.
const podSeparator = "#pod="

// withoutPod returns the key of the entry in the key of a Grant.
func withoutPod(key string) string {
	key, _, _ = strings.Cut(key, podSeparator)
	return key
}

// source returns a source of the credentials of an entry for a pod.
func (g *granter) source(e entry, pod podidentity.Pod) (credentials.Source, error) {
	if e.Direct {
		config := direct(g.setup, e)
		config.CertificateName = g.setup.Key.CertificateName()
		return rolesanywhere.NewRotating(config, g.base.Identity)
	}
	assumed, err := chained(g.setup, e, g.cluster, pod).Source(g.setup.Config, g.base.Cache)
	if err != nil {
		return nil, err
	}
	return sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
		base, _ := g.base.Cache.Current(ctx) // without any, the source returns the error
		c, err := assumed.Credentials(ctx)
		if isUnknownSession(err) {
			g.unknown(base)
		}
		return c, explain(err)
	}), nil
}

// check is the check of a mapping.
func (g *granter) check(e entry) error {
	if e.Direct {
		return direct(g.setup, e).Check()
	}
	return chained(g.setup, e, g.cluster, podidentity.Pod{Namespace: e.Namespace, ServiceAccount: e.ServiceAccount}).Check(g.setup.Config)
}

// direct returns the configuration of CreateSession for an entry.
func direct(setup role.Setup, e entry) rolesanywhere.Config {
	config := setup.Config
	config.RoleARN, config.Duration = e.RoleARN, time.Duration(e.SessionDuration)*time.Second
	if e.ProfileARN != "" {
		config.ProfileARN = e.ProfileARN
	}
	return config
}

// chained returns the settings of AssumeRole for an entry. All tags are transitive, as
// those of EKS Pod Identity are.
func chained(setup role.Setup, e entry, c cluster, pod podidentity.Pod) flags.Chain {
	tags := map[string]string{tagNamespace: pod.Namespace, tagServiceAccount: pod.ServiceAccount}
	if e.TagPod {
		tags[tagPodName], tags[tagPodUID] = pod.Name, pod.UID
	}
	if c.name != "" {
		tags[tagClusterName] = c.name
	}
	if c.arn != "" {
		tags[tagClusterARN] = c.arn
	}
	chain := setup.Chain
	chain.RoleARN, chain.ExternalID = e.RoleARN, e.ExternalID
	chain.Duration = time.Duration(e.SessionDuration) * time.Second
	chain.SessionName = sessionName(pod.Namespace, pod.ServiceAccount)
	chain.Tags, chain.TransitiveTagKeys = tags, slices.Sorted(maps.Keys(tags))
	return chain
}

// maxSessionName is the maximum length of a role session name (AWS STS API Reference,
// AssumeRole).
const maxSessionName = 64

// sessionName returns the role session name for a service account. It is
// NAMESPACE.SERVICEACCOUNT, of which the first dot is the only ambiguous character, and
// it is not part of the name of a namespace. A name that is too long ends in a plus
// sign, which no other name has, and a hash.
func sessionName(namespace, serviceAccount string) string {
	name := namespace + "." + serviceAccount
	if len(name) <= maxSessionName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "+" + hex.EncodeToString(sum[:8])
	return name[:maxSessionName-len(hash)] + hash
}

// finalCodes are the codes of errors of AWS that the same request would get again.
var finalCodes = lookup.Table[string, bool]{
	{"AccessDenied", true},
	{"AccessDeniedException", true},
	{"PackedPolicyTooLarge", true},
	{"RegionDisabledException", true},
	{"ResourceNotFoundException", true},
	{"ValidationError", true},
	{"ValidationException", true},
}

// isRefused reports whether AWS has refused a session in a way that does not pass by
// itself.
func isRefused(err error) bool {
	var api *rolesanywhere.APIError
	return errors.As(err, &api) && finalCodes.Get(api.Code)
}

// explain adds the hint for a refusal of AWS. Other hints of AssumeRole are in the words of
// role chaining, which has flags that the agent does not have.
func explain(err error) error {
	var api *rolesanywhere.APIError
	hint := signer.Hint(err)
	switch {
	case errors.As(err, &api) && api.Code == "AccessDenied": // that of CreateSession is AccessDeniedException
		hint = "the trust policy of the pod's role must allow sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity for the base role, with conditions that the session tags of the pod meet, and a policy of the base role must allow all three for this role"
	case hint == "":
		return err
	}
	return signer.WithHint(err, strings.NewReplacer(
		"the first role", "the base role",
		"the second role", "the pod's role",
		", or leave out assume.Config.Tags", "",
		"assume.Config.Duration", "session_duration of the mapping",
	).Replace(hint))
}

// isUnknownSession reports whether STS does not accept the base session although this
// machine takes it for valid.
func isUnknownSession(err error) bool {
	var api *rolesanywhere.APIError
	return errors.As(err, &api) && api.StatusCode < http.StatusInternalServerError &&
		(strings.HasPrefix(api.Code, "ExpiredToken") || api.Code == "InvalidClientTokenId")
}

// A sourceFunc is a [credentials.Source].
type sourceFunc func(context.Context) (credentials.Credentials, error)

// Credentials implements [credentials.Source].
func (f sourceFunc) Credentials(ctx context.Context) (credentials.Credentials, error) { return f(ctx) }
