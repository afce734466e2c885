package doctor

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
)

// pinPlace returns the only source from which a stored PIN of the key can come, or
// false if there is none, or several, or one that cannot be corrected with an
// editor.
func (p *patient) pinPlace() (keystore.Ref, bool) { return onlyPlace(p.key.PINSources(p.App)) }

// pinFile returns the file with the only stored PIN of the key.
func (p *patient) pinFile() (path string, ok bool) {
	place, found := p.pinPlace()
	path, ok = place.File()
	return path, found && ok
}

func onlyPlace(sources []keystore.Ref) (only keystore.Ref, found bool) {
	for _, source := range sources {
		if found && source != only {
			return only, false
		}
		only, found = source, true
	}
	_, isFile := only.File()
	_, isVariable := only.Variable()
	return only, isFile || isVariable
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
	if name, ok := place.Variable(); ok {
		r.Seen = fmt.Sprintf("the %s in the environment variable %s is incorrect: %s", what, name, r.Seen)
		return r.because("set the variable to the correct " + what).paste("export " + name + "=…")
	}
	path, _ := place.File()
	r.Seen = fmt.Sprintf("the %s in %s is incorrect: %s", what, path, r.Seen)
	return edit(r.because("write the correct "+what+" into the file"), path, 1)
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
		data, readErr := keystore.ReadFile(p.stored, keystore.MaxInput)
		defer clear(data)
		if err == nil && readErr == nil {
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

// isPINFile reports whether a file holds a PIN that the settings name.
func (p *patient) isPINFile(path string) bool { return p.isPIN(path, keystore.Ref.File) }

// isPIN reports whether a source of a PIN has a name of a kind.
func (p *patient) isPIN(name string, of func(keystore.Ref) (string, bool)) bool {
	return slices.ContainsFunc(p.key.PINSources(p.App), func(source keystore.Ref) bool {
		found, ok := of(source)
		return ok && found == name
	})
}

// absenceCode is the exit code for a file or variable that does not exist, as that of
// credential-process.
func (p *patient) absenceCode(name string, of func(keystore.Ref) (string, bool)) int {
	if p.isPIN(name, of) {
		return front.ExitPIN
	}
	return front.ExitNotFound
}
