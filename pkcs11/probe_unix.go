//go:build cgo && unix

package pkcs11

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// probe returns the handle of a library that gives a list of functions, or
// NULL and either a text to be freed or what C_GetFunctionList returned.
static void *probe(const char *path, char **text, unsigned long *rv) {
	unsigned long (*get)(void **);
	void *list = NULL;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		*text = strdup(dlerror()); // dlerror's own belongs to this thread
		return NULL;
	}
	get = (unsigned long (*)(void **))dlsym(handle, "C_GetFunctionList");
	if (get == NULL) {
		*text = strdup("it has no function C_GetFunctionList");
	} else if ((*rv = get(&list)) == 0 && list == NULL) {
		*text = strdup("it gives no functions");
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

// probe loads a library as a module would be and says why it cannot be one,
// which the binding does not: it takes a missing list of functions for a list.
// done releases what it loaded.
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
