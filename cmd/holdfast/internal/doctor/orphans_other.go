//go:build !linux

package doctor

// adoptOrphans does nothing: only Linux gives this process the processes that
// modules leave.
func adoptOrphans() (end func(except int)) { return func(int) {} }

func awaitExit(int) {}
