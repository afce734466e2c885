package binding

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// On Windows, CK_ULONG is an unsigned long, which has 32 bits.
var native = abi{4, true}

// load loads a library and returns the address of one of its functions. It never
// unloads a library: some start threads. The libraries that this one needs are searched
// for in its own folder and in that of the system.
func load(path, name string) (uintptr, error) {
	library, err := windows.LoadLibraryEx(path, 0, windows.LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR|windows.LOAD_LIBRARY_SEARCH_DEFAULT_DIRS)
	if err != nil {
		return 0, err
	}
	return windows.GetProcAddress(library, name)
}

// call calls a function of C, whose results and parameters have the size of a pointer
// or less.
//
//go:uintptrescapes
func call(fn uintptr, args ...uintptr) uintptr {
	r, _, _ := syscall.SyscallN(fn, args...)
	return r
}
