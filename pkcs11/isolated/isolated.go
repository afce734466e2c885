//go:build windows || ((darwin || linux) && (amd64 || arm64))

// Package isolated is the helper process in which package pkcs11 runs a module, so that a
// crash of the module does not end the program that signs, and so that this program needs
// neither cgo nor a dynamic linker.
//
// The program holdfast-pkcs11 is [Main]. Another program can be its own helper: it calls
// Main if it was started as one.
package isolated

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/binding"
	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
)

const (
	maxCalls    = 64                   // bounds the calls of the module at the same time
	maxRequests = 2 * wire.MaxRequests // of which some have just been answered
)

// finalizeTimeout bounds C_Finalize when the program has ended, in seconds as package
// pkcs11 waits for it.
const finalizeTimeout = 2 * time.Second

// Main runs the helper until the program that started it closes standard input or ends,
// and returns the exit code. version is that of the helper's program, for messages. A
// module can write to standard output: Main redirects that to standard error, until the
// program has ended. Main closes the other files that were open when this process was
// started. It must be called at most once, before anything reads standard input.
func Main(version string) int {
	closeInherited()
	in, out, err := takeStreams()
	if err == nil {
		err = errors.Join(protect(), endBySignal())
	}
	if err == nil {
		err = serve(in, out, version, openModule, func(err error) { report(err); leaveStreams() })
	} else {
		report(err)
	}
	if err != nil {
		return 1
	}
	return 0
}

func report(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-pkcs11:", err)
	}
}

// Serve answers requests until the end of in. It then finalizes the module, for which it
// waits at most two seconds.
func Serve(in io.Reader, out io.Writer, version string) error {
	return serve(in, out, version, openModule, func(error) {})
}

func openModule(path string) (library, error) { return binding.Open(path) }

// A library is a [binding.Library].
type library interface {
	Initialize() error
	Finalize() error
	Info() (manufacturer, description string, major, minor byte, _ error)
	Slots() ([]uint64, error)
	SlotInfo(slot uint64) (description, manufacturer string, flags uint64, _ error)
	TokenInfo(slot uint64) (texts []string, flags, maxSessions uint64, _ error)
	Mechanisms(slot uint64) ([]uint64, error)
	OpenSession(slot uint64, write bool) (uint64, error)
	CloseSession(session uint64) error
	LoggedIn(session uint64) (bool, error)
	Login(session, user uint64, pin []byte) error
	Find(session uint64, template []binding.Attribute, limit int) ([]uint64, error)
	Attributes(session, object uint64, types []uint64) ([]binding.Attribute, error)
	SignInit(session, key uint64, m binding.Mechanism) error
	Sign(session uint64, input []byte) ([]byte, error)
	GenerateKeyPair(session uint64, m binding.Mechanism, public, private []binding.Attribute) (pub, priv uint64, err error)
	CreateObject(session uint64, attributes []binding.Attribute) (uint64, error)
	DestroyObject(session, object uint64) error
}

// serve is Serve, with a function that loads a module. It calls ended with its result
// before it finalizes the module.
func serve(in io.Reader, out io.Writer, version string, open func(path string) (library, error), ended func(error)) error {
	if err := wire.WriteHello(out, wire.Hello{Version: wire.Version, Program: version}); err != nil {
		ended(err)
		return err
	}
	s := &server{in: wire.NewReader(in), out: out, open: open, calls: make(chan struct{}, maxCalls), ended: make(chan error, 1)}
	s.workers.Store(1)
	s.idle.Store(1)
	go s.work()
	err := <-s.ended
	if errors.Is(err, io.EOF) {
		err = nil
	}
	ended(err)
	s.finalizeInTime()
	return err
}

// work reads requests and answers them. Who has read a request answers it, so that no
// other goroutine has to be woken for it. Another one reads meanwhile, also while all calls
// hang: it is how the end is noticed.
func (s *server) work() {
	for {
		s.reading.Lock()
		s.idle.Add(-1)
		if s.over {
			s.reading.Unlock()
			return
		}
		q, err := wire.ReadRequest(s.in)
		if err == nil && s.idle.Load() == 0 {
			if s.workers.Load() == maxRequests {
				err = errors.New("too many requests at the same time")
			} else {
				s.workers.Add(1)
				s.idle.Add(1)
				go s.work()
			}
		}
		if err != nil {
			s.over = true
			s.ended <- err
		}
		s.reading.Unlock()
		if err != nil {
			return
		}
		s.calls <- struct{}{}
		s.answer(q)
		<-s.calls
		s.idle.Add(1)
	}
}

// A server has at most one module.
type server struct {
	open  func(path string) (library, error)
	calls chan struct{} // those of the module
	ended chan error    // gets why no more requests are read

	reading sync.Mutex
	in      io.Reader
	over    bool
	workers atomic.Int32
	idle    atomic.Int32 // workers that wait to read

	writing sync.Mutex
	out     io.Writer

	mu      sync.RWMutex // held for writing while the module is loaded or finalized
	library library
	foreign bool // somebody else in this process has initialized it
}

// answer answers one request.
func (s *server) answer(q *wire.Request) {
	r := &wire.Response{ID: q.ID}
	err := s.call(q, r)
	if q.Op == wire.Login {
		clear(q.Data)
	}
	if open := (*binding.OpenError)(nil); errors.As(err, &open) {
		*r = wire.Response{ID: q.ID, Text: open.Function, RV: uint64(open.RV)}
	} else if rv := binding.RV(0); errors.As(err, &rv) {
		*r = wire.Response{ID: q.ID, RV: uint64(rv)}
	} else if err != nil {
		*r = wire.Response{ID: q.ID, Text: cmp.Or(err.Error(), "unknown error")} // "" would be success
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := wire.WriteResponse(s.out, r); err != nil {
		_ = wire.WriteResponse(s.out, &wire.Response{ID: q.ID, Text: err.Error()}) // the program has ended, or it was too long
	}
}

func (s *server) call(q *wire.Request, r *wire.Response) error {
	switch q.Op {
	case wire.Load:
		return s.load(string(q.Data))
	case wire.Reinitialize:
		return s.reinitialize()
	case wire.Finalize:
		return s.finalize()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.library == nil {
		return errors.New("no module is loaded")
	}
	return use(s.library, q, r)
}

// use calls the functions of the module for q, and sets their result in r.
func use(l library, q *wire.Request, r *wire.Response) (err error) {
	one := func(n uint64, err error) error {
		r.Numbers = []uint64{n}
		return err
	}
	switch q.Op {
	case wire.Info:
		manufacturer, description, major, minor, err := l.Info()
		r.Texts, r.Numbers = []string{manufacturer, description}, []uint64{uint64(major), uint64(minor)}
		return err
	case wire.Slots:
		r.Numbers, err = l.Slots()
	case wire.SlotInfo:
		description, manufacturer, flags, err := l.SlotInfo(q.Slot)
		r.Texts, r.Numbers = []string{description, manufacturer}, []uint64{flags}
		return err
	case wire.TokenInfo:
		texts, flags, maxSessions, err := l.TokenInfo(q.Slot)
		r.Texts, r.Numbers = texts, []uint64{flags, maxSessions}
		return err
	case wire.Mechanisms:
		r.Numbers, err = l.Mechanisms(q.Slot)
	case wire.OpenSession:
		return one(l.OpenSession(q.Slot, q.Flag))
	case wire.CloseSession:
		return l.CloseSession(q.Session)
	case wire.LoggedIn:
		in, err := l.LoggedIn(q.Session)
		r.Numbers = []uint64{0}
		if in {
			r.Numbers[0] = 1
		}
		return err
	case wire.Login:
		return l.Login(q.Session, q.User, q.Data)
	case wire.Find:
		r.Numbers, err = l.Find(q.Session, native(q.Template), int(min(q.Limit, maxObjects)))
	case wire.Attributes:
		values, err := l.Attributes(q.Session, q.Object, q.Types)
		for _, a := range values {
			r.Attributes = append(r.Attributes, wire.Attribute{Kind: a.Kind, Value: a.Value})
		}
		return err
	case wire.Sign:
		if err = l.SignInit(q.Session, q.Object, binding.Mechanism(q.Mechanism)); err == nil {
			r.Data, err = l.Sign(q.Session, q.Data)
		}
	case wire.SignInit:
		return l.SignInit(q.Session, q.Object, binding.Mechanism(q.Mechanism))
	case wire.SignFinish:
		r.Data, err = l.Sign(q.Session, q.Data)
	case wire.GenerateKeyPair:
		pub, priv, err := l.GenerateKeyPair(q.Session, binding.Mechanism(q.Mechanism), native(q.Template), native(q.Private))
		r.Numbers = []uint64{pub, priv}
		return err
	case wire.CreateObject:
		return one(l.CreateObject(q.Session, native(q.Template)))
	case wire.DestroyObject:
		return l.DestroyObject(q.Session, q.Object)
	}
	return err
}

// maxObjects bounds the handles in one answer.
const maxObjects = 1 << 16

// native converts attributes to the form that the module reads.
func native(all []wire.Attribute) []binding.Attribute {
	out := make([]binding.Attribute, len(all))
	for i, a := range all {
		out[i] = binding.Attribute{Kind: a.Kind, Value: a.Value}
		if a.Form == wire.Number {
			out[i].Value = binding.Ulong(binary.BigEndian.Uint64(a.Value))
		}
	}
	return out
}

const ckrCryptokiAlreadyInitialized binding.RV = 0x191

func (s *server) load(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.library != nil {
		return errors.New("a module is loaded already")
	}
	l, err := s.open(path)
	if err != nil {
		return err
	}
	if err := l.Initialize(); errors.Is(err, ckrCryptokiAlreadyInitialized) {
		s.foreign = true
	} else if err != nil {
		return err
	}
	s.library = l
	return nil
}

func (s *server) reinitialize() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.library == nil || s.foreign {
		return nil
	}
	if err := s.library.Finalize(); err != nil {
		return err
	}
	return s.library.Initialize()
}

func (s *server) finalize() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.library == nil || s.foreign {
		return nil
	}
	l := s.library
	s.library = nil
	return l.Finalize()
}

// finalizeInTime finalizes the module, unless it does not answer in time.
func (s *server) finalizeInTime() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.finalize()
	}()
	select {
	case <-done:
	case <-time.After(finalizeTimeout):
	}
}
