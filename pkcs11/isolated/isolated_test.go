//go:build windows || ((darwin || linux) && (amd64 || arm64))

package isolated

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/binding"
	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
)

// A stub is a library without state. It returns what it was given, or rv.
type stub struct{ rv binding.RV }

func (s stub) err() error {
	if s.rv != 0 {
		return s.rv
	}
	return nil
}

func (s stub) Initialize() error { return nil }
func (s stub) Finalize() error   { return nil }
func (s stub) Info() (string, string, byte, byte, error) {
	return "manufacturer", "description", 1, 2, s.err()
}
func (s stub) Slots() ([]uint64, error) { return []uint64{1, 2}, s.err() }
func (s stub) SlotInfo(slot uint64) (string, string, uint64, error) {
	return "description", "manufacturer", slot, s.err()
}
func (s stub) TokenInfo(slot uint64) ([]string, uint64, uint64, error) {
	return []string{"label", "manufacturer", "model", "serial"}, slot, 0, s.err()
}
func (s stub) Mechanisms(slot uint64) ([]uint64, error) { return []uint64{slot}, s.err() }
func (s stub) OpenSession(slot uint64, _ bool) (uint64, error) {
	return slot, s.err()
}
func (s stub) CloseSession(uint64) error         { return s.err() }
func (s stub) LoggedIn(n uint64) (bool, error)   { return n%2 == 1, s.err() }
func (s stub) Login(_, _ uint64, _ []byte) error { return s.err() }
func (s stub) Find(_ uint64, template []binding.Attribute, limit int) ([]uint64, error) {
	return make([]uint64, min(limit, len(template))), s.err()
}
func (s stub) Attributes(_, _ uint64, types []uint64) (all []binding.Attribute, _ error) {
	for _, kind := range types {
		all = append(all, binding.Attribute{Kind: kind, Value: []byte("value")})
	}
	return all, s.err()
}
func (s stub) SignInit(_, _ uint64, _ binding.Mechanism) error          { return s.err() }
func (s stub) Sign(_ uint64, input []byte) ([]byte, error)              { return input, s.err() }
func (s stub) CreateObject(uint64, []binding.Attribute) (uint64, error) { return 3, s.err() }
func (s stub) DestroyObject(uint64, uint64) error                       { return s.err() }
func (s stub) GenerateKeyPair(uint64, binding.Mechanism, []binding.Attribute, []binding.Attribute) (uint64, uint64, error) {
	return 1, 2, s.err()
}

// A buffer is safe for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  []byte
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	return len(p), nil
}

// answers serves the requests in data and returns the answers.
func answers(t testing.TB, data []byte, l library) ([]*wire.Response, error) {
	t.Helper()
	w := new(buffer)
	err := serve(bytes.NewReader(data), w, "v1", func(path string) (library, error) {
		if path == "" {
			return nil, errors.New("no path")
		}
		return l, nil
	}, func(error) {})
	w.mu.Lock() // the last answers may be late
	out := bytes.NewBuffer(bytes.Clone(w.b))
	w.mu.Unlock()
	if _, err := wire.ReadHello(out); err != nil {
		t.Fatal(err)
	}
	var all []*wire.Response
	for {
		r, readErr := wire.ReadResponse(out)
		if readErr == io.EOF {
			return all, err
		}
		if readErr != nil {
			t.Fatal(readErr)
		}
		all = append(all, r)
	}
}

func requests(t testing.TB, all ...wire.Request) []byte {
	t.Helper()
	var b bytes.Buffer
	for i, q := range all {
		q.ID = uint64(i + 1)
		if err := wire.WriteRequest(&b, &q); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// Without a module, and after its end, every request has an answer that says so.
func TestServeWithoutModule(t *testing.T) {
	for op := wire.Info; op <= wire.DestroyObject; op++ {
		all, err := answers(t, requests(t, wire.Request{Op: op}), stub{})
		if err != nil || len(all) > 1 || len(all) == 1 && all[0].Text != "no module is loaded" {
			t.Errorf("operation %d: %d answers, error %v", op, len(all), err)
		}
	}
}

// A blocked is a library whose functions do not return.
type blocked struct {
	stub
	entered chan struct{}
}

func (b blocked) Sign(uint64, []byte) ([]byte, error) { b.entered <- struct{}{}; select {} }

// The end of the requests ends Serve in bounded time, also while more calls hang than may
// be made at the same time. More requests than the program makes end it, too.
func TestServeEndsWhileCallsHang(t *testing.T) {
	for _, n := range []int{1, maxCalls + 10, maxRequests + 10} {
		in, requests := io.Pipe()
		served := make(chan error, 1)
		b := blocked{entered: make(chan struct{}, maxCalls)}
		go func() {
			served <- serve(in, io.Discard, "", func(string) (library, error) { return b, nil }, func(error) {})
		}()
		write := func(q wire.Request) error { return wire.WriteRequest(requests, &q) }
		if err := write(wire.Request{ID: 1, Op: wire.Load, Data: []byte("module")}); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for ; sent < n; sent++ {
			q := wire.Request{ID: uint64(sent + 2), Op: wire.Sign}
			done := make(chan error, 1)
			go func() { done <- write(q) }()
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				continue
			case err := <-served:
				served <- err
			}
			break
		}
		if err := requests.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-served:
			if (err != nil) != (n > maxRequests) {
				t.Errorf("%d requests, %d sent: error %v", n, sent, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%d requests: Serve does not end", n)
		}
	}
}

// A finalizing is a library whose C_Finalize waits.
type finalizing struct {
	stub
	until <-chan struct{}
}

func (f finalizing) Finalize() error { <-f.until; return nil }

// What the program shares with the helper is given back before C_Finalize, which may hang.
func TestEndedBeforeFinalize(t *testing.T) {
	for name, c := range map[string]struct {
		after []byte
		fails bool
	}{"end": {nil, false}, "end in a message": {[]byte{0, 0}, true}} {
		ended := make(chan struct{})
		in := append(requests(t, wire.Request{Op: wire.Load, Data: []byte("module")}), c.after...)
		open := func(string) (library, error) { return finalizing{until: ended}, nil }
		err := serve(bytes.NewReader(in), io.Discard, "", open, func(err error) {
			if (err != nil) != c.fails {
				t.Errorf("%s: error %v", name, err)
			}
			close(ended)
		})
		if (err != nil) != c.fails {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// FuzzServe: no bytes make the helper panic, hang or answer what it was not asked.
func FuzzServe(f *testing.F) {
	load := requests(f, wire.Request{Op: wire.Load, Data: []byte("module")})
	attributes := []wire.Attribute{{Kind: 1, Form: wire.Number, Value: make([]byte, 8)}, {Kind: 2, Form: wire.Bool, Value: []byte{1}}, {Kind: 3, Value: []byte("x")}}
	for op := wire.Load; op <= wire.DestroyObject; op++ {
		f.Add(append(bytes.Clone(load), requests(f, wire.Request{Op: op, Slot: 1, Session: 2, Object: 3, User: 1, Limit: 4, Types: []uint64{1, 2},
			Mechanism: wire.Mechanism{Kind: 0xd, Parameters: []uint64{1, 2, 3}}, Template: attributes, Private: attributes, Data: []byte("data")})...), uint64(0))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint64(5))
	f.Fuzz(func(t *testing.T, data []byte, rv uint64) {
		all, err := answers(t, data, stub{binding.RV(rv)})
		if err != nil && strings.Contains(err.Error(), "panic") {
			t.Error(err)
		}
		if asked := countMessages(data); len(all) > asked {
			t.Errorf("%d answers to %d requests", len(all), asked)
		}
	})
}

func countMessages(data []byte) (n int) {
	for len(data) >= 4 {
		size := int(binary.BigEndian.Uint32(data)) + 4
		if size > len(data) {
			break
		}
		n, data = n+1, data[size:]
	}
	return n
}
