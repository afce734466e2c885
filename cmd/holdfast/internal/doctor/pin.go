package doctor

import (
	"bytes"
	"context"
	"fmt"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
)

// pinPlace returns the only source from which a stored PIN of the key can come, or
// false if there is none, or several, or one that cannot be corrected with an
// editor.
func (p *patient) pinPlace() (keystore.Ref, bool) { return onlyPlace(p.key.PINSources(p.App)) }

func onlyPlace(sources []keystore.Ref) (only keystore.Ref, found bool) {
	for _, source := range sources {
		if found && source != only {
			return only, false
		}
		only, found = source, true
	}
	return only, found && (only.Scheme == keystore.SchemeFile || only.Scheme == keystore.SchemeEnv)
}

// wrongPIN returns r, the fault of an incorrect PIN, with the place that holds it,
// and a command that corrects it there.
func (p *patient) wrongPIN(r result) result {
	place, found := p.pinPlace()
	if !found || p.key.PINSource.Asks() {
		return r.paste(p.again("--use-pin", "--pin-source", "prompt"))
	}
	what := p.what
	if what == "" {
		what = "PIN"
	}
	if place.Scheme == keystore.SchemeEnv {
		r.Seen = fmt.Sprintf("the %s in the environment variable %s is incorrect: %s", what, place.Rest, r.Seen)
		return r.because("set the variable to the correct " + what).paste("export " + place.Rest + "=…")
	}
	r.Seen = fmt.Sprintf("the %s in %s is incorrect: %s", what, place.Rest, r.Seen)
	return edit(r.because("write the correct "+what+" into the file"), place.Rest, 1)
}

// compareTyped returns ask, which remembers in p whether a PIN that a person typed
// is another one than that in the file that the profile names. Nothing else of the
// PIN is kept.
func (p *patient) compareTyped(ask keystore.PINFunc) keystore.PINFunc {
	if p.stored == "" || !p.key.PINSource.Asks() {
		return ask
	}
	return func(ctx context.Context, prompt keystore.Prompt) ([]byte, error) {
		pin, err := ask(ctx, prompt)
		if data, readErr := keystore.ReadFile(p.stored, keystore.MaxInput); err == nil && readErr == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.differs = !bytes.Equal(bytes.TrimRight(data, "\r\n"), pin)
		}
		return pin, err
	}
}

// checkTyped returns a warning if the PIN that a person typed opened the key, but
// the file that the profile names has another one.
func (p *patient) checkTyped() []result {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.differs {
		return nil
	}
	return []result{edit(warn("the PIN that you typed is correct; the one in %s is another one, and AWS clients use that", p.stored).
		because("write the PIN that you typed into the file"), p.stored, 1)}
}

// isPIN reports whether a file or variable that the settings name holds a PIN.
func (p *patient) isPIN(ref keystore.Ref) bool {
	for _, source := range p.key.PINSources(p.App) {
		if source == ref {
			return true
		}
	}
	return false
}

// absenceCode is the exit code for a file or variable that does not exist, as that of
// credential-process.
func (p *patient) absenceCode(scheme, name string) int {
	if p.isPIN(keystore.Ref{Scheme: scheme, Rest: name}) {
		return front.ExitPIN
	}
	return front.ExitNotFound
}
