package credentials_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// tables returns the results in Markdown.
func tables(fleets []fleetSize, results [][][]result) string {
	var b strings.Builder
	for i, f := range fleets {
		b.WriteString(f.heading() + "\n")
		if results[i] == nil {
			fmt.Fprintf(&b, "This fleet needs %s calls a second in the mean. The quota is %s.\n\n", thousands(f.needs()), thousands(f.rate))
			continue
		}
		b.WriteString("| scenario | calls/s, mean | busiest second | refused | all have credentials after | expired before renewal | steady: calls/s, mean | peak | peak : mean |\n" +
			"|---|---|---|---|---|---|---|---|---|\n")
		for j, s := range scenarios {
			for k, name := range f.rows(s) {
				b.WriteString(row(name, results[i][j][k]))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func row(name string, r result) string {
	ready, expired := "all had them", "none"
	if r.scale > 1 {
		name = fmt.Sprintf("%s (1/%d)", name, r.scale)
	}
	if r.ready > 0 {
		ready = r.ready.Round(time.Second).String()
	}
	if r.expired > 0 {
		expired = fmt.Sprintf("%s, for up to %v", thousands(float64(r.expired)), r.longest.Round(time.Second))
	}
	return fmt.Sprintf("| %s | %s | %s | %.0f %% | %s | %s | %s | %s | %.1f |\n", name, thousands(r.mean), thousands(r.peak),
		100*r.refused, ready, expired, thousands(r.steadyMean), thousands(r.steadyPeak), r.steadyPeak/r.steadyMean)
}

// thousands formats a number with about three digits and commas.
func thousands(v float64) string {
	switch {
	case v < 1:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case v < 100:
		return strconv.FormatFloat(math.Round(v*10)/10, 'g', -1, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// A line of a plot has a value for each step of time.
type line struct {
	name   string
	values []float64
}

// calls returns the mean number of calls a second of each step, until end.
func (r result) calls(step, end time.Duration) (values []float64) {
	n := int(step / time.Second)
	for i := 0; i < int(end/time.Second); i += n {
		sum := 0
		for j := i; j < min(i+n, len(r.seconds)); j++ {
			sum += int(r.seconds[j].calls)
		}
		values = append(values, float64(sum*r.scale)/float64(n))
	}
	return values
}

func plotStart(f fleetSize, results [][]result) string {
	const end = 20 * time.Minute
	return plot(fmt.Sprintf("%s machines start: calls of CreateSession a second, refused ones included", thousands(float64(f.machines))), end, true,
		line{"all at once", results[0][0].calls(5*time.Second, end)}, line{"spread over 600 s", results[1][0].calls(5*time.Second, end)})
}

func plotRenewals(f fleetSize, results [][]result) string {
	const end = 4 * time.Hour
	return plot(fmt.Sprintf("%s machines with 20 roles, sessions of 1 h: calls of AssumeRole a second", thousands(float64(f.machines))), end, false,
		line{"starts spread over 600 s", results[1][0].calls(time.Minute, end)}, line{"starts spread over an hour", results[5][0].calls(time.Minute, end)})
}

// plot returns an SVG with the lines. Calls have a logarithmic axis if log is set.
func plot(title string, end time.Duration, log bool, lines ...line) string {
	const left, top, width, height = 60, 60, 640, 200
	most := 1.0
	for _, l := range lines {
		for _, v := range l.values {
			most = max(most, v)
		}
	}
	share := func(v float64) float64 { return v / most }
	ticks := []float64{0, most / 2, most}
	if log {
		decades := math.Ceil(math.Log10(most))
		share = func(v float64) float64 { return max(math.Log10(max(v, 0.1))+1, 0) / (decades + 1) }
		ticks = ticks[:0]
		for d := -1.0; d <= decades; d++ {
			ticks = append(ticks, math.Pow(10, d))
		}
	}
	y := func(v float64) float64 { return top + height*(1-share(v)) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 290" role="img" aria-labelledby="title">
  <title id="title">%s</title>
  <style>
    text { fill: #1f2328; font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; }
    .axis { stroke: #d0d7de; }
    .line { fill: none; stroke-width: 1.5; }
    .l0 { stroke: #b7791f; }
    .l1 { stroke: #2f855a; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .axis { stroke: #30363d; }
      .l0 { stroke: #d29922; }
      .l1 { stroke: #3fb950; }
    }
  </style>
  <text x="%d" y="20">%s</text>
`, title, left, title)
	for _, v := range ticks {
		fmt.Fprintf(&b, "  <path class=\"axis\" d=\"M%d %.1fh%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", left, y(v), width, left-6, y(v)+4, thousands(v))
	}
	for i := range 5 {
		at := (end * time.Duration(i) / 4).Minutes()
		fmt.Fprintf(&b, "  <text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%.0f min</text>\n", left+width*i/4, top+height+20, at)
	}
	for i, l := range lines {
		fmt.Fprintf(&b, "  <path class=\"line l%d\" d=\"M%d 40h20\"/><text x=\"%d\" y=\"44\">%s</text>\n", i, left+300*i, left+300*i+26, l.name)
		fmt.Fprintf(&b, "  <path class=\"line l%d\" d=\"", i)
		for j, v := range l.values {
			fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(j, 1)], left+width*float64(j)/float64(len(l.values)-1), y(v))
		}
		b.WriteString("\"/>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}
