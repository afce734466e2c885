package podidentity

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A cluster has pods that share roles.
type cluster struct {
	server  *apiServer
	sources []*testSource // one for each role
	tokens  []string      // one for each pod
	handler *Handler
}

func newCluster(pods, roles int, life time.Duration) *cluster {
	c := &cluster{server: &apiServer{}}
	answers := make(map[string][]byte)
	for i := range pods {
		token := tokenUntil(time.Now().Add(24*time.Hour), strconv.Itoa(i))
		c.tokens = append(c.tokens, token)
		body, err := json.Marshal(attested(Pod{"shop", fmt.Sprintf("role-%d", i%roles), fmt.Sprintf("pod-%d", i), fmt.Sprintf("uid-%d", i), testNode}, DefaultAudience))
		if err != nil {
			panic(err)
		}
		answers[token] = body
	}
	c.server.answer = func(_ *http.Request, token string) (int, []byte, error) {
		return http.StatusCreated, answers[token], nil
	}
	for range roles {
		c.sources = append(c.sources, &testSource{life: life, takes: 100 * time.Millisecond})
	}
	c.handler = &Handler{
		Review: c.server.reviewer().Review,
		Grant: func(p Pod) (Grant, error) {
			var role int
			_, err := fmt.Sscanf(p.ServiceAccount, "role-%d", &role)
			if err != nil {
				return Grant{}, err
			}
			return c.sources[role].grant(p.ServiceAccount), nil
		},
		Pool: &Pool{},
	}
	return c
}

func (c *cluster) request(ctx context.Context, pod int) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, Path, nil)
	r.Header.Set("Authorization", c.tokens[pod])
	return r
}

// TestLoad: the calls of AWS depend on the roles and on the life of credentials, not on
// the number of pods and requests; the reviews depend on the pods, not on the requests.
func TestLoad(t *testing.T) {
	const (
		pods, roles, clients = 200, 20, 64
		life                 = 10 * time.Second
		duration             = time.Minute
		pause                = 100 * time.Millisecond
		earliest             = life * 30 / 100 // of a renewal: a third and 35 % before the end
	)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(pods, roles, life)
		stop := run(t, c.handler.Pool)
		ctx, cancel := context.WithTimeout(t.Context(), duration)
		defer cancel()
		var all sync.WaitGroup
		var requests, slow atomic.Int64
		for client := range clients {
			all.Go(func() {
				for i := client; ctx.Err() == nil; i += clients {
					start := time.Now()
					w := httptest.NewRecorder()
					c.handler.ServeHTTP(w, c.request(t.Context(), i%pods))
					requests.Add(1)
					var body struct{ Expiration time.Time }
					if err := json.Unmarshal(w.Body.Bytes(), &body); w.Code != http.StatusOK || err != nil || time.Until(body.Expiration) < life/10 {
						t.Errorf("%d %s valid for %v, %v", w.Code, w.Body, time.Until(body.Expiration), err)
						return
					}
					if time.Since(start) > 0 {
						slow.Add(1)
					}
					time.Sleep(pause)
				}
			})
		}
		all.Wait()
		total := 0
		for _, s := range c.sources {
			n, _ := s.count()
			total += n
		}
		if atLeast, atMost := roles*int(duration/life), roles*(int(duration/earliest)+1); total < atLeast || total > atMost {
			t.Errorf("%d calls of AWS, want %d to %d", total, atLeast, atMost)
		}
		if got := c.server.count(); got < pods || got > 2*pods {
			t.Errorf("%d reviews of %d tokens in a minute", got, pods)
		}
		if n := requests.Load(); n < clients*int64(duration/pause)/2 {
			t.Errorf("%d requests", n)
		}
		if n := slow.Load(); n > pods {
			t.Errorf("%d requests waited, although only the first ones may", n)
		}
		stop()
		synctest.Wait()
		t.Logf("%d requests, %d of them waited, %d reviews, %d calls of AWS", requests.Load(), slow.Load(), c.server.count(), total)
	})
}

// BenchmarkFromMemory is a request whose review and credentials are in memory.
func BenchmarkFromMemory(b *testing.B) {
	c := newCluster(200, 20, time.Hour)
	for i := range c.tokens {
		c.handler.ServeHTTP(httptest.NewRecorder(), c.request(b.Context(), i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(32) // 64 at a time on two cores
	b.RunParallel(func(pb *testing.PB) {
		w, r := &discard{header: http.Header{}}, c.request(b.Context(), 7)
		for pb.Next() {
			if c.handler.ServeHTTP(w, r); w.status != http.StatusOK {
				b.Fatal(w.status)
			}
		}
	})
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
