package ptytest

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// New returns the two ends of a pseudo terminal.
func New(t testing.TB) (master, slave *os.File) {
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

// Echoes reports whether a terminal shows what is typed.
func Echoes(t testing.TB, f *os.File) bool {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return termios.Lflag&unix.ECHO != 0
}

// ReadUntil reads from a terminal until the texts are there, in this order, and
// returns all.
func ReadUntil(t testing.TB, f *os.File, texts ...string) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 256)
	for !containsInOrder(all, texts) {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, all)
		}
		all = append(all, buf[:n]...)
	}
	return all
}

func containsInOrder(data []byte, texts []string) bool {
	found := true
	for _, text := range texts {
		if _, data, found = bytes.Cut(data, []byte(text)); !found {
			return false
		}
	}
	return true
}
