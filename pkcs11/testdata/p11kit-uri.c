/*
 * Parses PKCS #11 URIs with p11-kit, for comparison. Reads one URI per line, in
 * hexadecimal, and writes a line for each URI: "refused", or the attributes as
 * NAME=HEX without padding, separated by spaces.
 */
#include <p11-kit/uri.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hex(const char *name, const void *value, size_t n)
{
	const unsigned char *b = value;
	size_t i;

	printf("%s=", name);
	for (i = 0; i < n; i++)
		printf("%02x", b[i]);
	putchar(' ');
}

static void padded(const char *name, const void *value, size_t n)
{
	const char *b = value;

	while (n > 0 && (b[n - 1] == ' ' || b[n - 1] == 0))
		n--;
	if (n > 0)
		hex(name, value, n);
}

static void text(const char *name, const char *value)
{
	if (value)
		hex(name, value, strlen(value));
}

static void attribute(P11KitUri *u, const char *name, CK_ATTRIBUTE_TYPE type)
{
	CK_ATTRIBUTE *a = p11_kit_uri_get_attribute(u, type);

	if (a)
		hex(name, a->pValue, a->ulValueLen);
}

static void print(P11KitUri *u)
{
	CK_TOKEN_INFO *t = p11_kit_uri_get_token_info(u);
	CK_SLOT_INFO *s = p11_kit_uri_get_slot_info(u);
	CK_INFO *m = p11_kit_uri_get_module_info(u);
	CK_ATTRIBUTE *class = p11_kit_uri_get_attribute(u, CKA_CLASS);
	char number[32];

	padded("token", t->label, sizeof t->label);
	padded("manufacturer", t->manufacturerID, sizeof t->manufacturerID);
	padded("serial", t->serialNumber, sizeof t->serialNumber);
	padded("model", t->model, sizeof t->model);
	padded("library-manufacturer", m->manufacturerID, sizeof m->manufacturerID);
	padded("library-description", m->libraryDescription, sizeof m->libraryDescription);
	if (m->libraryVersion.major != (CK_BYTE)-1 || m->libraryVersion.minor != (CK_BYTE)-1) {
		snprintf(number, sizeof number, "%d.%d", m->libraryVersion.major, m->libraryVersion.minor);
		text("library-version", number);
	}
	padded("slot-description", s->slotDescription, sizeof s->slotDescription);
	padded("slot-manufacturer", s->manufacturerID, sizeof s->manufacturerID);
	if (p11_kit_uri_get_slot_id(u) != (CK_SLOT_ID)-1) {
		snprintf(number, sizeof number, "%lu", (unsigned long)p11_kit_uri_get_slot_id(u));
		text("slot-id", number);
	}
	attribute(u, "object", CKA_LABEL);
	if (class) {
		CK_OBJECT_CLASS c = *(CK_OBJECT_CLASS *)class->pValue;
		text("type", c == CKO_PRIVATE_KEY ? "private" : c == CKO_PUBLIC_KEY ? "public" :
			     c == CKO_CERTIFICATE ? "cert" : "other");
	}
	attribute(u, "id", CKA_ID);
	text("pin-source", p11_kit_uri_get_pin_source(u));
	text("pin-value", p11_kit_uri_get_pin_value(u));
	text("module-name", p11_kit_uri_get_module_name(u));
	text("module-path", p11_kit_uri_get_module_path(u));
	if (p11_kit_uri_any_unrecognized(u))
		printf("unrecognized= ");
}

int main(void)
{
	static char line[1 << 16], uri[1 << 15];

	while (fgets(line, sizeof line, stdin)) {
		P11KitUri *u = p11_kit_uri_new();
		size_t n = strcspn(line, "\n") / 2, i;

		for (i = 0; i < n; i++) {
			char pair[3] = { line[2 * i], line[2 * i + 1], 0 };
			uri[i] = (char)strtoul(pair, NULL, 16);
		}
		uri[n] = 0;
		if (p11_kit_uri_parse(uri, P11_KIT_URI_FOR_ANY, u) == P11_KIT_URI_OK)
			print(u);
		else
			printf("refused");
		putchar('\n');
		fflush(stdout);
		p11_kit_uri_free(u);
	}
	return 0;
}
