package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A terminal is a pseudo terminal, which is a character device.
type terminal struct {
	path   string   // of the slave
	device *os.File // the slave; keeps its settings while it is open
	behind *os.File // the master
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	behind, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { _ = behind.Close() })
	raw, err := behind.SyscallConn() // Fd would make reads block forever
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if controlErr := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	path := fmt.Sprintf("/dev/pts/%d", n)
	device, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	if _, err := term.MakeRaw(int(device.Fd())); err != nil {
		t.Fatal(err)
	}
	return &terminal{path, device, behind}
}

// newCharDevice connects a terminal with an emulator until the end of the test.
func newCharDevice(t *testing.T, emulator *tpmtest.TPM) string {
	t.Helper()
	pty := newTerminal(t)
	c, err := net.Dial("unix", emulator.Path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		relay(pty.behind, c)
	}()
	t.Cleanup(func() {
		_ = c.Close()
		_ = pty.behind.Close()
		<-done
	})
	return pty.path
}

// relay relays commands and responses, which both begin with a tag and a size.
func relay(from, to io.ReadWriter) {
	for {
		for _, way := range [][2]io.ReadWriter{{from, to}, {to, from}} {
			message := make([]byte, 6, maxResponse)
			if _, err := io.ReadFull(way[0], message); err != nil {
				return
			}
			message = message[:min(binary.BigEndian.Uint32(message[2:]), maxResponse)]
			if _, err := io.ReadFull(way[0], message[6:]); err != nil {
				return
			}
			if _, err := way[1].Write(message); err != nil {
				return
			}
		}
	}
}

func TestCharDevice(t *testing.T) {
	emulator := newTPM(t)
	plain := job{PEM: makeKey(t, CreateConfig{Device: emulator.Path})}
	secret := job{PEM: makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)}), Password: keyPassword}
	resetLockout(t, emulator)
	path := newCharDevice(t, emulator)
	plain.Device, secret.Device = path, path

	t.Run("signs", func(t *testing.T) {
		for _, j := range []job{plain, secret} {
			k := mustOpen(t, j.config(), dial)
			if err := signTogether(func(int) *Key { return k }); err != nil {
				t.Error(err)
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("by another name", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "tpmrm0") // the link's name is not the device's name
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		d, err := defaultTimeouts.dial(t.Context(), link)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		if d.managed {
			t.Error("the name of a link is used as the name of the device")
		}
	})

	t.Run("serves processes in turn", func(t *testing.T) {
		workers := []*worker{startWorker(t, plain), startWorker(t, secret)}
		for range 3 {
			for _, w := range workers {
				if err := w.await("signed"); err != nil {
					t.Error(err)
				}
			}
		}
		for _, w := range workers {
			_ = w.stdin.Close()
		}
		for _, w := range workers {
			if _, err := w.end(); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("busy", func(t *testing.T) {
		other, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		short := defaultTimeouts
		short.busy = 50 * time.Millisecond
		_, err = open(t.Context(), plain.config(), short.dial)
		wantUnavailable(t, err)
		if signer.Hint(err) == "" {
			t.Errorf("%v has no hint", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = open(ctx, plain.config(), dial)
		wantError(t, "cancelled", err, context.Canceled)

		opened := make(chan error)
		go func() {
			k, err := open(t.Context(), secret.config(), dial)
			if err == nil {
				err = errors.Join(trySign(k, "busy"), k.Close())
			}
			opened <- err
		}()
		select {
		case err := <-opened:
			t.Fatalf("%v: opened a busy device", err)
		case <-time.After(30 * time.Millisecond):
		}
		if err := unix.Flock(int(other.Fd()), unix.LOCK_UN); err != nil {
			t.Fatal(err)
		}
		if err := <-opened; err != nil {
			t.Errorf("after it was busy: %v", err)
		}
	})

	d, err := defaultTimeouts.dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if left := loadedHandles(t, d); len(left) > 0 {
		t.Errorf("left in the TPM: %08x", left)
	}
	if l, err := readLockout(d); err != nil || l.tries != 0 {
		t.Errorf("%d tries were counted, %v", l.tries, err)
	}
}

// listen creates a socket. serve serves its connections.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return path
}

// respond writes a message repeatedly until the connection is closed.
func respond(message []byte) func(net.Conn) {
	return func(c net.Conn) {
		for {
			if _, err := c.Write(message); err != nil {
				return
			}
		}
	}
}

// once writes a message once, and then nothing.
func once(message []byte) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Write(message)
		_, _ = io.Copy(io.Discard, c)
	}
}

// If a device is not a TPM, the error comes soon, and an endless response is
// not read to its end.
func TestNoTPM(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(dir, "gone")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: gone})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	silent := newTerminal(t)
	stopped := newTerminal(t)
	if err := unix.IoctlSetInt(int(stopped.device.Fd()), unix.TCXONC, unix.TCOOFF); err != nil {
		t.Fatal(err)
	}
	chatty := newTerminal(t)
	go func() {
		for {
			if _, err := chatty.behind.Write([]byte("login: \r\n")); err != nil {
				return
			}
		}
	}()
	hungUp := newTerminal(t)
	if err := hungUp.behind.Close(); err != nil {
		t.Fatal(err)
	}
	header := []byte{0x80, 0x01, 0, 0, 0x0f, 0xff, 0, 0, 0, 0}

	// A key file and a handle begin with different commands.
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	short := timeouts{busy: 100 * time.Millisecond, response: 100 * time.Millisecond, rsaCreation: 150 * time.Millisecond}
	for _, test := range []struct {
		name, path string
		also       error
	}{
		{"nothing", filepath.Join(dir, "nothing"), fs.ErrNotExist},
		{"file", file, nil},
		{"folder", dir, nil},
		{"pipe", pipe, nil},
		{"path through a file", file + "/tpm", nil},
		{"null", "/dev/null", nil},
		{"zero", "/dev/zero", nil},
		{"full", "/dev/full", nil},
		{"random", "/dev/urandom", nil},
		{"terminal that never answers", silent.path, os.ErrDeadlineExceeded},
		{"terminal that accepts no data", stopped.path, os.ErrDeadlineExceeded},
		{"terminal that writes endlessly", chatty.path, nil},
		{"terminal that hung up", hungUp.path, nil},
		{"socket without a listener", gone, unix.ECONNREFUSED},
		{"socket that never answers", listen(t, once(nil)), os.ErrDeadlineExceeded},
		{"socket that closes the connection", listen(t, func(net.Conn) {}), nil},
		{"socket with half a header", listen(t, once(header[:5])), os.ErrDeadlineExceeded},
		{"socket with half a response", listen(t, once(header)), os.ErrDeadlineExceeded},
		{"socket with another protocol", listen(t, once([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))), nil},
		{"socket with endless zeros", listen(t, respond(make([]byte, 1<<16))), nil},
		{"socket with endless headers", listen(t, respond(header)), nil},
		{"socket with endless responses", listen(t, respond([]byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 1})), nil},
	} {
		for what, cfg := range map[string]Config{"file": {PEM: pem}, "handle": {Handle: 0x81010001}} {
			t.Run(test.name+"/"+what, func(t *testing.T) {
				cfg.Device = test.path
				b := &bus{next: short.dial}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				begin := time.Now()
				k, err := open(t.Context(), cfg, b.dial)
				if err == nil {
					_ = k.Close()
				}
				wantUnavailable(t, err)
				if test.also != nil {
					wantError(t, "open", err, test.also)
				}
				if d := time.Since(begin); d > 10*time.Second { // less than the default timeouts
					t.Errorf("took %v", d)
				}
				if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 4<<20 {
					t.Errorf("took %d bytes", after.TotalAlloc-before.TotalAlloc)
				}
				most := maxAttempts
				if test.also == os.ErrDeadlineExceeded { // no retry after a timeout
					most = 1
				}
				if opens, closes := b.state(); opens != closes || opens > most {
					t.Errorf("%d devices opened, %d closed, want %d at most", opens, closes, most)
				}
			})
		}
	}
}

// A mute device ends each call soon after its context.
func TestMuteDevice(t *testing.T) {
	silent, stopped := newTerminal(t), newTerminal(t)
	if err := unix.IoctlSetInt(int(stopped.device.Fd()), unix.TCXONC, unix.TCOOFF); err != nil {
		t.Fatal(err)
	}
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	for name, path := range map[string]string{
		"terminal that never answers":   silent.path,
		"terminal that accepts no data": stopped.path,
		"socket":                        listen(t, once(nil)),
		"socket with half a response":   listen(t, once([]byte{0x80, 0x01, 0, 0, 0, 0xff, 0, 0, 0, 0})),
	} {
		calls := map[string]func(context.Context) error{
			"file": func(ctx context.Context) error { _, err := Open(ctx, Config{PEM: pem, Device: path}); return err },
			"handle": func(ctx context.Context) error {
				_, err := Open(ctx, Config{Handle: 0x81010001, Device: path})
				return err
			},
			"create": func(ctx context.Context) error {
				_, err := Create(ctx, CreateConfig{Device: path}, keystore.P256)
				return err
			},
			"list": func(ctx context.Context) error {
				_, err := Backend{}.List(ctx, keystore.Ref{Scheme: "tpm", Rest: "device=" + path}, keystore.Call{})
				return err
			},
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, call := range calls {
				var err error
				var begin time.Time
				for limit := 100 * time.Millisecond; ; limit *= 2 {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					begin = time.Now()
					err = call(ctx)
					cancel()
					if !errors.Is(err, errNotSent) { // otherwise this machine is too slow
						break
					}
				}
				wantUnavailable(t, err)
				wantError(t, what, err, context.DeadlineExceeded)
				if d := time.Since(begin); d > 10*time.Second { // less than the default timeouts
					t.Errorf("took %v", d)
				}
				if !strings.Contains(err.Error(), path) || strings.Count(err.Error(), path) > 1 || signer.Hint(err) == "" {
					t.Errorf("%v, hint %q: want the path once, and a hint", err, signer.Hint(err))
				}
			}
		})
	}
}
