package pkcs11

import (
	"encoding/binary"
	"fmt"
	"os"
)

// An elfClass says where a class of ELF files has what is read here, in bytes
// (System V ABI, chapters 4 and 5).
type elfClass struct {
	phoff, phentsize, phnum int // in the file's header
	size, offset, filesz    int // of a program header, and in it
	word                    func([]byte) uint64
}

var elfClasses = map[byte]elfClass{
	1: {28, 42, 44, 32, 4, 16, func(b []byte) uint64 { return uint64(binary.NativeEndian.Uint32(b)) }},
	2: {32, 54, 56, 56, 8, 32, binary.NativeEndian.Uint64},
}

// checkELF refuses a file that ends before one of its segments does. The loader
// maps it, and the process dies of SIGBUS where what is missing is touched. What
// is no ELF file of this machine's byte order is left to the loader to refuse,
// as is one that cannot be read. debug/elf would do it in half the lines, but
// also reads, and stumbles over, what the loader never looks at.
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
	class, ok := elfClasses[h[4]]
	if !ok || int(binary.NativeEndian.Uint16(h[class.phentsize:])) != class.size {
		return nil
	}
	within := func(offset, length uint64) error {
		if size := uint64(info.Size()); length > size || offset > size-length {
			return fmt.Errorf("the file is cut off after %d bytes", size)
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
