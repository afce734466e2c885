//go:build (darwin || linux) && (amd64 || arm64)

package binding

import (
	"runtime"
	"syscall"

	"github.com/ebitengine/purego"
)

// On Unix, CK_ULONG is an unsigned long.
var native = abi{8, false}

// load loads a library and returns the address of one of its functions. It never
// unloads a library: some start threads.
func load(path, name string) (uintptr, error) {
	runtime.LockOSThread() // dlerror has the text of an error only on the thread of the call
	defer runtime.UnlockOSThread()
	library, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return 0, err
	}
	return purego.Dlsym(library, name)
}

// call calls a function of C, whose results and parameters have the size of a pointer.
//
//go:uintptrescapes
func call(fn uintptr, args ...uintptr) uintptr {
	r, _, _ := purego.SyscallN(fn, args...)
	return r
}

// DefaultSignals gives signals their default action, which ends the process, in place of
// the handlers of the Go runtime.
func DefaultSignals(signals ...syscall.Signal) error {
	set, err := purego.Dlsym(purego.RTLD_DEFAULT, "signal")
	if err != nil {
		return err
	}
	for _, s := range signals {
		call(set, uintptr(s), 0) // SIG_DFL
	}
	return nil
}
