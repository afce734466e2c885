package pkcs11

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
	"github.com/holdfast-dev/holdfast/signer"
)

// liesVariable makes the test binary a program that is not the helper.
const liesVariable = "HOLDFAST_TEST_LIES"

func init() {
	if lie, ok := lies[os.Getenv(liesVariable)]; ok {
		lie.program()
		os.Exit(0)
	}
}

// A lie is a program in place of the helper, and a part of the error that results.
type lie struct {
	program func()
	want    string
	mute    bool // the call does not return before nobody waits
}

func hello() {
	_ = wire.WriteHello(os.Stdout, wire.Hello{Version: wire.Version, Program: "v1.2.3-test"})
}

func out(b ...byte) { _, _ = os.Stdout.Write(b) }

// answering answers the request that loads the module, and gives the others to f.
func answering(f func(q *wire.Request)) func() {
	return func() {
		hello()
		for {
			q, err := wire.ReadRequest(os.Stdin)
			if err != nil {
				return
			}
			if q.Op == wire.Load || q.Op == wire.Reinitialize {
				answer(wire.Response{ID: q.ID})
			} else {
				f(q)
			}
		}
	}
}

func answer(r wire.Response) { _ = wire.WriteResponse(os.Stdout, &r) }

var lies = map[string]lie{
	"nothing":           {func() {}, "is not a holdfast-pkcs11, or cannot run here: it ended", false},
	"exit code":         {func() { os.Exit(7) }, "is not a holdfast-pkcs11, or cannot run here: exit status 7", false},
	"text":              {func() { out([]byte("usage: holdfast …\n")...) }, "is not a holdfast-pkcs11: it writes something else", false},
	"another version":   {func() { _ = wire.WriteHello(os.Stdout, wire.Hello{Version: 99}) }, "is the holdfast-pkcs11 of another version: it speaks version 99 of the protocol, not", false},
	"mute":              {func() { time.Sleep(time.Hour) }, "is not a holdfast-pkcs11, or cannot run here: it did not answer", false},
	"half a hello":      {func() { out(0, 0, 0, 9, 1); time.Sleep(time.Hour) }, "is not a holdfast-pkcs11, or cannot run here: it did not answer", false},
	"a long hello":      {func() { out(0x40, 0, 0, 0) }, "is not a holdfast-pkcs11: it writes something else", false},
	"wrong IDs":         {answering(func(q *wire.Request) { answer(wire.Response{ID: q.ID + 5}) }), "it answers what it was not asked", false},
	"two answers":       {answering(func(q *wire.Request) { answer(wire.Response{ID: q.ID}); answer(wire.Response{ID: q.ID}) }), "", false},
	"garbage":           {answering(func(*wire.Request) { out(0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff) }), "malformed message", false},
	"1 GB":              {answering(func(*wire.Request) { out(0x40, 0, 0, 0); zeros() }), "a message of 1073741824 bytes", false},
	"endless":           {answering(func(*wire.Request) { zeros() }), "malformed message", false},
	"half an answer":    {answering(func(*wire.Request) { out(0, 0, 1, 0, 1); os.Exit(4) }), "its process ended: exit status 4", false},
	"closed":            {answering(func(*wire.Request) { _ = os.Stdout.Close(); time.Sleep(time.Hour) }), "its process ended: it closed its output", false},
	"never":             {answering(func(*wire.Request) {}), "did not answer", true},
	"deaf":              {func() { hello(); time.Sleep(time.Hour) }, "did not answer", true},
	"too many numbers":  {answering(func(q *wire.Request) { answer(wire.Response{ID: q.ID, Numbers: make([]uint64, 1<<17)}) }), "malformed answer", false},
	"nothing more":      {hello, "", false},
	"a version to show": {func() { _ = wire.WriteHello(os.Stdout, wire.Hello{Version: wire.Version, Program: "\x1b[2J"}) }, "is not a holdfast-pkcs11: it writes something else", false},
	"another answer": {answering(func(q *wire.Request) {
		answer(wire.Response{ID: q.ID, Texts: []string{"x"}, Numbers: []uint64{1<<64 - 1}})
	}), "", false},
	"a child holds on":  {answering(func(*wire.Request) { childHoldsOn() }), "its process ended: exit status 5", false},
	"a text of control": {answering(func(q *wire.Request) { answer(wire.Response{ID: q.ID, Text: "cannot"}) }), "cannot", false},
}

func zeros() {
	b := make([]byte, 1<<16)
	for {
		if _, err := os.Stdout.Write(b); err != nil {
			os.Exit(0)
		}
	}
}

// childHoldsOn ends while a child has standard output open.
func childHoldsOn() {
	cmd := exec.Command("sleep", "20")
	cmd.Stdout = os.Stdout
	_ = cmd.Start()
	os.Exit(5)
}

// calls are functions of a module that needs no session, or gets one.
func calls(m module) error {
	_, err := m.slots()
	errs := []error{err}
	if errors.Is(err, errMute) {
		return err // the next helper does the same
	}
	_, err = m.info()
	errs = append(errs, err)
	_, err = m.tokenInfo(1)
	errs = append(errs, err)
	session, err := m.openSession(1, false)
	errs = append(errs, err)
	_, err = m.find(session, nil, 10)
	errs = append(errs, err)
	_, err = m.attributes(session, 1, ckaID)
	errs = append(errs, err)
	_, err = m.sign(session, 1, mechanism{}, nil, nil)
	return errors.Join(append(errs, err, m.closeSession(session))...)
}

// Whatever the program in place of the helper does, calls return an error in bounded time
// and memory, and the program ends.
func TestLyingHelper(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && (name == "a child holds on" || name == "closed" || strings.Contains(lie.want, "exit status")) {
				t.Skip("processes end otherwise on Windows")
			}
			t.Parallel()
			begun := make(chan abandoner, 1)
			done := make(chan error, 1)
			go func() {
				m, err := isolate(self, self, append(os.Environ(), liesVariable+"="+name), func(a abandoner) { begun <- a }, func() {})
				if err == nil {
					err = calls(m)
					err = errors.Join(err, m.finalize())
				}
				done <- err
			}()
			limit := time.Minute
			if lie.mute {
				limit = time.Second
			}
			var err error
			inTime := false
			for n := 0; n < 3 && !inTime; n++ {
				select {
				case err = <-done:
					inTime = true
				case <-time.After(limit):
					if !lie.mute {
						t.Fatal("the calls do not return")
					}
					if n == 0 {
						a := <-begun
						begun <- a
						a.abandon(abandoned{done: make(chan struct{})})
					}
					limit = 3 * hungAfter
				}
			}
			if !inTime || err == nil || !strings.Contains(err.Error(), lie.want) {
				t.Errorf("in time %t, error %v, want %q", inTime, err, lie.want)
			}
			if strings.Contains(lie.want, "holdfast-pkcs11") && (signer.Hint(err) == "" || !errors.Is(err, signer.ErrUnavailable)) {
				t.Errorf("no hint in %v", err)
			}
		})
	}
}

// A remembering is a pipe to a helper that does not exist.
type remembering struct{}

func (remembering) Write(b []byte) (int, error) { return len(b), nil }
func (remembering) Close() error                { return nil }

// FuzzAnswers: no bytes of the helper make this process panic, hang or use much memory.
func FuzzAnswers(f *testing.F) {
	var all bytes.Buffer
	for id := uint64(1); id < 8; id++ {
		for _, r := range []wire.Response{
			{ID: id, Numbers: []uint64{1, 2}, Texts: []string{"a", "b", "c", "d"}},
			{ID: id, RV: 0x32}, {ID: id, Text: "no"}, {ID: id, Numbers: []uint64{7}, Data: []byte("signature")},
			{ID: id, Attributes: []wire.Attribute{{Kind: 1, Value: []byte("value")}}, Numbers: []uint64{5}},
		} {
			var one bytes.Buffer
			_ = wire.WriteResponse(&one, &r)
			f.Add(one.Bytes())
			all.Write(one.Bytes())
		}
	}
	f.Add(all.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRemote()
		r.start = func() (*helper, error) {
			in, answers := io.Pipe()
			exit := make(chan struct{})
			h := newHelper("module", remembering{}, in, sync.OnceFunc(func() { _ = answers.Close(); close(exit) }))
			go h.wait(func() error { <-exit; return nil }, in)
			<-h.reading
			go func() { _, _ = answers.Write(data); _ = answers.Close() }()
			return h, nil
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = calls(r)
			_ = r.finalize()
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("the calls do not return")
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%d MiB were allocated for %d bytes", n>>20, len(data))
		}
	})
}
