//go:build cgo && unix

package front

// #include <fcntl.h>
//
// static int stdout_was_closed;
//
// // A constructor runs before the Go runtime, which opens the null device in the
// // place of closed standard streams.
// __attribute__((constructor)) static void check_stdout(void) {
// 	stdout_was_closed = fcntl(1, F_GETFD) == -1;
// }
//
// static int get_stdout_was_closed(void) { return stdout_was_closed; }
import "C"

func stdoutWasClosed() bool { return C.get_stdout_was_closed() != 0 }
