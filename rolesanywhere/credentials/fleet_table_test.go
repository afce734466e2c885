package credentials_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A quota is what the machines of a fleet call, and how often AWS allows it.
type quota struct {
	call  string
	roles int // of each machine, each with its own calls
	life  time.Duration
	rate  float64 // calls a second, of one account in one Region
	base  *quota  // with whose session each machine makes its calls; nil: none
}

var (
	session1h  = quota{"CreateSession, sessions of 1 h", 1, time.Hour, 10, nil}
	session12h = quota{"CreateSession, sessions of 12 h", 1, 12 * time.Hour, 10, nil}
	assume1h   = quota{"AssumeRole, 20 roles on each machine, sessions of 1 h", 20, time.Hour, 600, nil}
	agent20    = quota{"a base session of 12 h, and 20 roles of 1 h that are assumed with it", 20, time.Hour, 600, &session12h}
	agent4     = quota{"a base session of 12 h, and 4 roles of 1 h that are assumed with it", 4, time.Hour, 600, &session12h}
)

// quotas returns the quotas of all calls of a machine, that of its base first.
func (q quota) quotas() []quota {
	if q.base == nil {
		return []quota{q}
	}
	return []quota{*q.base, q}
}

// A fleetSize is a fleet of docs/fleet.md.
type fleetSize struct {
	machines int
	quota

	// scale makes scenarios with many refused calls, or all with a base, cheap: they
	// are simulated with machines/scale, and a quota of rate/scale.
	scale int
}

// fleets are all fleets; the first ones are cheap and always run.
var (
	fleets = []fleetSize{
		{100, session1h, 1},
		{100, session12h, 1},
		{100, assume1h, 1},
		{5_000, session1h, 1},
		{5_000, session12h, 1},
		{5_000, assume1h, 40},
		{100_000, session1h, 1},
		{100_000, session12h, 40},
		{100_000, assume1h, 1},
		{100, agent20, 1},
		{5_000, agent20, 10},
		{100_000, agent20, 1},
		{100_000, agent4, 100},
	}
	cheapFleets = fleets[:2]
)

// needs returns the mean number of calls a second that the fleet makes: a session is
// used for 57.5 % of an hour or 67.5 % of 12 hours in the mean.
func (f fleetSize) needs() float64 {
	used := 0.575
	if f.life > time.Hour {
		used = 0.675
	}
	return float64(f.machines*f.roles) / (used * f.life.Seconds())
}

func (f fleetSize) fits() bool { return f.needs() <= f.rate }

// rows returns the names of the rows of a scenario, one for each call.
func (f fleetSize) rows(s scenario) []string {
	if f.base == nil {
		return []string{s.name}
	}
	name := strings.Replace(s.name, "credentials kept", "base session kept", 1)
	return []string{name + ": CreateSession", "AssumeRole"}
}

func (f fleetSize) heading() string {
	return fmt.Sprintf("### %s machines: %s\n", thousands(float64(f.machines)), f.call)
}

// A scenario is what happens to a fleet.
type scenario struct {
	name string

	// settled fleets have been running for so long that the machines renew
	// independently of each other.
	settled bool

	refuses bool // many calls may be refused
	outage  bool // the service does not answer for so long that credentials may expire

	// event returns when the time until the last machine has credentials
	// begins.
	event func(f *fleet) time.Time
}

var scenarios = []scenario{
	{name: "cold start of all at once", refuses: true, event: func(f *fleet) time.Time {
		f.start(f.machines, 0, false)
		return time.Now()
	}},
	{name: "starts spread over 600 s", refuses: true, event: func(f *fleet) time.Time {
		began := time.Now()
		f.start(f.machines, 600*time.Second, false)
		time.Sleep(601 * time.Second)
		return began
	}},
	{name: "rolling restart, a tenth at a time", settled: true, refuses: true, event: func(f *fleet) time.Time {
		return rollingRestart(f, false)
	}},
	{name: "the same, credentials kept", settled: true, event: func(f *fleet) time.Time {
		return rollingRestart(f, true)
	}},
	{name: "outage of an hour", settled: true, refuses: true, outage: true, event: func(f *fleet) time.Time {
		f.set(func() { f.down = true })
		time.Sleep(time.Hour)
		f.set(func() { f.down = false })
		return time.Now()
	}},
	{name: "quota cut in half", settled: true, event: func(f *fleet) time.Time {
		f.set(func() {
			for _, s := range f.services {
				s.rate /= 2
			}
		})
		time.Sleep(time.Hour)
		return time.Now()
	}},
}

// rollingRestart restarts a tenth of the machines at a time; the next tenth begins
// when all of them have credentials, but not within 30 s.
func rollingRestart(f *fleet, keep bool) time.Time {
	began := time.Now()
	tenth := (len(f.machines) + 9) / 10
	for i := 0; i < len(f.machines); i += tenth {
		f.start(f.machines[i:min(i+tenth, len(f.machines))], 0, keep)
		time.Sleep(30 * time.Second)
		f.awaitReady(24 * time.Hour)
	}
	return began
}

// A result is what a scenario showed of one call, for the whole fleet.
type result struct {
	scale      int
	mean, peak float64       // calls a second while the event lasted, and in its busiest second
	refused    float64       // share of these calls
	ready      time.Duration // until the last machine had credentials; 0: none was without
	expired    int           // credentials that expired before they were renewed
	longest    time.Duration // until such a machine had new ones

	steadyMean, steadyPeak float64 // calls a second, from an hour later
	seconds                []second
}

// maxRatio is how many times the mean the peak of a steady fleet may be.
const maxRatio = 3

// simulate simulates a scenario. It returns a result for each quota.
func simulate(t *testing.T, size fleetSize, s scenario) []result {
	scale := 1
	if s.refuses || size.base != nil {
		scale = size.scale
	}
	life := size.quotas()[0].life
	results := make([]result, len(size.quotas()))
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, size, scale)
		if s.settled {
			f.start(f.machines, life, false)
			time.Sleep(life * 3 / 2)
		}
		from := f.at()
		over := s.event(f)
		if !f.awaitReady(24 * time.Hour) {
			t.Errorf("%d roles of %d machines have no credentials after a day", f.waiting(), len(f.machines))
		}
		time.Sleep(time.Second)
		began, ended := from, f.at()

		time.Sleep(time.Hour)
		from = f.at()
		time.Sleep(3 * life)
		f.stop()
		for i, s := range f.services {
			results[i] = s.result(over, began, ended, from, f.at())
		}
	})
	for i := range results {
		results[i].grow(scale)
		results[i].check(t, s)
	}
	return results
}

// result returns what happened in the event, which began and ended after so many seconds,
// and afterwards, from one second to another. over is when the time until all have
// credentials begins.
func (s *service) result(over time.Time, began, ended, from, to int) (r result) {
	r.mean, r.peak, r.refused = s.stats(began, ended, 1)
	r.ready, r.expired, r.longest = max(s.ready.Sub(over), 0), s.expired, s.longest
	r.steadyMean, _, _ = s.stats(from, to, 1)
	// In a shorter time there are fewer than 100 calls, and its peak is chance.
	_, r.steadyPeak, _ = s.stats(from, to, max(1, int(100/r.steadyMean)))
	r.seconds = s.seconds
	return r
}

// grow turns the result of a part of a fleet into that of the whole.
func (r *result) grow(scale int) {
	r.scale = scale
	for _, v := range []*float64{&r.mean, &r.peak, &r.steadyMean, &r.steadyPeak} {
		*v *= float64(scale)
	}
	r.expired *= scale
}

func (r *result) check(t *testing.T, s scenario) {
	t.Helper()
	if r.expired > 0 && !s.outage {
		t.Errorf("%d sets of credentials expired", r.expired)
	}
	if r.steadyPeak > maxRatio*r.steadyMean {
		t.Errorf("%.2f calls a second at the peak, %.2f in the mean", r.steadyPeak, r.steadyMean)
	}
}

// stats returns the mean number of calls a second, that of the busiest window, which
// is that many seconds long, and the share of refused calls.
func (s *service) stats(from, to, window int) (mean, peak, refused float64) {
	var calls, no int
	for i := from; i < to; i += window {
		n := 0
		for j := i; j < min(i+window, to, len(s.seconds)); j++ {
			n += int(s.seconds[j].calls)
			no += int(s.seconds[j].refused)
		}
		calls += n
		if i+window <= to {
			peak = max(peak, float64(n)/float64(window))
		}
	}
	return float64(calls) / float64(to-from), peak, float64(no) / float64(max(calls, 1))
}

// TestFleet simulates the cheap fleets. With HOLDFAST_FLEET, the name of a folder,
// it simulates all of them and writes the tables and plots of docs/fleet.md there.
func TestFleet(t *testing.T) {
	dir, run := os.Getenv("HOLDFAST_FLEET"), cheapFleets
	if dir != "" {
		run = fleets
	}
	results := make([][][]result, len(run))
	t.Run("all", func(t *testing.T) {
		for i, size := range run {
			if !size.fits() {
				continue
			}
			results[i] = make([][]result, len(scenarios))
			for j, s := range scenarios {
				t.Run(fmt.Sprintf("%d machines, %s, %s", size.machines, size.call, s.name), func(t *testing.T) {
					t.Parallel()
					results[i][j] = simulate(t, size, s)
				})
			}
		}
	})
	files := map[string]string{"fleet.md": tables(run, results)}
	for i, size := range run {
		switch {
		case results[i] == nil:
		case size.quota == assume1h: // the largest fleet stays
			files["fleet-renewals.svg"] = plotRenewals(size, results[i])
		case size.quota == session1h:
			files["fleet-start.svg"] = plotStart(size, results[i])
		}
	}
	for name, text := range files {
		if text == "" {
			t.Errorf("%s is empty", name)
		}
		if dir == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A fleet that started within ten minutes does not renew its sessions of 12 hours in
// waves. The cheap fleets are too small to show that.
func TestFleetWithoutWaves(t *testing.T) {
	simulate(t, fleetSize{5_000, session12h, 1}, scenarios[1])
}

// docs/fleet.md has the tables of all fleets.
func TestFleetPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "fleet.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fleets {
		_, section, found := strings.Cut(string(page), f.heading())
		section, _, _ = strings.Cut(section, "###")
		if !found {
			t.Errorf("no section %q", f.heading())
		}
		for _, s := range scenarios {
			for _, name := range f.rows(s) {
				if f.fits() && !strings.Contains(section, "| "+name) {
					t.Errorf("%q has no row %q", f.heading(), name)
				}
			}
		}
	}
}
