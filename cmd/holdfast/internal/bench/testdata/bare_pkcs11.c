/* One ECDSA signature with the least that PKCS #11 takes: the floor for a cold
   process with a key on a token. Arguments: module, label of the key. The PIN is
   in the environment variable PIN. */

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <p11-kit/pkcs11.h>

#define MUST(call) do { if ((call) != CKR_OK) return __LINE__ % 250 + 1; } while (0)

int main(int argc, char **argv)
{
	CK_FUNCTION_LIST *f;
	CK_RV (*get)(CK_FUNCTION_LIST **);
	CK_SLOT_ID slots[8];
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	CK_MECHANISM ecdsa = { CKM_ECDSA, NULL, 0 };
	CK_BYTE digest[32] = { 1 }, signature[64];
	CK_ULONG n = 8, found, len = sizeof signature;
	CK_OBJECT_CLASS private_key = CKO_PRIVATE_KEY;
	char *pin = getenv("PIN");
	void *module;

	if (argc != 3 || pin == NULL || (module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)) == NULL)
		return 1;
	*(void **)&get = dlsym(module, "C_GetFunctionList");
	CK_ATTRIBUTE template[] = {
		{ CKA_CLASS, &private_key, sizeof private_key },
		{ CKA_LABEL, argv[2], strlen(argv[2]) },
	};
	MUST(get(&f));
	MUST(f->C_Initialize(NULL));
	MUST(f->C_GetSlotList(CK_TRUE, slots, &n));
	MUST(f->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session));
	MUST(f->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)));
	MUST(f->C_FindObjectsInit(session, template, 2));
	MUST(f->C_FindObjects(session, &key, 1, &found));
	MUST(f->C_FindObjectsFinal(session));
	if (found != 1)
		return 2;
	MUST(f->C_SignInit(session, &ecdsa, key));
	MUST(f->C_Sign(session, digest, sizeof digest, signature, &len));
	MUST(f->C_Finalize(NULL));
	return 0;
}
