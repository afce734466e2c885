package pkcs11

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// An elfClass contains the offsets of fields in ELF files of one class, in
// bytes (System V ABI, chapters 4 and 5).
type elfClass struct {
	phoff, phentsize, phnum int // offsets in the ELF header
	size                    int // size of a program header
	offset, filesz          int // offsets in a program header
	word                    func([]byte) uint64
}

var elfClasses = lookup.Table[byte, elfClass]{
	{1, elfClass{28, 42, 44, 32, 4, 16, func(b []byte) uint64 { return uint64(binary.NativeEndian.Uint32(b)) }}},
	{2, elfClass{32, 54, 56, 56, 8, 32, func(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }}},
}

// checkELF returns an error if an ELF file is truncated: the dynamic linker
// would map the file, and the process would die of SIGBUS on access to a
// missing page. checkELF ignores files that it cannot read and files that are
// not ELF files of this machine's byte order, which the dynamic linker refuses.
// Package debug/elf would need half the lines, but it also parses, and fails
// on, parts that the dynamic linker never reads.
func checkELF(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var h [64]byte
	if _, err := f.ReadAt(h[:], 0); err != nil || string(h[:4]) != "\x7fELF" {
		return nil
	}
	class, ok := elfClasses.Find(h[4])
	if !ok || int(binary.NativeEndian.Uint16(h[class.phentsize:])) != class.size {
		return nil
	}
	within := func(offset, length uint64) error {
		if size := uint64(info.Size()); length > size || offset > size-length {
			return fmt.Errorf("the file is truncated: it has only %d bytes", size)
		}
		return nil
	}
	start := class.word(h[class.phoff:])
	table := make([]byte, int(binary.NativeEndian.Uint16(h[class.phnum:]))*class.size)
	if err := within(start, uint64(len(table))); err != nil {
		return err
	}
	if _, err := f.ReadAt(table, int64(start)); err != nil {
		return err
	}
	for ; len(table) > 0; table = table[class.size:] {
		if err := within(class.word(table[class.offset:]), class.word(table[class.filesz:])); err != nil {
			return err
		}
	}
	return nil
}
