// Package stack makes room for deep calls. The runtime begins a goroutine with a small
// stack and doubles it several times. Each time it copies the stack and reads the tables
// of all functions that are running, which the process has not used before: some 10 page
// faults. For a goroutine with much work it is cheaper to make room once at its beginning.
//
// The package imports nothing; see cmd/holdfast/internal/mainstack.
package stack

// room is enough for a session with IAM Roles Anywhere, in bytes. A page of a stack takes
// memory once it is used.
const room = 24 << 10

// Grow makes room on the stack of the goroutine that calls it.
func Grow() { grow(0) }

// grow has a frame of this size, for which the runtime makes room before it begins.
//
//go:noinline
func grow(n int) byte {
	if n == 0 {
		return 0
	}
	var frame [room]byte
	for i := range n {
		frame[i] = byte(i)
	}
	return frame[n/2]
}
