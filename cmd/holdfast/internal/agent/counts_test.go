package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
)

// testSession returns a session of 12 hours.
func testSession(now time.Time) credentials.Credentials {
	return credentials.Credentials{
		AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "s3same-secret", SessionToken: "s3same-token",
		Expires: now.Add(12 * time.Hour).Truncate(time.Second).UTC(), AccountID: "111122223333",
	}
}

// All refusals are counted, and some are logged: of each pod, so that one does not hide the
// others, and of all. The number of codes is limited.
func TestRefusalsAreLimited(t *testing.T) {
	now := time.Unix(1e9, 0)
	var log strings.Builder
	c := newCounts(func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	lines := func() int { return strings.Count(log.String(), "credentials were refused") }
	refuse := func(address byte, uid, code string) {
		c.issued(podidentity.Issue{
			Pod: podidentity.Pod{UID: uid}, Address: netip.AddrFrom4([4]byte{10, 0, 0, address}),
			Err: &podidentity.RefusedError{Code: code, Reason: "no"},
		})
	}
	for range 50 {
		for range 20 {
			refuse(1, "", "InvalidToken")
		}
		now = now.Add(time.Second)
	}
	if lines() != 2*refusalsLogged { // two minutes begin
		t.Errorf("%d lines about one address", lines())
	}
	refuse(1, "known", "AccessDenied")
	refuse(2, "", "InvalidToken")
	if lines() != 2*refusalsLogged+2 {
		t.Errorf("an address hides a pod that is known, or another address:\n%s", &log)
	}
	now = now.Add(time.Minute)
	refuse(1, "", "InvalidToken")
	for _, missing := range []int{20*20 - refusalsLogged, 30*20 - refusalsLogged} { // the first minute had 20 seconds
		if !strings.Contains(log.String(), fmt.Sprintf("not_logged=%d\n", missing)) {
			t.Errorf("no line says that %d are missing:\n%s", missing, &log)
		}
	}
	now = now.Add(time.Second)
	before := lines()
	for i := range 2 * maxRefused {
		refuse(3, fmt.Sprint(i), fmt.Sprint("Code", i))
	}
	if n := lines() - before; n != refusalsLogged || len(c.refusals) > maxRefused {
		t.Errorf("%d lines about many pods; %d pods are remembered", n, len(c.refusals))
	}
	if _, refused := c.snapshot(); refused["InvalidToken"] != 50*20+2 || len(refused) > maxCodes+1 || refused["Other"] == 0 {
		t.Errorf("%d codes: %v", len(refused), refused)
	}
}

// A set of credentials is logged once for each pod and address.
func TestIssuesAreLoggedOnce(t *testing.T) {
	var log strings.Builder
	c := newCounts(time.Now, slog.New(slog.NewTextHandler(&log, nil)))
	first := podidentity.Issue{Pod: podidentity.Pod{UID: "a"}, RoleARN: testARN, Address: netip.MustParseAddr("10.0.0.1"), Expires: time.Now()}
	lines := 0
	for _, change := range []func(*podidentity.Issue){
		func(*podidentity.Issue) {}, func(i *podidentity.Issue) { i.Pod.UID = "b" }, func(i *podidentity.Issue) { i.RoleARN += "2" },
		func(i *podidentity.Issue) { i.Address = i.Address.Next() }, func(i *podidentity.Issue) { i.Expires = i.Expires.Add(time.Hour) },
	} {
		lines++
		i := first
		change(&i)
		for range 3 {
			c.issued(i)
		}
		if n := strings.Count(log.String(), "credentials were issued"); n != lines {
			t.Errorf("%d lines, want %d", n, lines)
		}
	}
	for i := range 2 * maxIssues {
		c.issued(podidentity.Issue{Pod: podidentity.Pod{UID: fmt.Sprint(i)}})
	}
	if len(c.issues) > maxIssues {
		t.Errorf("%d are remembered", len(c.issues))
	}
}

// The counters of a role end with its last entry.
func TestCountsOfRoles(t *testing.T) {
	c := newCounts(time.Now, slog.New(slog.DiscardHandler))
	failure := errors.New("no network")
	source := c.source(testARN, sourceFunc(func(context.Context) (credentials.Credentials, error) { return credentials.Credentials{}, failure }))
	if _, err := source.Credentials(t.Context()); !errors.Is(err, failure) {
		t.Error(err)
	}
	failure = nil
	_, _ = source.Credentials(t.Context())
	c.issued(podidentity.Issue{RoleARN: testARN})
	if roles, _ := c.snapshot(); roles[testARN] != (roleCounts{issued: 1, requests: 2, failures: 1}) {
		t.Errorf("%+v", roles)
	}
	c.keep(mapping{{"a", "b"}: {entry: entry{RoleARN: testARN}}})
	if roles, _ := c.snapshot(); len(roles) != 1 {
		t.Errorf("%+v", roles)
	}
	c.keep(mapping{})
	if roles, _ := c.snapshot(); len(roles) != 0 {
		t.Errorf("%+v", roles)
	}
}

// A base session that STS does not know is replaced, but not more than once a minute.
func TestUnknownSession(t *testing.T) {
	sessions, offset := 0, time.Duration(0)
	now := func() time.Time { return time.Now().Add(offset) }
	cache := &credentials.Cache{Now: now, Source: sourceFunc(func(context.Context) (credentials.Credentials, error) {
		sessions++
		c := testSession(now())
		c.AccessKeyID += fmt.Sprint(sessions)
		return c, nil
	})}
	g := &agent{app: front.App{Now: now}, base: &role.Role{Cache: cache}, cfg: config{log: slog.New(slog.DiscardHandler)}}
	ask := func() credentials.Credentials {
		t.Helper()
		c, err := cache.Credentials(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := ask()
	g.unknownSession(first)
	if ask() != first {
		t.Error("a new session was replaced")
	}
	offset = 2 * time.Minute
	g.unknownSession(first)
	second := ask()
	g.unknownSession(first) // of a request that began before
	g.unknownSession(second)
	if second == first || ask() != second || sessions != 2 {
		t.Errorf("%d sessions", sessions)
	}
}
