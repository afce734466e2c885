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

// refusalsLogged is how many refusals are logged each second. A pod can cause them at
// any rate; the counters have all of them.
const refusalsLogged = 10

// maxIssues limits how many issues are remembered; after that, all are forgotten. A node
// has some hundred pods, and each gets a set of credentials about twice an hour.
const maxIssues = 20_000

// An issue is a set of credentials that a pod got.
type issue struct {
	uid, roleARN string
	address      netip.Addr
	expires      time.Time
}

// counts counts what the agent has done, and writes the audit log. It is safe for
// concurrent use.
type counts struct {
	now func() time.Time
	log *slog.Logger

	mu       sync.Mutex
	roles    map[string]*roleCounts // by ARN; those of roles that are not mapped any more are removed
	issues   map[issue]bool         // that are in the log
	refused  map[string]int         // by code
	second   time.Time              // in which refusals are counted for refusalsLogged
	logged   int                    // refusals in this second
	withheld int                    // refusals that were not logged since the last one that was
}

// roleCounts are the counters of a role.
type roleCounts struct{ issued, requests, failures int }

func newCounts(now func() time.Time, log *slog.Logger) *counts {
	return &counts{now: now, log: log, roles: make(map[string]*roleCounts), issues: make(map[issue]bool), refused: make(map[string]int)}
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
	if report, withheld := c.refuse(code); report {
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

// refuse counts a refusal. It reports whether it is logged, and how many were not since
// the last one.
func (c *counts) refuse(code string) (report bool, withheld int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.refused[code]; !known && len(c.refused) >= maxCodes {
		code = "Other"
	}
	c.refused[code]++
	if now := c.now().Truncate(time.Second); !now.Equal(c.second) {
		c.second, c.logged = now, 0
	}
	if c.logged++; c.logged > refusalsLogged {
		c.withheld++
		return false, 0
	}
	withheld, c.withheld = c.withheld, 0
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
