package podidentity

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

var (
	errTrouble = errors.New("the network is down")
	errFinal   = errors.New("no permission to assume the role")
)

func isFinal(err error) bool { return errors.Is(err, errFinal) }

// TestHold: how long a first request waits.
func TestHold(t *testing.T) {
	trouble := func(times int) func(int) error {
		return func(call int) error {
			if call <= times {
				return errTrouble
			}
			return nil
		}
	}
	for _, test := range []struct {
		name        string
		hold, takes time.Duration
		fail        func(int) error
		want        error
		atLeast     time.Duration
		atMost      time.Duration
		calls       int
	}{
		{"at once", 0, 0, nil, nil, 0, 0, 1},
		{"after a second", 0, time.Second, nil, nil, time.Second, time.Second, 1},
		{"too late", 0, 2 * time.Second, nil, context.DeadlineExceeded, DefaultHold, DefaultHold, 1},
		{"longer hold", 3 * time.Second, 2 * time.Second, nil, nil, 2 * time.Second, 2 * time.Second, 1},
		{"one failure", 0, 0, trouble(1), nil, time.Second / 2, time.Second, 2},
		{"always failures", 0, 0, trouble(100), errTrouble, DefaultHold, DefaultHold, 2},
		{"a failure, then slow", 0, 700 * time.Millisecond, trouble(1), errTrouble, DefaultHold, DefaultHold, 1},
		{"refused", 0, 0, func(int) error { return errFinal }, errFinal, 0, 0, 1},
		{"refused after a while", 0, time.Second, func(int) error { return errFinal }, errFinal, time.Second, time.Second, 1},
		{"refused by this package", 0, 0, func(int) error { return &RefusedError{AccessDenied, "no"} }, nil, 0, 0, 1},
		{"trouble, then refused", 0, 0, func(call int) error { return []error{errTrouble, errFinal}[call-1] }, errFinal, time.Second / 2, time.Second, 2},
	} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, running %t", test.name, running), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					source := &testSource{life: time.Hour, takes: test.takes, fail: test.fail}
					p := &Pool{Hold: test.hold, Refused: isFinal}
					if running {
						defer run(t, p)()
					}
					start := time.Now()
					c, err := p.Credentials(t.Context(), source.grant("a"))
					took := time.Since(start)
					var refused *RefusedError
					if !errors.Is(err, test.want) && !errors.As(err, &refused) || (err == nil) != (c.AccessKeyID != "") || took < test.atLeast || took > test.atMost {
						t.Errorf("%v, %v after %v", c, err, took)
					}
					if calls, _ := source.count(); calls < test.calls || calls > test.calls+1 { // one more if Run is faster
						t.Errorf("%d calls, want %d", calls, test.calls)
					}
					time.Sleep(test.takes) // for the renewal in progress
				})
			})
		}
	}
}

// run runs a Pool until the returned function is called, which also waits for it.
func run(t *testing.T, p *Pool) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	}
}

// TestValidCredentials: valid credentials are returned at once although their renewal hangs
// or fails.
func TestValidCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{life: time.Hour, fail: func(call int) error {
			if call == 1 {
				return nil
			}
			time.Sleep(time.Minute)
			return errTrouble
		}}
		p := &Pool{}
		defer time.Sleep(time.Minute) // for the renewal in progress
		defer run(t, p)()
		if _, err := p.Credentials(t.Context(), source.grant("a")); err != nil {
			t.Fatal(err)
		}
		for range 590 {
			time.Sleep(6 * time.Second)
			start := time.Now()
			if _, err := p.Credentials(t.Context(), source.grant("a")); err != nil || time.Since(start) != 0 {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
		}
		if calls, _ := source.count(); calls < 3 {
			t.Errorf("%d calls: no renewal was tried", calls)
		}
	})
}

// TestRenewal: credentials are renewed in the background for as long as somebody asks for
// them, and for one life more. After that the key is dropped.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{life: time.Hour, takes: time.Second}
		p := &Pool{}
		before := &testSource{life: time.Hour}
		if _, err := p.Credentials(t.Context(), before.grant("before Run")); err != nil {
			t.Fatal(err)
		}
		defer run(t, p)()
		if _, err := p.Credentials(t.Context(), source.grant("a")); err != nil {
			t.Fatal(err)
		}
		for range 10 { // ten hours in which a client asks every 50 minutes
			time.Sleep(50 * time.Minute)
			start := time.Now()
			c, err := p.Credentials(t.Context(), source.grant("a"))
			if err != nil || time.Since(start) != 0 || time.Until(c.Expires) < 9*time.Minute {
				t.Fatalf("%v valid for %v, %v after %v", c, time.Until(c.Expires), err, time.Since(start))
			}
		}
		calls, _ := source.count()
		if calls < 9 || calls > 20 {
			t.Errorf("%d calls in 500 minutes", calls)
		}
		if n, _ := before.count(); n != 2 && n != 3 {
			t.Errorf("%d calls for a key of one request", n)
		}
		if status := p.Status(); len(status) != 1 || status[0].Key != "a" || status[0].RoleARN == "" || status[0].Expires.IsZero() || status[0].Renewals != calls {
			t.Errorf("%+v", status)
		}
		time.Sleep(time.Hour + sweepInterval)
		if after, _ := source.count(); after > calls+3 || len(p.Status()) != 0 {
			t.Errorf("%d calls after the last request, %d keys", after-calls, len(p.Status()))
		}
		calls, _ = source.count()
		time.Sleep(24 * time.Hour)
		if after, _ := source.count(); after != calls {
			t.Errorf("%d calls for a key that was dropped", after-calls)
		}
	})
}

// TestFailingKeyIsDropped: a key without credentials is tried for some minutes only.
func TestFailingKeyIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{fail: func(int) error { return errTrouble }}
		p := &Pool{}
		defer run(t, p)()
		_, _ = p.Credentials(t.Context(), source.grant("a"))
		time.Sleep(lifeWithout + sweepInterval)
		if len(p.Status()) != 0 {
			t.Errorf("%d keys", len(p.Status()))
		}
	})
}

// TestRunEnds: nothing goes on after Run (synctest would report a goroutine that does), but
// valid credentials are still returned.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		valid, hanging := &testSource{life: time.Hour}, &testSource{takes: time.Hour}
		p := &Pool{}
		stop := run(t, p)
		for i := range 100 {
			if _, err := p.Credentials(t.Context(), valid.grant(strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.Credentials(t.Context(), hanging.grant("hanging")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		stop()
		synctest.Wait()
		if _, cancelled := hanging.count(); cancelled != 1 {
			t.Errorf("%d renewals were cancelled", cancelled)
		}
		if _, err := p.Credentials(t.Context(), valid.grant("7")); err != nil {
			t.Error(err)
		}
		if _, err := p.Credentials(t.Context(), valid.grant("new")); err != nil {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour)
		if calls, _ := valid.count(); calls != 101 {
			t.Errorf("%d calls", calls)
		}
	})
}

// TestKeep: dropped keys are gone at once, with their renewals and the requests that wait.
func TestKeep(t *testing.T) {
	for _, running := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			kept, gone, hanging := &testSource{life: time.Hour}, &testSource{life: time.Hour}, &testSource{takes: time.Minute}
			failing := &testSource{fail: func(int) error { return errTrouble }}
			p := &Pool{}
			if running {
				defer run(t, p)()
			}
			for key, source := range map[string]*testSource{"kept": kept, "gone": gone} {
				if _, err := p.Credentials(t.Context(), source.grant(key)); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			var waiting sync.WaitGroup
			for key, source := range map[string]*testSource{"hanging": hanging, "failing": failing} {
				waiting.Go(func() {
					if _, err := p.Credentials(t.Context(), source.grant(key)); err != errDropped || time.Since(start) != 100*time.Millisecond {
						t.Errorf("%s: %v after %v", key, err, time.Since(start))
					}
				})
			}
			time.Sleep(100 * time.Millisecond)
			p.Keep(func(key string) bool { return key == "kept" })
			waiting.Wait()
			if status := p.Status(); len(status) != 1 || status[0].Key != "kept" {
				t.Errorf("%+v", status)
			}
			if _, cancelled := hanging.count(); cancelled != 1 {
				t.Error("the renewal was not cancelled")
			}
			for key, source := range map[string]*testSource{"kept": kept, "gone": gone} {
				if _, err := p.Credentials(t.Context(), source.grant(key)); err != nil {
					t.Error(err)
				}
			}
			if n, _ := kept.count(); n != 1 {
				t.Errorf("%d calls for the key that was kept", n)
			}
			if n, _ := gone.count(); n != 2 {
				t.Errorf("%d calls for the key that was dropped and opened again", n)
			}
		})
	}
}

// TestOpen: Open is called once for all requests, and again only after an error.
func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pool{}
		defer run(t, p)()
		source := &testSource{life: time.Hour, takes: time.Second}
		opened := 0
		results := []struct {
			source credentials.Source
			err    error
		}{{nil, errTrouble}, {nil, nil}, {source, nil}}
		g := Grant{Key: "a", Open: func() (credentials.Source, error) {
			opened++
			time.Sleep(time.Millisecond)
			return results[opened-1].source, results[opened-1].err
		}}
		for _, want := range []string{errTrouble.Error(), "a has no source"} {
			if _, err := p.Credentials(t.Context(), g); err == nil || !strings.Contains(err.Error(), want) || len(p.Status()) != 0 {
				t.Errorf("%v, want %s", err, want)
			}
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if c, err := p.Credentials(t.Context(), g); err != nil || c.AccessKeyID != "ASIAEXAMPLE1" {
					t.Errorf("%v, %v", c, err)
				}
			})
		}
		all.Wait()
		if calls, _ := source.count(); opened != 3 || calls != 1 {
			t.Errorf("opened %d times, %d calls", opened, calls)
		}
	})
}

// TestManyKeys: a new key replaces the one that was not asked for longest.
func TestManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{life: time.Hour}
		p := &Pool{}
		ask := func(key string) {
			time.Sleep(time.Millisecond)
			if _, err := p.Credentials(t.Context(), source.grant(key)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range maxKeys {
			ask(strconv.Itoa(i))
		}
		ask("0")
		ask("one more")
		keys := make([]string, 0, maxKeys)
		for _, s := range p.Status() {
			keys = append(keys, s.Key)
		}
		if len(keys) != maxKeys || !slices.IsSorted(keys) || !slices.Contains(keys, "0") || slices.Contains(keys, "1") || !slices.Contains(keys, "one more") {
			t.Errorf("%d keys", len(keys))
		}
	})
}

// TestWallClock: the validity of credentials follows Now.
func TestWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{life: time.Hour, fail: func(call int) error {
			if call > 1 {
				return errTrouble
			}
			return nil
		}}
		ahead := time.Duration(0)
		p := &Pool{Now: func() time.Time { return time.Now().Add(ahead) }}
		if _, err := p.Credentials(t.Context(), source.grant("a")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until nothing uses ahead
		ahead = 2 * time.Hour
		start := time.Now()
		if _, err := p.Credentials(t.Context(), source.grant("a")); !errors.Is(err, errTrouble) || time.Since(start) != DefaultHold {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestGoroutines: a dropped key has no goroutine any more, though Run continues.
func TestGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{life: time.Hour}
		p := &Pool{}
		defer run(t, p)()
		const keys = 50
		for i := range keys {
			if _, err := p.Credentials(t.Context(), source.grant(strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := renewing(); got != keys {
			t.Errorf("%d goroutines for %d keys", got, keys)
		}
		for i := range keys / 2 {
			p.Keep(func(key string) bool { return key != strconv.Itoa(i) })
		}
		synctest.Wait()
		if got := renewing(); got != keys/2 {
			t.Errorf("%d goroutines after half of the keys were dropped", got)
		}
		time.Sleep(time.Hour + sweepInterval)
		synctest.Wait()
		if got := renewing(); got != 0 {
			t.Errorf("%d goroutines of idle keys", got)
		}
	})
}

// renewing returns the number of goroutines that renew credentials.
func renewing() int {
	stacks := make([]byte, 4<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "credentials.(*Cache).Run(")
}
