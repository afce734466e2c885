//go:build unix

package spiffe

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A lockedBuffer is safe for concurrent use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A watched is a watcher whose pauses end when the test says so.
type watched struct {
	*testing.T
	changed chan *x509.Certificate
	pauses  chan time.Duration
	resume  chan struct{}
	log     *lockedBuffer
	done    chan error
	cancel  context.CancelFunc
}

func watch(t *testing.T, s *spiffetest.Server, random float64) *watched {
	w := &watched{T: t, changed: make(chan *x509.Certificate), pauses: make(chan time.Duration), resume: make(chan struct{}), log: new(lockedBuffer), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	inner := watcher{
		cfg:     config{endpoint: endpoint{"unix", s.Path}},
		logger:  slog.New(slog.NewTextHandler(w.log, nil)),
		changed: func(leaf *x509.Certificate) { w.changed <- leaf },
		pause: func(ctx context.Context, d time.Duration) error {
			for _, step := range []func() bool{
				func() bool {
					select {
					case w.pauses <- d:
						return true
					case <-ctx.Done():
						return false
					}
				},
				func() bool {
					select {
					case <-w.resume:
						return true
					case <-ctx.Done():
						return false
					}
				},
			} {
				if !step() {
					return ctx.Err()
				}
			}
			return nil
		},
		random: func() float64 { return random },
	}
	go func() { w.done <- inner.run(ctx) }()
	return w
}

func (w *watched) want(svid spiffetest.SVID) {
	w.Helper()
	if got := <-w.changed; !got.Equal(svid.Chain[0]) {
		w.Errorf("got the certificate %x, want %x", got.SerialNumber, svid.Chain[0].SerialNumber)
	}
}

func (w *watched) wantPause(d time.Duration) {
	w.Helper()
	if got := <-w.pauses; got != d {
		w.Errorf("pause of %v, want %v", got, d)
	}
}

func (w *watched) wantLog(text string, times int) {
	w.Helper()
	if n := strings.Count(w.log.String(), text); n != times {
		w.Errorf("the log has %q %d times, want %d:\n%s", text, n, times, w.log)
	}
}

func (w *watched) end() {
	w.Helper()
	w.cancel()
	if err := <-w.done; !errors.Is(err, context.Canceled) {
		w.Error(err)
	}
}

func issue(t *testing.T, ca *signertest.CA, n int) (all []spiffetest.SVID) {
	for range n {
		all = append(all, spiffetest.Issue(t, ca, "p256", "spiffe://example.org/app", nil))
	}
	return all
}

// Each SVID that the API sends is told once, at once.
func TestWatch(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	svids := issue(t, ca, 5)
	s := spiffetest.Start(t, svids[0])
	w := watch(t, s, 0)
	w.want(svids[0])
	for _, svid := range svids[1:] {
		s.Send(svid)
		w.want(svid)
	}
	s.Send(svids[4], svids[0]) // for this key, nothing has changed
	s.Send(svids[1])
	w.want(svids[1])
	if s.Calls() != 1 {
		t.Errorf("%d calls", s.Calls())
	}
	w.end()
}

// The API is away, comes back, withdraws the identity and gives it again. The pauses double
// until it answers, and each fault is logged once.
func TestWatchReconnects(t *testing.T) {
	svids := issue(t, signertest.NewCA(t, "root"), 4)
	s := spiffetest.Start(t, svids[0])
	w := watch(t, s, 0)
	w.want(svids[0])
	s.Stop()
	for _, seconds := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		w.wantPause(seconds * time.Second)
		w.resume <- struct{}{}
	}
	w.wantPause(30 * time.Second)
	s.Send(svids[1])
	s.Restart()
	w.resume <- struct{}{}
	w.want(svids[1])

	s.Refuse(spiffetest.PermissionDenied)
	for _, seconds := range []time.Duration{1, 2} {
		w.wantPause(seconds * time.Second)
		w.resume <- struct{}{}
	}
	w.wantPause(4 * time.Second)
	w.wantLog("has withdrawn the identity", 1)
	s.Send(svids[1])
	w.resume <- struct{}{}
	w.want(svids[1]) // each connection tells it
	broken := svids[2]
	broken.Key, broken.ID = svids[3].Key, "spiffe://example.org/other"
	s.Send(broken)
	for !strings.Contains(w.log.String(), "invalid SVID") {
		time.Sleep(time.Millisecond)
	}
	s.Send(svids[2]) // on the same call
	w.want(svids[2])
	w.wantLog("has the SVID again", 3)
	s.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	s.Stop()
	w.wantPause(time.Second)
	w.end()
}

// The pauses are shortened at random.
func TestWatchPauses(t *testing.T) {
	s := spiffetest.Start(t)
	s.Stop()
	w := watch(t, s, 0.5)
	for _, want := range []time.Duration{750 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second} {
		w.wantPause(want)
		w.resume <- struct{}{}
	}
	w.wantPause(6 * time.Second)
	w.end()
}

// A call that stops in the middle of a message ends, and one that is silent between
// messages stays.
func TestWatchMiddle(t *testing.T) {
	t.Parallel()
	svid := issue(t, signertest.NewCA(t, "root"), 1)[0]
	s := spiffetest.Start(t)
	s.Answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		message := spiffetest.Frame(spiffetest.Message(t, svid))
		_, _ = w.Write(append(message, message[:50]...))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	w := watch(t, s, 0)
	w.want(svid)
	w.wantPause(time.Second)
	w.wantLog("does not answer within 10s", 1)
	w.end()
}

func TestStoreWatch(t *testing.T) {
	svids := issue(t, signertest.NewCA(t, "root"), 2)
	s := spiffetest.Start(t, svids[0])
	store := keystore.New(Backend{})
	ref, err := keystore.ParseRef("spiffe:socket=" + s.Path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan *x509.Certificate), make(chan error, 1)
	go func() {
		done <- store.Watch(ctx, keystore.Identity{Key: ref, Certificate: ref}, keystore.Options{}, func(c *x509.Certificate) { changed <- c })
	}()
	for i, svid := range svids {
		if got := <-changed; !got.Equal(svid.Chain[0]) {
			t.Errorf("certificate %d is another one", i)
		}
		s.Send(svids[1])
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s.Calls() != 1 {
		t.Errorf("%d calls", s.Calls())
	}
	none := func(*x509.Certificate) { t.Error("called") }
	if err := store.Watch(t.Context(), keystore.Identity{Key: keystore.Ref{Scheme: "file", Rest: "key.pem"}}, keystore.Options{}, none); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	var bad *keystore.RefError
	if err := store.Watch(t.Context(), keystore.Identity{Key: keystore.Ref{Scheme: "spiffe", Rest: "x"}}, keystore.Options{}, none); !errors.As(err, &bad) {
		t.Error(err)
	}
	if err := store.Watch(t.Context(), keystore.Identity{Key: keystore.Ref{Scheme: "spiffe"}}, keystore.Options{}, none); !errors.Is(err, signer.ErrUnavailable) {
		t.Error(err)
	}
}
