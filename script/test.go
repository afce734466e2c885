//go:build ignore

// test runs "go test" with its arguments and prints what each package comes to
// as soon as it does, which go test itself prints in the order of their names:
// its line, and, if it failed, what its tests printed that did not pass. At the
// end it says which tests were skipped. On a terminal one more line says what
// is still running.
//
//	go run script/test.go [ARGUMENT OF go test]...
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
			os.Exit(1) // it was said why
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	fmt.Println("building the tests, which takes minutes where nothing is built yet")
	if err := cmd.Start(); err != nil {
		return err
	}
	r := &report{begin: time.Now(), packages: map[string]*tests{}, skipped: map[string]int{}, live: term.IsTerminal(1)}
	if err := r.read(out); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	err = cmd.Wait()
	r.end()
	return err
}

// An event is a line of "go test -json"; see "go doc test2json".
type event struct{ Action, Package, ImportPath, Test, Output string }

// A report is what is known of a run.
type report struct {
	begin    time.Time
	packages map[string]*tests // that run
	skipped  map[string]int    // tests by reason
	done     int
	live     bool // there is a terminal to say what is running
}

// tests are the tests of a package without a verdict, or that failed.
type tests struct {
	order  []string // "" is for the package itself
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
			r.take(e)
		case <-tick.C:
			r.status()
		}
	}
}

func (r *report) take(e event) {
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

// verdict takes the end of a test or of a package.
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

// reason is what a test that was skipped said last, without the place.
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
	if r.live {
		fmt.Print(clear)
	}
	fmt.Print(text)
}

// status says on a terminal what is running.
func (r *report) status() {
	if !r.live {
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
