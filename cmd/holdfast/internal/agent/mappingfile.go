package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// reloadInterval is how often the agent looks for a new mapping file. It reads the file
// when it is the same at two looks, because a program may be writing it.
const reloadInterval = 2 * time.Second

// A mappingFile is a mapping that is read again when its file changes. It is safe for
// concurrent use.
type mappingFile struct {
	path    string
	check   func(entry) error // of entries, for what depends on other settings
	changed func(mapping)     // called with each new mapping; calls do not overlap
	log     *slog.Logger

	mu     sync.Mutex
	state  filestate.State // of the file that was read last
	seen   filestate.State // at the last look
	status mappingStatus
	pods   mapping
}

// A mappingStatus is the state of a mappingFile.
type mappingStatus struct {
	pods            int
	loads, failures int
	err             error // of the last attempt
}

// load reads the file. After an error, the mapping stays the same.
func (f *mappingFile) load(ctx context.Context) error {
	state := filestate.Of(f.path)
	m, err := f.read(ctx)
	f.mu.Lock()
	f.state = state
	f.status.err = err
	if err != nil {
		f.status.failures++
	} else {
		f.pods = m
		f.status.loads++
		f.status.pods = len(m)
	}
	f.mu.Unlock()
	if err == nil {
		f.changed(m)
	}
	return err
}

func (f *mappingFile) read(ctx context.Context) (mapping, error) {
	data, err := keystore.ReadFile(f.path, maxMapping)
	if err != nil {
		return nil, fmt.Errorf("--pods %s: %w", f.path, err)
	}
	m, err := parseMapping(ctx, data, f.check)
	if err != nil && signer.Hint(err) == "" {
		err = signer.WithHint(err, "docs/agent.md describes the mapping file")
	}
	if err != nil {
		return nil, &front.UsageError{Err: fmt.Errorf("--pods %s: %w", f.path, err)}
	}
	return m, nil
}

// current returns the mapping.
func (f *mappingFile) current() mapping {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pods
}

func (f *mappingFile) stats() mappingStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// isSettled reports whether the file is another one than the one that was read last, and
// the same as at the last call. In a volume of a ConfigMap, the name is a symbolic link,
// which the kubelet replaces.
func (f *mappingFile) isSettled() bool {
	now := filestate.Of(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	settled := now.Equal(f.seen)
	f.seen = now
	return settled && !now.Equal(f.state)
}

// watch reads the file when it changes and after each message of force, until ctx
// ends.
func (f *mappingFile) watch(ctx context.Context, force <-chan struct{}) {
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-force:
		case <-tick.C:
			if !f.isSettled() {
				continue
			}
		}
		if err := f.load(ctx); err != nil {
			f.log.Error("the mapping file was not read; the pods keep the roles of the old one", "error", err)
		} else {
			f.log.Info("the mapping file was read", "pods", f.stats().pods)
		}
	}
}
