//go:build unix

package program_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/exectest"
)

// A liar is a program that breaks the contract. The test binary is one if the name with
// which it was started says so.
type liar struct {
	exectest.Signer
	in  *bufio.Reader
	out io.Writer
}

const liarPrefix = "liar-"

// dirVariable names the folder in which each process that lies leaves a file with its
// PID as the name.
const dirVariable = "LIAR_DIR"

func lie() {
	name, ok := strings.CutPrefix(filepath.Base(os.Args[0]), liarPrefix)
	if !ok {
		return
	}
	note(os.Getpid())
	l := &liar{in: bufio.NewReader(os.Stdin), out: os.Stdout}
	for _, row := range append(lies, others...) {
		if row.name == strings.ReplaceAll(name, "_", " ") {
			row.run(l)
			l.serve()
		}
	}
	fmt.Fprintln(os.Stderr, "no such lie")
	os.Exit(1)
}

// note leaves the PID of a process.
func note(pid int) {
	if err := os.WriteFile(filepath.Join(os.Getenv(dirVariable), fmt.Sprint(pid)), nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// next returns the next request. The process ends with its input.
func (l *liar) next() (q exectest.Request) {
	line, err := l.in.ReadBytes('\n')
	if err != nil {
		os.Exit(0)
	}
	if err := json.Unmarshal(line, &q); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return q
}

func (l *liar) raw(text string) { _, _ = io.WriteString(l.out, text) }

func (l *liar) answer(a exectest.Answer) {
	line, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	l.raw(string(line) + "\n")
}

// open answers the request to open the key.
func (l *liar) open() { l.answer(l.Answer(l.next())) }

// openAs is open with a change.
func (l *liar) openAs(change func(*exectest.Answer)) {
	a := l.Answer(l.next())
	change(&a)
	l.answer(a)
}

// openWith answers the request to open the key with the fields of a JSON object instead
// of its own.
func (l *liar) openWith(fields string) {
	line, err := json.Marshal(l.Answer(l.next()))
	if err != nil {
		panic(err)
	}
	l.raw(strings.TrimSuffix(string(line), "}") + "," + fields + "}\n")
}

// sign answers the next request with the given line, in which ID stands for the id.
func (l *liar) sign(line string) {
	q := l.next()
	l.raw(strings.ReplaceAll(line, "ID", fmt.Sprint(q.ID)) + "\n")
}

// signAs answers the next request with a change.
func (l *liar) signAs(change func(q *exectest.Request, a *exectest.Answer)) {
	q := l.next()
	a := l.Answer(q)
	change(&q, &a)
	l.answer(a)
}

// serve answers all further requests.
func (l *liar) serve() {
	for {
		l.open()
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
