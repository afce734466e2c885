//go:build unix

package sshagent

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// newAgent returns an agent with keys.
func newAgent(t testing.TB, keys ...signer.Signer) *agent {
	t.Helper()
	a := &agent{log: slog.New(slog.DiscardHandler), timeout: time.Hour}
	for _, s := range keys {
		k, err := openKey(context.Background(), "key", rotate.Config{Open: func(context.Context) (signer.Signer, error) { return s, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.add(k, "comment"); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func fake(t testing.TB, kind string) *signertest.Fake {
	return &signertest.Fake{Key: signertest.Key(t, kind)}
}

// serveAgent serves an agent until the test ends, and returns its socket.
func serveAgent(t *testing.T, a *agent) string { return serveWith(t, a, 0) }

// serveWith is serveAgent with another limit for messages.
func serveWith(t *testing.T, a *agent, frame time.Duration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := &server{agent: a, log: a.log, allowed: sameUser, frame: frame}
	go func() { done <- s.serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// lists fails the test unless the agent answers on c.
func lists(t *testing.T, c net.Conn, want int) {
	t.Helper()
	if err := sshwire.WriteMessage(c, sshwire.RequestIdentities, nil); err != nil {
		t.Fatal(err)
	}
	kind, contents, err := sshwire.ReadMessage(c)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := sshwire.ParseIdentities(contents); err != nil || kind != sshwire.IdentitiesAnswer || len(ids) != want {
		t.Fatalf("%v: type %d, %d keys", err, kind, len(ids))
	}
}

// TestPeer signs with keys of each type for the client of golang.org/x/crypto.
func TestPeer(t *testing.T) {
	kinds := []string{"rsa2048", "p256", "p384", "p521", "ed25519"}
	var keys []signer.Signer
	for _, kind := range kinds {
		keys = append(keys, fake(t, kind))
	}
	client := sshagent.NewClient(dial(t, serveAgent(t, newAgent(t, keys...))))
	list, err := client.List()
	if err != nil || len(list) != len(kinds) {
		t.Fatalf("%v: %d keys", err, len(list))
	}
	message := []byte("message")
	for i, k := range list {
		pub, err := ssh.ParsePublicKey(k.Blob)
		if err != nil || k.Comment != "comment" {
			t.Fatalf("%v, %q", err, k.Comment)
		}
		for _, flags := range []sshagent.SignatureFlags{0, sshagent.SignatureFlagRsaSha256, sshagent.SignatureFlagRsaSha512, 1, 6} {
			signature, err := client.SignWithFlags(k, message, flags)
			refused := kinds[i] == "rsa2048" && flags != sshagent.SignatureFlagRsaSha256 && flags != sshagent.SignatureFlagRsaSha512
			if (err != nil) != refused {
				t.Errorf("%s, flags %d: %v", kinds[i], flags, err)
			}
			if err == nil && pub.Verify(message, signature) != nil {
				t.Errorf("%s, flags %d: the signature is not valid", kinds[i], flags)
			}
		}
	}
	other, err := ssh.NewPublicKey(signertest.NewKey(t, "p256").Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sign(other, message); err == nil {
		t.Error("signed with a key that is not there")
	}
	names, err := client.Extension("query", nil)
	if want := "\x1d\x00\x00\x00\x05query\x00\x00\x00\x05query\x00\x00\x00\x18session-bind@openssh.com"; err != nil || string(names) != want {
		t.Errorf("query: %v, %q", err, names)
	}
	if _, err := client.Extension("other@example.com", []byte("x")); !errors.Is(err, sshagent.ErrExtensionUnsupported) {
		t.Errorf("unknown extension: %v", err)
	}
	for name, change := range map[string]func() error{
		"add": func() error { return client.Add(sshagent.AddedKey{PrivateKey: signertest.Key(t, "p256")}) },
		"constrained": func() error {
			return client.Add(sshagent.AddedKey{PrivateKey: signertest.Key(t, "p256"), LifetimeSecs: 5, ConfirmBeforeUse: true})
		},
		"remove":     func() error { return client.Remove(other) },
		"remove all": client.RemoveAll,
		"lock":       func() error { return client.Lock([]byte("x")) },
		"unlock":     func() error { return client.Unlock([]byte("x")) },
	} {
		if change() == nil {
			t.Errorf("%s succeeded", name)
		}
	}
}

// TestHostile: what a client sends neither stops the agent nor disturbs others.
func TestHostile(t *testing.T) {
	key := fake(t, "p256")
	path := serveAgent(t, newAgent(t, key))
	good := dial(t, path)
	frame := func(n uint32, contents string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, n), contents...)
	}
	for _, c := range []struct {
		name   string
		in     []byte
		closed bool // by the agent; otherwise it answers with a failure
	}{
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n"), true},
		{"empty message", frame(0, ""), true},
		{"1 GB", frame(1<<30, "\x0b"), true},
		{"4 GiB", frame(1<<32-1, "\x0b"), true},
		{"one byte too large", frame(sshwire.MaxMessage+1, "\x0b"), true},
		{"unknown type", frame(1, "\xff"), false},
		{"SSH 1", frame(1, "\x01"), false},
		{"sign without contents", frame(1, "\x0d"), false},
		{"sign with a lie about a length", frame(9, "\x0d\xff\xff\xff\xff\x00\x00\x00\x00"), false},
		{"sign with bytes after the end", frame(14, "\x0d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), false},
		{"extension without a name", frame(1, "\x1b"), false},
		{"largest message", frame(sshwire.MaxMessage, "\x0d"+strings.Repeat("\x00", sshwire.MaxMessage-1)), false},
	} {
		bad := dial(t, path)
		if _, err := bad.Write(c.in); err != nil && !c.closed {
			t.Errorf("%s: %v", c.name, err)
		}
		kind, contents, err := sshwire.ReadMessage(bad)
		if (err != nil) != c.closed || err == nil && (kind != sshwire.Failure || len(contents) > 0) {
			t.Errorf("%s: type %d, %v", c.name, kind, err)
		}
		lists(t, good, 1)
	}
	for _, part := range []string{"\x00", "\x00\x00\x00\x05", "\x00\x00\x00\x05\x0d\x00"} {
		half := dial(t, path)
		if _, err := half.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		lists(t, good, 1) // while the other is open
		half.Close()
		lists(t, good, 1)
	}
	if key.Signs() != 0 {
		t.Errorf("%d signatures", key.Signs())
	}
}

// TestSlowClients: a client that does not send the rest of a message, or does not read
// its answers, is not waited for.
func TestSlowClients(t *testing.T) {
	key := fake(t, "ed25519")
	path := serveWith(t, newAgent(t, key), 50*time.Millisecond)
	half := dial(t, path)
	if _, err := half.Write([]byte("\x00\x00\x00\x05\x0d")); err != nil {
		t.Fatal(err)
	}
	if _, err := half.Read(make([]byte, 1)); err == nil {
		t.Error("half a message was answered")
	}
	deaf := dial(t, path)
	request := sshwire.Signing{Blob: []byte("none")}.Marshal()
	for { // until the agent closes the connection
		if err := sshwire.WriteMessage(deaf, sshwire.SignRequest, request); err != nil {
			break
		}
	}
}

// TestManyConnections: those that are idle for the longest time make room for others.
func TestManyConnections(t *testing.T) {
	path := serveAgent(t, newAgent(t, fake(t, "p256")))
	first := dial(t, path)
	lists(t, first, 1)
	before := runtime.NumGoroutine()
	for range 1000 {
		lists(t, dial(t, path), 1)
	}
	if n := runtime.NumGoroutine() - before; n > maxConns+50 {
		t.Errorf("%d goroutines more", n)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the first connection is still open")
	}
}

// blocking returns a key whose signatures wait until release is called.
func blocking(t *testing.T) (key *signertest.Fake, begun chan struct{}, release func()) {
	key, begun = fake(t, "p256"), make(chan struct{}, 1000)
	released := make(chan struct{})
	key.OnSign = func(int) error {
		begun <- struct{}{}
		<-released
		return nil
	}
	return key, begun, func() { close(released) }
}

func signing(t *testing.T, key signer.Signer) []byte {
	t.Helper()
	blob, err := sshwire.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return sshwire.Signing{Blob: blob, Message: []byte("message")}.Marshal()
}

// TestHangingKey: clients that wait for a device do not block others, and the signature
// is given up when its client is gone.
func TestHangingKey(t *testing.T) {
	key, begun, release := blocking(t)
	defer release()
	a := newAgent(t, key)
	gaveUp := make(chan error, 1)
	a.confirm = func(ctx context.Context, _ string) error {
		context.AfterFunc(ctx, func() {
			select {
			case gaveUp <- context.Cause(ctx):
			default:
			}
		})
		return nil
	}
	path := serveAgent(t, a)
	waiting := dial(t, path)
	if err := sshwire.WriteMessage(waiting, sshwire.SignRequest, signing(t, key)); err != nil {
		t.Fatal(err)
	}
	<-begun
	lists(t, dial(t, path), 1)
	waiting.Close()
	if err := <-gaveUp; !strings.Contains(err.Error(), "the client is gone") {
		t.Error(err)
	}
}

// TestAllBusy: while all connections wait for a device, further ones are refused.
func TestAllBusy(t *testing.T) {
	key, begun, release := blocking(t)
	a := newAgent(t, key)
	path := serveAgent(t, a)
	request := signing(t, key)
	var busy []net.Conn
	for range maxConns {
		c := dial(t, path)
		busy = append(busy, c)
		if err := sshwire.WriteMessage(c, sshwire.SignRequest, request); err != nil {
			t.Fatal(err)
		}
	}
	for range maxConns {
		<-begun
	}
	if _, err := dial(t, path).Read(make([]byte, 1)); err != io.EOF && err == nil {
		t.Error("a further connection was accepted")
	}
	release()
	for _, c := range busy {
		if kind, _, err := sshwire.ReadMessage(c); err != nil || kind != sshwire.SignResponse {
			t.Fatalf("type %d, %v", kind, err)
		}
	}
	lists(t, dial(t, path), 1)
}

// TestPipelined: a client may send the next message before it has the answer.
func TestPipelined(t *testing.T) {
	key := fake(t, "ed25519")
	c := dial(t, serveAgent(t, newAgent(t, key)))
	var all bytes.Buffer
	for range 20 {
		if err := errors.Join(sshwire.WriteMessage(&all, sshwire.SignRequest, signing(t, key)), sshwire.WriteMessage(&all, sshwire.RequestIdentities, nil)); err != nil {
			t.Fatal(err)
		}
	}
	go c.Write(all.Bytes())
	for range 20 {
		for _, want := range []sshwire.Message{sshwire.SignResponse, sshwire.IdentitiesAnswer} {
			if kind, _, err := sshwire.ReadMessage(c); err != nil || kind != want {
				t.Fatalf("type %d, %v", kind, err)
			}
		}
	}
}

// TestTimeout: a signature ends, and the key is opened again for the next one.
func TestTimeout(t *testing.T) {
	key, _, release := blocking(t)
	defer release()
	a := newAgent(t)
	opened := 0
	k, err := openKey(t.Context(), "key", rotate.Config{Open: func(context.Context) (signer.Signer, error) {
		if opened++; opened == 1 {
			return key, nil
		}
		return &signertest.Fake{Key: key.Key}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.add(k, ""); err != nil {
		t.Fatal(err)
	}
	a.timeout = time.Millisecond
	s := &session{agent: a}
	if kind, _ := s.answer(t.Context(), sshwire.SignRequest, signing(t, key)); kind != sshwire.Failure {
		t.Errorf("type %d", kind)
	}
	a.timeout = time.Hour
	if kind, _ := s.answer(t.Context(), sshwire.SignRequest, signing(t, key)); kind != sshwire.SignResponse || opened != 2 {
		t.Errorf("type %d, opened %d times", kind, opened)
	}
}

// TestOtherKey: a device that comes back with another key, or that counted a wrong PIN,
// is not used.
func TestOtherKey(t *testing.T) {
	counted := errors.Join(signer.ErrPINIncorrect, signer.ErrTryCounted)
	for _, c := range []struct {
		name  string
		next  signer.Signer
		err   error
		opens int
	}{
		{"another key", fake(t, "p384"), nil, 3},
		{"still not there", nil, signer.ErrUnavailable, 3},
		{"wrong PIN", nil, counted, 2},
	} {
		first := fake(t, "p256")
		first.OnSign = func(int) error { return signer.ErrUnavailable }
		opened := 0
		k, err := openKey(t.Context(), "key", rotate.Config{Open: func(context.Context) (signer.Signer, error) {
			if opened++; opened == 1 {
				return first, nil
			}
			return c.next, c.err
		}})
		if err != nil {
			t.Fatal(err)
		}
		algorithm := sshwire.Algorithms(k.public)[0]
		for range 3 {
			if _, err := k.sign(t.Context(), nil, algorithm); err == nil {
				t.Errorf("%s: signed", c.name)
			}
		}
		if opened != c.opens {
			t.Errorf("%s: opened %d times, want %d", c.name, opened, c.opens)
		}
	}
}

// TestLyingKey: a signature is verified before it is sent.
func TestLyingKey(t *testing.T) {
	other := &signertest.Fake{Key: signertest.NewKey(t, "p256")}
	a := newAgent(t, lyingKey{other, signertest.Key(t, "p256").Public()})
	s := &session{agent: a}
	if kind, _ := s.answer(t.Context(), sshwire.SignRequest, signing(t, fake(t, "p256"))); kind != sshwire.Failure || other.Signs() != 1 {
		t.Errorf("type %d, %d signatures", kind, other.Signs())
	}
}

// A lyingKey signs with another key than it says.
type lyingKey struct {
	*signertest.Fake
	public crypto.PublicKey
}

func (l lyingKey) Public() crypto.PublicKey { return l.public }

// TestForget: after the lifetime the agent lists no key, and signs with none.
func TestForget(t *testing.T) {
	key := fake(t, "p256")
	a := newAgent(t, key)
	c := dial(t, serveAgent(t, a))
	lists(t, c, 1)
	a.forget()
	lists(t, c, 0)
	if err := sshwire.WriteMessage(c, sshwire.SignRequest, signing(t, key)); err != nil {
		t.Fatal(err)
	}
	if kind, _, err := sshwire.ReadMessage(c); err != nil || kind != sshwire.Failure || key.Signs() != 0 || key.Closes() != 1 {
		t.Errorf("type %d, %v, %d signatures, %d closes", kind, err, key.Signs(), key.Closes())
	}
}

// TestOtherUser: a client of another user is not answered.
func TestOtherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	a := newAgent(t, fake(t, "p256"))
	s := &server{agent: a, log: a.log, allowed: func(net.Conn) error { return errors.New("another user") }}
	go func() { done <- s.serve(ctx, l) }()
	if _, err := dial(t, path).Read(make([]byte, 1)); err == nil {
		t.Error("answered")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzAnswer: a request that is not an exact one gets a failure, and nothing is signed
// that was not asked for.
func FuzzAnswer(f *testing.F) {
	key := fake(f, "ed25519")
	a := newAgent(f, key)
	blob, err := sshwire.MarshalPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	for kind := range byte(32) {
		f.Add([]byte{kind})
	}
	f.Add(append([]byte{byte(sshwire.SignRequest)}, sshwire.Signing{Blob: blob, Message: []byte("m")}.Marshal()...))
	f.Add(append([]byte{byte(sshwire.Extension)}, "\x00\x00\x00\x05query"...))
	f.Add(append([]byte{byte(sshwire.Extension)}, bindRequest(f, fake(f, "p256"), "id", "id", false)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		signs := key.Signs()
		kind, contents := (&session{agent: a}).answer(context.Background(), sshwire.Message(data[0]), data[1:])
		request, err := sshwire.ParseSigning(data[1:])
		asked := sshwire.Message(data[0]) == sshwire.SignRequest && err == nil && bytes.Equal(request.Blob, blob)
		if (kind == sshwire.SignResponse) != asked || asked != (key.Signs() > signs) {
			t.Errorf("%x: type %d, %d signatures", data, kind, key.Signs()-signs)
		}
		if (kind == sshwire.Failure || kind == sshwire.ExtensionFailure || kind == sshwire.Success) && len(contents) > 0 {
			t.Errorf("%x: type %d with contents", data, kind)
		}
	})
}
