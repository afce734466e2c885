// Package mainstack makes room on the stack of the main goroutine before other packages
// are initialized, while few functions are running.
//
// It has no other import, because Go initializes packages in the order of their paths,
// and each after its imports (Go specification, "Program initialization"): this package
// comes before package os.
package mainstack

import "github.com/holdfast-dev/holdfast/internal/stack"

func init() { stack.Grow() }
