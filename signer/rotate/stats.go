package rotate

import "time"

// Stats counts the reloads of an Identity.
type Stats struct {
	Reloads       int // successful: the key was replaced
	FailedReloads int // failed: the previous key stayed in use
}

// Stats returns the counts so far.
func (i *Identity) Stats() Stats {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stats
}

// LastReload returns when the last reload that [Stats] counts ended, by Config.Now, and
// its error. The time is zero if there was none.
func (i *Identity) LastReload() (at time.Time, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reloaded, i.reloadErr
}
