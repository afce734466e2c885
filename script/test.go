//go:build ignore

// test runs "go test" with its arguments and prints the result of each package
// as soon as the package has finished; go test itself prints the results in the
// order of the package names. For a package that failed, it also prints the
// output of the failed tests. At the end it lists the reasons why tests were
// skipped. On a terminal it also shows which packages are still running.
//
//	go run script/test.go [-C DIRECTORY] [ARGUMENT OF go test]...
//
// The directory is that of another module.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(1) // go test has reported the reason
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	cmd := exec.Command("go", slices.Concat([]string{"test"}, args, []string{"-json"})...) // -C has to be the first flag
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	fmt.Println("building the tests, which takes several minutes the first time")
	if err := cmd.Start(); err != nil {
		return err
	}
	r := &report{begin: time.Now(), packages: map[string]*tests{}, skipped: map[string]int{}, terminal: term.IsTerminal(1)}
	if err := r.read(out); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	err = cmd.Wait()
	r.end()
	return err
}

// An event is a line of "go test -json"; see "go doc test2json".
type event struct{ Action, Package, ImportPath, Test, Output string }

// A report is the state of a run.
type report struct {
	begin    time.Time
	packages map[string]*tests // packages that are running
	skipped  map[string]int    // number of skipped tests by reason
	done     int               // packages that have finished
	terminal bool              // standard output is a terminal
}

// tests has the output of a package's tests that are running or have failed.
type tests struct {
	order  []string // test names; "" is the package itself
	output map[string]*strings.Builder
}

func (r *report) read(out io.Reader) error {
	lines := make(chan string)
	failed := make(chan error, 1)
	go func() {
		defer close(lines)
		in := bufio.NewReader(out)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				lines <- line
			}
			if err != nil {
				if err != io.EOF {
					failed <- err
				}
				return
			}
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				select {
				case err := <-failed:
					return err
				default:
					return nil
				}
			}
			var e event
			if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				r.print(line)
				continue
			}
			r.handle(e)
		case <-tick.C:
			r.status()
		}
	}
}

func (r *report) handle(e event) {
	p := r.packages[e.Package]
	if p == nil {
		p = &tests{output: map[string]*strings.Builder{}}
	}
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "start":
		r.packages[e.Package] = p
	case "output":
		p.add(e.Test, e.Output)
	case "skip":
		if e.Test != "" {
			r.skipped[p.reason(e.Test)]++
		}
		r.verdict(e, p)
	case "pass", "fail":
		r.verdict(e, p)
	}
}

// verdict handles the end of a test or of a package.
func (r *report) verdict(e event, p *tests) {
	if e.Test != "" {
		if e.Action != "fail" {
			delete(p.output, e.Test)
		}
		return
	}
	r.done++
	delete(r.packages, e.Package)
	if e.Action == "fail" {
		for _, test := range p.order {
			if out := p.output[test]; out != nil && test != "" {
				r.print(out.String())
			}
		}
	}
	if out := p.output[""]; out != nil {
		for line := range strings.Lines(out.String()) {
			if e.Action == "fail" || strings.HasPrefix(line, "ok ") {
				r.print(line)
			}
		}
	}
}

func (t *tests) add(test, out string) {
	b := t.output[test]
	if b == nil {
		b = &strings.Builder{}
		t.output[test] = b
		t.order = append(t.order, test)
	}
	b.WriteString(out)
}

// reason returns the last line that a skipped test printed, without its file
// and line number.
func (t *tests) reason(test string) string {
	out := t.output[test]
	if out == nil {
		return "no reason given"
	}
	why := "no reason given"
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			why = line
		}
	}
	if place, rest, ok := strings.Cut(why, ": "); ok && strings.Contains(place, ".go:") {
		why = rest
	}
	return why
}

const clear = "\r\x1b[K"

func (r *report) print(text string) {
	if r.terminal {
		fmt.Print(clear)
	}
	fmt.Print(text)
}

// status shows on a terminal which packages are running.
func (r *report) status() {
	if !r.terminal {
		return
	}
	names := slices.Sorted(maps.Keys(r.packages))
	for i, name := range names {
		names[i] = path.Base(name)
	}
	line := fmt.Sprintf("%v; packages done: %d; running: %s", time.Since(r.begin).Round(time.Second), r.done, cmp.Or(strings.Join(names, ", "), "the compiler"))
	width, _, err := term.GetSize(1)
	if err != nil || width <= 0 {
		width = 80
	}
	fmt.Print(clear, line[:min(len(line), width-1)])
}

func (r *report) end() {
	r.print("")
	for i, why := range slices.Sorted(maps.Keys(r.skipped)) {
		if i == 0 {
			fmt.Println("skipped tests:")
		}
		fmt.Printf("%5d  %s\n", r.skipped[why], why)
	}
}
