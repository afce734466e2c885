package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// readRole reads one role of the configuration file of serve, exec and update.
func (p *patient) readRole() []result {
	file := p.given.ConfigFile
	if isInherited(file) { // another process could not read it again
		return []result{failed(front.ExitUsage, "--config %s is not a regular file", file).because("write the roles into a file").with("ls", "-l", file)}
	}
	setups, err := p.given.Setups(p.cmd, p.App)
	if err == nil {
		p.connection, err = p.given.Session.Connection(p.App)
	}
	switch {
	case err != nil:
		return []result{p.roleFault(err)}
	case len(setups) > 1:
		var names []string
		for _, s := range setups {
			names = append(names, s.Name)
		}
		r := failed(front.ExitUsage, "%s has %d roles, and doctor checks one", file, len(setups))
		return []result{r.because("choose one with --role: " + strings.Join(names, ", ")).paste(p.again("--role", names[0]))}
	}
	s := setups[0]
	p.key, p.hasKey = s.Key, true
	p.config, p.second, p.hasConfig = s.Config, s.Chain, true
	p.renews = s.Renewal.Way != ""
	return []result{fine("role %q of %s", s.Name, file), p.validSettings()}
}

// roleFault is the fault of a configuration file, or of flags beside it.
func (p *patient) roleFault(err error) result {
	r, file := failure(err), p.given.ConfigFile
	var usage *front.UsageError
	switch _, statErr := os.Stat(file); {
	case file == "":
		return r.with("holdfast", "help", "doctor")
	case statErr != nil:
		return r.with("ls", "-ld", filepath.Dir(file), file)
	case errors.As(err, &usage) && strings.HasPrefix(err.Error(), "--role "):
		return r.paste(p.again("--role", "NAME"))
	case strings.HasPrefix(err.Error(), "--config "):
		return edit(r, file, 1)
	}
	return r.with("holdfast", "help", "doctor")
}
