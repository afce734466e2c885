package isolated

import "golang.org/x/sys/unix"

// protect keeps PINs and keys of the module out of core dumps, and other processes of this
// user out of its memory.
func protect() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
