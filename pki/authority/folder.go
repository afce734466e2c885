package authority

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxIndex bounds the index, in bytes. A line has some 400.
const maxIndex = 1 << 30

// begin locks the folder and reads what other writers added. On success the
// caller calls unlock and may use a.index until then.
func (a *Authority) begin(ctx context.Context) (unlock func(), err error) {
	unlock, err = a.lock(ctx)
	if err != nil {
		return nil, err
	}
	torn, err := a.refresh()
	if err == nil && torn {
		err = a.removeTorn()
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// lock excludes other goroutines and processes. It waits for at most
// lockPeriod.
func (a *Authority) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(a.dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, lockPeriod)
	defer cancel()
	for {
		if held, err := filelock.TryLock(f); held {
			a.mu.Lock()
			return func() {
				a.mu.Unlock()
				f.Close()
			}, nil
		} else if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
		if await.Pause(wait, time.Millisecond+rand.N(4*time.Millisecond)) != nil {
			f.Close()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, signer.WithHint(fmt.Errorf("%s: another program has held the lock for %v: %w", path, lockPeriod, signer.ErrUnavailable),
				"wait until it is done, or end it")
		}
	}
}

// refresh reads the lines that were added since the last time. torn means that
// the file ends with a part of a line.
func (a *Authority) refresh() (torn bool, err error) {
	path := filepath.Join(a.dir, indexFile)
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return false, err
	case info.Size() < a.index.size:
		return false, fmt.Errorf("%s: %w: it has become shorter", path, ErrIndex)
	case info.Size() > maxIndex:
		return false, fmt.Errorf("%s: %w: it is larger than %d MiB", path, ErrIndex, maxIndex>>20)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, a.index.size, info.Size()-a.index.size))
	if err != nil {
		return false, err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	if err := a.index.add(whole); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if a.index.events == 0 {
		return false, fmt.Errorf("%s: %w: it is empty", path, ErrIndex)
	}
	return len(whole) < len(data), nil
}

// removeTorn removes a part of a line at the end of the index.
func (a *Authority) removeTorn() error {
	f, err := os.OpenFile(filepath.Join(a.dir, indexFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(a.index.size), f.Sync(), f.Close())
}

// append writes an event to disk. The caller holds the lock.
func (a *Authority) append(e event) error {
	e.N, e.Previous, e.Time = a.index.events+1, a.index.previous, a.now().UTC().Truncate(time.Second)
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := filepath.Join(a.dir, indexFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync()); err != nil {
		// If this fails too, the next writer removes the rest of the line.
		_ = f.Truncate(a.index.size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	return a.index.add(append(line, '\n'))
}

func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// write writes a file of the folder whole or not at all.
func (a *Authority) write(name string, data []byte) error {
	f := atomicfile.File{Name: filepath.Join(a.dir, name)}
	return errors.Join(f.Replace(data), f.SyncFolder())
}
