package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A forge makes credentials for Shared values.
type forge struct {
	life, takes, until time.Duration
	calls              atomic.Int64
	fail               atomic.Bool
}

var errForge = errors.New("the forge is cold")

func (f *forge) make(ctx context.Context) (Credentials, time.Time, error) {
	n := f.calls.Add(1)
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return Credentials{}, time.Time{}, ctx.Err()
	}
	if f.fail.Load() {
		return Credentials{}, time.Time{}, errForge
	}
	var until time.Time
	if f.until != 0 {
		until = time.Now().Add(f.until)
	}
	return Credentials{fmt.Sprintf("ASIA%d", n), "the-secret", "the-token", time.Now().Add(f.life), ""}, until, nil
}

// A scene is a store that several processes use. In the synctest bubble, a
// process is a goroutine with a Shared.
type scene struct {
	*forge
	store Storage
	locks *Folder
	log   logBuffer
	now   func() time.Time
}

// A logBuffer is the standard error of several processes.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func newScene(t *testing.T, life time.Duration) *scene {
	f := newFolder(t)
	return &scene{forge: &forge{life: life, takes: 100 * time.Millisecond}, store: f, locks: f}
}

func (s *scene) process() *Shared {
	return &Shared{
		Key: Key("a"), Storage: s.store, Locks: s.locks, Make: s.make, Now: s.now,
		Logger: slog.New(slog.NewTextHandler(&s.log, nil)), // warnings and more
	}
}

func (s *scene) want(t *testing.T, want string) {
	t.Helper()
	c, err := s.process().Credentials(t.Context())
	if err != nil || c.AccessKeyID != want || c.SecretAccessKey != "the-secret" || c.SessionToken != "the-token" {
		t.Errorf("got %v, %v, want %s", c, err, want)
	}
}

// wantLog checks that the log contains want, or is empty if want is "", and
// clears the log.
func (s *scene) wantLog(t *testing.T, want string) {
	t.Helper()
	log := s.log.String()
	s.log.Reset()
	if want == "" && log != "" || !strings.Contains(log, want) || strings.Contains(log, "the-") {
		t.Errorf("logged %q, want %q", log, want)
	}
}

func TestSharedMakesOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { s.want(t, "ASIA1") })
		}
		wg.Wait()
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		s.wantLog(t, "")
	})
}

// Saved credentials are used until the renewal window begins, and are then
// renewed.
func TestSharedWindow(t *testing.T) {
	for _, test := range []struct{ life, window, due time.Duration }{
		{12 * time.Hour, 0, 20 * time.Minute},
		{time.Hour, 0, 20 * time.Minute},
		{45 * time.Minute, 0, 15 * time.Minute},
		{15 * time.Minute, 0, 5 * time.Minute},
		{5 * time.Second, 0, 5 * time.Second / 3},
		{time.Hour, 10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(fmt.Sprint(test.life, test.window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, test.life)
				get := func(want string) {
					t.Helper()
					p := s.process()
					p.Window = test.window
					if c, err := p.Credentials(t.Context()); err != nil || c.AccessKeyID != want {
						t.Errorf("got %v, %v, want %s", c, err, want)
					}
				}
				get("ASIA1")
				time.Sleep(test.life - test.due - time.Millisecond)
				get("ASIA1")
				time.Sleep(time.Millisecond)
				get("ASIA2")
				get("ASIA2")
				s.wantLog(t, "")
			})
		})
	}
}

// While one process renews credentials, other processes do not wait, as long as
// the saved ones are valid long enough.
func TestSharedDoesNotWaitForRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.want(t, "ASIA1")
		time.Sleep(41 * time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() { s.want(t, "ASIA2") })
		time.Sleep(50 * time.Millisecond)
		begin := time.Now()
		s.want(t, "ASIA1")
		if time.Since(begin) != 0 {
			t.Errorf("waited %v", time.Since(begin))
		}
		wg.Wait()

		time.Sleep(46 * time.Minute) // 14 are left
		for range 50 {
			wg.Go(func() { s.want(t, "ASIA3") })
		}
		wg.Wait()
		if n := s.calls.Load(); n != 3 {
			t.Errorf("%d calls, want 3", n)
		}
	})
}

func TestSharedKeepsWhatIsValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.want(t, "ASIA1")
		s.fail.Store(true)
		time.Sleep(50 * time.Minute)
		s.want(t, "ASIA1")
		s.wantLog(t, "level=WARN")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if c, err := s.process().Credentials(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: got %v, %v", c, err)
		}
		time.Sleep(10 * time.Minute)
		if c, err := s.process().Credentials(t.Context()); !errors.Is(err, errForge) || c != (Credentials{}) {
			t.Errorf("expired: got %v, %v", c, err)
		}
		s.fail.Store(false)
		s.want(t, "ASIA5")
	})
}

// Credentials that expire during a failed renewal are not returned.
func TestSharedDoesNotReturnExpiredCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.want(t, "ASIA1")
		s.fail.Store(true)
		time.Sleep(time.Hour - s.takes/2)
		if c, err := s.process().Credentials(t.Context()); !errors.Is(err, errForge) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}

// A lateStore is empty at the first Load, as if another process saved an entry
// before the lock was acquired.
type lateStore struct {
	Storage
	looks atomic.Int64
}

func (s *lateStore) Load(key string) ([]byte, error) {
	if s.looks.Add(1) == 1 {
		return nil, fs.ErrNotExist
	}
	return s.Storage.Load(key)
}

func TestSharedLooksAgainOnceLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.want(t, "ASIA1")
		s.store = &lateStore{Storage: s.store}
		s.want(t, "ASIA1")
	})
}

// No credentials are returned after the certificate has expired.
func TestSharedHeedsUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.until = 30 * time.Minute
		s.want(t, "ASIA1")
		time.Sleep(29 * time.Minute)
		s.want(t, "ASIA1")
		time.Sleep(time.Minute)
		s.fail.Store(true)
		if c, err := s.process().Credentials(t.Context()); !errors.Is(err, errForge) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}

func TestSharedAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.fail.Store(true)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if c, err := s.process().Credentials(t.Context()); !errors.Is(err, errForge) {
					t.Errorf("got %v, %v", c, err)
				}
			})
		}
		wg.Wait()
		s.fail.Store(false)
		s.want(t, "ASIA21")
	})
}

// The wait for a lock is limited. Credentials obtained without the lock are
// saved for later callers.
func TestSharedIgnoresEndlessLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		unlock, err := s.locks.TryLock(Key("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		begin := time.Now()
		s.want(t, "ASIA1")
		if took := time.Since(begin); took < defaultLockTimeout || took > defaultLockTimeout+time.Second {
			t.Errorf("waited %v", took)
		}
		s.wantLog(t, "level=WARN")
		begin = time.Now()
		s.want(t, "ASIA1")
		if time.Since(begin) != 0 {
			t.Errorf("waited %v again", time.Since(begin))
		}
		s.wantLog(t, "")
	})
}

func TestSharedWaitsNoLongerThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		unlock, err := s.locks.TryLock(Key("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if c, err := s.process().Credentials(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}

// A damaged entry is replaced once, with a warning.
func TestSharedReplacesDamage(t *testing.T) {
	for name, data := range map[string]string{"empty": "", "garbage": "\x00", "cut": `{"key":"`, "no entry": "{}"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, time.Hour)
				if err := s.store.Save(Key("a"), []byte(data), time.Time{}); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() { s.want(t, "ASIA1") })
				}
				wg.Wait()
				if strings.Count(s.log.String(), "\n") != 1 {
					t.Errorf("logged %q", &s.log)
				}
				s.wantLog(t, "level=WARN")
			})
		})
	}
}

// An entry of a newer version is neither used nor replaced nor removed.
func TestSharedLeavesNewerEntries(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := &scene{forge: &forge{life: time.Hour}, store: store}
			newer := []byte(`{"version":"2","anything":["else"]}`)
			for _, name := range []string{"a", "other"} {
				if err := store.Save(Key(name), newer, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			s.want(t, "ASIA1")
			s.wantLog(t, "cache entry "+Key("a")[:12]+" was written by a newer version of Holdfast")
			s.want(t, "ASIA2")
			for _, name := range []string{"a", "other"} {
				if data, err := store.Load(Key(name)); err != nil || !bytes.Equal(data, newer) {
					t.Errorf("%s is %q now, error %v", name, data, err)
				}
			}
			if entries, err := List(store, time.Now()); len(entries) != 0 || err != nil {
				t.Errorf("%d entries, error %v", len(entries), err)
			}
			if n, err := Clear(store); n != 2 || err != nil {
				t.Errorf("%d cleared, error %v", n, err)
			}
		})
	}
}

// Processes do not wait for each other if a newer entry prevents them from
// saving their credentials.
func TestSharedWithNewerEntryTakesNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		if err := s.store.Save(Key("a"), []byte(`{"version":2}`), time.Time{}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := s.process().Credentials(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != s.takes {
			t.Errorf("took %v, want %v", took, s.takes)
		}
	})
}

// An entry of an older version is ignored.
func TestSharedReplacesOlderEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.want(t, "ASIA1")
		data, err := s.store.Load(Key("a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.store.Save(Key("a"), bytes.Replace(data, []byte(`"version":1,`), nil, 1), time.Time{}); err != nil {
			t.Fatal(err)
		}
		s.want(t, "ASIA2")
		s.want(t, "ASIA2")
		s.wantLog(t, "")
	})
}

// Credentials are returned even if the store fails.
func TestSharedWithBrokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.store = brokenStore{}
		s.want(t, "ASIA1")
		s.want(t, "ASIA2")
		s.wantLog(t, "level=WARN")
		s.locks.Close()
		s.want(t, "ASIA3")
	})
}

type brokenStore struct{}

var errBroken = errors.New("broken")

func (brokenStore) Load(string) ([]byte, error)          { return nil, errBroken }
func (brokenStore) Save(string, []byte, time.Time) error { return errBroken }
func (brokenStore) Remove(string) error                  { return errBroken }
func (brokenStore) Keys() ([]string, error)              { return nil, errBroken }

// Unusable credentials are neither saved nor returned.
func TestSharedRefusesBlanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, -time.Hour)
		if c, err := s.process().Credentials(t.Context()); !errors.Is(err, ErrIncomplete) || c != (Credentials{}) {
			t.Errorf("got %v, %v", c, err)
		}
		if keys, err := s.store.Keys(); len(keys) != 0 || err != nil {
			t.Errorf("kept %v, %v", keys, err)
		}
	})
}

// If the clock was set back, the age of an entry is unknown and it is not used.
func TestSharedWithClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		s.want(t, "ASIA1")
		s.now = func() time.Time { return time.Now().Add(-30 * time.Minute) }
		s.want(t, "ASIA2")
		s.want(t, "ASIA2")
	})
}

func TestSharedSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Hour)
		with := func(name string) *Shared {
			p := s.process()
			p.Key = Key(name)
			return p
		}
		for _, name := range []string{"old", "held"} {
			if _, err := with(name).Credentials(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Minute)
		if _, err := with("young").Credentials(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Minute)
		unlock, err := s.locks.TryLock(Key("held"))
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		s.want(t, "ASIA4")
		for name, want := range map[string]bool{"old": false, "held": true, "young": true, "a": true} {
			if _, err := s.store.Load(Key(name)); (err == nil) != want {
				t.Errorf("%s: %v, want it there: %t", name, err, want)
			}
		}
		if locks, err := s.locks.files(lockSuffix); len(locks) != 3 || err != nil {
			t.Errorf("locks %v, %v", locks, err)
		}
	})
}
