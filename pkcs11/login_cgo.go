//go:build cgo

package pkcs11

/*
#ifdef _WIN32
#pragma pack(push, 1) // PKCS #11 v3.1, section 2.1
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

// What the binding's Ctx points to. TestBindingLayout checks it.
struct binding {
	void *handle;
	struct function_list *functions;
};

static unsigned long login(struct binding *b, unsigned long session, unsigned long user, unsigned char *pin, unsigned long len) {
	return b->functions->login(session, user, pin, len);
}
*/
import "C"

import (
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

// login calls C_Login with the memory of pin itself, which the caller clears, or
// with NULL if pin is empty. The binding would copy the PIN to a string and to
// memory of C, which nobody clears. login needs the function list that the
// binding has: p11-kit's modules return another one each time, which must be
// initialized for itself.
func login(ctx *p11.Ctx, session, user uint, pin []byte) error {
	binding := *(**C.struct_binding)(unsafe.Pointer(ctx))
	rv := C.login(binding, C.ulong(session), C.ulong(user), (*C.uchar)(unsafe.SliceData(pin)), C.ulong(len(pin)))
	if rv != 0 {
		return Error(rv)
	}
	return nil
}
