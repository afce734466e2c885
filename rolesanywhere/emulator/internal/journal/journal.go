// Package journal keeps the rows of tables in a folder, as a file of changes.
//
// The first line of the file is its header. Each further line is one commit: a checksum
// (CRC-32C, eight hexadecimal digits), a space, and the changed rows as JSON. A commit
// is on the disk when Append returns.
//
// A last line without a newline is the rest of a commit that was never acknowledged, and
// Open removes it. Open refuses any other damage. That includes a last line that has its
// newline and a wrong checksum: a power failure can leave one behind if the file system
// writes the blocks of a long line out of order, but it can also be an acknowledged
// commit that was damaged later.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
)

const (
	// header ends with the version of the format of the lines and of the rows.
	header = "holdfast emulator state 1\n"

	maxLine    = 64 << 20
	maxFile    = 1 << 30
	minCompact = 4 << 20 // a smaller file is not compacted
)

// A Row is the new value of a row.
type Row struct {
	Table string          `json:"table"`
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value,omitempty"` // nil or null: the row is removed
}

// Tables are the values of all rows by table and key.
type Tables map[string]map[string]json.RawMessage

func (t Tables) apply(rows []Row) {
	for _, r := range rows {
		if len(r.Value) == 0 || string(r.Value) == "null" {
			delete(t[r.Table], r.Key)
			continue
		}
		if t[r.Table] == nil {
			t[r.Table] = make(map[string]json.RawMessage)
		}
		t[r.Table][r.Key] = r.Value
	}
}

// A Journal is an open file of changes. It is not safe for concurrent use.
type Journal struct {
	file   atomicfile.File
	lock   *os.File
	size   int64 // of the file
	next   int64 // Compact waits for a larger size
	broken error // what every call of Append returns
}

// Open opens or creates the folder, which only its owner can read, and returns the rows
// in it. Until Close, no other process can open it. It fails with a [*FolderError] if
// another process has opened the folder, or if other users could have read or written
// it: the rows contain secrets and decide who gets credentials.
func Open(folder string) (*Journal, Tables, error) {
	if err := makeFolder(folder); err != nil {
		return nil, nil, err
	}
	lock, err := lockFolder(folder)
	if err != nil {
		return nil, nil, err
	}
	j := &Journal{file: atomicfile.File{Name: filepath.Join(folder, fileName), Temporary: temporary}, lock: lock}
	tables, err := j.load(folder)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return j, tables, nil
}

// load reads the file, or creates it.
func (j *Journal) load(folder string) (Tables, error) {
	if err := removeTemporary(folder); err != nil {
		return nil, err
	}
	f, err := openOwn(folder, fileName, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return Tables{}, j.replace([]byte(header))
	}
	if err != nil {
		return nil, err
	}
	tables, err := j.read(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, j.Damaged(err)
	}
	return tables, nil
}

func (j *Journal) read(f *os.File) (Tables, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	in := bufio.NewReaderSize(f, int(min(info.Size(), maxLine))+1)
	tables := make(Tables)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		switch {
		case n == 1 && string(line) != header:
			return nil, errors.New("line 1: not a state of this version of the emulator")
		case ended:
			j.setNext(tables.size())
			return tables, j.cutOff(f, n, line)
		case err != nil:
			return nil, fmt.Errorf("line %d: longer than %d bytes", n, maxLine)
		case n > 1:
			rows, err := decode(line[:len(line)-1])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			tables.apply(rows)
		}
		j.size += int64(len(line))
	}
}

// cutOff removes the rest of line n that has no newline.
func (j *Journal) cutOff(f *os.File, n int, rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	if _, err := decode(rest[:len(rest)-1]); err == nil {
		return fmt.Errorf("line %d: its newline is damaged", n)
	}
	return errors.Join(f.Truncate(j.size), f.Sync())
}

// size returns the approximate size of a file that has only these rows.
func (t Tables) size() (n int64) {
	for name, rows := range t {
		for key, value := range rows {
			n += int64(len(`01234567 [{"table":"","key":"","value":}]`) + len(name) + len(key) + len(value))
		}
	}
	return n
}

// setNext decides when to compact a file that would have this size without old values.
func (j *Journal) setNext(size int64) {
	j.next = min(max(minCompact, 2*size), maxFile-maxLine)
}

// Damaged adds to an error in the content of the file which file it is, and the way out.
func (j *Journal) Damaged(err error) error {
	return fmt.Errorf("%s: %w; if it is damaged, replace it by a copy, or remove it to start with an empty state", j.file.Name, err)
}

// Path returns the path of the file.
func (j *Journal) Path() string { return j.file.Name }

// Append stores all rows or none. After an error that may have left a part of a line
// behind, it fails for ever, so that it never acknowledges what Open could not read.
func (j *Journal) Append(rows []Row) error {
	if j.broken != nil {
		return j.broken
	}
	line, err := encode(rows)
	if err != nil {
		return err
	}
	f, err := openRegular(j.file.Name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close() // Sync has reported all errors of writing
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() != j.size:
		return fmt.Errorf("%s: another program has changed the file", j.file.Name)
	case j.size+int64(len(line)) > maxFile:
		return fmt.Errorf("%s: the file would be larger than %d bytes; start with an empty state", j.file.Name, maxFile)
	}
	if _, err = f.WriteAt(line, j.size); err == nil {
		err = f.Sync()
	}
	if err == nil {
		j.size += int64(len(line))
		return nil
	}
	if undo := errors.Join(f.Truncate(j.size), f.Sync()); undo != nil {
		j.broken = fmt.Errorf("the state cannot be written until the emulator is started again: %w", undo)
	}
	return err
}

// Compact replaces the file by one that has only these rows, which are all rows, if it is
// worthwhile. After an error the journal has the same rows as before.
func (j *Journal) Compact(rows iter.Seq2[Row, error]) error {
	if j.broken != nil || j.size <= j.next {
		return nil
	}
	err := j.rewrite(rows)
	if err != nil {
		j.next = j.size + minCompact // not at every change
	}
	return err
}

func (j *Journal) rewrite(rows iter.Seq2[Row, error]) error {
	data := bytes.NewBufferString(header)
	for row, err := range rows {
		if err != nil {
			return err
		}
		line, err := encode([]Row{row})
		if err != nil {
			return err
		}
		data.Write(line)
	}
	if data.Len() > maxFile {
		return fmt.Errorf("%s: the rows need more than %d bytes", j.file.Name, maxFile)
	}
	return j.replace(data.Bytes())
}

// replace replaces the file. If the new name is not on the disk, a power failure could
// undo later commits together with it.
func (j *Journal) replace(data []byte) error {
	if err := j.file.Replace(data); err != nil {
		return err
	}
	j.size = int64(len(data))
	j.setNext(j.size)
	if err := j.file.SyncFolder(); err != nil {
		j.broken = fmt.Errorf("the state cannot be written until the emulator is started again: %w", err)
		return err
	}
	return nil
}

// Close releases the folder. Append fails afterwards.
func (j *Journal) Close() error {
	j.broken = fmt.Errorf("%s: %w", j.file.Name, fs.ErrClosed)
	return j.lock.Close()
}

func checksum(text []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
}

// encode returns the line of a commit. JSON contains no newline.
func encode(rows []Row) ([]byte, error) {
	text, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	line := fmt.Appendf(nil, "%s %s\n", checksum(text), text)
	if len(line) > maxLine {
		return nil, fmt.Errorf("a change needs %d bytes in the state; the limit is %d", len(line), maxLine)
	}
	return line, nil
}

// decode returns the rows of a line without its newline.
func decode(line []byte) (rows []Row, err error) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != checksum(text) {
		return nil, errors.New("its checksum is wrong")
	}
	err = json.Unmarshal(text, &rows)
	return rows, err
}
