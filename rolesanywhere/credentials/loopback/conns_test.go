package loopback

import (
	"math"
	"testing"
)

// Connections leave half of the file descriptors to other parts of the process.
func TestMaxConns(t *testing.T) {
	for files, want := range map[uint64]int{
		1: 1, 2: 1, 64: 32, 256: 128, 1023: 511, 1024: 512, 1 << 20: 512, math.MaxUint64: 512,
	} {
		if got := maxConns(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
