//go:build linux

package agent_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
)

// The size of a herd: 200 pods of 20 service accounts, each of which has a role, and how
// many requests are sent at a time.
const (
	herdPods, herdRoles, atATime = 200, 20, 64
)

// A herd is a scene with many pods, which ask for credentials all the time. They are
// tolerant, as the SDKs of AWS are, only until they have credentials: they come again
// after a 503 or without a connection.
type herd struct {
	*scene
	pods   []*herdPod
	client *http.Client
	url    string                // of the agent; set by load
	least  time.Duration         // for which all credentials must be valid
	events *clitest.LockedBuffer // CloudTrail records of the emulator

	down      atomic.Bool  // the agent is being killed
	generated atomic.Int64 // mappings that were written; the first is 0
	read      atomic.Int64 // the last one that the agent is known to have read
	answered  atomic.Int64 // requests that got credentials
	refused   atomic.Int64 // 503s
	lost      atomic.Int64 // connections

	mu   sync.Mutex
	keys map[gotKey]bool
}

// A herdPod is a pod of the service account shop/app-ACCOUNT.
type herdPod struct {
	token   string
	account int
	// epoch counts what may make the pod wait for credentials again. In an
	// epoch in which it got some, it must get them for each request.
	epoch, warm atomic.Int64
	last        atomic.Pointer[answer]
}

// A gotKey is an access key that a pod got while these mappings could be in use.
type gotKey struct {
	id       string
	account  int
	from, to int64
}

func newHerd(t testing.TB, change func(*emulator.Config)) *herd {
	t.Helper()
	h := &herd{events: new(clitest.LockedBuffer), keys: make(map[gotKey]bool)}
	h.scene = newScene(t, func(c *emulator.Config) {
		for i := range herdRoles {
			c.Roles = append(c.Roles, emulator.Role{ARN: herdRole(i)})
		}
		c.Events = h.events
		if change != nil {
			change(c)
		}
	})
	for i := range herdPods {
		account := i % herdRoles
		h.pods = append(h.pods, &herdPod{token: h.kube.pod("shop", fmt.Sprint("app-", account), fmt.Sprint("pod-", i)), account: account})
		h.pods[i].epoch.Store(1)
	}
	h.write(t, "pods.toml", herdMapping(0))
	transport := &http.Transport{MaxIdleConnsPerHost: atATime}
	h.client = &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	return h
}

func herdRole(i int) string { return fmt.Sprintf("arn:aws:iam::111122223333:role/herd-%d", i) }

// roleOf is the role of an account in a mapping: even accounts keep theirs, odd ones move
// to that of the next odd account in each mapping.
func roleOf(account int, generation int64) int {
	if account%2 == 0 {
		return account
	}
	return (account + 2*int(generation)) % herdRoles
}

func herdMapping(generation int64) string {
	var m strings.Builder
	for i := range herdRoles {
		fmt.Fprintf(&m, "[[pod]]\nnamespace = \"shop\"\nservice_account = \"app-%d\"\nrole_arn = %q\n", i, herdRole(roleOf(i, generation)))
	}
	return m.String()
}

// disturb begins an epoch of the pods for which affected returns true.
func (h *herd) disturb(affected func(*herdPod) bool) {
	for _, p := range h.pods {
		if affected(p) {
			p.epoch.Add(1)
		}
	}
}

func all(*herdPod) bool { return true }

// load sends requests of atATime pods at a time, each pause or when all have their
// responses, whichever is later, until stop is called or the test fails. stop waits for
// the responses. check is called with each one, by many goroutines. The agent can be
// started again meanwhile, at the same address.
func (h *herd) load(t testing.TB, pause time.Duration, check func(r response)) (stop func()) {
	h.url = h.URL
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for next := 0; !t.Failed(); {
			var burst sync.WaitGroup
			for range atATime {
				p := h.pods[next%len(h.pods)]
				next++
				burst.Go(func() { check(h.request(t, p)) })
			}
			burst.Wait()
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(ended)
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// A response is that to a pod.
type response struct {
	answer
	pod    *herdPod
	began  time.Time
	strict bool // the pod has credentials, and must have got them again
	err    error
}

func (r response) String() string {
	return fmt.Sprintf("a pod of app-%d, after %v: status %d, %s %s, until %v, %v", r.pod.account, time.Since(r.began), r.status, r.Code, r.Message, r.Expiration, r.err)
}

// request sends one request of a pod.
func (h *herd) request(t testing.TB, p *herdPod) response {
	r := response{pod: p, began: time.Now()}
	epoch, generation, down := p.epoch.Load(), h.read.Load(), h.down.Load()
	warm := p.warm.Load() == epoch
	r.answer, r.err = h.get(t, p.token)
	r.strict = warm && !down && !h.down.Load() && p.epoch.Load() == epoch
	switch {
	case r.err != nil:
		h.lost.Add(1)
	case r.status == http.StatusServiceUnavailable:
		h.refused.Add(1)
	case r.status == http.StatusOK:
		h.answered.Add(1)
		h.mu.Lock()
		h.keys[gotKey{r.AccessKeyId, p.account, generation, h.generated.Load()}] = true
		h.mu.Unlock()
		p.last.Store(&r.answer)
		if !down {
			p.warm.Store(epoch)
		}
	}
	return r
}

// get is ask with connections that are used again, and without an end of the test.
func (h *herd) get(t testing.TB, token string) (a answer, err error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+podidentity.Path, nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", token)
	resp, err := h.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	a.status, a.retryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
	if err := json.Unmarshal(body, &a); err != nil {
		t.Errorf("%v: %q", err, body)
	}
	return a, nil
}

// check fails the test unless the response is one with valid credentials, or a pod without
// any is told to come again.
func (h *herd) check(t testing.TB) func(response) {
	return func(r response) {
		switch {
		case r.err == nil && r.status == http.StatusOK && r.Expiration.After(r.began.Add(h.least)):
		case r.strict:
			t.Errorf("this pod has valid credentials, but: %v", r)
		case r.err != nil:
		case r.status != http.StatusServiceUnavailable || r.Code != "CredentialsNotAvailable" || r.Message == "" || r.retryAfter == "":
			t.Error(r)
		}
	}
}

// awaitWarm waits until each pod has credentials in its epoch.
func (h *herd) awaitWarm(t testing.TB) {
	t.Helper()
	clitest.Eventually(t, "all pods have credentials", func() bool {
		for _, p := range h.pods {
			if p.warm.Load() != p.epoch.Load() {
				return t.Failed()
			}
		}
		return true
	})
	if t.Failed() {
		t.FailNow()
	}
}

// awaitAnswers waits for as many more requests that get credentials.
func (h *herd) awaitAnswers(t testing.TB, n int64) {
	t.Helper()
	n += h.answered.Load()
	clitest.Eventually(t, "the pods get credentials", func() bool { return h.answered.Load() >= n || t.Failed() })
}

// checkCredentials fails the test if AWS does not take the last credentials of a pod of
// each account for those of its role.
func (h *herd) checkCredentials(t testing.TB) {
	t.Helper()
	for _, p := range h.pods[:herdRoles] {
		want := herdSession(roleOf(p.account, h.read.Load()), p.account)
		if got := h.identity(t, *p.last.Load()); got != want {
			t.Errorf("a pod is %s, want %s", got, want)
		}
		h.aws.assumed.Add(-1) // it was GetCallerIdentity
	}
}

func herdSession(role, account int) string {
	return fmt.Sprintf("arn:aws:sts::111122223333:assumed-role/herd-%d/shop.app-%d", role, account)
}

// checkKeys fails the test if a pod got credentials that AWS issued for another service
// account or role. It returns how many calls of AssumeRole AWS throttled.
func (h *herd) checkKeys(t testing.TB) (throttled int) {
	t.Helper()
	issued := make(map[string]string) // ARNs of sessions by access key
	for line := range strings.Lines(h.events.String()) {
		var e struct {
			EventName, ErrorCode string
			ResponseElements     struct {
				AssumedRoleUser struct{ ARN string }
				Credentials     struct{ AccessKeyID string }
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.EventName != "AssumeRole" {
			continue
		}
		if strings.Contains(e.ErrorCode, "Throttling") {
			throttled++
		}
		issued[e.ResponseElements.Credentials.AccessKeyID] = e.ResponseElements.AssumedRoleUser.ARN
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.keys {
		got, right := issued[key.id], false
		for generation := key.from; generation <= key.to; generation++ {
			right = right || got == herdSession(roleOf(key.account, generation), key.account)
		}
		if !right {
			t.Errorf("a pod of app-%d got credentials of %q in the mappings %d to %d", key.account, got, key.from, key.to)
		}
	}
	if len(h.keys) < herdRoles {
		t.Errorf("%d access keys", len(h.keys))
	}
	return throttled
}
