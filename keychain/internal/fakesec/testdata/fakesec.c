// A double of CoreFoundation and Security.framework. It has the C ABI of the
// symbols that secfw binds, and a store that tests fill. It is stricter than the
// frameworks:
//
//   - It counts references.
//   - It keeps freed objects, so that their use is counted and does not crash.
//   - It returns a new key object each time, so that only the caller owns it.
//   - It counts calls with an object of another type, which can crash on a Mac.
//   - It rejects dictionaries without the callbacks of CFTypes.
//   - It does not touch the error on success.
//   - It sets the part of a register that the ABI leaves undefined.

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef long CFIndex;
typedef unsigned long CFTypeID;
typedef unsigned char Boolean;
typedef int32_t OSStatus;
typedef uint64_t Register; // a register with a narrower result
typedef struct object *CFTypeRef;

enum type {
	STRING = 7, DICTIONARY = 18, ARRAY = 19, DATA = 20, BOOLEAN = 21, ERROR = 27,
	IDENTITY = 101, CERTIFICATE = 102, KEY = 103,
};
enum { ALIVE = 0xA11FE, DEAD = 0xDEAD };
enum { ERR_PARAM = -50, ERR_NOT_FOUND = -25300 };

struct object {
	uint32_t magic;
	enum type type;
	int immortal;
	long count; // references; for an immortal object, 1 + retains - releases
	CFIndex n;
	uint8_t *bytes;          // STRING in UTF-8, DATA
	CFTypeRef *keys, *values; // DICTIONARY; an ARRAY has only values
	long code;               // ERROR
	CFTypeRef part[4];       // ERROR: domain, text; IDENTITY: certificate, -, label, token; CERTIFICATE: data, -, label
	int scope, id, rsa;      // items; KEY
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long live, over_releases, dead_uses, bad_callbacks, wrong_types;

static void add(long *counter, long n) {
	pthread_mutex_lock(&lock);
	*counter += n;
	pthread_mutex_unlock(&lock);
}

static CFTypeRef make(enum type type) {
	CFTypeRef o = calloc(1, sizeof *o);
	o->magic = ALIVE;
	o->type = type;
	o->count = 1;
	add(&live, 1);
	return o;
}

static int usable(CFTypeRef o) {
	if (o && o->magic == ALIVE)
		return 1;
	add(&dead_uses, 1);
	return 0;
}

static int is(CFTypeRef o, enum type type) {
	if (!usable(o))
		return 0;
	if (o->type != type)
		add(&wrong_types, 1);
	return o->type == type;
}

static uint8_t *copy(const void *p, CFIndex n) {
	uint8_t *c = malloc(n + 1);
	if (n)
		memcpy(c, p, n);
	c[n] = 0;
	return c;
}

// CoreFoundation

CFTypeRef CFRetain(CFTypeRef o) {
	if (!o)
		abort(); // as CoreFoundation does
	if (usable(o))
		add(&o->count, 1);
	return o;
}

void CFRelease(CFTypeRef o) {
	if (!o)
		abort();
	pthread_mutex_lock(&lock);
	if (o->magic != ALIVE) {
		over_releases++;
		pthread_mutex_unlock(&lock);
		return;
	}
	if (--o->count > 0 || o->immortal) {
		pthread_mutex_unlock(&lock);
		return;
	}
	o->magic = DEAD;
	live--;
	pthread_mutex_unlock(&lock);
	for (CFIndex i = 0; o->values && i < o->n; i++) {
		if (o->keys)
			CFRelease(o->keys[i]);
		CFRelease(o->values[i]);
	}
	for (int i = 0; i < 4; i++)
		if (o->part[i])
			CFRelease(o->part[i]);
	if (o->bytes) {
		memset(o->bytes, 0xDD, o->n);
		free(o->bytes);
		o->bytes = NULL;
	}
	// Keep o itself.
}

CFTypeID CFGetTypeID(CFTypeRef o) {
	if (!o)
		abort();
	return usable(o) ? o->type : 0;
}
CFTypeID CFDataGetTypeID(void) { return DATA; }
CFTypeID CFStringGetTypeID(void) { return STRING; }
CFTypeID CFArrayGetTypeID(void) { return ARRAY; }
CFTypeID CFDictionaryGetTypeID(void) { return DICTIONARY; }

CFTypeRef CFDataCreate(void *allocator, const uint8_t *p, CFIndex n) {
	if (allocator || n < 0)
		return NULL;
	CFTypeRef o = make(DATA);
	o->bytes = copy(p, n);
	o->n = n;
	return o;
}
CFIndex CFDataGetLength(CFTypeRef o) { return is(o, DATA) ? o->n : 0; }
const uint8_t *CFDataGetBytePtr(CFTypeRef o) { return is(o, DATA) && o->n ? o->bytes : NULL; }

static const uint32_t UTF8 = 0x08000100;

static CFTypeRef string(const char *s) {
	CFTypeRef o = make(STRING);
	o->n = strlen(s);
	o->bytes = copy(s, o->n);
	return o;
}
CFIndex CFStringGetLength(CFTypeRef o) { // in UTF-16 units
	CFIndex units = 0;
	if (!is(o, STRING))
		return 0;
	for (CFIndex i = 0; i < o->n; i++)
		units += ((o->bytes[i] & 0xC0) != 0x80) + (o->bytes[i] >= 0xF0);
	return units;
}
CFIndex CFStringGetMaximumSizeForEncoding(CFIndex n, uint32_t encoding) { return encoding == UTF8 ? n * 3 : -1; }
Register CFStringGetCString(CFTypeRef o, char *buf, CFIndex size, uint32_t encoding) {
	if (!is(o, STRING) || encoding != UTF8 || size < o->n + 1)
		return 0xABCDEF00;
	memcpy(buf, o->bytes, o->n + 1);
	return 0xABCDEF01;
}

struct callbacks {
	CFIndex version;
	void *f[5];
};
struct callbacks kCFTypeDictionaryKeyCallBacks = {1}, kCFTypeDictionaryValueCallBacks = {1};

static CFTypeRef collection(enum type type, const CFTypeRef *keys, const CFTypeRef *values, CFIndex n) {
	CFTypeRef o = make(type);
	o->n = n;
	o->values = calloc(n + 1, sizeof *values);
	if (keys)
		o->keys = calloc(n + 1, sizeof *keys);
	for (CFIndex i = 0; i < n; i++) {
		if (keys)
			o->keys[i] = CFRetain(keys[i]);
		o->values[i] = CFRetain(values[i]);
	}
	return o;
}
CFTypeRef CFDictionaryCreate(void *allocator, const CFTypeRef *keys, const CFTypeRef *values, CFIndex n,
                             const void *key_callbacks, const void *value_callbacks) {
	if (allocator || key_callbacks != &kCFTypeDictionaryKeyCallBacks || value_callbacks != &kCFTypeDictionaryValueCallBacks) {
		add(&bad_callbacks, 1);
		return NULL;
	}
	return collection(DICTIONARY, keys, values, n);
}
CFTypeRef CFDictionaryGetValue(CFTypeRef o, CFTypeRef key) {
	if (!is(o, DICTIONARY) || !usable(key))
		return NULL;
	for (CFIndex i = 0; i < o->n; i++)
		if (o->keys[i] == key)
			return o->values[i];
	return NULL;
}
CFIndex CFArrayGetCount(CFTypeRef o) { return is(o, ARRAY) ? o->n : 0; }
CFTypeRef CFArrayGetValueAtIndex(CFTypeRef o, CFIndex i) {
	if (!is(o, ARRAY) || i < 0 || i >= o->n)
		abort();
	return o->values[i];
}

CFIndex CFErrorGetCode(CFTypeRef o) { return is(o, ERROR) ? o->code : 0; }
CFTypeRef CFErrorGetDomain(CFTypeRef o) { return is(o, ERROR) ? o->part[0] : NULL; }
CFTypeRef CFErrorCopyDescription(CFTypeRef o) { return is(o, ERROR) && o->part[1] ? CFRetain(o->part[1]) : NULL; }

// Constants are variables that hold a pointer, as in the frameworks.
#define CONSTANT(name, kind)                                                                  \
	static struct object object_##name = {ALIVE, kind, 1, 1, sizeof #name - 1, (uint8_t *)#name}; \
	CFTypeRef const name = &object_##name;
CONSTANT(kCFBooleanTrue, BOOLEAN)
CONSTANT(kCFBooleanFalse, BOOLEAN)
CONSTANT(kSecClass, STRING)
CONSTANT(kSecClassIdentity, STRING)
CONSTANT(kSecClassCertificate, STRING)
CONSTANT(kSecMatchLimit, STRING)
CONSTANT(kSecMatchLimitAll, STRING)
CONSTANT(kSecReturnRef, STRING)
CONSTANT(kSecReturnAttributes, STRING)
CONSTANT(kSecValueRef, STRING)
CONSTANT(kSecAttrLabel, STRING)
CONSTANT(kSecAttrTokenID, STRING)
CONSTANT(kSecAttrAccessGroup, STRING)
CONSTANT(kSecAttrAccessGroupToken, STRING)
CONSTANT(kSecUseDataProtectionKeychain, STRING)
CONSTANT(kSecKeyAlgorithmECDSASignatureDigestX962SHA256, STRING)
CONSTANT(kSecKeyAlgorithmECDSASignatureDigestX962SHA384, STRING)
CONSTANT(kSecKeyAlgorithmECDSASignatureDigestX962SHA512, STRING)
CONSTANT(kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA256, STRING)
CONSTANT(kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA384, STRING)
CONSTANT(kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA512, STRING)
CONSTANT(kSecKeyAlgorithmRSASignatureDigestPSSSHA256, STRING)
CONSTANT(kSecKeyAlgorithmRSASignatureDigestPSSSHA384, STRING)
CONSTANT(kSecKeyAlgorithmRSASignatureDigestPSSSHA512, STRING)

// The state that tests set up. Scopes are bits.

enum { FILES = 1, DATA_PROTECTION = 2, TOKENS = 4, SCOPES = 8 };
enum { AS_USUAL, EMPTY_ARRAY, BARE, SINGLE, WRONG_CLASS, NO_RESULT };
enum { MAX_ITEMS = 64 };

static CFTypeRef store[MAX_ITEMS];
static int stored;

static struct {
	OSStatus find[SCOPES]; // by scope
	int shape;             // of the result of a query
	OSStatus certificate, key;
	int empty_certificate, null_key;
	const char *disabled; // part of the name of algorithms that no key supports
	int sign, null_sign, stray_error;
	long sign_code;
	const char *sign_domain, *sign_text;
} fault;

static int (*sign_hook)(int id, const char *algorithm, const uint8_t *digest, int n, uint8_t *out, int capacity);

// The gate makes calls wait, as for the user.
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int gate_shut, at_gate;

static void pass_gate(void) {
	pthread_mutex_lock(&lock);
	at_gate++;
	pthread_cond_broadcast(&changed);
	while (gate_shut)
		pthread_cond_wait(&changed, &lock);
	at_gate--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}
void fake_gate(int32_t shut) {
	pthread_mutex_lock(&lock);
	gate_shut = shut;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}
// fake_await returns when n calls wait at the gate.
void fake_await(int32_t n) {
	pthread_mutex_lock(&lock);
	while (at_gate != n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

void fake_reset(void) {
	for (int i = 0; i < stored; i++)
		CFRelease(store[i]);
	stored = 0;
	memset(&fault, 0, sizeof fault);
}

// fake_count returns a counter, or -1. A test must leave all counters unchanged.
long fake_count(int32_t which) {
	pthread_mutex_lock(&lock);
	long counts[] = {live, over_releases, dead_uses, bad_callbacks, wrong_types, object_kCFBooleanTrue.count - 1, object_kSecClass.count - 1};
	long n = which < (int)(sizeof counts / sizeof *counts) ? counts[which] : -1;
	pthread_mutex_unlock(&lock);
	return n;
}

void fake_fail_find(int32_t scope, int32_t status) { fault.find[scope] = status; }
void fake_shape(int32_t shape) { fault.shape = shape; }
void fake_fail_certificate(int32_t status, int32_t empty) { fault.certificate = status, fault.empty_certificate = empty; }
void fake_fail_key(int32_t status, int32_t null) { fault.key = status, fault.null_key = null; }
void fake_disable(const char *part) { fault.disabled = strdup(part); }
void fake_fail_sign(const char *domain, long code, const char *text) {
	fault.sign = 1, fault.sign_domain = strdup(domain), fault.sign_code = code, fault.sign_text = strdup(text);
}
void fake_sign_nothing(int32_t stray) { fault.null_sign = !stray, fault.stray_error = stray; }
void fake_hook(void *hook) { sign_hook = hook; }

// fake_add adds an identity, or a certificate if id is 0.
int32_t fake_add(const uint8_t *der, long n, int32_t scope, int32_t id, int32_t rsa, const char *names) {
	if (stored == MAX_ITEMS)
		return 0;
	const char *label = names, *token = names + strlen(names) + 1;
	CFTypeRef cert = make(CERTIFICATE), o = cert;
	cert->part[0] = CFDataCreate(NULL, der, n);
	if (id) {
		o = make(IDENTITY);
		o->part[0] = cert;
		o->id = id;
		o->rsa = rsa;
	}
	o->scope = scope;
	o->part[2] = string(label);
	if (*token)
		o->part[3] = string(token);
	store[stored++] = o;
	return 1;
}

// Security.framework

static Register status(OSStatus s) { return 0x7EADBEEF00000000 | (uint32_t)s; }

CFTypeID SecIdentityGetTypeID(void) { return IDENTITY; }
CFTypeID SecCertificateGetTypeID(void) { return CERTIFICATE; }

// scope_of returns the scope of a query by the rules of Apple's code.
static int scope_of(CFTypeRef query) {
	CFTypeRef flag = CFDictionaryGetValue(query, kSecUseDataProtectionKeychain);
	CFTypeRef group = CFDictionaryGetValue(query, kSecAttrAccessGroup);
	if (group)
		return group == kSecAttrAccessGroupToken && !flag ? TOKENS : 0;
	return flag == kCFBooleanTrue ? DATA_PROTECTION : flag == kCFBooleanFalse ? FILES : 0;
}

Register SecItemCopyMatching(CFTypeRef query, CFTypeRef *result) {
	pass_gate();
	if (!is(query, DICTIONARY) || !result)
		return status(ERR_PARAM);
	int scope = scope_of(query);
	CFTypeRef class = CFDictionaryGetValue(query, kSecClass);
	enum type type = class == kSecClassIdentity ? IDENTITY : class == kSecClassCertificate ? CERTIFICATE : 0;
	if (!scope || !type || CFDictionaryGetValue(query, kSecMatchLimit) != kSecMatchLimitAll ||
	    CFDictionaryGetValue(query, kSecReturnRef) != kCFBooleanTrue)
		return status(ERR_PARAM);
	if (fault.find[scope])
		return status(fault.find[scope]);
	if (fault.shape == NO_RESULT)
		return status(0);
	int attributes = CFDictionaryGetValue(query, kSecReturnAttributes) == kCFBooleanTrue && fault.shape != BARE;
	// The data-protection keychain also contains the tokens.
	int want = scope == DATA_PROTECTION ? DATA_PROTECTION | TOKENS : scope;
	CFTypeRef hits[MAX_ITEMS];
	int n = 0;
	for (int i = 0; i < stored; i++) {
		CFTypeRef item = store[i];
		if (!(item->scope & want) || item->type != type)
			continue;
		if (fault.shape == WRONG_CLASS)
			item = item->part[2];
		if (!attributes) {
			hits[n++] = CFRetain(item);
			continue;
		}
		CFTypeRef keys[] = {kSecValueRef, kSecAttrLabel, kSecAttrTokenID};
		CFTypeRef values[] = {item, store[i]->part[2], store[i]->part[3]};
		hits[n++] = collection(DICTIONARY, keys, values, store[i]->part[3] ? 3 : 2);
	}
	if (!n && fault.shape != EMPTY_ARRAY)
		return status(ERR_NOT_FOUND);
	if (n == 1 && fault.shape == SINGLE) {
		*result = hits[0];
		return status(0);
	}
	*result = collection(ARRAY, NULL, hits, n);
	for (int i = 0; i < n; i++)
		CFRelease(hits[i]);
	return status(0);
}

Register SecIdentityCopyCertificate(CFTypeRef id, CFTypeRef *out) {
	if (!is(id, IDENTITY))
		return status(ERR_PARAM);
	if (fault.certificate)
		return status(fault.certificate);
	*out = fault.empty_certificate ? NULL : CFRetain(id->part[0]);
	return status(0);
}

Register SecIdentityCopyPrivateKey(CFTypeRef id, CFTypeRef *out) {
	if (!is(id, IDENTITY))
		return status(ERR_PARAM);
	if (fault.key)
		return status(fault.key);
	if (fault.null_key)
		return status(0);
	*out = make(KEY);
	(*out)->id = id->id;
	(*out)->rsa = id->rsa;
	return status(0);
}

CFTypeRef SecCertificateCopyData(CFTypeRef cert) { return is(cert, CERTIFICATE) ? CFRetain(cert->part[0]) : NULL; }

CFTypeRef SecCopyErrorMessageString(OSStatus s, void *reserved) {
	char text[64];
	if (reserved || s == -9999)
		return NULL;
	snprintf(text, sizeof text, "Élément “introuvable” %d", s);
	return string(text);
}

static int supported(CFTypeRef key, CFTypeRef algorithm) {
	const char *name = (const char *)algorithm->bytes;
	return strstr(name, key->rsa ? "RSA" : "ECDSA") && !(fault.disabled && strstr(name, fault.disabled));
}
Register SecKeyIsAlgorithmSupported(CFTypeRef key, CFIndex operation, CFTypeRef algorithm) {
	if (!key || !algorithm)
		abort(); // the function of Apple raises an exception
	int yes = is(key, KEY) && is(algorithm, STRING) && operation == 0 && supported(key, algorithm);
	return 0xABCDEF00 | (Register)yes;
}

static CFTypeRef error(const char *domain, long code, const char *text) {
	CFTypeRef e = make(ERROR);
	e->code = code;
	e->part[0] = string(domain);
	if (*text)
		e->part[1] = string(text);
	return e;
}
CFTypeRef SecKeyCreateSignature(CFTypeRef key, CFTypeRef algorithm, CFTypeRef data, CFTypeRef *failure) {
	if (!key || !algorithm || !data)
		abort();
	pass_gate();
	if (!is(key, KEY) || !is(data, DATA) || !is(algorithm, STRING) || fault.null_sign)
		return NULL;
	if (fault.sign) {
		*failure = error(fault.sign_domain, fault.sign_code, fault.sign_text);
		return NULL;
	}
	if (!supported(key, algorithm)) {
		*failure = error("NSOSStatusErrorDomain", ERR_PARAM, "algorithm not supported");
		return NULL;
	}
	uint8_t out[1024];
	int n = sign_hook(key->id, (const char *)algorithm->bytes, data->bytes, data->n, out, sizeof out);
	if (n <= 0) {
		*failure = error("NSOSStatusErrorDomain", ERR_PARAM, "no signature");
		return NULL;
	}
	if (fault.stray_error)
		*failure = error("NSOSStatusErrorDomain", 0, "stray");
	return CFDataCreate(NULL, out, n);
}
