//go:build cgo

package pkcs11

/*
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>
#pragma pack(push, 1) // PKCS #11 v3.1, section 2.1
static void *open_module(const char *path) { return LoadLibraryA(path); }
static void *symbol(void *module, const char *name) { return (void *)GetProcAddress(module, name); }
static void close_module(void *module) { FreeLibrary(module); }
#else
#include <dlfcn.h>
static void *open_module(const char *path) { return dlopen(path, RTLD_LAZY); }
static void *symbol(void *module, const char *name) { return dlsym(module, name); }
static void close_module(void *module) { dlclose(module); }
#endif

// The beginning of CK_FUNCTION_LIST, up to C_Login.
struct function_list {
	unsigned char major, minor;
	void *before_login[18];
	unsigned long (*login)(unsigned long session, unsigned long user, unsigned char *pin, unsigned long len);
};
#ifdef _WIN32
#pragma pack(pop)
#endif

static struct function_list *functions_of(void *module) {
	unsigned long (*get)(struct function_list **) = symbol(module, "C_GetFunctionList");
	struct function_list *list = NULL;
	return get && get(&list) == 0 ? list : NULL;
}

static unsigned long login(struct function_list *f, unsigned long session, unsigned long user, unsigned char *pin, unsigned long len) {
	return f->login(session, user, pin, len);
}
*/
import "C"

import (
	"errors"
	"unsafe"
)

// A loginEntry calls C_Login with the memory of the PIN itself, which the caller
// clears. The binding would copy the PIN to a string and to memory of C, which
// nobody clears.
type loginEntry struct {
	module    unsafe.Pointer
	functions *C.struct_function_list
}

// openLogin opens the module at path, which the binding has loaded. The caller
// closes it.
func openLogin(path string) (loginEntry, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	e := loginEntry{module: C.open_module(name)}
	if e.module == nil {
		return e, errors.New("it cannot be opened again")
	}
	if e.functions = C.functions_of(e.module); e.functions == nil {
		e.close()
		return e, errors.New("it does not return its functions")
	}
	return e, nil
}

func (e loginEntry) close() { C.close_module(e.module) }

// login calls C_Login, with NULL for an empty PIN.
func (e loginEntry) login(session, user uint, pin []byte) error {
	rv := C.login(e.functions, C.ulong(session), C.ulong(user), (*C.uchar)(unsafe.SliceData(pin)), C.ulong(len(pin)))
	if rv != 0 {
		return Error(rv)
	}
	return nil
}
