package doctor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// markVariable tells doctor that it runs the checks of a key for another doctor.
// Its value begins each line for that process, so that what a module prints is no
// part of the report.
const markVariable = "HOLDFAST_DOCTOR_MARK"

// A step holds the results of one check. A step without a name ends the report.
type step struct {
	Name    string
	Results []result
	Codes   []int // of the results
}

// isolated is the name of the first check that can call a PKCS #11 module. From it
// on, the checks of a key in a module run in another process, because a module can
// end the process.
const isolated = "key"

// send writes a step.
func (s step) send(w io.Writer, mark string) error {
	for _, r := range s.Results {
		s.Codes = append(s.Codes, r.code)
	}
	data, err := json.Marshal(s)
	if err == nil {
		_, err = io.WriteString(w, "\n"+mark+string(data)+"\n") // a module can have begun the line
	}
	return err
}

// longestStep limits a line with a step, in bytes. A longer line is one of a module.
const longestStep = 4 << 20

// receive passes the steps of r to next. It reports whether the last one came.
func receive(r io.Reader, mark string, next func(step)) bool {
	lines := bufio.NewReaderSize(r, longestStep)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // what follows has no mark
			continue
		}
		var s step
		if text, found := bytes.CutPrefix(line, []byte(mark)); found && json.Unmarshal(text, &s) == nil {
			for i := range s.Results {
				s.Results[i].code = slices.Concat(s.Codes, make([]int, len(s.Results)))[i]
			}
			if s.Name == "" {
				return true
			}
			next(s)
		}
		if err != nil {
			return false
		}
	}
}

// isolate runs the checks of the key in another process, and passes their steps to
// next. died says how the process ended if it did not come to the end.
func (p *patient) isolate(ctx context.Context, next func(step)) (died string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	p.placed() // not while endOrphans can end the helper that prints its version
	mark := rand.Text()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	child := exec.CommandContext(ctx, exe, append([]string{"doctor"}, p.flags()...)...)
	child.Args[0] = os.Args[0]
	child.Env = append(p.Environ(), markVariable+"="+mark)
	child.Cancel = func() error {
		if child.Process.Signal(os.Interrupt) != nil { // not on Windows
			return child.Process.Kill()
		}
		return nil
	}
	child.WaitDelay = 2 * front.HangTimeout // a module can leave processes that keep the pipe
	var stderr limitedBuffer
	steps, stdout := io.Pipe()
	child.Stdin, child.Stdout, child.Stderr = p.Stdin, stdout, &stderr
	child.ExtraFiles = inherited(append(p.key.Files(p.App), p.key.PINFiles(p.App)...))
	if err := child.Start(); err != nil {
		return "", err
	}
	go func() { // they keep the pipes open
		awaitExit(child.Process.Pid)
		p.endOrphans(child.Process.Pid)
	}()
	exited := make(chan error, 1)
	go func() {
		err := child.Wait()
		stdout.Close()
		exited <- err
	}()
	ended := receive(steps, mark, next)
	if ended { // a module can hang at the end of the process
		go io.Copy(io.Discard, steps)
		defer time.AfterFunc(2*front.HangTimeout, cancel).Stop()
	}
	err = <-exited
	switch {
	case ended:
		for line := range strings.Lines(stderr.b.String()) {
			if _, err := io.WriteString(p.Stderr, p.hide(line)+"\n"); err != nil {
				return "", err
			}
		}
		return "", nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case stderr.isCrash(), err != nil && child.ProcessState.ExitCode() < 0:
		return "crashes", nil
	}
	return "ends the process (" + child.ProcessState.String() + ")", nil
}

// inherited returns the open files of the paths that name file descriptors, such
// as /dev/fd/3, for [exec.Cmd.ExtraFiles].
func inherited(paths []string) (files []*os.File) {
	for _, path := range paths {
		for _, prefix := range []string{"/dev/fd/", "/proc/self/fd/"} {
			text, found := strings.CutPrefix(path, prefix)
			n, err := strconv.Atoi(text)
			if !found || err != nil || n < 3 || n > 255 {
				continue
			}
			for len(files) <= n-3 {
				files = append(files, nil)
			}
			files[n-3] = os.NewFile(uintptr(n), path)
		}
	}
	return files
}

// flags returns the flags of the user as words.
func (p *patient) flags() (words []string) {
	p.cmd.Flags().Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				words = append(words, "--"+f.Name+"="+v)
			}
			return
		}
		words = append(words, "--"+f.Name+"="+f.Value.String())
	})
	return words
}

// needsIsolation reports whether the checks of the key run in another process.
func (p *patient) needsIsolation() bool {
	if p.mark != "" || len(p.modules()) == 0 {
		return false
	}
	_, bad := p.badModule()
	return !bad
}

// inUse is the fault of modules that ended the process of a check.
func (p *patient) inUse(died string) result {
	var paths []string
	for _, m := range p.modules() {
		paths = append(paths, m.Path)
	}
	r := failed(front.ExitUnavailable, "the PKCS #11 module %s %s when it is used", strings.Join(paths, " or "), died)
	return r.because("if this command also fails, install another version of the module, or ask its vendor").tool("pkcs11-tool --module PATH --list-slots", paths[0])
}
