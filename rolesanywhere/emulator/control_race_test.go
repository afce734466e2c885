package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// A toggle is a part of the state that makes CreateSession fail while it is set.
type toggle struct {
	message string // of the refusals that it causes
	set     func(bool) error
	changes atomic.Int64 // odd while a change is in progress
}

// flip sets or unsets the toggle.
func (g *toggle) flip() error {
	set := g.changes.Add(1)/2%2 == 0
	err := g.set(set)
	g.changes.Add(1)
	return err
}

// always reports whether the toggle was always set, or never, from a request's start to
// its end, at which its changes were counted.
func always(start, end int64) (set, unset bool) {
	known := start == end && start%2 == 0
	return known && start/2%2 == 1, known && start/2%2 == 0
}

// A reply is the message of a refusal, or "", with the changes at its start and its end.
type reply struct {
	status     int
	message    string
	start, end [4]int64
}

func TestControlWhileSessionsAreCreated(t *testing.T) {
	const clients, rounds = 100, 5
	w := newTestEnv(t, Config{})
	list := w.must(t, "ImportCrl", "", w.crlInput(t, testAnchor, "crlData", w.ca.crlPEM(t, 0xabc), "enabled", false)).object("crl").string("crlId")
	toggles := [4]*toggle{
		{message: fmt.Sprintf(msgAnchorDisabled, testAnchor), set: w.switcher(t, "TrustAnchor", testAnchor, false)},
		{message: fmt.Sprintf(msgDisabled, testProfile), set: w.switcher(t, "Profile", testProfile, false)},
		{message: fmt.Sprintf(msgRevoked, "0abc", w.ca.cert.Subject), set: w.switcher(t, "Crl", list, true)},
		{message: fmt.Sprintf(msgAssume, testRole), set: w.setPolicy},
	}
	run := func() []reply {
		requests := make([]*http.Request, clients)
		for i := range requests {
			requests[i] = w.request(t, call{})
		}
		replies := make([]reply, clients)
		var group sync.WaitGroup
		for i := range clients {
			group.Go(func() { replies[i] = w.ask(requests[i], toggles) })
		}
		group.Wait()
		return replies
	}

	// While all of it changes, an answer is right if it was right at some moment.
	stop := make(chan struct{})
	var changing sync.WaitGroup
	for _, g := range toggles {
		changing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := g.flip(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range rounds {
		for _, r := range run() {
			checkReply(t, r, toggles)
		}
	}
	close(stop)
	changing.Wait()

	// After each acknowledged change, all answers follow it.
	for _, g := range toggles {
		if g.changes.Load()/2%2 == 1 {
			if err := g.flip(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, g := range toggles {
		for range 2 {
			if err := g.flip(); err != nil {
				t.Fatal(err)
			}
			for _, r := range run() {
				checkReply(t, r, toggles)
			}
		}
	}
}

func checkReply(t *testing.T, r reply, toggles [4]*toggle) {
	t.Helper()
	explained := r.status == http.StatusCreated
	for i, g := range toggles {
		set, unset := always(r.start[i], r.end[i])
		if r.status == http.StatusCreated && set {
			t.Errorf("a session was created while this was always the case: %s", g.message)
		}
		if r.status == http.StatusForbidden && r.message == g.message {
			explained = true
			if unset {
				t.Errorf("a session was refused while this was never the case: %s", g.message)
			}
		}
	}
	if !explained {
		t.Errorf("response is %d %q", r.status, r.message)
	}
}

func (w *testEnv) ask(r *http.Request, toggles [4]*toggle) (got reply) {
	for i, g := range toggles {
		got.start[i] = g.changes.Load()
	}
	response := httptest.NewRecorder()
	w.server.ServeHTTP(response, r)
	for i, g := range toggles {
		got.end[i] = g.changes.Load()
	}
	var out struct{ Message string }
	if err := json.Unmarshal(response.Body.Bytes(), &out); err != nil {
		out.Message = err.Error()
	}
	got.status, got.message = response.Code, out.Message
	return got
}

// switcher returns a function that enables a resource, or disables it: enabled is its
// state while the toggle is set.
func (w *testEnv) switcher(t *testing.T, name, id string, enabled bool) func(bool) error {
	return func(set bool) error {
		operation := "Disable" + name
		if set == enabled {
			operation = "Enable" + name
		}
		_, r := w.controlRequest(t, controlCall{operation: operation, id: id})
		response := httptest.NewRecorder()
		w.server.ServeHTTP(response, r)
		if response.Code != http.StatusOK {
			return fmt.Errorf("%s: %d %s", operation, response.Code, response.Body)
		}
		return nil
	}
}

// setPolicy replaces the trust policy of the role: with one that allows nothing, or none.
func (w *testEnv) setPolicy(deny bool) error {
	return w.server.change(func(c *changes) error {
		old, _ := w.server.roles.get(testRole)
		r := *old
		r.TrustPolicy, r.policy = "", nil
		if deny {
			r.TrustPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},"Action":["sts:AssumeRole",
				"sts:TagSession","sts:SetSourceIdentity"],"Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"another"}}}]}`
		}
		if err := r.parse(); err != nil {
			return err
		}
		w.server.roles.put(c, testRole, &r)
		return nil
	})
}
