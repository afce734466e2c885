/* A PKCS #11 module for tests of the structures and calls of Windows, where CK_ULONG has
   32 bits and structures have no padding (PKCS #11 v3.1, section 2.1). It has one token
   with the keys p256 and rsa2048, which the test writes in the form of bcrypt.dll into the
   folder HOLDFAST_TEST_TOKEN, with their certificates. It signs with bcrypt.dll. It checks
   all arguments. It does not protect keys: do not use it outside of tests. */
#define WIN32_LEAN_AND_MEAN
#define NOCRYPT
#include <windows.h>
#include <bcrypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ul;

enum {
	OK = 0,
	SLOT_ID_INVALID = 0x03,
	ARGUMENTS_BAD = 0x07,
	ATTRIBUTE_TYPE_INVALID = 0x12,
	DEVICE_ERROR = 0x30,
	FUNCTION_NOT_SUPPORTED = 0x54,
	KEY_HANDLE_INVALID = 0x60,
	MECHANISM_INVALID = 0x70,
	MECHANISM_PARAM_INVALID = 0x71,
	OBJECT_HANDLE_INVALID = 0x82,
	OPERATION_NOT_INITIALIZED = 0x91,
	PIN_INCORRECT = 0xA0,
	SESSION_COUNT = 0xB1,
	SESSION_HANDLE_INVALID = 0xB3,
	USER_ALREADY_LOGGED_IN = 0x100,
	USER_NOT_LOGGED_IN = 0x101,
	BUFFER_TOO_SMALL = 0x150,
	NOT_INITIALIZED = 0x190,
	ALREADY_INITIALIZED = 0x191,
};

#pragma pack(push, 1)
struct initialize { void *mutex[4]; ul flags; void *reserved; };
struct info { BYTE cryptoki[2], manufacturer[32]; ul flags; BYTE description[32], version[2]; };
struct slot { BYTE description[64], manufacturer[32]; ul flags; BYTE hardware[2], firmware[2]; };
struct token {
	BYTE label[32], manufacturer[32], model[16], serial[16];
	ul flags, max_sessions, sessions, max_rw, rw, max_pin, min_pin, memory[4];
	BYTE hardware[2], firmware[2], time[16];
};
struct session { ul slot, state, flags, error; };
struct attribute { ul type; void *value; ul length; };
struct mechanism { ul type; void *parameter; ul length; };
struct pss { ul hash, mgf, salt; };
struct list { BYTE version[2]; void *function[68]; };
#pragma pack(pop)

_Static_assert(sizeof(ul) == 4 && sizeof(struct attribute) == 16 && sizeof(struct mechanism) == 16 && sizeof(struct initialize) == 44, "sizes");
_Static_assert(sizeof(struct info) == 72 && sizeof(struct slot) == 104 && sizeof(struct token) == 160 && sizeof(struct list) == 2 + 68 * 8, "sizes");

static const char pin[] = "2468-user";
enum { RSA, EC, KEYS };
static const char *const names[KEYS] = {"rsa2048", "p256"};
static struct { BYTE blob[2048], certificate[4096]; DWORD size, certificate_size; BCRYPT_ALG_HANDLE provider; BCRYPT_KEY_HANDLE key; } keys[KEYS];

enum { SESSIONS = 16, PRIVATE = 3, PUBLIC = 2, CERTIFICATE = 1 };
static struct { BOOL open, write; ul found[3 * KEYS], count, next; BOOL finding; int key; struct mechanism m; struct pss pss; } sessions[SESSIONS];
static BOOL initialized, logged_in, count_low;
static CRITICAL_SECTION lock;

static DWORD read_file(const char *name, const char *suffix, BYTE *to, DWORD size)
{
	char path[600];
	snprintf(path, sizeof path, "%s\\%s%s", getenv("HOLDFAST_TEST_TOKEN"), name, suffix);
	FILE *f = fopen(path, "rb");
	if (!f)
		return 0;
	size = fread(to, 1, size, f);
	fclose(f);
	return size;
}

static ul initialize(struct initialize *args)
{
	if (!args || args->flags != 2 || args->reserved || args->mutex[0] || args->mutex[1] || args->mutex[2] || args->mutex[3])
		return ARGUMENTS_BAD;
	if (initialized)
		return ALREADY_INITIALIZED;
	for (int i = 0; i < KEYS; i++) {
		keys[i].size = read_file(names[i], ".key", keys[i].blob, sizeof keys[i].blob);
		keys[i].certificate_size = read_file(names[i], ".crt", keys[i].certificate, sizeof keys[i].certificate);
		if (BCryptOpenAlgorithmProvider(&keys[i].provider, i == EC ? BCRYPT_ECDSA_P256_ALGORITHM : BCRYPT_RSA_ALGORITHM, NULL, 0) ||
		    BCryptImportKeyPair(keys[i].provider, NULL, i == EC ? BCRYPT_ECCPRIVATE_BLOB : BCRYPT_RSAPRIVATE_BLOB, &keys[i].key, keys[i].blob, keys[i].size, 0))
			return DEVICE_ERROR;
	}
	InitializeCriticalSection(&lock);
	initialized = TRUE;
	return OK;
}

static ul finalize(void *reserved)
{
	if (reserved)
		return ARGUMENTS_BAD;
	if (!initialized)
		return NOT_INITIALIZED;
	for (int i = 0; i < KEYS; i++) {
		BCryptDestroyKey(keys[i].key);
		BCryptCloseAlgorithmProvider(keys[i].provider, 0);
	}
	DeleteCriticalSection(&lock);
	memset(sessions, 0, sizeof sessions);
	initialized = logged_in = FALSE;
	return OK;
}

static void pad(BYTE *to, size_t size, const char *text)
{
	memset(to, ' ', size);
	memcpy(to, text, strlen(text));
}

static ul get_info(struct info *i)
{
	*i = (struct info){{2, 40}, .version = {3, 7}};
	pad(i->manufacturer, 32, "Holdfast");
	pad(i->description, 32, "test module");
	return OK;
}

static ul slots(BYTE present, ul *list, ul *count)
{
	if (list && *count < 1)
		return BUFFER_TOO_SMALL;
	if (list)
		list[0] = 0xFFFFFFFE; /* all 32 bits of a slot count */
	*count = present ? 1 : 0;
	return OK;
}

static ul slot_info(ul slot, struct slot *s)
{
	if (slot != 0xFFFFFFFE)
		return SLOT_ID_INVALID;
	*s = (struct slot){.flags = 1};
	pad(s->description, 64, "slot of the test");
	pad(s->manufacturer, 32, "Holdfast");
	return OK;
}

static ul token_info(ul slot, struct token *t)
{
	if (slot != 0xFFFFFFFE)
		return SLOT_ID_INVALID;
	*t = (struct token){.flags = 0x40C | (count_low ? 0x10000 : 0), .max_sessions = 8, .max_pin = 32, .min_pin = 4};
	pad(t->label, 32, "windows");
	pad(t->manufacturer, 32, "Holdfast");
	pad(t->model, 16, "test");
	pad(t->serial, 16, "0001");
	return OK;
}

static const ul supported[] = {0x1, 0xD, 0x1041}; /* CKM_RSA_PKCS, CKM_RSA_PKCS_PSS, CKM_ECDSA */

static ul mechanisms(ul slot, ul *list, ul *count)
{
	if (slot != 0xFFFFFFFE)
		return SLOT_ID_INVALID;
	if (list && *count < 3)
		return BUFFER_TOO_SMALL;
	if (list)
		memcpy(list, supported, sizeof supported);
	*count = 3;
	return OK;
}

/* Sessions have large handles, too. */
static ul handle_of(int i) { return 0xFFFFFF00 + i; }

static int session_of(ul handle)
{
	int i = (int)(handle - 0xFFFFFF00);
	return i >= 0 && i < SESSIONS && sessions[i].open ? i : -1;
}

static ul open_session(ul slot, ul flags, void *application, void *notify, ul *out)
{
	if (slot != 0xFFFFFFFE)
		return SLOT_ID_INVALID;
	if (!(flags & 4) || application || notify || !out)
		return ARGUMENTS_BAD;
	for (int i = 0; i < 8; i++)
		if (!sessions[i].open) {
			memset(&sessions[i], 0, sizeof sessions[i]);
			sessions[i].open = TRUE;
			sessions[i].write = flags & 2;
			*out = handle_of(i);
			return OK;
		}
	return SESSION_COUNT;
}

static ul close_session(ul handle)
{
	int s = session_of(handle);
	if (s < 0)
		return SESSION_HANDLE_INVALID;
	sessions[s].open = FALSE;
	for (int i = 0; i < SESSIONS; i++)
		if (sessions[i].open)
			return OK;
	logged_in = FALSE;
	return OK;
}

static ul session_info(ul handle, struct session *i)
{
	int s = session_of(handle);
	if (s < 0)
		return SESSION_HANDLE_INVALID;
	*i = (struct session){0xFFFFFFFE, (sessions[s].write ? 2 : 0) + (logged_in ? 1 : 0), 4 | (sessions[s].write ? 2 : 0), 0};
	return OK;
}

static ul login(ul handle, ul user, BYTE *given, ul length)
{
	if (session_of(handle) < 0)
		return SESSION_HANDLE_INVALID;
	if (user != 1 || !given)
		return ARGUMENTS_BAD;
	if (logged_in)
		return USER_ALREADY_LOGGED_IN;
	if (length != strlen(pin) || memcmp(given, pin, length)) {
		count_low = TRUE;
		return PIN_INCORRECT;
	}
	count_low = FALSE;
	logged_in = TRUE;
	return OK;
}

static DWORD field(int key, int n) { return ((DWORD *)keys[key].blob)[n]; }

/* value returns the length of an attribute and where it is; -1 if the object has none. */
static int value(ul object, ul type, BYTE *to)
{
	int key = object / 10 - 1, class = object % 10;
	BYTE *blob = keys[key].blob;
	ul number;
	switch (type) {
	case 0x000: number = class; goto number;               /* CKA_CLASS */
	case 0x001: *to = TRUE; return 1;                      /* CKA_TOKEN */
	case 0x002: *to = class == PRIVATE; return 1;          /* CKA_PRIVATE */
	case 0x003: memcpy(to, names[key], strlen(names[key])); return strlen(names[key]); /* CKA_LABEL */
	case 0x102: *to = key + 1; return 1;                   /* CKA_ID */
	case 0x080: if (class != CERTIFICATE) return -1; number = 0; goto number; /* CKA_CERTIFICATE_TYPE */
	case 0x011: if (class != CERTIFICATE) return -1; memcpy(to, keys[key].certificate, keys[key].certificate_size); return keys[key].certificate_size;
	case 0x100: if (class == CERTIFICATE) return -1; number = key == EC ? 3 : 0; goto number; /* CKA_KEY_TYPE */
	case 0x108: if (class != PRIVATE) return -1; *to = TRUE; return 1;  /* CKA_SIGN */
	case 0x202: if (class != PRIVATE) return -1; *to = FALSE; return 1; /* CKA_ALWAYS_AUTHENTICATE */
	case 0x120: if (class == CERTIFICATE || key != RSA) return -1; memcpy(to, blob + 24 + field(RSA, 2), field(RSA, 3)); return field(RSA, 3);
	case 0x122: if (class == CERTIFICATE || key != RSA) return -1; memcpy(to, blob + 24, field(RSA, 2)); return field(RSA, 2);
	case 0x180: if (class == CERTIFICATE || key != EC) return -1; memcpy(to, "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 10); return 10;
	case 0x181:
		if (class != PUBLIC || key != EC)
			return -1;
		memcpy(to, "\x04\x41\x04", 3);
		memcpy(to + 3, blob + 8, 64);
		return 67;
	}
	return -1;
number:
	memcpy(to, &number, 4);
	return 4;
}

static BOOL visible(ul object) { return object % 10 != PRIVATE || logged_in; }

static ul get_attributes(ul handle, ul object, struct attribute *t, ul count)
{
	BYTE v[4096];
	ul rv = OK;
	if (session_of(handle) < 0)
		return SESSION_HANDLE_INVALID;
	if (object < 10 || object / 10 > KEYS || object % 10 < 1 || object % 10 > 3 || !visible(object))
		return OBJECT_HANDLE_INVALID;
	for (ul i = 0; i < count; i++) {
		int n = value(object, t[i].type, v);
		if (n < 0) {
			t[i].length = (ul)-1;
			rv = ATTRIBUTE_TYPE_INVALID;
		} else if (!t[i].value) {
			t[i].length = n;
		} else if (t[i].length < (ul)n) {
			t[i].length = (ul)-1;
			rv = BUFFER_TOO_SMALL;
		} else {
			memcpy(t[i].value, v, n);
			t[i].length = n;
		}
	}
	return rv;
}

static ul find_init(ul handle, struct attribute *t, ul count)
{
	BYTE v[4096];
	int s = session_of(handle);
	if (s < 0)
		return SESSION_HANDLE_INVALID;
	sessions[s].count = sessions[s].next = 0;
	sessions[s].finding = TRUE;
	for (ul object = 10; object / 10 <= KEYS; object++) {
		BOOL match = object % 10 >= 1 && object % 10 <= 3 && visible(object);
		for (ul i = 0; match && i < count; i++) {
			int n = value(object, t[i].type, v);
			match = n >= 0 && (ul)n == t[i].length && !memcmp(v, t[i].value, n);
		}
		if (match)
			sessions[s].found[sessions[s].count++] = object;
	}
	return OK;
}

static ul find(ul handle, ul *objects, ul max, ul *count)
{
	int s = session_of(handle);
	if (s < 0)
		return SESSION_HANDLE_INVALID;
	if (!sessions[s].finding)
		return OPERATION_NOT_INITIALIZED;
	for (*count = 0; *count < max && sessions[s].next < sessions[s].count; ++*count)
		objects[*count] = sessions[s].found[sessions[s].next++];
	return OK;
}

static ul find_final(ul handle)
{
	int s = session_of(handle);
	if (s < 0)
		return SESSION_HANDLE_INVALID;
	if (!sessions[s].finding)
		return OPERATION_NOT_INITIALIZED;
	sessions[s].finding = FALSE;
	return OK;
}

static ul sign_init(ul handle, struct mechanism *m, ul key)
{
	int s = session_of(handle), k = key / 10 - 1;
	if (s < 0)
		return SESSION_HANDLE_INVALID;
	if (!logged_in)
		return USER_NOT_LOGGED_IN;
	if (key % 10 != PRIVATE || k < 0 || k >= KEYS)
		return KEY_HANDLE_INVALID;
	if (m->type != (k == EC ? 0x1041 : 0x1) && (k == EC || m->type != 0xD))
		return MECHANISM_INVALID;
	if (m->type == 0xD ? !m->parameter || m->length != sizeof(struct pss) : m->parameter || m->length)
		return MECHANISM_PARAM_INVALID;
	sessions[s].key = k + 1;
	sessions[s].m = *m;
	if (m->type == 0xD)
		sessions[s].pss = *(struct pss *)m->parameter;
	return OK;
}

static const struct { ul size, mechanism, mgf; const WCHAR *name; } hashes[] = {
	{20, 0x220, 1, BCRYPT_SHA1_ALGORITHM}, {32, 0x250, 2, BCRYPT_SHA256_ALGORITHM}, {48, 0x260, 3, BCRYPT_SHA384_ALGORITHM}, {64, 0x270, 4, BCRYPT_SHA512_ALGORITHM},
};

static ul sign(ul handle, BYTE *data, ul length, BYTE *out, ul *size)
{
	int s = session_of(handle), h = 0, k;
	if (s < 0)
		return SESSION_HANDLE_INVALID;
	if (!sessions[s].key)
		return OPERATION_NOT_INITIALIZED;
	if (*size < (sessions[s].key - 1 == EC ? 64 : 256))
		return BUFFER_TOO_SMALL;
	k = sessions[s].key - 1;
	sessions[s].key = 0;
	DWORD written = *size;
	NTSTATUS status;
	BCRYPT_KEY_HANDLE key = NULL; /* with Wine, a key makes no PKCS #1 signature after one with PSS */
	if (BCryptImportKeyPair(keys[k].provider, NULL, k == EC ? BCRYPT_ECCPRIVATE_BLOB : BCRYPT_RSAPRIVATE_BLOB, &key, keys[k].blob, keys[k].size, 0))
		return DEVICE_ERROR;
	if (k == EC) {
		status = BCryptSignHash(key, NULL, data, min(length, 32), out, written, &written, 0);
	} else if (sessions[s].m.type == 0xD) {
		while (h < 4 && hashes[h].mechanism != sessions[s].pss.hash)
			h++;
		if (h == 4 || hashes[h].size != length || hashes[h].mgf != sessions[s].pss.mgf) {
			BCryptDestroyKey(key);
			return MECHANISM_PARAM_INVALID;
		}
		BCRYPT_PSS_PADDING_INFO padding = {hashes[h].name, sessions[s].pss.salt};
		status = BCryptSignHash(key, &padding, data, length, out, written, &written, 8);
	} else {
		while (h < 4 && hashes[h].size + (h ? 19 : 15) != length) /* DigestInfo */
			h++;
		if (h == 4) {
			BCryptDestroyKey(key);
			return ARGUMENTS_BAD;
		}
		BCRYPT_PKCS1_PADDING_INFO padding = {hashes[h].name};
		status = BCryptSignHash(key, &padding, data + length - hashes[h].size, hashes[h].size, out, written, &written, 2);
	}
	BCryptDestroyKey(key);
	*size = written;
	return status ? DEVICE_ERROR : OK;
}

/* Functions that use the state of all sessions hold the lock. */
#define LOCKED(call) do { if (!initialized) return NOT_INITIALIZED; EnterCriticalSection(&lock); ul rv = call; LeaveCriticalSection(&lock); return rv; } while (0)
static ul c_info(struct info *i) { LOCKED(get_info(i)); }
static ul c_slots(BYTE p, ul *l, ul *n) { LOCKED(slots(p, l, n)); }
static ul c_slot_info(ul s, struct slot *i) { LOCKED(slot_info(s, i)); }
static ul c_token_info(ul s, struct token *i) { LOCKED(token_info(s, i)); }
static ul c_mechanisms(ul s, ul *l, ul *n) { LOCKED(mechanisms(s, l, n)); }
static ul c_open_session(ul s, ul f, void *a, void *n, ul *o) { LOCKED(open_session(s, f, a, n, o)); }
static ul c_close_session(ul h) { LOCKED(close_session(h)); }
static ul c_session_info(ul h, struct session *i) { LOCKED(session_info(h, i)); }
static ul c_login(ul h, ul u, BYTE *p, ul n) { LOCKED(login(h, u, p, n)); }
static ul c_get_attributes(ul h, ul o, struct attribute *t, ul n) { LOCKED(get_attributes(h, o, t, n)); }
static ul c_find_init(ul h, struct attribute *t, ul n) { LOCKED(find_init(h, t, n)); }
static ul c_find(ul h, ul *o, ul m, ul *n) { LOCKED(find(h, o, m, n)); }
static ul c_find_final(ul h) { LOCKED(find_final(h)); }
static ul c_sign_init(ul h, struct mechanism *m, ul k) { LOCKED(sign_init(h, m, k)); }
static ul c_sign(ul h, BYTE *d, ul n, BYTE *o, ul *s) { LOCKED(sign(h, d, n, o, s)); }
static ul not_supported(void) { return FUNCTION_NOT_SUPPORTED; }

__declspec(dllexport) ul C_GetFunctionList(struct list **out)
{
	static struct list l = {{2, 40}};
	for (int i = 0; i < 68; i++)
		l.function[i] = not_supported;
	l.function[0] = initialize;
	l.function[1] = finalize;
	l.function[2] = c_info;
	l.function[3] = C_GetFunctionList;
	l.function[4] = c_slots;
	l.function[5] = c_slot_info;
	l.function[6] = c_token_info;
	l.function[7] = c_mechanisms;
	l.function[12] = c_open_session;
	l.function[13] = c_close_session;
	l.function[15] = c_session_info;
	l.function[18] = c_login;
	l.function[24] = c_get_attributes;
	l.function[26] = c_find_init;
	l.function[27] = c_find;
	l.function[28] = c_find_final;
	l.function[42] = c_sign_init;
	l.function[43] = c_sign;
	*out = &l;
	return OK;
}
