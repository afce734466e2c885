//go:build linux

package agent_test

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
)

// With 200 pods of 20 roles, calls of AWS depend on the roles and on the life of
// credentials, and not on the pods, and the agent needs less than 40 MB.
func TestLoad(t *testing.T) {
	t.Parallel()
	const (
		life      = 12 * time.Second
		lifetimes = 3
		// earliest is the earliest renewal, a third and 35 % before the end
		// of credentials, of which the time is rounded down to seconds.
		earliest = (life - time.Second) * (100 - 34 - 35) / 100
	)
	h := newHerd(t, func(c *emulator.Config) { c.Faults.SessionLifetime = life })
	h.program, h.least = clitest.Build(t, h.dir, "released", clitest.Package), life/10
	begin := time.Now()
	h.start(t)
	clitest.WaitReady(t, h.Served)
	stop := h.load(t, 100*time.Millisecond, h.check(t))
	h.awaitWarm(t)
	for range lifetimes {
		end := time.Now().Add(life)
		h.checkCredentials(t)
		for time.Now().Before(end) && !t.Failed() {
			h.awaitAnswers(t, atATime)
		}
	}
	stop()
	h.checkKeys(t)
	took := time.Since(begin)
	calls, sessions, reviews := h.aws.assumed.Load(), h.aws.sessions.Load(), h.kube.reviews.Load()
	renewals := int64(took/earliest) + 2
	if calls < herdRoles*lifetimes || calls > herdRoles*renewals || calls > herdPods*lifetimes/2 {
		t.Errorf("%d calls of AssumeRole in %v, want %d to %d", calls, took, herdRoles*lifetimes, herdRoles*renewals)
	}
	if sessions < lifetimes || sessions > renewals {
		t.Errorf("%d calls of CreateSession in %v, want %d to %d", sessions, took, lifetimes, renewals)
	}
	// One more is the probe after the start.
	if most := herdPods*(int64(took/time.Minute)+1) + 1; reviews < herdPods || reviews > most {
		t.Errorf("%d reviews of tokens in %v, want %d to %d", reviews, took, herdPods, most)
	}
	peak := clitest.PeakRSS(t, h.Process.Pid) * (1 << 20) / 1e6
	if peak >= 40 {
		t.Errorf("peak memory: %.1f MB", peak)
	}
	t.Logf("%d requests in %v: %d calls of AssumeRole, %d of CreateSession, %d reviews, peak memory %.1f MB, %d times 503",
		h.answered.Load(), took.Round(time.Second), calls, sessions, reviews, peak, h.refused.Load())
}

// Killed under load and started again, the agent goes on with the session that it kept.
// The credentials that pods have stay valid, and pods that try again get theirs.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHerd(t, nil)
	addr := fmt.Sprintf("127.0.0.1:%d", clitest.FreePort(t))
	start := func() {
		t.Helper()
		h.startAt(t, "--listen", addr, "--state", "session")
		clitest.WaitReady(t, h.Served)
	}
	start()
	stop := h.load(t, 250*time.Millisecond, h.check(t))
	const kills = 3
	for range kills {
		h.awaitWarm(t)
		h.awaitAnswers(t, herdPods)
		clitest.Eventually(t, "the state is there", func() bool { _, err := os.Stat(h.path("session")); return err == nil })
		h.down.Store(true)
		if err := h.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = h.End() // it was killed
		h.checkCredentials(t)
		lost := h.lost.Load()
		clitest.Eventually(t, "pods miss the agent", func() bool { return h.lost.Load() > lost })
		h.disturb(all)
		h.down.Store(false)
		start()
	}
	h.awaitWarm(t)
	h.awaitAnswers(t, herdPods)
	stop()
	h.checkCredentials(t)
	h.checkKeys(t)
	if n := h.aws.sessions.Load(); n != 1 {
		t.Errorf("%d calls of CreateSession", n)
	}
	if n := h.aws.assumed.Load(); n != herdRoles*(kills+1) {
		t.Errorf("%d calls of AssumeRole, want %d", n, herdRoles*(kills+1))
	}
	t.Logf("%d requests got credentials, %d were told to come again, %d had no connection", h.answered.Load(), h.refused.Load(), h.lost.Load())
}

// Without the API server, pods that it has named in the last minute get credentials. After
// that they are told to come again, until it is back.
func TestAPIServerGone(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	h := newHerd(t, nil)
	h.start(t)
	clitest.WaitReady(t, h.Served)
	begin := time.Now() // no review is older
	var (
		mu      sync.Mutex
		refused = make(map[*herdPod]bool)
		healed  time.Time
		late    int // 503s after that
	)
	check := h.check(t)
	stop := h.load(t, 250*time.Millisecond, func(r response) {
		// Later, any review may have been forgotten.
		r.strict = r.strict && time.Since(begin) < time.Minute
		check(r)
		if r.err != nil {
			t.Error(r)
		}
		if r.status == http.StatusServiceUnavailable {
			if held := time.Since(r.began); held < time.Second {
				t.Errorf("it was not held, but told to come again after %v", held)
			}
			mu.Lock()
			defer mu.Unlock()
			refused[r.pod] = true
			if !healed.IsZero() && r.began.After(healed) {
				late++
			}
		}
	})
	h.awaitWarm(t)
	gone := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	h.kube.fault.Store(&gone)
	down := time.Now()
	reviews := h.kube.reviews.Load()
	h.awaitAnswers(t, 2*herdPods) // from memory
	awaitRefusals := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(refused) == herdPods
	}
	for !awaitRefusals() && time.Since(down) < 4*time.Minute && !t.Failed() {
		time.Sleep(100 * time.Millisecond)
	}
	if !awaitRefusals() {
		t.Errorf("%d pods were told to come again, want all", len(refused))
	}
	if h.kube.reviews.Load() == reviews {
		t.Error("nobody asked the API server")
	}
	h.checkCredentials(t)
	outage := time.Since(down)
	mu.Lock()
	healed = time.Now()
	mu.Unlock()
	h.disturb(all)
	h.kube.fault.Store(nil)
	h.awaitWarm(t)
	back := time.Since(healed)
	stop()
	h.checkCredentials(t)
	h.checkKeys(t)
	if n := h.aws.assumed.Load(); n != herdRoles {
		t.Errorf("%d calls of AssumeRole, want %d: nothing was lost", n, herdRoles)
	}
	t.Logf("%v without the API server; after that, all pods have credentials within %v, %d requests failed", outage.Round(time.Second), back.Round(time.Millisecond), late)
}

// While STS throttles, at the start and at each renewal, pods that have credentials keep
// valid ones.
func TestThrottledUnderLoad(t *testing.T) {
	t.Parallel()
	const life = 30 * time.Second
	for name, limit := range map[string]func(*emulator.Config, map[string]float64){
		"all":    func(c *emulator.Config, rates map[string]float64) { c.Rates = rates },
		"caller": func(c *emulator.Config, rates map[string]float64) { c.CallerRates = rates },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHerd(t, func(c *emulator.Config) {
				c.Faults.SessionLifetime = life
				limit(c, map[string]float64{"AssumeRole": 3})
			})
			h.start(t)
			clitest.WaitReady(t, h.Served)
			stop := h.load(t, 500*time.Millisecond, h.check(t))
			h.awaitWarm(t)
			h.checkCredentials(t)
			for end := time.Now().Add(life); time.Now().Before(end) && !t.Failed(); {
				h.awaitAnswers(t, atATime)
			}
			stop()
			h.checkCredentials(t)
			throttled := h.checkKeys(t)
			if throttled == 0 {
				t.Error("STS throttled nothing")
			}
			t.Logf("%d requests got credentials, %d were told to come again; STS answered %d calls and throttled %d",
				h.answered.Load(), h.refused.Load(), h.aws.assumed.Load(), throttled)
		})
	}
}

// Roles change hands under load. Pods that keep theirs notice nothing, and the others get
// credentials of their new role once the agent has read the mapping.
func TestRolesChangeHands(t *testing.T) {
	t.Parallel()
	h := newHerd(t, nil)
	h.start(t)
	clitest.WaitReady(t, h.Served)
	stop := h.load(t, 250*time.Millisecond, h.check(t))
	h.awaitWarm(t)
	const mappings = 5
	for generation := int64(1); generation <= mappings; generation++ {
		h.generated.Store(generation)
		h.disturb(func(p *herdPod) bool { return p.account%2 == 1 })
		read := len(h.logLines("the mapping file was read"))
		h.write(t, "pods.toml", herdMapping(generation))
		if err := h.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		clitest.Eventually(t, "the mapping is read", func() bool { return len(h.logLines("the mapping file was read")) > read })
		h.read.Store(generation)
		h.disturb(func(p *herdPod) bool { return p.account%2 == 1 }) // all that follows is of the new role
		h.awaitWarm(t)
		h.awaitAnswers(t, herdPods)
		h.checkCredentials(t)
	}
	stop()
	h.checkKeys(t)
	if n := h.aws.assumed.Load(); n < herdRoles+mappings*herdRoles/2 || n > herdRoles+2*mappings*herdRoles/2 {
		t.Errorf("%d calls of AssumeRole in %d mappings", n, mappings+1)
	}
	t.Logf("%d requests got credentials, %d were told to come again", h.answered.Load(), h.refused.Load())
}
