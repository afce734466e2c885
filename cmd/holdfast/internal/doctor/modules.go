package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A probed module was loaded in a process of its own.
type probed struct {
	keystore.Module
	problem string // "": it works
	hint    string // of a problem of the helper process, not of the module; problem is a whole sentence then
	slow    bool   // it did not answer in time
	died    bool   // the process was ended by a signal
}

// probeModules loads the modules that opening the key would load, each in a
// process of its own, all at the same time and with one time limit.
func (p *patient) probeModules(ctx context.Context) []probed {
	if !p.hasKey {
		return nil
	}
	modules, err := p.key.Modules(p.App)
	if err != nil {
		return nil // opening the key reports it
	}
	if len(modules) == 0 {
		return nil
	}
	p.endOrphans = adoptOrphans()
	defer p.endOrphans(0)
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, p.moduleTimeout)
	defer cancel()
	found := make([]probed, len(modules))
	var all sync.WaitGroup
	for i, m := range modules {
		all.Go(func() { found[i] = p.probe(ctx, m) })
	}
	all.Wait()
	p.blameHelper(outer, found)
	return found
}

// probe runs probe-module for one module until ctx ends.
func (p *patient) probe(ctx context.Context, m keystore.Module) probed {
	result := probed{Module: m}
	exe, err := os.Executable()
	if err != nil {
		result.problem = err.Error()
		return result
	}
	child := exec.CommandContext(ctx, exe, ProbeName, "--in", m.Ref.String())
	child.Args[0] = os.Args[0]
	child.Env = p.Environ()
	child.WaitDelay = 100 * time.Millisecond // a module can leave processes that keep the pipe
	var stdout, stderr limitedBuffer
	child.Stdout, child.Stderr = &stdout, &stderr
	err = child.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		result.slow, result.problem = true, "did not answer within "+p.moduleTimeout.String()
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		result.died, result.problem = true, "crashes when it is loaded ("+exit.ProcessState.String()+")"
	case errors.As(err, &exit) && exit.ExitCode() == goCrash && (!stderr.isOurs() || stderr.isCrash()):
		result.died, result.problem = true, "crashes when it is loaded"
	case errors.As(err, &exit) && !stderr.isOurs():
		result.died, result.problem = true, "ends the process when it is loaded ("+exit.ProcessState.String()+")"
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		result.problem = plainProblem(stderr.message(err))
		if rest, found := strings.CutPrefix(result.problem, "module "); found { // the report has the path
			_, result.problem, _ = strings.Cut(rest, ": ")
		} else {
			result.hint = stderr.hint()
		}
		if how, found := strings.CutPrefix(result.problem, "its process ended: "); found {
			result.died, result.problem = true, "ends its process when it is loaded ("+how+")"
		}
	case !strings.Contains(stdout.b.String(), loadedMark):
		result.died, result.problem = true, "ends the process when it is loaded"
	}
	return result
}

// loadedMark ends the output of probe-module: a module can end the process with
// the exit code 0.
const loadedMark = "\nthe module can be loaded\n"

// A place says where modules run.
type place struct {
	process string // its name; "": unknown
	why     string
	helper  result // not ok: a helper process is not used or is one of another version
}

// place says where the modules run.
func (p *patient) place(ctx context.Context) place {
	const here = "the process that signs"
	in, why, err := p.key.Isolation(p.App)
	if in.Reason != "" {
		why += ", and " + in.Reason
	}
	switch {
	case err != nil:
		return place{here, "", fine("")} // opening the key reports it
	case in.Refused != nil:
		r := result{State: warning, Seen: "the helper process is not used: " + in.Refused.Error(), Hint: signer.Hint(in.Refused)}
		return place{here, why, r}
	case in.Program == "":
		return place{here, why, fine("")}
	}
	version, err := front.HelperVersion(ctx, in.Program)
	process, r := "the helper process "+in.Program, fine("")
	switch own := front.ReadBuild().Version; {
	case errors.Is(err, context.DeadlineExceeded):
		return place{process, why, result{State: warning, Seen: err.Error(), Hint: "if the machine is busy, run doctor again; otherwise " + installHelper}}
	case err != nil:
		process, r = "", result{State: warning, Seen: err.Error()} // auto does not use it
	case front.DifferentReleases(version, own):
		r = result{State: warning, Seen: fmt.Sprintf("the helper %s is version %s, but this program is %s", in.Program, version, own)}
	default:
		process += " (" + strings.Trim(version, "()") + ")"
	}
	if r.State != ok {
		r.Hint = installHelper
	}
	return place{process, why, r}
}

const installHelper = "install holdfast-pkcs11 of the same version"

// blameHelper makes the modules of which nothing came in time no faults, but the helper
// process, if that is another program: it did not load them.
func (p *patient) blameHelper(ctx context.Context, modules []probed) {
	if !slices.ContainsFunc(modules, func(m probed) bool { return m.slow }) {
		return
	}
	in, _, err := p.key.Isolation(p.App)
	if err != nil || in.Program == "" {
		return
	}
	if _, err = front.HelperVersion(ctx, in.Program); err == nil || ctx.Err() != nil {
		return
	}
	for i, m := range modules {
		if m.slow {
			modules[i].slow, modules[i].problem = false, in.Program+" is not a holdfast-pkcs11, or cannot run here: it did not answer"
			modules[i].hint = installHelper
			if p.Env(helperVariable) != "" {
				modules[i].hint = "set the variable " + helperVariable + " to the absolute path of holdfast-pkcs11 of the same version as this program, or unset it"
			}
		}
	}
}

// helperVariable names the variable with the path of the helper's program.
const helperVariable = "HOLDFAST_PKCS11_HELPER"

// helperMends are the second words of the commands in hints about the helper: modes, and
// the option of install with a mode.
var helperMends = []string{"+x", "go-w", "g-w", "-m"}

// mendHelper returns r, a fault of the helper, with the command of its hint, or else with
// one that shows which helper is used, or why none is.
func mendHelper(r result) result {
	_, mend, _ := strings.Cut(r.Hint, ": ")
	mend, _, _ = strings.Cut(mend, "; ")
	if words := strings.Fields(mend); len(words) > 2 && slices.Contains(helperMends, words[1]) {
		return r.paste(mend)
	}
	return r.with("holdfast", "version", "--verbose")
}

// plainProblem makes sentences of which the module is the subject.
func plainProblem(problem string) string {
	return strings.NewReplacer(
		"initialize: "+signer.ErrUnavailable.Error()+": ", "fails to initialize: ",
		"cannot be loaded: "+signer.ErrUnavailable.Error()+": it does not export C_GetFunctionList", "is not a PKCS #11 module: it has no C_GetFunctionList",
		"cannot be loaded: "+signer.ErrUnavailable.Error()+": ", "cannot be loaded: ",
	).Replace(problem)
}

// goCrash is the exit code of a Go program after a signal such as SIGSEGV in C.
const goCrash = 2

// A limitedBuffer keeps the first bytes that are written to it.
type limitedBuffer struct{ b bytes.Buffer }

// Write implements [io.Writer].
func (l *limitedBuffer) Write(data []byte) (int, error) {
	if n := 64<<10 - l.b.Len(); n > 0 {
		l.b.Write(data[:min(n, len(data))])
	}
	return len(data), nil
}

const ours = "holdfast: "

// isOurs reports whether the program reported an error itself.
func (l *limitedBuffer) isOurs() bool {
	return strings.HasPrefix(l.b.String(), ours) || strings.Contains(l.b.String(), "\n"+ours)
}

// isCrash reports whether Go wrote a stack, as after a signal in C.
func (l *limitedBuffer) isCrash() bool { return strings.Contains(l.b.String(), "\ngoroutine ") }

// hint returns the hint of the error that the program reported.
func (l *limitedBuffer) hint() (hint string) {
	for line := range strings.Lines(l.b.String()) {
		if text, found := strings.CutPrefix(line, "hint: "); found {
			hint = strings.TrimSpace(text)
		}
	}
	return hint
}

// message returns the error that the program reported.
func (l *limitedBuffer) message(err error) string {
	for line := range strings.Lines(l.b.String()) {
		if text, found := strings.CutPrefix(line, ours); found {
			return strings.TrimSpace(text)
		}
	}
	return err.Error()
}

// fault is the result for a module that cannot be loaded. A module that only
// reports an error does not disturb others.
func (m probed) fault() result {
	if m.problem == "" {
		return fine("")
	}
	if m.hint != "" {
		return mendHelper(failed(front.ExitUnavailable, "%s", m.problem).because(m.hint))
	}
	r := failed(front.ExitUnavailable, "the PKCS #11 module %s %s", m.Path, m.problem)
	switch {
	case !m.slow && !m.died && m.From != "":
		r.State, r.code = warning, 0
		return r.tool("pkcs11-tool --module PATH --list-slots", m.Path)
	case m.From != "":
		r.Hint = "p11-kit loads it because of " + m.From + "; if you do not need it, disable it for the proxy"
		if m.slow {
			r.Hint += "; if it works, but is slow, give doctor more time with --module-timeout"
		}
		return r.paste("printf '\\ndisable-in: p11-kit-proxy\\n' | sudo tee -a " + front.ShellQuote(m.From))
	case m.slow:
		r.Hint = "reconnect the device or restart its service; a slow device may need --module-timeout"
	case m.died:
		r.Hint = "if this command also fails, install another version of the module, or ask its vendor"
	}
	return r.tool("pkcs11-tool --module PATH --list-slots", m.Path)
}

// badModule returns a module that would take doctor along if it were loaded here.
func (p *patient) badModule() (probed, bool) {
	for _, m := range p.modules() {
		if m.fault().State == fault || p.ended {
			return m, true
		}
	}
	return probed{}, false
}

const modulesCheck = "modules"

// checkModules tells which modules work, and where.
func checkModules(ctx context.Context, p *patient) (results []result) {
	modules := p.modules()
	if _, err := p.key.Modules(p.App); err != nil {
		return []result{skip("no module was loaded; see key")}
	}
	if len(modules) == 0 {
		return []result{skip("the key needs no PKCS #11 module")}
	}
	var works []string
	at := p.placed()
	if at.helper.State != ok {
		results = append(results, at.helper)
	}
	told := false // by the check of the key
	for _, m := range modules {
		if r := m.fault(); r.State == fault && !told && p.badKey {
			told = true
			results = append(results, skip("%s; see key", r.Seen))
		} else if r.State != ok {
			results = append(results, r)
		} else {
			works = append(works, m.Path)
		}
	}
	switch {
	case len(works) > 0 && at.process == "":
		results = append(results, fine("can be loaded: %s", strings.Join(works, ", ")))
	case len(works) > 0:
		results = append(results, fine("can be loaded into %s: %s", at.process, strings.Join(works, ", ")), fine("run there, because %s", at.why))
	}
	return results
}

// ProbeName is the name of the command that loads a module.
const ProbeName = "probe-module"

// ProbeModule returns the command that doctor runs for a module which may crash or
// hang the process.
func ProbeModule(a front.App) *cobra.Command {
	var in string
	cmd := &cobra.Command{
		Use:     ProbeName,
		Short:   "Load a PKCS #11 module, for doctor",
		Long:    "Loads a PKCS #11 module and looks for tokens. doctor runs it for each module.",
		Example: "  holdfast probe-module --in 'pkcs11:?module-path=/usr/lib/opensc-pkcs11.so'",
		Hidden:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ref, err := keystore.ParseRef(in)
			if err != nil {
				return err
			}
			_, err = a.Store.Tries(cmd.Context(), ref, a.Options(nil))
			var own *signer.Error
			if errors.As(err, &own) { // doctor names the module
				err = own.Err
			}
			if err == nil {
				_, err = io.WriteString(a.Stdout, loadedMark)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "`reference` that names the module")
	return cmd
}

// moduleFolders are where distributions install PKCS #11 modules.
var moduleFolders = []string{"/usr/lib/*/pkcs11", "/usr/lib/pkcs11", "/usr/lib64/pkcs11", "/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/lib/*/softhsm", "/opt/homebrew/lib/pkcs11", "/usr/local/lib/pkcs11"}

// listModules returns r, the fault of a module that was not found, with a command
// that shows the modules of this machine.
func listModules(r result) result {
	var folders []string
	for _, pattern := range moduleFolders {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		folders = append(folders, found...)
	}
	if len(folders) == 0 {
		return r.with("holdfast", "list")
	}
	return r.with(append([]string{"ls"}, folders...)...)
}
