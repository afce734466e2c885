package front

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/ptytest"
)

func TestReadPassword(t *testing.T) {
	for _, c := range []struct {
		typed, want string
		ok          bool
	}{
		{"opensesame\r", "opensesame", true},
		{"opensesame\n", "opensesame", true},
		{"opem\x7fnsesame\r", "opensesame", true}, // backspace
		{"Schlüssel\r", "Schlüssel", true},
		{"open\xff\xc3sesame\r", "open\xff\xc3sesame", true}, // not UTF-8
		{"\xff\xfe\r", "\xff\xfe", true},
		{"Schl\xfcssel\n", "Schl\xfcssel", true},  // Latin-1
		{"x\x15opensesame\r", "opensesame", true}, // Ctrl-U deletes the line
		{"open\x04sesame\r", "opensesame", true},  // Ctrl-D in a line
		{"\x04", "", false},                       // Ctrl-D
		{strings.Repeat("open", 1000) + "\r", strings.Repeat("open", 1000), true},
	} {
		master, slave := ptytest.New(t)
		type result struct {
			pin []byte
			err error
		}
		done := make(chan result, 1)
		tty := &terminal{f: slave}
		go func() {
			pin, err := tty.ReadPassword(t.Context(), "password: ")
			done <- result{pin, err}
		}()
		ptytest.ReadUntil(t, master, "password: ")
		if ptytest.Echoes(t, slave) {
			t.Errorf("%q: the prompt came before the echo was off", c.typed)
		}
		if _, err := master.WriteString(c.typed); err != nil {
			t.Fatal(err)
		}
		r := <-done
		if string(r.pin) != c.want || (r.err == nil) != c.ok {
			t.Errorf("%q: got %q, %v", c.typed, r.pin, r.err)
		}
		if !ptytest.Echoes(t, slave) {
			t.Errorf("%q: the echo stayed off", c.typed)
		}
		if shown := ptytest.ReadUntil(t, master, "\n"); bytes.Contains(shown, []byte("open")) {
			t.Errorf("%q: the terminal shows %q", c.typed, shown)
		}
		tty.Close()
	}
}

func TestReadPasswordCanceled(t *testing.T) {
	master, slave := ptytest.New(t)
	defer slave.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ptytest.ReadUntil(t, master, "password: ")
		cancel()
	}()
	_, err := (&terminal{f: slave}).ReadPassword(ctx, "password: ")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if !ptytest.Echoes(t, slave) {
		t.Error("the echo stayed off")
	}
}

// A hangup of the terminal ends the prompt.
func TestReadPasswordHangup(t *testing.T) {
	master, slave := ptytest.New(t)
	defer slave.Close()
	go func() {
		ptytest.ReadUntil(t, master, "password: ")
		master.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := (&terminal{f: slave}).ReadPassword(ctx, "password: "); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
