package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
)

// maxCodes limits the number of codes of refusals that have a counter of their own.
const maxCodes = 32

// refusalsLogged is how many refusals are logged each second, and each minute for one pod
// and address; before it is known, a pod is one with all others at its address. A pod can
// cause them at any rate; the counters have all of them.
const refusalsLogged = 10

// maxRefused limits how many pods and addresses with refusals are remembered; after that,
// all are forgotten.
const maxRefused = 2_000

// maxIssues limits how many issues are remembered; after that, all are forgotten. A node
// has some hundred pods, and each gets a set of credentials about twice an hour.
const maxIssues = 20_000

// An issue is a set of credentials that a pod got.
type issue struct {
	uid, roleARN string
	address      netip.Addr
	expires      time.Time
}

// A refusedPod is a pod and an address with refusals. The UID is empty if the pod is not
// known.
type refusedPod struct {
	uid     string
	address netip.Addr
}

// refusals are those of a refusedPod.
type refusals struct {
	budget
	withheld int // that were not logged since the last one that was
}

// A budget is how many refusals were logged in a period.
type budget struct {
	start time.Time
	spent int
}

// spend reports whether another one may be logged.
func (b *budget) spend(now time.Time, period time.Duration) bool {
	if start := now.Truncate(period); !start.Equal(b.start) {
		b.start, b.spent = start, 0
	}
	b.spent++
	return b.spent <= refusalsLogged
}

// counts counts what the agent has done, and writes the audit log. It is safe for
// concurrent use.
type counts struct {
	now func() time.Time
	log *slog.Logger

	mu       sync.Mutex
	roles    map[string]*roleCounts   // by ARN; those of roles that are not mapped any more are removed
	issues   map[issue]bool           // that are in the log
	refused  map[string]int           // by code
	refusals map[refusedPod]*refusals // for the log
	all      budget                   // of all pods
}

// roleCounts are the counters of a role.
type roleCounts struct{ issued, requests, failures int }

func newCounts(now func() time.Time, log *slog.Logger) *counts {
	return &counts{now: now, log: log, roles: make(map[string]*roleCounts), issues: make(map[issue]bool), refused: make(map[string]int), refusals: make(map[refusedPod]*refusals)}
}

// of returns the counters of a role. The caller holds c.mu.
func (c *counts) of(arn string) *roleCounts {
	r := c.roles[arn]
	if r == nil {
		r = new(roleCounts)
		c.roles[arn] = r
	}
	return r
}

// keep removes the counters of all roles that a new mapping does not have.
func (c *counts) keep(m mapping) {
	mapped := make(map[string]bool)
	for _, e := range m {
		mapped[e.RoleARN] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.roles, func(arn string, _ *roleCounts) bool { return !mapped[arn] })
}

// source returns a source that counts the calls of another one.
func (c *counts) source(arn string, source credentials.Source) credentials.Source {
	return sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
		creds, err := source.Credentials(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		r := c.of(arn)
		r.requests++
		if err != nil {
			r.failures++
		}
		return creds, err
	})
}

// issued is called for each response to a pod. It logs each set of credentials that a pod
// gets once: programs may ask for the same one at any rate.
func (c *counts) issued(i podidentity.Issue) {
	if i.Err == nil {
		if c.isFirst(i) {
			c.log.Info("credentials were issued", append(about(i), "expires", i.Expires.UTC().Format(time.RFC3339))...)
		}
		return
	}
	code := podidentity.AccessDenied
	var refused *podidentity.RefusedError
	var api *rolesanywhere.APIError
	switch {
	case errors.As(i.Err, &refused):
		code = refused.Code
	case errors.As(i.Err, &api):
		code = api.Code
	}
	if report, withheld := c.refuse(code, refusedPod{i.Pod.UID, i.Address}); report {
		args := append(about(i), "code", code, "reason", front.Redact(i.Err.Error(), nil))
		if withheld > 0 {
			args = append(args, "not_logged", withheld)
		}
		c.log.Warn("credentials were refused", args...)
	}
}

// isFirst counts a response with credentials, and reports whether the pod gets them for
// the first time.
func (c *counts) isFirst(i podidentity.Issue) bool {
	key := issue{i.Pod.UID, i.RoleARN, i.Address, i.Expires.UTC()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(i.RoleARN).issued++
	if c.issues[key] {
		return false
	}
	if len(c.issues) >= maxIssues {
		clear(c.issues)
	}
	c.issues[key] = true
	return true
}

// about describes the pod and the role of an Issue.
func about(i podidentity.Issue) []any {
	return []any{
		"namespace", i.Pod.Namespace, "service_account", i.Pod.ServiceAccount, "pod", i.Pod.Name, "pod_uid", i.Pod.UID,
		"role_arn", i.RoleARN, "address", i.Address.String(),
	}
}

// refuse counts a refusal. It reports whether it is logged, and how many of the same pod
// and address were not since the last one.
func (c *counts) refuse(code string, pod refusedPod) (report bool, withheld int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.refused[code]; !known && len(c.refused) >= maxCodes {
		code = "Other"
	}
	c.refused[code]++
	r := c.refusals[pod]
	if r == nil {
		if len(c.refusals) >= maxRefused {
			clear(c.refusals)
		}
		r = new(refusals)
		c.refusals[pod] = r
	}
	if now := c.now(); !r.spend(now, time.Minute) || !c.all.spend(now, time.Second) {
		r.withheld++
		return false, 0
	}
	withheld, r.withheld = r.withheld, 0
	return true, withheld
}

// snapshot returns copies of the counters.
func (c *counts) snapshot() (roles map[string]roleCounts, refused map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	roles = make(map[string]roleCounts, len(c.roles))
	for arn, r := range c.roles {
		roles[arn] = *r
	}
	return roles, maps.Clone(c.refused)
}

// sorted returns the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
