package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newPTY returns the two ends of a pseudo terminal.
func newPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return termios.Lflag&unix.ECHO != 0
}

// readUntil reads from a terminal until the text is there, and returns all.
func readUntil(t *testing.T, f *os.File, text string) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 256)
	for !bytes.Contains(all, []byte(text)) {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, all)
		}
		all = append(all, buf[:n]...)
	}
	return all
}

func TestReadPassword(t *testing.T) {
	for _, c := range []struct {
		typed, want string
		ok          bool
	}{
		{"opensesame\r", "opensesame", true},
		{"opensesame\n", "opensesame", true},
		{"opem\x7fnsesame\r", "opensesame", true}, // backspace
		{"Schlüssel\r", "Schlüssel", true},
		{"open\x03", "", false}, // Ctrl-C
		{"\x04", "", false},     // Ctrl-D
	} {
		master, slave := newPTY(t)
		type result struct {
			pin []byte
			err error
		}
		done := make(chan result, 1)
		tty := terminal{slave, slave}
		go func() {
			pin, err := tty.ReadPassword(t.Context(), "password: ")
			done <- result{pin, err}
		}()
		readUntil(t, master, "password: ")
		if echoes(t, slave) {
			t.Errorf("%q: the prompt came before the echo was off", c.typed)
		}
		if _, err := master.WriteString(c.typed); err != nil {
			t.Fatal(err)
		}
		r := <-done
		if string(r.pin) != c.want || (r.err == nil) != c.ok {
			t.Errorf("%q: got %q, %v", c.typed, r.pin, r.err)
		}
		if !echoes(t, slave) {
			t.Errorf("%q: the echo stayed off", c.typed)
		}
		if shown := readUntil(t, master, "\n"); bytes.Contains(shown, []byte("open")) {
			t.Errorf("%q: the terminal shows %q", c.typed, shown)
		}
		tty.Close()
	}
}

func TestReadPasswordGivesUp(t *testing.T) {
	master, slave := newPTY(t)
	defer slave.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		readUntil(t, master, "password: ")
		cancel()
	}()
	_, err := terminal{slave, slave}.ReadPassword(ctx, "password: ")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if !echoes(t, slave) {
		t.Error("the echo stayed off")
	}
}

// A terminal that vanishes ends the prompt.
func TestReadPasswordHangup(t *testing.T) {
	master, slave := newPTY(t)
	defer slave.Close()
	go func() {
		readUntil(t, master, "password: ")
		master.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := (terminal{slave, slave}).ReadPassword(ctx, "password: "); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
