/*
 * A PKCS #11 module that forwards all calls to the module in the environment
 * variable FAULT_MODULE, except for the faults in the file FAULT_RULES. A line of
 * this file is
 *
 *	GENERATION FUNCTION EVERY TIMES ACTION VALUE
 *
 * Since the last change of the generation, every EVERYth call of the function
 * fails, at most TIMES times (0: no limit). EVERY counts the calls of this process.
 * TIMES does, too, but the actions that end or hang the process are counted in all
 * processes. C_GetFunctionList can be a function, for faults while it is loaded.
 *
 * Without FAULT_RULES, the file has the name of this library with ".rules" after it, and
 * if there is a file with ".conf" after that, it becomes SOFTHSM2_CONF.
 * If there is a file with ".log" after the name of the rules, C_Initialize appends "I"
 * to it, and C_Login "L".
 *
 * If FAULT_TRIES is set, the tokens count incorrect PINs together in this file,
 * which contains "WRONG MOST ALL SHOWN": WRONG of MOST tries are used, ALL
 * incorrect PINs were entered so far, and SHOWN is the mask of the flags about
 * tries that the tokens set (CKF_USER_PIN_COUNT_LOW, _FINAL_TRY and _LOCKED).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long ulong;

/*
 * Indexes of functions in CK_FUNCTION_LIST (PKCS #11 v2.40, pkcs11f.h). There are
 * at most eight arguments, each of the size of a register.
 */
enum {
	INITIALIZE = 0, FINALIZE = 1, GET_INFO = 2, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4,
	GET_SLOT_INFO = 5, GET_TOKEN_INFO = 6, GET_MECHANISM_LIST = 7, OPEN_SESSION = 12,
	CLOSE_SESSION = 13, CLOSE_ALL_SESSIONS = 14, GET_SESSION_INFO = 15, LOGIN = 18,
	CREATE_OBJECT = 20, DESTROY_OBJECT = 22, GET_ATTRIBUTE_VALUE = 24,
	FIND_OBJECTS_INIT = 26, FIND_OBJECTS = 27, FIND_OBJECTS_FINAL = 28, SIGN_INIT = 42,
	SIGN = 43, GENERATE_KEY_PAIR = 59, FUNCTIONS = 68
};

typedef ulong function(ulong, ulong, ulong, ulong, ulong, ulong, ulong, ulong);

static struct list {
	struct { unsigned char major, minor; } version;
	function *f[FUNCTIONS];
} *module, faulty;

#define DEVICE_REMOVED 0x32
#define PIN_INCORRECT 0xa0
#define PIN_LOCKED 0xa4
#define COUNT_LOW 0x10000
#define FINAL_TRY 0x20000
#define LOCKED 0x40000
#define TOKEN_FLAGS 96 /* their offset in CK_TOKEN_INFO */

struct rule {
	int generation, every, times;
	char action[16];
	ulong value;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int generation;
static struct count { int calls, faults; } counts[FUNCTIONS];

/* Returns the name of the file with the rules. */
static const char *rules_name(void)
{
	static char name[4096];
	Dl_info info;

	if (getenv("FAULT_RULES"))
		return getenv("FAULT_RULES");
	if (!name[0] && dladdr(&generation, &info))
		snprintf(name, sizeof name, "%s.rules", info.dli_fname);
	return name;
}

/*
 * Appends a letter to a file that is shorter than limit, and returns its size before; -1:
 * there is no such file.
 */
static long append(const char *name, char letter, int flags, long limit)
{
	int file = name ? open(name, O_WRONLY | O_APPEND | flags, 0600) : -1;
	struct stat s;
	long size = -1;

	if (file < 0)
		return -1;
	if (flock(file, LOCK_EX) == 0 && fstat(file, &s) == 0 && (s.st_size >= limit || write(file, &letter, 1) == 1))
		size = s.st_size;
	close(file);
	return size;
}

/* Reports whether the rule is for a function of this process only. */
static int stays(const struct rule *r)
{
	return strcmp(r->action, "crash") && strcmp(r->action, "abort") && strcmp(r->action, "exit") && strcmp(r->action, "hang");
}

/* Reports whether a rule that ends or hangs the process applies once more. */
static int once_more(const struct rule *r, const char *function)
{
	char name[8192];

	snprintf(name, sizeof name, "%s.%d.%s", rules_name(), r->generation, function);
	return append(name, 'E', O_CREAT, r->times ? r->times : LONG_MAX) < r->times || r->times == 0;
}

/* Reports whether this call of the function fails, and sets *r to the rule. */
static int fails(int number, const char *name, struct rule *r)
{
	FILE *file = fopen(rules_name(), "r");
	char function[32];
	int hit = 0;

	if (!file)
		return 0;
	pthread_mutex_lock(&lock);
	while (!hit && fscanf(file, "%d %31s %d %d %15s %li\n", &r->generation, function, &r->every, &r->times, r->action, (long *)&r->value) == 6) {
		if (r->generation != generation) {
			generation = r->generation;
			memset(counts, 0, sizeof counts);
		}
		if (strcmp(function, name) != 0 || ++counts[number].calls % r->every != 0)
			continue;
		if (stays(r) ? r->times > 0 && counts[number].faults >= r->times : !once_more(r, name))
			continue;
		counts[number].faults++;
		hit = 1;
	}
	pthread_mutex_unlock(&lock);
	fclose(file);
	return hit;
}

/*
 * Closes all sessions, as the removal of the tokens does. No other thread may use
 * a session at this time, because SoftHSM would crash.
 */
static pthread_rwlock_t in_use = PTHREAD_RWLOCK_INITIALIZER;

static ulong remove_tokens(void)
{
	ulong slots[64], n = 64, i;

	pthread_rwlock_wrlock(&in_use);
	if (module->f[GET_SLOT_LIST](1, (ulong)slots, (ulong)&n, 0, 0, 0, 0, 0) == 0)
		for (i = 0; i < n; i++)
			module->f[CLOSE_ALL_SESSIONS](slots[i], 0, 0, 0, 0, 0, 0, 0);
	pthread_rwlock_unlock(&in_use);
	return DEVICE_REMOVED;
}

/* Creates FAULT_RULES.hangs to report that the call hangs, and never returns. */
static void hang(void)
{
	char name[8192];

	snprintf(name, sizeof name, "%s.hangs", rules_name());
	close(creat(name, 0600));
	for (;;)
		pause();
}

/* Waits until the generation of the rules changes. */
static void await_rules(int current)
{
	int now = current;

	while (now == current) {
		FILE *file = fopen(rules_name(), "r");

		if (file) {
			if (fscanf(file, "%d", &now) != 1)
				now = current;
			fclose(file);
		}
		usleep(1000);
	}
}

struct tries { int wrong, most, all; ulong shown; };

/* Opens the count and locks it until it is closed. NULL: nothing is counted. */
static FILE *open_tries(struct tries *t)
{
	const char *name = getenv("FAULT_TRIES");
	FILE *file = name ? fopen(name, "r+") : NULL;

	if (!file)
		return NULL;
	if (flock(fileno(file), LOCK_EX) == 0 && fscanf(file, "%d %d %d %li", &t->wrong, &t->most, &t->all, (long *)&t->shown) == 4)
		return file;
	fclose(file);
	return NULL;
}

/* Counts the result of a login, during which no other process logs in. */
static ulong counted_login(ulong session, ulong user, ulong pin, ulong length)
{
	struct tries t;
	FILE *file = open_tries(&t);
	ulong rv = file && t.wrong >= t.most ? PIN_LOCKED : module->f[LOGIN](session, user, pin, length, 0, 0, 0, 0);

	if (!file)
		return rv;
	if (rv == PIN_INCORRECT) {
		t.all++;
		if (++t.wrong >= t.most)
			rv = PIN_LOCKED;
	} else if (rv == 0) {
		t.wrong = 0;
	}
	rewind(file);
	fprintf(file, "%d %d %d 0x%lx%20s\n", t.wrong, t.most, t.all, t.shown, "");
	fclose(file);
	return rv;
}

static void show_tries(unsigned char *info)
{
	struct tries t;
	FILE *file = open_tries(&t);
	ulong flags;

	if (!file)
		return;
	fclose(file);
	memcpy(&flags, info + TOKEN_FLAGS, sizeof flags);
	flags &= ~(ulong)(COUNT_LOW | FINAL_TRY | LOCKED);
	if (t.wrong > 0)
		flags |= COUNT_LOW & t.shown;
	if (t.wrong == t.most - 1)
		flags |= FINAL_TRY & t.shown;
	if (t.wrong >= t.most)
		flags |= LOCKED & t.shown;
	memcpy(info + TOKEN_FLAGS, &flags, sizeof flags);
}

struct attribute { ulong type; void *value; ulong length; };

/* The ways in which C_GetAttributeValue says that it does not know a value. */
static const struct { const char *action; ulong rv; } unknown[] = {
	{"invalid", 0x12},    /* CKR_ATTRIBUTE_TYPE_INVALID */
	{"sensitive", 0x11},  /* CKR_ATTRIBUTE_SENSITIVE */
	{"unavailable", 0x0}, /* only CK_UNAVAILABLE_INFORMATION */
};

/* Withholds the attribute in the rule from the result rv of C_GetAttributeValue. */
static ulong withhold(const struct rule *r, struct attribute *template, ulong count, ulong rv)
{
	size_t n;
	ulong i;

	for (n = 0; n < sizeof unknown / sizeof *unknown; n++)
		for (i = 0; i < count && rv == 0 && !strcmp(r->action, unknown[n].action); i++)
			if (template[i].type == r->value) {
				template[i].length = (ulong)-1;
				rv = unknown[n].rv;
			}
	return rv;
}

/* Writes what the kernel says of this process to a file with ".status" after the rules. */
static void status(void)
{
	char name[8192], text[65536];
	struct rlimit core;
	FILE *out, *in;
	size_t n, i;
	char **e;

	snprintf(name, sizeof name, "%s.status", rules_name());
	out = fopen(name, "w");
	if (!out || getrlimit(RLIMIT_CORE, &core) != 0)
		return;
	fprintf(out, "dumpable %d\ncore %lu %lu\n", prctl(PR_GET_DUMPABLE), (ulong)core.rlim_cur, (ulong)core.rlim_max);
	in = fopen("/proc/self/cmdline", "r");
	n = in ? fread(text, 1, sizeof text, in) : 0;
	fprintf(out, "arguments ");
	for (i = 0; i < n; i++)
		fputc(text[i] ? text[i] : ' ', out);
	fprintf(out, "\n");
	for (e = environ; *e; e++)
		fprintf(out, "environment %s\n", *e);
	fclose(out);
}

/* Does what the rule says before the call. */
static void before(const struct rule *r)
{
	if (!strcmp(r->action, "await"))
		await_rules(r->generation);
	if (!strcmp(r->action, "hang"))
		hang();
	if (!strcmp(r->action, "crash"))
		*(volatile int *)8 = 0;
	if (!strcmp(r->action, "abort"))
		abort();
	if (!strcmp(r->action, "exit"))
		exit(r->value);
	if (!strcmp(r->action, "sleep"))
		usleep(r->value);
	if (!strcmp(r->action, "leak"))
		memset(malloc(r->value), 1, r->value); /* crashes at the limit */
	if (!strcmp(r->action, "status"))
		status();
	if (!strcmp(r->action, "print")) {
		printf("The module prints this.\n");
		fflush(stdout);
	}
	if (!strcmp(r->action, "fork") && fork() == 0)
		for (;;)
			sleep(r->value); /* with the files of this process */
}

static ulong call(int number, const char *name, ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h)
{
	struct rule r;
	int hit = fails(number, name, &r), wrong_length = hit && !strcmp(r.action, "length");
	struct attribute *template = (struct attribute *)c;
	int inquiry = number == GET_ATTRIBUTE_VALUE && d > 0 && !template[0].value;
	ulong rv;

	if (hit && !strcmp(r.action, "return"))
		return r.value;
	if (hit && !strcmp(r.action, "remove"))
		return remove_tokens();
	if (hit && !strcmp(r.action, "none")) { /* of C_GetSlotList */
		*(ulong *)c = 0;
		return 0;
	}
	if (hit && number == SIGN && !d && !strcmp(r.action, "sleep"))
		hit = 0; /* the call asks for the length of the signature */
	if (number == LOGIN || number == INITIALIZE) {
		char log[8192];

		snprintf(log, sizeof log, "%s.log", rules_name());
		append(log, number == LOGIN ? 'L' : 'I', 0, LONG_MAX);
	}
	if (hit)
		before(&r);
	pthread_rwlock_rdlock(&in_use);
	if (hit && !strcmp(r.action, "close"))
		module->f[CLOSE_SESSION](a, 0, 0, 0, 0, 0, 0, 0);
	rv = number == LOGIN ? counted_login(a, b, c, d) : module->f[number](a, b, c, d, e, f, g, h);
	if (number == GET_TOKEN_INFO && rv == 0)
		show_tries((unsigned char *)b);
	pthread_rwlock_unlock(&in_use);
	if (wrong_length && number == SIGN && d)
		*(ulong *)e = r.value;
	if (wrong_length && (number == GET_SLOT_LIST || number == GET_MECHANISM_LIST))
		*(ulong *)c = r.value;
	if (wrong_length && number == FIND_OBJECTS)
		*(ulong *)d = r.value;
	if (hit && number == GET_ATTRIBUTE_VALUE)
		rv = withhold(&r, template, d, rv);
	if (wrong_length && inquiry)
		template[0].length = r.value;
	return rv;
}

#define FAULTY(number, name) \
	static ulong faulty_##number(ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) \
	{ \
		return call(number, name, a, b, c, d, e, f, g, h); \
	}

#define ALL(X) \
	X(INITIALIZE, "C_Initialize") \
	X(FINALIZE, "C_Finalize") \
	X(GET_INFO, "C_GetInfo") \
	X(GET_SLOT_LIST, "C_GetSlotList") \
	X(GET_SLOT_INFO, "C_GetSlotInfo") \
	X(GET_TOKEN_INFO, "C_GetTokenInfo") \
	X(GET_MECHANISM_LIST, "C_GetMechanismList") \
	X(OPEN_SESSION, "C_OpenSession") \
	X(CLOSE_SESSION, "C_CloseSession") \
	X(GET_SESSION_INFO, "C_GetSessionInfo") \
	X(LOGIN, "C_Login") \
	X(CREATE_OBJECT, "C_CreateObject") \
	X(DESTROY_OBJECT, "C_DestroyObject") \
	X(GET_ATTRIBUTE_VALUE, "C_GetAttributeValue") \
	X(FIND_OBJECTS_INIT, "C_FindObjectsInit") \
	X(FIND_OBJECTS, "C_FindObjects") \
	X(FIND_OBJECTS_FINAL, "C_FindObjectsFinal") \
	X(SIGN_INIT, "C_SignInit") \
	X(SIGN, "C_Sign") \
	X(GENERATE_KEY_PAIR, "C_GenerateKeyPair")

ALL(FAULTY)

ulong C_GetFunctionList(struct list **out)
{
	struct rule r;

	if (fails(GET_FUNCTION_LIST, "C_GetFunctionList", &r)) {
		before(&r);
		if (!strcmp(r.action, "return"))
			return r.value;
	}
	pthread_mutex_lock(&lock);
	if (!module) {
		char conf[8192];

		snprintf(conf, sizeof conf, "%s.conf", rules_name());
		if (!access(conf, R_OK))
			setenv("SOFTHSM2_CONF", conf, 1);
		void *library = dlopen(getenv("FAULT_MODULE"), RTLD_NOW | RTLD_LOCAL);
		ulong (*get)(struct list **) = library ? (ulong (*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;

		if (get && get(&module) == 0) {
			faulty = *module;
			faulty.f[GET_FUNCTION_LIST] = (function *)C_GetFunctionList;
#define SET(number, name) faulty.f[number] = faulty_##number;
			ALL(SET)
		}
	}
	pthread_mutex_unlock(&lock);
	*out = &faulty;
	return module ? 0 : 5; /* CKR_GENERAL_ERROR */
}
