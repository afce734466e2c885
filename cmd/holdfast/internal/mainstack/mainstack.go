// Package mainstack enlarges the stack of the main goroutine before other packages are
// initialized. Otherwise the runtime doubles it several times, the later the dearer: each
// time it copies it, and reads the tables of all functions that are running.
//
// The package imports nothing, because Go initializes packages in the order of their
// paths, and each after its imports (Go specification, "Program initialization"): this
// one comes before package os.
package mainstack

// size is enough for a command, in bytes. A page of a stack takes memory once it is used.
const size = 24 << 10

func init() { grow(0) }

// grow has a frame of size bytes, for which the runtime makes room before it begins.
//
//go:noinline
func grow(n int) byte {
	if n == 0 {
		return 0
	}
	var frame [size]byte
	for i := range n {
		frame[i] = byte(i)
	}
	return frame[n/2]
}
