package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A state is the result of a check, from the best to the worst.
type state string

const (
	ok      state = "ok"
	skipped state = "skipped"
	warning state = "warning"
	fault   state = "fault"
)

// A result is one line of the report. Its JSON form is described in
// docs/doctor.md.
type result struct {
	State   state  `json:"state"`
	Check   string `json:"check"`
	Seen    string `json:"seen"`
	Hint    string `json:"hint,omitempty"`    // a sentence that helps
	Command string `json:"command,omitempty"` // to paste; may need an editor or a decision

	code int // exit code of a fault
}

// A check is one step of the diagnosis. It sees what earlier checks found.
type check struct {
	name  string
	needs []need
	run   func(context.Context, *patient) []result
}

// A need is a condition of a check. If it is not met, the check is skipped.
type need struct {
	met func(*patient) bool
	why string // the reason for skipping
}

var (
	needKey         = need{func(p *patient) bool { return p.hasKey }, "the configuration names no key"}
	needKnown       = need{func(p *patient) bool { return !p.foreign }, "the settings of the session are not known"}
	needConfig      = need{func(p *patient) bool { return p.hasConfig }, "the settings of the session are not valid"}
	needOpen        = need{func(p *patient) bool { return p.signer != nil }, "the key is not open"}
	needCertificate = need{func(p *patient) bool { return len(p.certs.Chain) > 0 }, "there is no certificate"}
	needOnline      = need{func(p *patient) bool { return p.online }, "needs --online, which sends requests to AWS"}
	needReached     = need{func(p *patient) bool { return p.reachErr == nil }, "the service was not reached"}
	needSession     = need{func(p *patient) bool { return p.session.AccessKeyID != "" }, "there is no session"}
	needPolicy      = need{func(p *patient) bool { return p.trustPolicy != "" }, "needs --trust-policy FILE, the trust policy of the role or of the second role"}
)

// checks are all checks, in the order of the report.
func checks() []check {
	return []check{
		{"configuration", nil, checkConfiguration},
		{"files", []need{needKey}, checkFiles},
		{"key", []need{needKey}, checkKey},
		{"match", []need{needKey}, checkMatch},
		{"chain", []need{needCertificate}, checkChain},
		{"rules", []need{needCertificate}, checkRules},
		{"tags", []need{needCertificate}, checkTags},
		{"policy", []need{needPolicy, needKnown, needConfig, needCertificate}, checkPolicy},
		{"clock", []need{needOnline, needKnown, needConfig}, checkClock},
		{"network", []need{needOnline, needKnown, needConfig}, checkNetwork},
		{"session", []need{needOnline, needKnown, needConfig, needOpen, needReached}, checkSession},
		{"identity", []need{needOnline, needSession}, checkIdentity},
		{"environment", nil, checkEnvironment},
		{modulesCheck, []need{needKey}, checkModules},
		{"tpm", []need{needKey}, checkTPM},
		{"renewal", []need{needCertificate}, checkRenewal},
	}
}

// examine runs the checks and passes each result to report. It stops if ctx ends.
func (p *patient) examine(ctx context.Context, report func(result)) (all []result, err error) {
	add := func(name string, results []result) {
		for _, r := range results {
			r.Check = name
			p.remember(r) // before the redaction, which shortens texts
			r = p.redact(r)
			all = append(all, r)
			report(r)
		}
	}
	checks := checks()
	for i := 0; i < len(checks); i++ {
		c := checks[i]
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		if c.name == isolated && p.needsIsolation() {
			died, err := p.isolate(ctx, func(s step) {
				if s.Name == modulesCheck {
					s.Results = checkModules(ctx, p) // only this process probed them
				}
				add(s.Name, s.Results)
				i++
			})
			switch {
			case err != nil:
				return all, err
			case died == "":
				return all, nil
			}
			add(checks[min(i, len(checks)-1)].name, []result{p.inUse(died)})
			p.ended = true
			p.readFiles(ctx)
			continue
		}
		add(c.name, c.results(ctx, p))
	}
	return all, nil
}

// remember keeps the faults that later checks do not repeat.
func (p *patient) remember(r result) {
	switch {
	case r.State != fault:
	case r.Check == "files":
		p.badFiles = append(p.badFiles, r.Seen)
	case r.Check == "rules":
		p.badRules = append(p.badRules, r.Seen)
	case r.Check == "key":
		p.badKey = true
	}
}

// examineKey runs the checks from the key on for another process; see isolate.
func (p *patient) examineKey(ctx context.Context) error {
	sending := false
	for _, c := range checks() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if sending = sending || c.name == isolated; !sending && c.name != "configuration" {
			continue
		}
		results := c.results(ctx, p)
		if !sending {
			continue
		}
		for i := range results { // the other process redacts them
			results[i].Check = c.name
			p.remember(results[i])
		}
		if err := (step{Name: c.name, Results: results}).send(p.Stdout, p.mark); err != nil {
			return err
		}
	}
	return step{}.send(p.Stdout, p.mark)
}

func (c check) results(ctx context.Context, p *patient) []result {
	for _, n := range c.needs {
		if !n.met(p) {
			return []result{{State: skipped, Seen: n.why}}
		}
	}
	return c.run(ctx, p)
}

// worst returns the worst state of results and the exit code: that of the first
// fault, or 0.
func worst(results []result) (s state, code int) {
	s = ok
	for _, r := range results {
		switch {
		case r.State == fault && s != fault:
			s, code = fault, r.code
		case r.State == warning && s != fault:
			s = warning
		}
	}
	return s, code
}

func fine(format string, args ...any) result {
	return result{State: ok, Seen: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) result {
	return result{State: skipped, Seen: fmt.Sprintf(format, args...)}
}

func warn(format string, args ...any) result {
	return result{State: warning, Seen: fmt.Sprintf(format, args...)}
}

func failed(code int, format string, args ...any) result {
	return result{State: fault, Seen: fmt.Sprintf(format, args...), code: code}
}

// failure is the fault of an error, with its hint.
func failure(err error) result {
	code, hint := front.Explain(err)
	if strings.Contains(hint, "--debug") && signer.Hint(err) == "" || strings.HasPrefix(hint, "see holdfast") {
		hint = "" // the report is the detail
	}
	return result{State: fault, Seen: err.Error(), Hint: hint, code: code}
}

// with returns r with a command of these words.
func (r result) with(words ...string) result { return r.paste(command(words...)) }

// paste returns r with a command that is a text for the shell.
func (r result) paste(text string) result {
	r.Command = text
	return r
}

// tool returns r with a command of another program: a template whose words FILE,
// NAME and PATH are replaced by the values, in this order.
func (r result) tool(template string, values ...string) result {
	words := strings.Fields(template)
	for i, w := range words {
		if (w == "FILE" || w == "NAME" || w == "PATH") && len(values) > 0 {
			words[i], values = front.ShellQuote(values[0]), values[1:]
		}
	}
	return r.paste(strings.Join(words, " "))
}

// because returns r with a hint.
func (r result) because(hint string) result {
	r.Hint = hint
	return r
}

// command quotes words for a shell.
func command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = front.ShellQuote(w)
	}
	return strings.Join(quoted, " ")
}

// errHeld means that a PIN was not used, because the user did not allow it.
var errHeld = errors.New("the PIN is not used without --use-pin")

// permit is [keystore.Options.Permit]. A password of a file is permitted unless a
// person would have to type it: a file counts no tries. For an optional password,
// nobody is asked, and the key is opened without one.
func (p *patient) permit(prompt keystore.Prompt) error {
	asks := p.key.AsksPerson()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = prompt.What
	if p.usePIN || prompt.What == keystore.AskPassword && !asks || prompt.Optional && asks && !p.key.PINSource.Asks() {
		return nil
	}
	p.held = prompt.What
	return errHeld
}
