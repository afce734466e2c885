package pkcs11

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// elfFile returns the headers of an ELF file of a class. A segment is an offset
// and a size.
func elfFile(class byte, segments ...[2]uint64) []byte {
	c := elfClasses.Get(class)
	data := make([]byte, 64+len(segments)*c.size)
	copy(data, "\x7fELF")
	data[4] = class
	put := func(at int, v uint64) {
		if class == 1 {
			binary.NativeEndian.PutUint32(data[at:], uint32(v))
		} else {
			binary.NativeEndian.PutUint64(data[at:], v)
		}
	}
	put(c.phoff, 64)
	binary.NativeEndian.PutUint16(data[c.phentsize:], uint16(c.size))
	binary.NativeEndian.PutUint16(data[c.phnum:], uint16(len(segments)))
	for i, s := range segments {
		put(64+i*c.size+c.offset, s[0])
		put(64+i*c.size+c.filesz, s[1])
	}
	return data
}

func TestCheckELF(t *testing.T) {
	const max = 1<<64 - 1
	file := filepath.Join(t.TempDir(), "module.so")
	refused := func(data []byte) bool {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return checkELF(file) != nil
	}
	for class, header := range map[byte]uint64{1: 32, 2: 56} {
		end := 64 + header // of a file with one segment
		for _, test := range []struct {
			name    string
			data    []byte
			refused bool
		}{
			{"no segments", elfFile(class), false},
			{"a segment", elfFile(class, [2]uint64{0, end}), false},
			{"a segment at the end", elfFile(class, [2]uint64{end, 0}), false},
			{"a segment that is too long", elfFile(class, [2]uint64{0, end + 1}), true},
			{"a segment after the end", elfFile(class, [2]uint64{end + 1, 0}), true},
			{"the second of two", elfFile(class, [2]uint64{0, end}, [2]uint64{header, end + 1}), true},
			{"an offset that overflows", elfFile(class, [2]uint64{max, end}), true},
			{"a size that overflows", elfFile(class, [2]uint64{end, max}), true},
			{"a truncated table", elfFile(class, [2]uint64{0, end})[:end-1], true},
			{"65535 segments", func() []byte {
				d := elfFile(class)
				binary.NativeEndian.PutUint16(d[elfClasses.Get(class).phnum:], 1<<16-1)
				return d
			}(), true},
		} {
			if got := refused(test.data); got != test.refused {
				t.Errorf("class %d, %s: refused %t, want %t", class, test.name, got, test.refused)
			}
		}
	}
	for _, data := range [][]byte{nil, []byte("\x7fELF"), []byte("INPUT(a)"), bytes.Repeat([]byte("\xff"), 100), elfFile(2)[:63],
		append([]byte("\x7fELF\x02"), bytes.Repeat([]byte("\xff"), 100)...), append([]byte("\x7fELF\x03"), make([]byte, 100)...)} {
		if refused(data) {
			t.Errorf("%.8q is refused", data)
		}
	}
	if err := checkELF(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Error(err)
	}
}

// The binary of this test is complete. Truncated before the end of its last
// segment, it is refused.
func TestCheckELFOfTestBinary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no ELF")
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkELF(path); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	for _, n := range []int{64, 100, 4096, len(data) / 8, len(data) / 4} {
		if err := os.WriteFile(cut, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkELF(cut); err == nil {
			t.Errorf("truncated to %d of %d bytes, it is accepted", n, len(data))
		}
	}
}
