//go:build linux

package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
)

// All rounds together take less than the minute for which the agent remembers reviews.
const (
	benchRounds = 8 // each of the agent and of the static server in turn
	closedTime  = 500 * time.Millisecond
	openTime    = 2 * time.Second
	openRate    = 200 // requests per second
)

// A sample is what the clients of a server measured.
type sample struct {
	latencies []time.Duration
	errors    []string
	cpu       time.Duration // of the server
}

func (s *sample) add(other sample) {
	s.latencies = append(s.latencies, other.latencies...)
	s.errors = append(s.errors, other.errors...)
	s.cpu += other.cpu
}

// quantile returns a quantile of the latencies, which are sorted, in ms.
func (s *sample) quantile(q float64) float64 {
	i := int(math.Ceil(q*float64(len(s.latencies)))) - 1
	return float64(s.latencies[max(i, 0)].Microseconds()) / 1000
}

// A benchPod is a pod with a connection of its own.
type benchPod struct {
	*clitest.Wire
	request string
	roleARN string // of the credentials; "": the static server's are those of another pod
	good    []byte // the last response
	sample
}

// ask measures one request. It examines only responses that are new, because that takes as
// long as to serve them.
func (p *benchPod) ask() {
	begin := time.Now()
	status, body, err := p.Ask(p.request)
	p.latencies = append(p.latencies, time.Since(begin))
	if err == nil && status == http.StatusOK && bytes.Equal(body, p.good) {
		return
	}
	var doc struct{ RoleArn, SecretAccessKey string }
	if err == nil {
		err = json.Unmarshal(body, &doc)
	}
	if err != nil || status != http.StatusOK || doc.SecretAccessKey == "" || p.roleARN != "" && doc.RoleArn != p.roleARN {
		p.errors = append(p.errors, fmt.Sprintf("status %d for %s, %v: %q", status, p.roleARN, err, doc.RoleArn))
		return
	}
	p.good = body
}

// measure lets atATime pods ask a server. With a rate, each request has its time, whether
// the earlier ones have their responses or not, and waits for no other one unless atATime
// of them are in progress; without, each pod asks again when it has its response.
func (h *herd) measure(b *testing.B, s *clitest.Served, rate int, span time.Duration, offset int) (sum sample) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), span)
	defer cancel()
	due := make(chan struct{}, atATime)
	if rate == 0 {
		close(due)
	}
	var clients sync.WaitGroup
	pods := make([]*benchPod, atATime)
	for i := range pods {
		p := h.pods[(offset+i)%len(h.pods)]
		wire, err := clitest.DialWire(s.URL)
		if err != nil {
			b.Fatal(err)
		}
		defer wire.Close()
		pods[i] = &benchPod{Wire: wire, request: "GET " + podidentity.Path +
			" HTTP/1.1\r\nHost: " + strings.TrimPrefix(s.URL, "http://") + "\r\nUser-Agent: bench\r\nAuthorization: " + p.token + "\r\n\r\n"}
		if s == h.Served {
			pods[i].roleARN = herdRole(p.account)
		}
	}
	before := clitest.CPUTime(b, s.Process.Pid)
	for _, p := range pods {
		clients.Go(func() {
			for {
				select {
				case <-due:
				case <-ctx.Done():
				}
				if ctx.Err() != nil || len(p.errors) > 10 {
					return
				}
				p.ask()
			}
		})
	}
	if rate > 0 {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		for ctx.Err() == nil {
			select {
			case <-tick.C:
				due <- struct{}{}
			case <-ctx.Done():
			}
		}
		tick.Stop()
	}
	clients.Wait()
	sum.cpu = clitest.CPUTime(b, s.Process.Pid) - before
	for _, p := range pods {
		sum.add(p.sample)
	}
	return sum
}

// BenchmarkAgent has pods ask for credentials that the agent has in memory, 64 at a time
// and then at a steady rate, and a static server in turn.
func BenchmarkAgent(b *testing.B) {
	h := newHerd(b, nil)
	h.program = clitest.Build(b, h.dir, "released", clitest.Package)
	h.start(b)
	clitest.WaitReady(b, h.Served)
	h.url = h.URL
	for b.Loop() {
		for _, p := range h.pods {
			clitest.Eventually(b, "credentials", func() bool {
				a, err := h.get(b, p.token)
				return err == nil && a.status == http.StatusOK
			})
		}
		_, body := clitest.Ask(b, "GET", h.URL+podidentity.Path, "Authorization", h.pods[0].token)
		floor := clitest.StartStatic(b, b.TempDir(), map[string]string{podidentity.Path: body})
		for _, mode := range []struct {
			name string
			rate int
			span time.Duration
		}{{"closed", 0, closedTime}, {"open", openRate, openTime}} {
			var ours, theirs sample
			for round := range benchRounds {
				ours.add(h.measure(b, h.Served, mode.rate, mode.span, round*atATime))
				theirs.add(h.measure(b, floor, mode.rate, mode.span, round*atATime))
			}
			for _, r := range []struct {
				name string
				sample
			}{{mode.name + "-", ours}, {mode.name + "-static-", theirs}} {
				if len(r.errors) > 0 {
					b.Errorf("%s: %d errors, the first: %s", r.name, len(r.errors), r.errors[0])
				}
				slices.Sort(r.latencies)
				b.ReportMetric(float64(len(r.latencies))/(benchRounds*mode.span).Seconds(), r.name+"req/s")
				b.ReportMetric(float64(r.cpu.Microseconds())/float64(len(r.latencies)), r.name+"cpu-µs/req")
				b.ReportMetric(r.quantile(0.5), r.name+"p50-ms")
				b.ReportMetric(r.quantile(0.99), r.name+"p99-ms")
				b.ReportMetric(r.quantile(1), r.name+"max-ms")
			}
		}
		b.ReportMetric(clitest.PeakRSS(b, floor.Process.Pid), "static-peak-MiB")
	}
	if n := h.kube.reviews.Load(); n > herdPods*2 {
		b.Errorf("%d reviews: the responses were not from memory", n)
	}
	b.ReportMetric(0, "ns/op") // of no meaning
	b.ReportMetric(clitest.PeakRSS(b, h.Process.Pid), "peak-MiB")
	b.ReportMetric(float64(h.aws.assumed.Load()), "assumerole-calls")
}
