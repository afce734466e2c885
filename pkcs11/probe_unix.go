//go:build cgo && unix

package pkcs11

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// probe returns the handle of a library whose C_GetFunctionList returns a
// function list. Otherwise it returns NULL and sets either *text, which the
// caller frees, or *rv to the return value of C_GetFunctionList.
static void *probe(const char *path, char **text, unsigned long *rv) {
	unsigned long (*get)(void **);
	void *list = NULL;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		*text = strdup(dlerror()); // the result of dlerror belongs to this thread
		return NULL;
	}
	get = (unsigned long (*)(void **))dlsym(handle, "C_GetFunctionList");
	if (get == NULL) {
		*text = strdup("it does not export C_GetFunctionList");
	} else if ((*rv = get(&list)) == 0 && list == NULL) {
		*text = strdup("C_GetFunctionList returned no function list");
	} else if (*rv == 0) {
		return handle;
	}
	dlclose(handle);
	return NULL;
}
*/
import "C"

import (
	"errors"
	"strings"
	"unsafe"
)

// probe loads a library and checks that it is a PKCS #11 module. The binding
// does not report why it cannot load a library, and crashes if
// C_GetFunctionList returns no list. done unloads the library.
func probe(path string) (done func(), err error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var text *C.char
	var rv C.ulong
	handle := C.probe(name, &text, &rv)
	switch {
	case handle != nil:
		return func() { C.dlclose(handle) }, nil
	case text != nil:
		defer C.free(unsafe.Pointer(text))
		return nil, errors.New(strings.TrimPrefix(C.GoString(text), path+": "))
	}
	return nil, Error(rv)
}
