// Package podidentity serves credentials to the pods of a Kubernetes node, as the
// agent of EKS Pod Identity does: a pod sends its projected service account token to
// an address of its node, and receives the credentials of the role of its service
// account.
//
//   - A [Reviewer] checks tokens with the TokenReview API.
//   - A [Pool] keeps the credentials of roles, and renews those that pods use.
//   - A [Handler] is the HTTP endpoint that joins both.
//
// A token is the only proof of a pod's identity. It is bound to the pod, to its
// service account and to an audience, and names the node of the pod, so that a token
// that was stolen is of no use on another node, and of none after the pod was deleted.
//
// Sources: Kubernetes API reference, TokenReview; Kubernetes documentation, "Managing
// Service Accounts"; Amazon EKS User Guide, "Learn how EKS Pod Identity grants pods
// access to AWS services"; AWS SDKs and Tools Reference Guide, "Container credential
// provider".
package podidentity

import "time"

const (
	// DefaultAudience is the audience of the tokens of EKS Pod Identity.
	DefaultAudience = "pods.eks.amazonaws.com"

	// Path is the path at which clients read credentials.
	Path = "/v1/credentials"

	// DefaultHold is how long a request without valid credentials waits. The
	// AWS SDK for Python gives up after 2 seconds; the one for Go repeats a
	// request that failed within 0.2 seconds and then gives up.
	DefaultHold = 1500 * time.Millisecond
)

// A Pod is the identity that the API server attests for a token. All fields are set,
// and are valid names of Kubernetes.
type Pod struct{ Namespace, ServiceAccount, Name, UID, Node string }

// The codes of refusals.
const (
	MalformedToken = "MalformedToken" // no token, or not a token
	InvalidToken   = "InvalidToken"
	ExpiredToken   = "ExpiredToken"
	AccessDenied   = "AccessDenied" // the token is good, but the pod gets nothing
)

// A RefusedError is a final refusal: the same request will not succeed later. All
// other errors of this package are temporary. It contains no secrets.
type RefusedError struct {
	Code   string // for clients; one of those above, or another
	Reason string // for people
}

func (e *RefusedError) Error() string { return e.Reason }
