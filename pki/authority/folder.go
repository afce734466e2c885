package authority

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxIndex bounds the index, in bytes. A line has some 400.
const maxIndex = 1 << 30

// A turn is the time in which one writer has the folder for itself. It has read
// the whole index.
type turn struct {
	*Authority
	lock  *os.File
	index *os.File
	added int // events that were written
}

// begin waits for the turn of this writer and reads what others added. On
// success the caller calls end.
func (a *Authority) begin(ctx context.Context) (*turn, error) {
	a.mu.Lock()
	var lock *os.File
	err := a.checkOwner()
	if err == nil {
		lock, err = a.lock(ctx)
	}
	if err != nil {
		a.mu.Unlock()
		return nil, err
	}
	t := &turn{Authority: a, lock: lock}
	if err := t.open(ctx); err != nil {
		t.end()
		return nil, err
	}
	return t, nil
}

func (t *turn) end() {
	if t.index != nil {
		t.index.Close()
	}
	t.lock.Close()
	t.mu.Unlock()
}

// open opens the index, and removes a part of a line at its end. It locks the index
// too: the file with the lock can be removed. On Windows it cannot, and a lock would
// keep readers away.
func (t *turn) open(ctx context.Context) (err error) {
	if t.index, err = openRegular(t.path(indexFile), os.O_RDWR); err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		if err := acquire(ctx, t.index); err != nil {
			return err
		}
	}
	torn, err := t.refresh(t.index)
	if err == nil && torn {
		err = errors.Join(t.index.Truncate(t.state.size), t.sync(t.index))
	}
	return err
}

// lock excludes other writers.
func (a *Authority) lock(ctx context.Context) (*os.File, error) { return a.lockOn(ctx, lockFile) }

// lockOn excludes others that lock the file with this name. It waits for at most
// lockPeriod. The lock ends when the file is closed.
func (a *Authority) lockOn(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(a.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := acquire(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// acquire locks a file. It waits for at most lockPeriod.
func acquire(ctx context.Context, f *os.File) error {
	wait, cancel := context.WithTimeout(ctx, lockPeriod)
	defer cancel()
	for {
		held, err := filelock.TryLock(f)
		switch {
		case held:
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if await.Pause(wait, time.Millisecond+rand.N(4*time.Millisecond)) != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return signer.WithHint(fmt.Errorf("%s: another program has held the lock for %v: %w", f.Name(), lockPeriod, signer.ErrUnavailable),
				"wait until it is done, or end it")
		}
	}
}

// read is refresh for a caller that does not write. The caller holds a.mu.
func (a *Authority) read() error {
	f, err := openRegular(a.path(indexFile), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = a.refresh(f)
	return err
}

// refresh reads the lines that were added since the last time. torn means that
// the file ends with a part of a line.
func (a *Authority) refresh(f *os.File) (torn bool, err error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return false, err
	case info.Size() < a.state.size:
		return false, fmt.Errorf("%s: %w: it has become shorter", f.Name(), ErrIndex)
	case info.Size() > maxIndex:
		return false, fmt.Errorf("%s: %w: it is larger than %d MiB", f.Name(), ErrIndex, maxIndex>>20)
	case info.Size() == a.state.size && info.Size() > 0:
		return false, nil
	}
	added := info.Size() - a.state.size
	torn, err = a.readLines(bufio.NewReaderSize(io.NewSectionReader(f, a.state.size, added), int(min(added+1, maxLine+2))))
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.Name(), withoutPath(err))
	}
	if a.state.events == 0 {
		return false, fmt.Errorf("%s: %w: it is empty", f.Name(), ErrIndex)
	}
	return torn, nil
}

// readLines applies whole lines. torn means that a part of a line follows them.
func (a *Authority) readLines(r *bufio.Reader) (torn bool, err error) {
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return len(line) > 0, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return false, fmt.Errorf("%w: line %d %w", ErrIndex, a.state.events+1, errTooLong)
		case err != nil:
			return false, err
		}
		if err := a.state.add(line); err != nil {
			return false, err
		}
	}
}

// checkOwner returns an error if root would write to the folder of another user,
// who could lead it elsewhere with symbolic links.
func (a *Authority) checkOwner() error {
	if a.owned {
		return nil
	}
	for _, path := range []string{a.path(lockFile), a.path(issuedDir, lockFile)} {
		if err := fileowner.Check(path); err != nil {
			return err
		}
	}
	a.owned = true
	return nil
}

// Begun reports whether a Create that was interrupted at its beginning can have left
// an entry with this name in the folder. Create accepts it.
func Begun(name string) bool { return name == issuedDir || name == lockFile }

// Holds reports whether an entry with this name is in the folders of CAs only.
func Holds(name string) bool { return name == caFile || name == indexFile }

// validText returns text as JSON can store it.
func validText(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// append writes an event to disk. An event that no reader of the index would
// accept is not written.
func (t *turn) append(e event) error {
	e.N, e.Previous, e.Time = t.state.events+1, t.state.previous, t.opts.now().UTC().Truncate(time.Second)
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	before := t.state.size
	if err := t.state.addLine(line); err != nil {
		return fmt.Errorf("the next line of the index %w", err)
	}
	_, err = t.index.WriteAt(append(line, '\n'), before)
	if err == nil {
		err = t.sync(t.index)
	}
	if err != nil {
		// If this fails too, the next writer removes the rest of the line.
		_ = t.index.Truncate(before)
		t.Authority.state = newState() // read the index again: it lacks the event
		return fmt.Errorf("%s: %w", t.index.Name(), withoutPath(err))
	}
	t.added++
	return t.checkPlace()
}

// checkPlace returns an error if another file has taken the place of the index that
// was written, as in the restore of a backup.
func (t *turn) checkPlace() error {
	written, err := t.index.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(t.path(indexFile)); err != nil || !os.SameFile(written, now) {
		t.Authority.state = newState() // read the other file
		return signer.WithHint(fmt.Errorf("%s: the file was replaced while this program used it, so that the last event is lost", t.index.Name()), "run the command again")
	}
	return nil
}

func (a *Authority) sync(f *os.File) error {
	if a.opts.NoSync {
		return nil
	}
	return f.Sync()
}

// openRegular opens a file that exists. It does not wait for the writer of a FIFO.
func openRegular(path string, flag int) (*os.File, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	return os.OpenFile(path, flag, 0)
}

// maxFile bounds the other files of the folder, in bytes. A revocation list with
// a million entries has some 50 MB.
const maxFile = 64 << 20

func readFile(path string) ([]byte, error) {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: is larger than %d MiB", path, maxFile>>20)
	}
	return data, err
}

func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Dir returns the folder.
func (a *Authority) Dir() string { return a.dir }

func (a *Authority) path(name ...string) string {
	return filepath.Join(append([]string{a.dir}, name...)...)
}

// write writes a file of the folder whole or not at all.
func (a *Authority) write(path string, data []byte) error {
	f := atomicfile.File{Name: path, NoSync: a.opts.NoSync}
	if err := f.Replace(data); err != nil || a.opts.NoSync {
		return err
	}
	return f.SyncFolder()
}
