//go:build unix

package sshagent

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sshagents "golang.org/x/crypto/ssh/agent"

	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestRestart: a key works after its agent was restarted and has it again.
func TestRestart(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	p256 := signertest.Key(t, "p256")
	agent.Add(p256, "app")
	k := open(t, refTo(t, agent.Socket, p256.Public()), keystore.Call{})
	sign := func() error {
		_, err := k.SignMessage(nil, []byte("message"), crypto.SHA256)
		return err
	}
	if err := sign(); err != nil {
		t.Fatal(err)
	}
	agent.Stop()
	if err := sign(); !errors.Is(err, signer.ErrUnavailable) {
		t.Errorf("without an agent: %v", err)
	}
	agent.Restart("")
	if err := sign(); !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(signer.Hint(err), "ssh-add") {
		t.Errorf("without keys: %v", err)
	}
	agent.Add(signertest.Key(t, "ed25519"), "other")
	if err := sign(); !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), "no more") {
		t.Errorf("with another key: %v", err)
	}
	agent.Add(p256, "app")
	if err := sign(); err != nil {
		t.Errorf("with the key again: %v", err)
	}
}

func TestLocked(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	p256 := signertest.Key(t, "p256")
	agent.Add(p256, "app")
	ref := refTo(t, agent.Socket, p256.Public())
	k := open(t, ref, keystore.Call{})
	agent.Run("-x")
	if _, err := (Backend{}).Open(t.Context(), ref, keystore.Call{}); !errors.Is(err, signer.ErrNotFound) || !strings.Contains(signer.Hint(err), "ssh-add -X") {
		t.Errorf("open: %v", err)
	}
	if _, err := k.SignMessage(nil, []byte("message"), crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(signer.Hint(err), "ssh-add -X") {
		t.Errorf("sign: %v", err)
	}
	agent.Run("-X")
	if _, err := k.SignMessage(nil, []byte("message"), crypto.SHA256); err != nil {
		t.Errorf("unlocked: %v", err)
	}
}

// TestConfirmation: the agent asks a person before each signature.
func TestConfirmation(t *testing.T) {
	p256 := signertest.Key(t, "p256")
	for askpass, ok := range map[string]bool{"/bin/true": true, "/bin/false": false, "": false} {
		agent := sshagenttest.Start(t, askpass)
		agent.Add(p256, "app", "-c")
		k := open(t, refTo(t, agent.Socket, p256.Public()), keystore.Call{})
		_, err := k.SignMessage(nil, []byte("message"), crypto.SHA256)
		if (err == nil) != ok || !ok && (!strings.Contains(err.Error(), "refused") || !strings.Contains(signer.Hint(err), "confirm")) {
			t.Errorf("askpass %q: %v, hint %q", askpass, err, signer.Hint(err))
		}
		if !signer.NeedsPerson(k) {
			t.Error("no person is expected")
		}
	}
}

// TestLifetime: a key that the agent has dropped.
func TestLifetime(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	p256 := signertest.Key(t, "p256")
	agent.Add(p256, "app", "-t", "3600")
	k := open(t, refTo(t, agent.Socket, p256.Public()), keystore.Call{})
	if _, err := k.SignMessage(nil, []byte("message"), crypto.SHA256); err != nil {
		t.Error(err)
	}
	agent.Add(p256, "app", "-t", "1")
	for { // until the second is over
		_, err := k.SignMessage(nil, []byte("message"), crypto.SHA256)
		if errors.Is(err, signer.ErrUnavailable) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLongMessage: an agent takes no message that does not fit.
func TestLongMessage(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	p256 := signertest.Key(t, "p256")
	agent.Add(p256, "app")
	k := open(t, refTo(t, agent.Socket, p256.Public()), keystore.Call{})
	if _, err := k.SignMessage(nil, make([]byte, 250<<10), crypto.SHA256); err != nil {
		t.Error(err)
	}
	if _, err := k.SignMessage(nil, make([]byte, 256<<10), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "262144") {
		t.Error(err)
	}
}

// serve runs an agent that answers each connection with handle, and returns its socket.
func serve(tb testing.TB, handle func(net.Conn)) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		tb.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		handlers.Wait()
		os.RemoveAll(dir)
	})
	return socket
}

// TestPeer opens the keys of the agent of golang.org/x/crypto/ssh.
func TestPeer(t *testing.T) {
	keyring := sshagents.NewKeyring()
	socket := serve(t, func(c net.Conn) { _ = sshagents.ServeAgent(keyring, c) })
	for _, kind := range []string{"rsa2048", "p256", "p384", "p521", "ed25519"} {
		private := signertest.Key(t, kind)
		if err := keyring.Add(sshagents.AddedKey{PrivateKey: private, Comment: kind}); err != nil {
			t.Fatal(err)
		}
		t.Run(kind, func(t *testing.T) {
			signertest.RunMessages(t, func(t *testing.T) signer.Signer {
				s, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "comment=" + kind + ";socket=" + socket}, keystore.Call{})
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

// hanging runs an agent that never answers a request to sign. asked gets a value for each.
func hanging(t *testing.T, pub crypto.PublicKey) (socket string, asked chan struct{}) {
	asked = make(chan struct{}, 100)
	return liar(t, []sshwire.Identity{identity(t, pub)}, func(c net.Conn, _ sshwire.Signing) {
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, c) // until the client closes the connection
	}), asked
}

func TestContextEnds(t *testing.T) {
	pub := signertest.Key(t, "p256").Public()
	socket, asked := hanging(t, pub)
	k := open(t, refTo(t, socket, pub), keystore.Call{})
	why := errors.New("interrupted")
	ctx, end := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		end(why)
	}()
	if _, err := k.SignMessageContext(ctx, nil, []byte("message"), crypto.SHA256); !errors.Is(err, why) {
		t.Error(err)
	}
	if _, err := k.SignMessageContext(ctx, nil, []byte("message"), crypto.SHA256); !errors.Is(err, why) || len(asked) != 0 {
		t.Errorf("after the end: %v", err)
	}
	deadline, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := k.SignMessageContext(deadline, nil, []byte("message"), crypto.SHA256); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	_, err := k.agent.ask(t.Context(), time.Millisecond, sshwire.SignRequest, sshwire.Signing{}.Marshal(), sshwire.SignResponse)
	if !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), "within 1ms") || signer.Hint(err) == "" {
		t.Errorf("own limit: %v", err)
	}
}

// TestListHangs: the list of keys is bounded, too.
func TestListHangs(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	socket := serve(t, func(c net.Conn) {
		if _, _, err := sshwire.ReadMessage(c); err == nil {
			_, _ = io.WriteString(c, "\x00\x00\x00\x05\x0c\x00")
			end()
			_, _ = io.Copy(io.Discard, c)
		}
	})
	if _, err := (Backend{}).Open(ctx, keystore.Ref{Scheme: scheme, Rest: "socket=" + socket}, keystore.Call{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestTurns: no more signatures are asked for at a time than permitted, and Close ends
// those that wait and those that the agent does not make.
func TestTurns(t *testing.T) {
	pub := signertest.Key(t, "p256").Public()
	socket, asked := hanging(t, pub)
	k := open(t, refTo(t, socket, pub), keystore.Call{})
	errs := make(chan error)
	for range maxSignatures {
		go func() {
			_, err := k.SignMessage(nil, []byte("message"), crypto.SHA256)
			errs <- err
		}()
		<-asked
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	if _, err := k.SignMessageContext(ctx, nil, []byte("message"), crypto.SHA256); !errors.Is(err, context.Canceled) {
		t.Errorf("a signature that waits: %v", err)
	}
	go func() {
		_, err := k.SignMessage(nil, []byte("message"), crypto.SHA256)
		errs <- err
	}()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	for range maxSignatures + 1 {
		if err := <-errs; !errors.Is(err, signer.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	if len(asked) != 0 {
		t.Error("a signature too many was asked for")
	}
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("Sign after Close: %v", err)
	}
}

// TestCertifiedKey: an agent may have only the certificate of OpenSSH of a key.
func TestCertifiedKey(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p256"} {
		private := signertest.Key(t, kind)
		blob := certified(t, private.Public())
		socket := liar(t, []sshwire.Identity{{Blob: blob}}, func(c net.Conn, s sshwire.Signing) {
			if !bytes.Equal(s.Blob, blob) {
				t.Errorf("%s: signature with blob %x", kind, s.Blob)
			}
			honest(t, private)(c, s)
		})
		k := open(t, refTo(t, socket, private.Public()), keystore.Call{})
		if _, err := k.SignMessage(nil, []byte("message"), crypto.SHA256); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestNoAgent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, "stale")
	if l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"}); err != nil {
		t.Fatal(err)
	} else {
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	abstract := keystore.Ref{Scheme: scheme, Rest: "socket=@holdfast"}
	for _, c := range []struct {
		name, socket, text string
	}{
		{"missing", filepath.Join(dir, "none"), "no such file"},
		{"file", file, "is not a socket"},
		{"folder", dir, "is not a socket"},
		{"stale", stale, "refused"},
		{"long", filepath.Join(dir, strings.Repeat("x", 200)), "no such file"},
		{"too long", strings.Repeat("x", 300), "too long"},
		{"abstract", "@holdfast", "no such file"},
	} {
		_, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: keystore.FormatAttribute("socket", c.socket)}, keystore.Call{})
		if !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), c.text) || !strings.Contains(signer.Hint(err), "ssh-agent") {
			t.Errorf("%s: %v, hint %q", c.name, err, signer.Hint(err))
		}
	}
	if _, err := (Backend{}).Open(t.Context(), abstract, keystore.Call{}); err == nil {
		t.Error("an abstract socket is used")
	}
	for _, lookup := range []func(string) (string, bool){nil, func(string) (string, bool) { return "", false }, func(string) (string, bool) { return "", true }} {
		_, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme}, keystore.Call{Options: keystore.Options{LookupEnv: lookup}})
		if !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), socketVariable) || !strings.Contains(signer.Hint(err), `eval "$(ssh-agent)"`) {
			t.Errorf("no variable: %v", err)
		}
	}
}

// TestForeignSocket: the agent of another user is not asked.
func TestForeignSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a socket away")
	}
	socket := liar(t, nil, nil)
	if err := os.Chown(socket, 65534, -1); err != nil {
		t.Skip(err)
	}
	_, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "socket=" + socket}, keystore.Call{})
	if !errors.Is(err, signer.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "UID 65534") {
		t.Error(err)
	}
}
