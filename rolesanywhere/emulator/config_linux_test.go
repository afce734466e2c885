package emulator

import "testing"

// Reading a file of the kernel that has the size 0 can wait. This one does not, so that
// the test fails instead.
func TestReadFileOfKernel(t *testing.T) {
	if b, err := readFile("/proc/self/status", maxFile); err != nil || len(b) > 0 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
