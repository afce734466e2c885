//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

const (
	benchClients  = 64
	benchRounds   = 20 // each against one server and then the other
	benchDuration = 500 * time.Millisecond
	rolePath      = "/latest/meta-data/iam/security-credentials/"
)

// A load is what one client does again and again; it has a connection of its own.
type load struct {
	requests  int
	latencies []time.Duration
	errors    []string
	cpu       time.Duration // of the server
}

// whole reports whether an answer has credentials.
func whole(body []byte) bool {
	var doc struct{ AccessKeyId, SecretAccessKey, Token, Expiration string }
	return json.Unmarshal(body, &doc) == nil && doc.AccessKeyId != "" && len(doc.SecretAccessKey) == 40 && len(doc.Token) == 680 && doc.Expiration != ""
}

// run is one client until the time is up.
func (l *load) run(ctx context.Context, url, token string, flow bool) error {
	w, err := clitest.DialWire(url)
	if err != nil {
		return err
	}
	defer w.Close()
	var good []byte
	ask := func(request string) []byte {
		begin := time.Now()
		status, body, err := w.Ask(request)
		l.latencies = append(l.latencies, time.Since(begin))
		l.requests++
		if err != nil || status != http.StatusOK {
			l.errors = append(l.errors, fmt.Sprintf("status %d, %v", status, err))
		}
		return body
	}
	const head = " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n"
	plain := "GET /credentials" + head + "Authorization: " + token + "\r\n\r\n"
	for ctx.Err() == nil && len(l.errors) < 10 {
		var body []byte
		if flow {
			session := "\r\nX-aws-ec2-metadata-token: " + string(ask("PUT /latest/api/token"+head+"X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n")) + "\r\n\r\n"
			role := ask("GET " + rolePath + strings.TrimSuffix(head, "\r\n") + session)
			body = ask("GET " + rolePath + string(role) + strings.TrimSuffix(head, "\r\n") + session)
		} else {
			body = ask(plain)
		}
		if !bytes.Equal(body, good) {
			if !whole(body) {
				l.errors = append(l.errors, fmt.Sprintf("torn or blank: %d bytes", len(body)))
			}
			good = body
		}
	}
	return nil
}

// runLoad lets all clients run for a while.
func runLoad(b *testing.B, s *clitest.Served, token string, flow bool) load {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), benchDuration)
	defer cancel()
	loads := make([]load, benchClients)
	before := clitest.CPUTime(b, s.Process.Pid)
	var wg sync.WaitGroup
	for i := range loads {
		wg.Go(func() {
			if err := loads[i].run(ctx, s.URL, token, flow); err != nil {
				loads[i].errors = append(loads[i].errors, err.Error())
			}
		})
	}
	wg.Wait()
	sum := load{cpu: clitest.CPUTime(b, s.Process.Pid) - before}
	for _, l := range loads {
		sum.requests += l.requests
		sum.latencies = append(sum.latencies, l.latencies...)
		sum.errors = append(sum.errors, l.errors...)
	}
	return sum
}

// BenchmarkServe has 64 clients ask for credentials for 10 s, from serve and
// from a static server in turn.
func BenchmarkServe(b *testing.B) {
	dir := b.TempDir()
	program := clitest.Build(b, dir, "holdfast-bin", clitest.Package)

	st := clitest.NewFiles(b, dir)
	st.Up = clitest.NewUpstream(b, st.CA.Cert, 0)
	s := clitest.StartProgram(b, program, dir, nil, append([]string{
		"serve", "--port", "0", "--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0",
	}, st.Up.Args...)...)
	clitest.WaitReady(b, s)
	// The static server gives out what serve gave once.
	answers := make(map[string]string)
	keep := func(path string, header ...string) string {
		method := "GET"
		if strings.HasSuffix(path, "/token") {
			method = "PUT"
		}
		resp, body := clitest.Ask(b, method, s.URL+path, header...)
		if resp.StatusCode != http.StatusOK {
			b.Fatalf("%s: status %d", path, resp.StatusCode)
		}
		answers[path] = body
		return body
	}
	session := keep("/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "21600")
	role := keep(rolePath, "X-aws-ec2-metadata-token", session)
	keep(rolePath+role, "X-aws-ec2-metadata-token", session)
	token := s.TokenValue()
	keep("/credentials", "Authorization", token)
	floor := clitest.StartStatic(b, dir, answers)

	for b.Loop() {
		for _, mode := range []struct {
			name string
			flow bool
		}{{"flow", true}, {"get", false}} {
			var ours, theirs load
			for range benchRounds {
				for _, r := range []struct {
					s   *clitest.Served
					sum *load
				}{{s, &ours}, {floor, &theirs}} {
					l := runLoad(b, r.s, token, mode.flow)
					r.sum.requests += l.requests
					r.sum.cpu += l.cpu
					r.sum.latencies = append(r.sum.latencies, l.latencies...)
					r.sum.errors = append(r.sum.errors, l.errors...)
				}
			}
			if len(ours.errors) > 0 {
				b.Errorf("%s: %d errors, the first: %s", mode.name, len(ours.errors), ours.errors[0])
			}
			slices.Sort(ours.latencies)
			seconds := (benchRounds * benchDuration).Seconds()
			b.ReportMetric(float64(ours.requests)/seconds, mode.name+"-req/s")
			b.ReportMetric(float64(theirs.requests)/seconds, mode.name+"-static-req/s")
			b.ReportMetric(float64(ours.requests)/float64(theirs.requests), mode.name+"-ratio")
			perRequest := func(l load) float64 { return float64(l.cpu.Microseconds()) / float64(l.requests) }
			b.ReportMetric(perRequest(ours), mode.name+"-cpu-µs/req")
			b.ReportMetric(perRequest(theirs), mode.name+"-static-cpu-µs/req")
			b.ReportMetric(float64(ours.latencies[len(ours.latencies)/2].Microseconds())/1000, mode.name+"-p50-ms")
			b.ReportMetric(float64(ours.latencies[len(ours.latencies)*99/100].Microseconds())/1000, mode.name+"-p99-ms")
			b.ReportMetric(float64(len(ours.errors)), mode.name+"-errors")
		}
	}
	b.ReportMetric(0, "ns/op") // of no meaning
	b.ReportMetric(clitest.PeakRSS(b, s.Process.Pid), "peak-MiB")
	b.ReportMetric(clitest.PeakRSS(b, floor.Process.Pid), "static-peak-MiB")
	b.ReportMetric(float64(st.Up.Sessions.Load()), "upstream-calls")
}
