/* A stand-in for ncrypt.dll in tests under Wine. Wine's own ncrypt.dll supports
   neither named keys nor ECDSA, and no PKCS #1 signature after a PSS signature
   with the same key. The stand-in stores keys in files below C:\holdfast-ncrypt
   and signs with bcrypt.dll. It supports only the software provider. It checks
   arguments as strictly as the documentation of Windows requires. It does not
   protect keys: do not use it outside of tests.

   The bcrypt.dll of Wine 8 cannot import P-384 keys and does not support P-521.
   Therefore, only the process that created a P-384 key can open it again. */
#define WIN32_LEAN_AND_MEAN
#define NOCRYPT
#include <windows.h>
#include <bcrypt.h>
#include <stdlib.h>
#include <wchar.h>

#define API __declspec(dllexport) SECURITY_STATUS WINAPI
typedef LONG SECURITY_STATUS;

enum {
	BAD_FLAGS = (LONG)0x80090009,
	EXISTS = (LONG)0x8009000F,
	BAD_KEYSET = (LONG)0x80090016,
	NO_PROVIDER = (LONG)0x8009001E,
	INVALID_HANDLE = (LONG)0x80090026,
	INVALID_PARAMETER = (LONG)0x80090027,
	BUFFER_TOO_SMALL = (LONG)0x80090028,
	NOT_SUPPORTED = (LONG)0x80090029,
	INTERNAL_ERROR = (LONG)0x8009002D,
};
enum { MACHINE_KEY = 0x20, SILENT = 0x40, OVERWRITE = 0x80 }; /* NCRYPT_…_FLAG */
enum { PKCS1 = 2, PSS = 8 };                                   /* BCRYPT_PAD_… */
enum { KEY_NAME = 45 };                                        /* NCRYPTBUFFER_PKCS_KEY_NAME */

#define PROVIDER_NAME L"Microsoft Software Key Storage Provider"

struct object {
	enum { PROVIDER = 0x564f5250, KEY = 0x59454b31 } magic;
	/* for a key */
	WCHAR path[300]; /* empty: no name */
	WCHAR algorithm[32];
	BOOL ec, final;
	DWORD bits;
	BCRYPT_ALG_HANDLE provider;
	BCRYPT_KEY_HANDLE key;
	BOOL borrowed; /* the key is in created */
	BYTE *blob;
	DWORD size;
};

/* The EC keys that this process created. */
static struct {
	WCHAR path[300];
	BCRYPT_KEY_HANDLE key;
	DWORD bits;
} created[64];

static struct object *object(ULONG_PTR h, int magic)
{
	struct object *o = (struct object *)h;
	return o && o->magic == magic ? o : NULL;
}

static SECURITY_STATUS from(NTSTATUS s)
{
	switch ((DWORD)s) {
	case 0: return 0;
	case 0xC0000008: return INVALID_HANDLE;
	case 0xC000000D: return INVALID_PARAMETER;
	case 0xC0000023: return BUFFER_TOO_SMALL;
	case 0xC00000BB: return NOT_SUPPORTED;
	}
	return INTERNAL_ERROR;
}

/* path returns the path of a key's file in out. */
static void path(WCHAR *out, const WCHAR *name, DWORD flags)
{
	CreateDirectoryW(L"C:\\holdfast-ncrypt", NULL);
	lstrcpyW(out, flags & MACHINE_KEY ? L"C:\\holdfast-ncrypt\\machine" : L"C:\\holdfast-ncrypt\\user");
	CreateDirectoryW(out, NULL);
	lstrcatW(out, L"\\");
	out += lstrlenW(out);
	for (int i = 0; name[i] && i < 200; i++)
		*out++ = iswalnum(name[i]) || name[i] == '-' ? name[i] : '_';
	*out = 0;
}

static SECURITY_STATUS choose(struct object *k, const WCHAR *algorithm)
{
	k->ec = !wcsncmp(algorithm, L"ECDSA_P", 7);
	if (!k->ec && lstrcmpW(algorithm, L"RSA"))
		return NOT_SUPPORTED;
	lstrcpynW(k->algorithm, algorithm, 32);
	k->bits = k->ec ? _wtoi(algorithm + 7) : 2048;
	return from(BCryptOpenAlgorithmProvider(&k->provider, algorithm, NULL, 0));
}

static const WCHAR *private_type(struct object *k) { return k->ec ? L"ECCPRIVATEBLOB" : L"RSAFULLPRIVATEBLOB"; }

static SECURITY_STATUS import(struct object *k, const BYTE *blob, DWORD size)
{
	static const struct { DWORD magic; const WCHAR *algorithm; } kinds[] = {
		{0x33415352, L"RSA"},        /* "RSA3" */
		{0x32534345, L"ECDSA_P256"}, /* "ECS2" */
		{0x34534345, L"ECDSA_P384"},
		{0x36534345, L"ECDSA_P521"},
	};
	const WCHAR *algorithm = NULL;
	SECURITY_STATUS s;

	if (size < 8)
		return INVALID_PARAMETER;
	for (int i = 0; i < 4; i++)
		if (kinds[i].magic == ((const DWORD *)blob)[0])
			algorithm = kinds[i].algorithm;
	if (!algorithm)
		return NOT_SUPPORTED;
	if ((s = choose(k, algorithm)))
		return s;
	if (!k->ec)
		k->bits = ((const DWORD *)blob)[1];
	if ((s = from(BCryptImportKeyPair(k->provider, NULL, private_type(k), &k->key, (BYTE *)blob, size, 0))))
		return s;
	k->blob = malloc(size);
	memcpy(k->blob, blob, size);
	k->size = size;
	k->final = TRUE;
	return 0;
}

static SECURITY_STATUS save(struct object *k, DWORD flags)
{
	DWORD written;
	HANDLE f;

	if (!k->path[0])
		return 0;
	f = CreateFileW(k->path, GENERIC_WRITE, 0, NULL, flags & OVERWRITE ? CREATE_ALWAYS : CREATE_NEW, 0, NULL);
	if (f == INVALID_HANDLE_VALUE)
		return EXISTS;
	WriteFile(f, k->blob, k->size, &written, NULL);
	CloseHandle(f);
	return written == k->size ? 0 : INTERNAL_ERROR;
}

static struct object *new_key(void)
{
	struct object *k = calloc(1, sizeof *k);
	k->magic = KEY;
	return k;
}

API NCryptFreeObject(ULONG_PTR h)
{
	struct object *o = (struct object *)h;

	if (!object(h, KEY) && !object(h, PROVIDER))
		return INVALID_HANDLE;
	if (o->key && !o->borrowed)
		BCryptDestroyKey(o->key);
	if (o->provider && !o->borrowed)
		BCryptCloseAlgorithmProvider(o->provider, 0);
	free(o->blob);
	o->magic = 0;
	free(o);
	return 0;
}

API NCryptOpenStorageProvider(ULONG_PTR *out, const WCHAR *name, DWORD flags)
{
	struct object *p;

	if (!out)
		return INVALID_PARAMETER;
	if (name && lstrcmpiW(name, PROVIDER_NAME))
		return NO_PROVIDER;
	p = calloc(1, sizeof *p);
	p->magic = PROVIDER;
	*out = (ULONG_PTR)p;
	return 0;
}

API NCryptOpenKey(ULONG_PTR provider, ULONG_PTR *out, const WCHAR *name, DWORD spec, DWORD flags)
{
	struct object *k;
	BYTE blob[8192];
	DWORD size;
	HANDLE f;
	SECURITY_STATUS s;

	if (!object(provider, PROVIDER))
		return INVALID_HANDLE;
	if (!out || !name)
		return INVALID_PARAMETER;
	if (flags & ~(MACHINE_KEY | SILENT))
		return BAD_FLAGS;
	k = new_key();
	path(k->path, name, flags);
	f = CreateFileW(k->path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
	if (f == INVALID_HANDLE_VALUE) {
		free(k);
		return BAD_KEYSET;
	}
	ReadFile(f, blob, sizeof blob, &size, NULL);
	CloseHandle(f);
	for (int i = 0; i < 64; i++)
		if (created[i].key && !lstrcmpW(created[i].path, k->path)) {
			k->ec = k->final = k->borrowed = TRUE;
			k->key = created[i].key;
			k->bits = created[i].bits;
			*out = (ULONG_PTR)k;
			return 0;
		}
	if ((s = import(k, blob, size))) {
		NCryptFreeObject((ULONG_PTR)k);
		return s;
	}
	*out = (ULONG_PTR)k;
	return 0;
}

API NCryptCreatePersistedKey(ULONG_PTR provider, ULONG_PTR *out, const WCHAR *algorithm, const WCHAR *name, DWORD spec, DWORD flags)
{
	struct object *k;
	SECURITY_STATUS s;

	if (!object(provider, PROVIDER))
		return INVALID_HANDLE;
	if (!out || !algorithm)
		return INVALID_PARAMETER;
	if (flags & ~(MACHINE_KEY | OVERWRITE)) /* NCRYPT_SILENT_FLAG is not allowed here */
		return BAD_FLAGS;
	k = new_key();
	if (name)
		path(k->path, name, flags);
	if (name && !(flags & OVERWRITE) && GetFileAttributesW(k->path) != INVALID_FILE_ATTRIBUTES) {
		free(k);
		return EXISTS;
	}
	if ((s = choose(k, algorithm))) {
		NCryptFreeObject((ULONG_PTR)k);
		return s;
	}
	*out = (ULONG_PTR)k;
	return 0;
}

API NCryptSetProperty(ULONG_PTR h, const WCHAR *name, BYTE *value, DWORD size, DWORD flags)
{
	struct object *k = object(h, KEY);

	if (!k)
		return INVALID_HANDLE;
	if (size != 4 || k->final)
		return INVALID_PARAMETER;
	if (!lstrcmpW(name, L"Length"))
		k->bits = *(DWORD *)value;
	else if (lstrcmpW(name, L"Export Policy"))
		return NOT_SUPPORTED;
	return 0;
}

API NCryptFinalizeKey(ULONG_PTR h, DWORD flags)
{
	struct object *k = object(h, KEY);
	SECURITY_STATUS s;

	if (!k || k->final)
		return INVALID_HANDLE;
	if (flags & ~SILENT)
		return BAD_FLAGS;
	if ((s = from(BCryptGenerateKeyPair(k->provider, &k->key, k->bits, 0))) ||
	    (s = from(BCryptFinalizeKeyPair(k->key, 0))) ||
	    (s = from(BCryptExportKey(k->key, NULL, private_type(k), NULL, 0, &k->size, 0))))
		return s;
	k->blob = malloc(k->size);
	if ((s = from(BCryptExportKey(k->key, NULL, private_type(k), k->blob, k->size, &k->size, 0))))
		return s;
	k->final = TRUE;
	if ((s = save(k, 0)))
		return s;
	for (int i = 0; k->ec && i < 64; i++)
		if (!created[i].key) {
			lstrcpyW(created[i].path, k->path);
			created[i].key = k->key;
			created[i].bits = k->bits;
			k->borrowed = TRUE;
			break;
		}
	return 0;
}

API NCryptImportKey(ULONG_PTR provider, ULONG_PTR wrapping, const WCHAR *type, BCryptBufferDesc *parameters, ULONG_PTR *out,
	BYTE *blob, DWORD size, DWORD flags)
{
	struct object *k;
	SECURITY_STATUS s;

	if (!object(provider, PROVIDER))
		return INVALID_HANDLE;
	if (wrapping)
		return NOT_SUPPORTED;
	k = new_key();
	for (ULONG i = 0; parameters && i < parameters->cBuffers; i++)
		if (parameters->pBuffers[i].BufferType == KEY_NAME)
			path(k->path, parameters->pBuffers[i].pvBuffer, flags);
	if ((s = import(k, blob, size)) || (s = save(k, flags))) {
		NCryptFreeObject((ULONG_PTR)k);
		return s;
	}
	*out = (ULONG_PTR)k;
	return 0;
}

API NCryptExportKey(ULONG_PTR h, ULONG_PTR wrapping, const WCHAR *type, void *parameters, BYTE *out, DWORD size, DWORD *written, DWORD flags)
{
	struct object *k = object(h, KEY);

	if (!k || !k->final)
		return INVALID_HANDLE;
	if (wrapping || lstrcmpW(type, k->ec ? L"ECCPUBLICBLOB" : L"RSAPUBLICBLOB"))
		return NOT_SUPPORTED; /* as for a private key that cannot be exported */
	return from(BCryptExportKey(k->key, NULL, type, out, size, written, 0));
}

API NCryptSignHash(ULONG_PTR h, void *padding, BYTE *digest, DWORD digest_size, BYTE *out, DWORD size, DWORD *written, DWORD flags)
{
	struct object *k = object(h, KEY);
	DWORD pad = flags & ~SILENT, need;
	BCRYPT_KEY_HANDLE fresh;
	SECURITY_STATUS s;

	if (!k || !k->final)
		return INVALID_HANDLE;
	if (k->ec ? pad || padding : (pad != PKCS1 && pad != PSS) || !padding)
		return INVALID_PARAMETER;
	need = k->ec ? 2 * ((k->bits + 7) / 8) : k->bits / 8;
	if (!written || !digest)
		return INVALID_PARAMETER;
	if (!out) {
		*written = need;
		return 0;
	}
	if (size < need)
		return BUFFER_TOO_SMALL;
	if (k->ec)
		return from(BCryptSignHash(k->key, NULL, digest, digest_size, out, size, written, 0));
	/* After a PSS signature, a key can make only PSS signatures: import it again. */
	if ((s = from(BCryptImportKeyPair(k->provider, NULL, private_type(k), &fresh, k->blob, k->size, 0))))
		return s;
	s = from(BCryptSignHash(fresh, padding, digest, digest_size, out, size, written, pad));
	BCryptDestroyKey(fresh);
	return s;
}

API NCryptDeleteKey(ULONG_PTR h, DWORD flags)
{
	struct object *k = object(h, KEY);

	if (!k)
		return INVALID_HANDLE;
	if (k->path[0] && !DeleteFileW(k->path))
		return BAD_KEYSET;
	for (int i = 0; i < 64; i++)
		if (created[i].key && !lstrcmpW(created[i].path, k->path)) {
			BCryptDestroyKey(created[i].key);
			created[i].key = NULL;
		}
	return NCryptFreeObject(h);
}
