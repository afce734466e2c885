package daemon

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"math"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

// A group is a part of the table of a role.
type group struct {
	title  string // "": none
	fields []field
}

// A field is a row of a table.
type field struct {
	name, text string
	at         time.Time // zero: none
	bad        bool      // a problem, which the text says, too
}

// The signs say what the colors say.
const (
	signOK  = "✓"
	signBad = "✗"
)

// describe returns what the page shows of a role, and whether it has no problem.
func describe(s state, now time.Time) (groups []group, ok bool) {
	groups = []group{
		{},
		{"Credentials", credentialFields(s, now)},
		{"Key and certificate", keyFields(s, now)},
		{"Renewal of the certificate", renewalFields(s.renewal, now)},
	}
	ok = true
	for _, g := range groups {
		for _, f := range g.fields {
			ok = ok && !f.bad
		}
	}
	verdict := signOK + " ready"
	switch {
	case !s.ready():
		verdict = signBad + " not ready"
	case !ok:
		verdict = signBad + " ready, with a problem"
	}
	groups[0].fields = []field{{name: "State", text: verdict, bad: !ok}, {name: "ARN", text: s.arn}}
	return groups, ok
}

func credentialFields(s state, now time.Time) []field {
	c := s.credentials
	end := field{name: "Expiry", text: relative(c.Expires, now), at: c.Expires}
	if !s.ready() {
		end = field{name: "Expiry", text: "there are no valid credentials", bad: true}
	}
	next := field{name: "Next renewal", text: relative(c.Next, now), at: c.Next}
	if c.Renewing > 0 {
		next = field{name: "Next renewal", text: "in progress for " + duration(c.Renewing)}
	}
	fields := []field{end, next}
	switch {
	case c.Err != nil:
		fields = append(fields, problem("Last renewal", "failed "+relative(c.Last, now)+inARow(c.Failures), c.Last, c.Err.Error(), front.LogHint(c.Err))...)
	case !c.Last.IsZero():
		fields = append(fields, field{name: "Last renewal", text: "succeeded " + relative(c.Last, now), at: c.Last})
	}
	return fields
}

func keyFields(s state, now time.Time) []field {
	place := s.scheme
	if place == "-" {
		place = "standard input"
	}
	overdue := renew.Schedule{Obtained: s.leaf.NotBefore, NotAfter: s.leaf.NotAfter}.Overdue()
	if s.renewal != nil && s.renewal.Certificate != nil {
		overdue = s.renewal.Overdue
	}
	end := field{name: "Expiry", text: relative(s.leaf.NotAfter, now), at: s.leaf.NotAfter}
	if now.After(overdue) {
		end.text, end.bad = end.text+"; renew the certificate", true
	}
	fields := []field{
		{name: "Key", text: signer.DescribeKeyOf(s.leaf) + ", in " + place},
		{name: "Subject", text: holder(s.leaf)},
		end,
	}
	switch {
	case s.reloadErr != nil:
		text := "failed " + relative(s.reloaded, now)
		if s.ready() { // the previous key may be of no use, too
			text += "; the previous key stays in use"
		}
		fields = append(fields, problem("Last reload", text, s.reloaded, s.reloadErr.Error(), front.LogHint(s.reloadErr))...)
	case !s.reloaded.IsZero():
		fields = append(fields, field{name: "Last reload", text: "succeeded " + relative(s.reloaded, now), at: s.reloaded})
	}
	return fields
}

// renewalFields describes the renewal by this process; nil: it does not renew.
func renewalFields(r *renew.Status, now time.Time) []field {
	switch {
	case r == nil:
		return []field{{name: "Due", text: "serve does not renew this certificate"}}
	case r.Certificate == nil:
		return []field{{name: "Due", text: "not known yet"}}
	case r.Unsupported != nil:
		return problem("Due", "never", time.Time{}, r.Unsupported.Error(), front.LogHint(r.Unsupported))
	}
	fields := []field{
		{name: "Obtained", text: relative(r.Obtained, now), at: r.Obtained},
		{name: "Due", text: relative(r.Due, now), at: r.Due},
	}
	if r.Next.After(r.Due) {
		fields = append(fields, field{name: "Next try", text: relative(r.Next, now), at: r.Next})
	}
	switch {
	case r.IsWaiting():
		fields = append(fields, field{name: "Last try", text: "waits for the CA: " + r.Problem, at: r.Tried})
	case r.Failures > 0:
		fields = append(fields, problem("Last try", "failed "+relative(r.Tried, now)+inARow(r.Failures), r.Tried, r.Problem, front.HintText(r.Hint))...)
	}
	if r.Undeployed {
		fields = append(fields, field{name: "Unfinished", text: "the certificate is in use, but what follows a renewal has not succeeded", bad: true})
	}
	return fields
}

// problem returns the fields of something that failed at a time.
func problem(name, text string, at time.Time, err, hint string) []field {
	fields := []field{{name: name, text: text, at: at, bad: true}, {name: "Error", text: err, bad: true}}
	if hint != "" {
		fields = append(fields, field{name: "Hint", text: hint})
	}
	return fields
}

// holder returns the name in a certificate.
func holder(c *x509.Certificate) string {
	uri := ""
	if len(c.URIs) > 0 { // a SPIFFE ID can be the only name
		uri = c.URIs[0].String()
	}
	return cmp.Or(c.Subject.String(), uri, "none")
}

// relative returns a time as seen from now, such as "in 5 min".
func relative(t, now time.Time) string {
	switch d := max(t.Sub(now).Round(time.Second), -math.MaxInt64); {
	case d > 0:
		return "in " + duration(d)
	case d < 0:
		return duration(-d) + " ago"
	}
	return "now"
}

// duration returns d in its largest units.
func duration(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d >= 48*time.Hour:
		return count(int(d/(24*time.Hour)), "day")
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

func inARow(failures int) string {
	if failures < 2 {
		return ""
	}
	return fmt.Sprintf(", %d times in a row", failures)
}

func count(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}
