package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// hintOf returns the hint of a FolderError, or "".
func hintOf(err error) string {
	var refused *FolderError
	if errors.As(err, &refused) {
		return refused.Hint()
	}
	return ""
}

// newFolder makes a folder that only its owner can read, unlike that of t.TempDir.
func newFolder(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return folder
}

func open(t testing.TB, folder string) (*Journal, Tables) {
	t.Helper()
	j, tables, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return j, tables
}

func closeJournal(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func put(table, key, value string) Row {
	return Row{Table: table, Key: key, Value: json.RawMessage(value)}
}

// all returns the rows of tables.
func all(tables Tables) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for table, rows := range tables {
			for key, value := range rows {
				if !yield(Row{table, key, value}, nil) {
					return
				}
			}
		}
	}
}

// A sample is a file with the tables after each commit, which ends at an offset.
type sample struct {
	data    []byte
	offsets []int
	tables  []Tables
}

func newSample(t testing.TB) (s sample) {
	t.Helper()
	folder := newFolder(t)
	j, tables := open(t, folder)
	note := func() {
		copied := make(Tables)
		for name, rows := range tables {
			copied[name] = maps.Clone(rows)
		}
		s.offsets, s.tables = append(s.offsets, int(j.size)), append(s.tables, copied)
	}
	note()
	for _, rows := range [][]Row{
		{put("a", "1", `"x"`), put("a", "2", `{"y":[1,2]}`), put("b", "1", `1`)},
		{put("a", "1", `"\n \u0000 ü"`)},
		{{Table: "a", Key: "2"}, {Table: "none", Key: "none"}, put("b", "1", `null`)},
		{put("b", "2", `""`)},
	} {
		if err := j.Append(rows); err != nil {
			t.Fatal(err)
		}
		tables.apply(rows)
		note()
	}
	closeJournal(t, j)
	var err error
	if s.data, err = os.ReadFile(j.Path()); err != nil {
		t.Fatal(err)
	}
	return s
}

// write makes a folder with this file.
func write(t testing.TB, data []byte) (folder string) {
	t.Helper()
	folder = newFolder(t)
	if err := os.WriteFile(filepath.Join(folder, fileName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func wantTables(t testing.TB, name string, got, want Tables) {
	t.Helper()
	for _, tables := range []Tables{got, want} {
		maps.DeleteFunc(tables, func(_ string, rows map[string]json.RawMessage) bool { return len(rows) == 0 })
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %s\nwant %s", name, got, want)
	}
}

// A file that was cut off at any length has the commits before. The journal can go on.
func TestTruncated(t *testing.T) {
	s := newSample(t)
	folder := write(t, nil)
	path := filepath.Join(folder, fileName)
	for length := range len(s.data) + 1 {
		if err := os.WriteFile(path, s.data[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		j, tables, err := Open(folder)
		if length < len(header) {
			if err == nil || !strings.Contains(err.Error(), path+": line 1: not a state of this version of the emulator; if it is damaged, replace") {
				t.Errorf("%d bytes: error is %v", length, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		i, exact := slices.BinarySearch(s.offsets, length)
		if !exact {
			i--
		}
		wantTables(t, fmt.Sprint(length, " bytes"), tables, s.tables[i])
		if err := j.Append([]Row{put("c", "1", "1")}); err != nil {
			t.Error(err)
		}
		closeJournal(t, j)
		j, tables = open(t, folder)
		if string(tables["c"]["1"]) != "1" {
			t.Errorf("%d bytes: a later commit is missing", length)
		}
		closeJournal(t, j)
	}
}

// Each change of a byte is detected, and changes nothing in the file.
func TestDamaged(t *testing.T) {
	s := newSample(t)
	folder := write(t, nil)
	path := filepath.Join(folder, fileName)
	for i, was := range s.data {
		for _, b := range []byte{was ^ 1, was ^ 0x20, was ^ 0x80, 0, '\n', ' ', '"'} {
			if b == was {
				continue
			}
			data := bytes.Clone(s.data)
			data[i] = b
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			j, _, err := Open(folder)
			if err == nil {
				closeJournal(t, j)
			}
			line := bytes.Count(s.data[:i], []byte("\n")) + 1
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s: line %d: ", path, line)) {
				t.Errorf("byte %d is %q, was %q: error is %v", i, b, was, err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
				t.Errorf("byte %d: the file has changed, %v", i, err)
			}
		}
	}
}

func TestForeignFiles(t *testing.T) {
	commit := func(text string) string { return fmt.Sprintf("%s%s %s\n", header, checksum([]byte(text)), text) }
	for name, tt := range map[string]struct{ data, message string }{
		"empty":           {"", "line 1: not a state"},
		"text":            {"hello\n", "line 1: not a state"},
		"JSON":            {`{"a":1}` + "\n", "line 1: not a state"},
		"SQLite":          {"SQLite format 3\x00" + strings.Repeat("\x00", 4096), "line 1: not a state"},
		"zeros":           {strings.Repeat("\x00", 100_000), "line 1: not a state"},
		"another version": {strings.Replace(header, " 1", " 2", 1), "line 1: not a state"},
		"no checksum":     {header + "[]\n", "line 2: its checksum is wrong"},
		"upper case":      {header + strings.ToUpper(strings.TrimPrefix(commit("[ ]"), header)), "line 2: its checksum is wrong"},
		"empty line":      {header + "\n", "line 2: its checksum is wrong"},
		"not JSON":        {commit("{"), "line 2: unexpected end of JSON"},
		"an object":       {commit("{}"), "line 2: json: cannot unmarshal object"},
		"no newline":      {strings.TrimSuffix(commit("[]"), "\n") + "x", "line 2: its newline is damaged"},
	} {
		folder := write(t, []byte(tt.data))
		j, _, err := Open(folder)
		if err == nil {
			closeJournal(t, j)
		}
		if err == nil || !strings.Contains(err.Error(), filepath.Join(folder, fileName)+": "+tt.message) || !strings.Contains(err.Error(), "remove it to start with an empty state") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	folder := write(t, []byte(header))
	path := filepath.Join(folder, fileName)
	for _, tt := range []struct {
		size    int64
		message string
	}{{maxFile + 1, "the file is larger than 1073741824 bytes"}, {maxLine + 100, "line 2: longer than 67108864 bytes"}} {
		if err := os.Truncate(path, tt.size); err != nil { // a sparse file
			t.Fatal(err)
		}
		if _, _, err := Open(folder); err == nil || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%d bytes: error is %v", tt.size, err)
		}
	}
	j, _ := open(t, newFolder(t))
	defer closeJournal(t, j)
	if err := j.Append([]Row{put("a", "1", `"`+strings.Repeat("x", maxLine)+`"`)}); err == nil || !strings.Contains(err.Error(), "the limit is 67108864") {
		t.Errorf("a long line: error is %v", err)
	}
	if err := j.Append([]Row{put("a", "1", `1`)}); err != nil {
		t.Error(err)
	}
}

func TestLocked(t *testing.T) {
	folder := newFolder(t)
	j, _ := open(t, folder)
	if _, _, err := Open(folder); err == nil || err.Error() != folder+": another emulator uses this state folder" {
		t.Errorf("error is %v", err)
	} else if hint := hintOf(err); hint != "end that emulator, or use another folder" {
		t.Errorf("hint is %q", hint)
	}
	// It waits for one that ends.
	opened := make(chan error)
	go func() {
		second, _, err := Open(folder)
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	closeJournal(t, j)
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if err := j.Append(nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: error is %v", err)
	}
}

// Another program that changes the file makes Append fail. The file keeps what it wrote.
func TestChangedByOthers(t *testing.T) {
	j, _ := open(t, newFolder(t))
	defer closeJournal(t, j)
	for _, tt := range []struct {
		change  func() error
		message string
	}{
		{func() error { return os.WriteFile(j.Path(), []byte("text"), 0o600) }, "another program has changed the file"},
		{func() error { return os.Remove(j.Path()) }, ""},
		{func() error { return os.Mkdir(j.Path(), 0o700) }, "not a regular file"},
	} {
		if err := tt.change(); err != nil {
			t.Fatal(err)
		}
		if err := j.Append([]Row{put("a", "1", "1")}); err == nil || !strings.Contains(err.Error(), tt.message) || !strings.Contains(err.Error(), j.Path()) {
			t.Errorf("error is %v, want %q", err, tt.message)
		}
	}
}

func TestCompact(t *testing.T) {
	folder := newFolder(t)
	j, tables := open(t, folder)
	change := func(row Row) {
		t.Helper()
		if err := j.Append([]Row{row}); err != nil {
			t.Fatal(err)
		}
		tables.apply([]Row{row})
		if err := j.Compact(all(tables)); err != nil {
			t.Fatal(err)
		}
	}
	large := `"` + strings.Repeat("x", minCompact/4) + `"`
	compacted := 0
	for i := range 50 {
		before := j.size
		change(put("a", fmt.Sprint(i%2), large))
		change(put("b", fmt.Sprint(i), "1"))
		change(Row{Table: "b", Key: fmt.Sprint(i - 1)})
		if j.size < before {
			compacted++
		}
		if j.size > minCompact {
			t.Fatalf("the file has %d bytes", j.size)
		}
	}
	if compacted < 10 || compacted > 30 {
		t.Errorf("compacted %d times", compacted)
	}
	closeJournal(t, j)
	j, got := open(t, folder)
	defer closeJournal(t, j)
	wantTables(t, "after Compact", got, tables)
	info, err := os.Stat(j.Path())
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != j.size || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%d bytes, mode %v", info.Size(), info.Mode())
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 2 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

// If Compact fails, the journal goes on with the file as it was.
func TestCompactFails(t *testing.T) {
	folder := newFolder(t)
	j, tables := open(t, folder)
	rows := []Row{put("a", "1", `"`+strings.Repeat("x", minCompact)+`"`)}
	if err := j.Append(rows); err != nil {
		t.Fatal(err)
	}
	tables.apply(rows)
	want := errors.New("no row")
	if err := j.Compact(func(yield func(Row, error) bool) { yield(Row{}, want) }); !errors.Is(err, want) {
		t.Errorf("error is %v", err)
	}
	if err := j.Compact(func(func(Row, error) bool) { t.Error("compacted again at once") }); err != nil {
		t.Error(err)
	}
	rows = []Row{put("a", "2", "2")}
	if err := j.Append(rows); err != nil {
		t.Error(err)
	}
	tables.apply(rows)
	closeJournal(t, j)
	j, got := open(t, folder)
	defer closeJournal(t, j)
	wantTables(t, "after an error", got, tables)
}

// Open removes what a process left behind that was killed in Compact.
func TestTemporaryIsRemoved(t *testing.T) {
	folder := newFolder(t)
	j, _ := open(t, folder)
	closeJournal(t, j)
	left := filepath.Join(folder, strings.Replace(temporary, "*", "0123456789abcdef", 1))
	other := filepath.Join(folder, "state-of-mine.txt")
	for _, path := range []string{left, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j, _ = open(t, folder)
	closeJournal(t, j)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", left, err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
