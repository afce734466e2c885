// Package lazyregexp compiles a regular expression when it is first used, so that
// programs that do not use it need no time and memory for it.
package lazyregexp

import (
	"regexp"
	"sync"
)

// A Regexp is safe for concurrent use and must not be copied after the first use.
type Regexp struct {
	Expression string // a valid one; otherwise Get panics

	once     sync.Once
	compiled *regexp.Regexp
}

// Get returns the compiled expression.
func (r *Regexp) Get() *regexp.Regexp {
	r.once.Do(func() { r.compiled = regexp.MustCompile(r.Expression) })
	return r.compiled
}
