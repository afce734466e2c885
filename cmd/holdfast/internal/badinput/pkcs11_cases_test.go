//go:build linux && cgo

package badinput

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const wrongPIN = "8642-wrong"

func tokenCases(t *testing.T, p *pki) (all []tokenInput) {
	for _, group := range []func(*testing.T, *pki) []tokenInput{
		moduleCases, slotCases, objectCases, pinCases, uriCases, removalCases,
	} {
		all = append(all, group(t, p)...)
	}
	return all
}

// moduleCases have no module, or none that loads.
func moduleCases(*testing.T, *pki) (all []tokenInput) {
	inURI := []string{"--pkcs11-lib=", "--certificate", "pkcs11:token=app;object=app?module-path={dir}/module.so"}
	flag := []string{"--pkcs11-lib", "{dir}/module.so"}
	for _, c := range []badInput{
		{name: "missing", code: front.ExitNotFound, culprit: "{dir}/module.so", hint: "name"},
		{name: "a folder", setup: func(s *scene) { s.must(os.Mkdir(s.path("module.so"), 0o700)) }, code: front.ExitOther, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "empty", setup: write("module.so"), code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "text", setup: write("module.so", []byte("INPUT(libsofthsm2.so)\n")), code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "no PKCS#11 module", setup: copied("module.so", "/lib*/*/libm.so.6", func(d []byte) []byte { return d }), code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "for another processor", setup: copied("module.so", "softhsm.so", func(d []byte) []byte {
			d[18] ^= 0x55 // e_machine
			return d
		}), code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "cut to half", setup: copied("module.so", "softhsm.so", func(d []byte) []byte { return d[:len(d)/2] }), code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "cut at its end", setup: copied("module.so", "softhsm.so", func(d []byte) []byte { return d[:len(d)*15/16] }), code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "cut to its header", setup: copied("module.so", "softhsm.so", func(d []byte) []byte { return d[:64] }), code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "for 32 bits", setup: otherClass, code: front.ExitUnavailable, culprit: "{dir}/module.so", hint: "shared library"},
		{name: "a dangling link", setup: func(s *scene) { s.must(os.Symlink("nowhere", s.path("module.so"))) }, code: front.ExitNotFound, culprit: "{dir}/module.so", hint: "name"},
	} {
		name := c.name
		c.name, c.args = "module-path is "+name, inURI
		all = append(all, tokenInput{badInput: c})
		c.name, c.args = "--pkcs11-lib is "+name, flag
		all = append(all, tokenInput{badInput: c})
	}
	ref := func(s string) []string { return []string{"--pkcs11-lib=", "--certificate", s} }
	for _, c := range []badInput{
		{name: "module-path relative", args: ref("pkcs11:token=app?module-path=libsofthsm2.so"), code: front.ExitUsage, culprit: "libsofthsm2.so", hint: "relative"},
		{name: "--pkcs11-lib relative", args: []string{"--pkcs11-lib", "./libsofthsm2.so"}, code: front.ExitUsage, culprit: "libsofthsm2.so", hint: "relative"},
		{name: "--pkcs11-lib is one of Windows", args: []string{"--pkcs11-lib", `C:\Windows\System32\ykcs11.dll`}, code: front.ExitUsage, culprit: "ykcs11.dll", hint: "relative"},
		{name: "--pkcs11-lib with a line end", args: []string{"--pkcs11-lib", "{spy}\n"}, code: front.ExitNotFound, culprit: "{spy}", hint: "name"},
		{name: "module-name unknown", args: ref("pkcs11:token=app?module-name=nosuchmodule"), code: front.ExitUnavailable, culprit: "nosuchmodule", hint: "module-path"},
		{name: "module-name with a slash", args: ref("pkcs11:token=app?module-name=../libsofthsm2"), code: front.ExitUsage, culprit: "module-name", hint: "reference"},
		{name: "module-name and module-path", args: ref("pkcs11:token=app?module-name=softhsm2&module-path={module}"), code: front.ExitUsage, culprit: "module-name and module-path", hint: "reference"},
		{name: "no p11-kit", args: ref("pkcs11:token=app"), env: []string{"HOLDFAST_PKCS11_HELPER=/holdfast-pkcs11"}, setup: jail, code: front.ExitUnavailable, culprit: "p11-kit-proxy", hint: "install p11-kit"},
		{name: "the proxy's modules have no token", args: ref("pkcs11:token=app;object=app"), nobody: true, setup: kit(nil), code: front.ExitUnavailable, culprit: "no token", hint: "module-path"},
		{name: "the proxy's module is missing", args: ref("pkcs11:token=app;object=app"), nobody: true, setup: kit(map[string]string{"gone": "module: {dir}/gone.so\n"}),
			code: front.ExitUnavailable, culprit: "no token", hint: "module-path"},
		{name: "the module's configuration is missing", env: []string{"SOFTHSM2_CONF={dir}/gone.conf"}, code: front.ExitUnavailable, culprit: "{spy}", hint: "configuration"},
	} {
		all = append(all, tokenInput{badInput: c})
	}
	return all
}

// slotCases have not the one token that is meant.
func slotCases(_ *testing.T, p *pki) (all []tokenInput) {
	ref := func(s string) []string { return []string{"--certificate", s} }
	second := steps(initToken("other"), importKey("other", "app", "01", p.key), importCert("other", "app", "01", p.leaf.Raw))
	// The label is changed last, since the tools go by it.
	renamed := func(s *scene) {
		s.changeStored(storedTokenLabel, storedBytes, func(v []byte) { copy(v[8:8+32], fmt.Sprintf("%-32s", "app")) })
	}
	for _, c := range []badInput{
		{name: "token absent", args: ref("pkcs11:token=other;object=app"), code: front.ExitUnavailable, culprit: "token=other", hint: "pkcs11:token=app;"},
		{name: "token in another case", args: ref("pkcs11:token=App;object=app"), code: front.ExitUnavailable, culprit: "token=App", hint: "pkcs11:token=app;"},
		{name: "separator of a query", args: ref("pkcs11:token=app&object=app"), code: front.ExitUsage, culprit: "token=app&object=app", hint: "docs/references.md"},
		{name: "serial absent", args: ref("pkcs11:token=app;serial=0000"), code: front.ExitUnavailable, culprit: "serial=0000", hint: "pkcs11:token=app;"},
		{name: "no token at all", setup: noTokens, code: front.ExitUnavailable, culprit: "no token", hint: "module-path"},
		{name: "token not initialized", setup: noTokens, args: ref("pkcs11:slot-id=0"), code: front.ExitUnavailable, culprit: "no token", hint: "module-path"},
		{name: "slot absent", args: ref("pkcs11:slot-id=99;object=app"), code: front.ExitUnavailable, culprit: "slot-id=99", hint: "pkcs11:token=app;"},
		{name: "library of another maker", args: ref("pkcs11:library-manufacturer=other"), code: front.ExitUnavailable, culprit: "library-manufacturer=other", hint: "pkcs11:token=app;"},
		{name: "library of another version", args: ref("pkcs11:library-version=1.99"), code: front.ExitUnavailable, culprit: "library-version=1.99", hint: "pkcs11:token=app;"},
	} {
		all = append(all, tokenInput{badInput: c})
	}
	tokenOnly := [][]string{{"--certificate", "{ref}"}, {"--certificate", "cert.pem", "--private-key", "{ref}"}}
	return append(all,
		tokenInput{badInput: badInput{name: "two tokens", setup: second, args: ref("pkcs11:object=app"), code: front.ExitNotFound, culprit: "2 tokens", hint: "pkcs11:token=other;"}, pasted: tokenOnly},
		tokenInput{badInput: badInput{name: "two tokens of one name", setup: steps(second, renamed), args: ref("pkcs11:token=app;object=app"), code: front.ExitNotFound, culprit: "2 tokens", hint: "serial="}, pasted: tokenOnly},
	)
}

// objectCases have not the one key and certificate that are meant.
func objectCases(t *testing.T, p *pki) []tokenInput {
	other := signertest.NewKey(t, "p256")
	otherCert := p.ca.Issue(t, other, func(c *x509.Certificate) { c.Subject.CommonName = "other" }).Raw
	ed := signertest.NewKey(t, "ed25519")
	expired := p.ca.Issue(t, p.key, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}).Raw
	args := func(cert, key string, more ...string) []string {
		return append([]string{"--certificate=" + cert, "--private-key=" + key}, more...)
	}
	const app = "pkcs11:token=app;object=app"
	one := func(b badInput) tokenInput { return tokenInput{badInput: b, logins: 1} }
	none := func(b badInput) tokenInput { return tokenInput{badInput: b} }
	again := [][]string{{"--certificate", "{ref}"}}
	return []tokenInput{
		one(badInput{name: "key absent by label", args: args("pkcs11:token=app;object=other", ""), code: front.ExitNotFound, culprit: "object=other", hint: "object=app"}),
		one(badInput{name: "key absent by ID", args: args("pkcs11:token=app;id=%07", ""), code: front.ExitNotFound, culprit: "id=%07", hint: "id=%01"}),
		one(badInput{name: "key absent by both", args: args("pkcs11:token=app;object=app;id=%07", ""), code: front.ExitNotFound, culprit: "id=%07", hint: "id=%01"}),
		one(badInput{name: "ID as digits", args: args("pkcs11:token=app;id=01", ""), code: front.ExitNotFound, culprit: "id=01", hint: "id=%01"}),
		one(badInput{name: "token without objects", setup: initToken("new"), args: args("pkcs11:token=new", ""), code: front.ExitNotFound, culprit: "token=new", hint: "no private key"}),
		{badInput: badInput{name: "two keys of one name", setup: steps(importKey("app", "app", "02", other), importCert("app", "app", "02", otherCert)),
			code: front.ExitNotFound, culprit: "2 private keys", hint: "id=%02"}, logins: 1, pasted: again},
		{badInput: badInput{name: "two keys and no name", setup: steps(importKey("app", "other", "02", other), importCert("app", "other", "02", otherCert)),
			args: args("pkcs11:token=app", ""), code: front.ExitNotFound, culprit: "2 private keys", hint: "object=other"}, logins: 1, pasted: again},
		one(badInput{name: "key on the token without certificate", setup: dropObject("cert"), code: front.ExitNotFound, culprit: app, hint: "--certificate"}),
		one(badInput{name: "key reference alone without certificate", setup: dropObject("cert"), args: args("", app), code: front.ExitNotFound, culprit: app, hint: "--certificate"}),
		one(badInput{name: "certificate on the token without key", setup: steps(dropObject("privkey"), dropObject("pubkey")), code: front.ExitNotFound, culprit: app, hint: "no private key"}),
		one(badInput{name: "certificate on the token of another key", setup: steps(dropObject("cert"), importCert("app", "app", "01", otherCert)), code: front.ExitNotFound, culprit: app, hint: "--certificate"}),
		one(badInput{name: "certificate file of another key", setup: func(s *scene) { s.write("other.der", otherCert) }, args: args("other.der", app), code: front.ExitOther, culprit: app, hint: "other certificate"}),
		one(badInput{name: "certificate reference of another key", setup: importCert("app", "other", "02", otherCert), args: args("pkcs11:token=app;object=other", app), code: front.ExitOther, culprit: app, hint: "other certificate"}),
		none(badInput{name: "key file of another certificate", setup: func(s *scene) { s.write("key.pem", signertest.KeyPEM(s, other)) }, args: args(app, "key.pem"), code: front.ExitOther, culprit: app, hint: "other certificate"}),
		one(badInput{name: "certificate on the token garbage", setup: garbage, code: front.ExitNotFound, culprit: app, hint: "--certificate"}),
		none(badInput{name: "certificate reference to garbage", setup: garbage, args: args(app, "key.pem"), code: front.ExitNotFound, culprit: app, hint: "certificate"}),
		one(badInput{name: "certificate on the token expired", setup: steps(dropObject("cert"), importCert("app", "app", "01", expired)), code: front.ExitOther, culprit: app, hint: "renew"}),
		none(badInput{name: "certificate reference absent", args: args("pkcs11:token=app;object=other", "key.pem"), code: front.ExitNotFound, culprit: "object=other", hint: "certificate"}),
		one(badInput{name: "Ed25519 key on the token", setup: steps(initToken("ed"), importKey("ed", "app", "01", ed)), args: args("cert.pem", "pkcs11:token=ed"), code: front.ExitOther, culprit: "token=ed", hint: "certificate"}),
		one(badInput{name: "Ed25519 key and certificate on the token", setup: steps(initToken("ed"), importKey("ed", "app", "01", ed), importCert("ed", "app", "01", p.ca.Issue(t, ed, nil).Raw)),
			args: args("pkcs11:token=ed", ""), code: front.ExitOther, culprit: "token=ed", hint: "P-256"}),
		one(badInput{name: "RSA key of 512 bits on the token", setup: steps(
			initToken("rsa"),
			openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:512", "-out", "import.pem"), importFile("rsa", "app", "01"),
			openssl("req", "-new", "-x509", "-key", "import.pem", "-subj", "/CN=x", "-out", "cert.pem", "-addext", "keyUsage=digitalSignature", "-addext", "basicConstraints=CA:FALSE")),
			args: args("cert.pem", "pkcs11:token=rsa"), code: front.ExitOther, culprit: "cert.pem", hint: "2048"}),
		one(badInput{name: "key that may not sign", setup: setBool(storedSign, 0), code: front.ExitUnavailable, culprit: app, hint: "sign"}),
		one(badInput{name: "token shows no public half", setup: steps(dropObject("pubkey"), dropObject("cert")), args: args("", app), code: front.ExitOther, culprit: app, hint: "--certificate"}),
		none(badInput{name: "intermediates reference without certificates", setup: initToken("empty"), args: args(app, "", "--intermediates", "pkcs11:token=empty"), code: front.ExitNotFound, culprit: "token=empty", hint: "certificate"}),
		none(badInput{name: "intermediates reference to no token", args: args(app, "", "--intermediates", "pkcs11:token=gone"), code: front.ExitUnavailable, culprit: "token=gone", hint: "pkcs11:token=app;"}),
	}
}

// pinCases give no PIN, or another.
func pinCases(*testing.T, *pki) (all []tokenInput) {
	source := func(s string) []string { return []string{"--pin-source", s} }
	const value = "pkcs11:token=app;object=app?pin-value="
	ref := func(s string) []string { return []string{"--pin-source=", "--certificate", s} }
	pin := func(text string) func(*scene) { return write("pin", []byte(text)) }
	for _, c := range []badInput{
		{name: "PIN too short", args: source("env:WRONG"), env: []string{"WRONG=123"}, hint: "PIN"},
		{name: "PIN of 300 characters", args: source("env:WRONG"), env: []string{"WRONG=" + strings.Repeat("8", 300)}, secret: strings.Repeat("8", 300), hint: "PIN"},
		{name: "PIN of other letters", args: source("env:WRONG"), env: []string{"WRONG=größe\xff\x01"}, secret: "größe", hint: "PIN"},
		{name: "PIN wrong", args: source("env:WRONG"), env: []string{"WRONG=" + wrongPIN}, secret: wrongPIN, hint: "PIN"},
		{name: "PIN wrong in a file", args: source("file:pin"), setup: pin(wrongPIN + "\n"), secret: wrongPIN, hint: "PIN"},
		{name: "PIN with a blank", args: source("env:WRONG"), env: []string{"WRONG=" + pkcs11test.PIN + " "}, hint: "PIN"},
		{name: "PIN of the security officer", args: source("env:WRONG"), env: []string{"WRONG=" + pkcs11test.SOPIN}, secret: pkcs11test.SOPIN, hint: "PIN"},
		{name: "pin-value wrong", args: ref(value + wrongPIN), secret: wrongPIN, hint: "PIN"},
		{name: "pin-value wrong, and a right --pin-source", args: append(ref(value+wrongPIN), source("env:PIN")...), secret: wrongPIN, hint: "PIN"},
		{name: "pin-source of the reference wrong", args: ref("pkcs11:token=app;object=app?pin-source=env:WRONG"), env: []string{"WRONG=" + wrongPIN}, secret: wrongPIN, hint: "PIN"},
		{name: "PIN of another token", args: append(source("env:WRONG"), "--private-key", "pkcs11:token=app;id=%01"), env: []string{"WRONG=" + wrongPIN}, secret: wrongPIN, hint: "PIN"},
	} {
		c.code, c.culprit = front.ExitPIN, "pkcs11:token=app;"
		in := tokenInput{badInput: c, logins: 1}
		if c.secret == wrongPIN {
			in.after = countIsLow
		}
		all = append(all, in)
	}
	locked := []badInput{
		{name: "PIN locked", setup: tokenFlag(flagPINIsLocked, 0), hint: "unblock"},
		{name: "PIN not set", setup: func(s *scene) {
			s.tool("pkcs11-tool", "--module", s.path("softhsm.so"), "--init-token", "--slot-index", "1", "--label", "new", "--so-pin", pkcs11test.SOPIN)
		}, args: []string{"--certificate", "pkcs11:token=new;object=app"}, hint: "user PIN"},
		{name: "PIN at its last try", setup: tokenFlag(flagPINFinalTry, 0), hint: "--pin-source prompt"},
		{name: "one wrong PIN before", setup: tokenFlag(flagPINCountLow, 0), hint: "--pin-source prompt"},
		{name: "pin-value after one wrong PIN", setup: tokenFlag(flagPINCountLow, 0), args: ref(value + wrongPIN), secret: wrongPIN, hint: "--pin-source prompt"},
		{name: "pin-value at its last try", setup: tokenFlag(flagPINFinalTry, 0), args: ref(value + wrongPIN), secret: wrongPIN, hint: "--pin-source prompt"},
	}
	missing := []badInput{
		{name: "PIN empty", args: source("env:WRONG"), env: []string{"WRONG="}, culprit: "env:WRONG", hint: "one line"},
		{name: "PIN of 1 MiB", args: source("file:pin"), setup: pin(strings.Repeat("8", 1<<20)), culprit: "pin-source pin", hint: "one line"},
		{name: "PIN file missing", args: source("file:pin"), culprit: "pin-source pin", hint: "one line"},
		{name: "PIN file empty", args: source("file:pin"), setup: pin(""), culprit: "pin-source pin", hint: "one line"},
		{name: "PIN file of two lines", args: source("file:pin"), setup: pin(pkcs11test.PIN + "\n" + wrongPIN + "\n"), secret: wrongPIN, culprit: "pin-source pin", hint: "one line"},
		{name: "PIN file is a folder", args: source("file:pin"), setup: func(s *scene) { s.must(os.Mkdir(s.path("pin"), 0o700)) }, culprit: "pin-source pin", hint: "file"},
		{name: "PIN file unreadable", args: source("file:pin"), nobody: true, setup: steps(pin(pkcs11test.PIN), given, func(s *scene) { s.must(os.Chmod(s.path("pin"), 0)) }), culprit: "pin-source pin", hint: "file"},
		{name: "PIN variable not set", args: source("env:UNSET"), culprit: "env:UNSET", hint: "variable"},
		{name: "pin-source of the reference missing", args: ref("pkcs11:token=app;object=app?pin-source=file:{dir}/pin"), culprit: "/pin", hint: "one line"},
		{name: "PIN from nowhere", args: source(""), culprit: "token=app", hint: "--pin-source"},
		{name: "PIN by prompt without a terminal", args: source("prompt"), culprit: "terminal", hint: "--pin-source"},
		{name: "password of a file is no PIN", args: append(source(""), "--pkcs8-password", wrongPIN), secret: wrongPIN, culprit: "token=app", hint: "--pin-source"},
		{name: "password that is the PIN", args: append(source(""), "--pkcs8-password", pkcs11test.PIN), culprit: "token=app", hint: "--pin-source"},
	}
	usage := []badInput{
		{name: "pin-value and pin-source", args: ref(value + wrongPIN + "&pin-source=env:PIN"), secret: wrongPIN, culprit: "pin-source and pin-value", hint: "reference"},
		{name: "pin-source and pin-value", args: ref("pkcs11:token=app?pin-source=env:PIN&pin-value=" + wrongPIN), secret: wrongPIN, culprit: "pin-source and pin-value", hint: "reference"},
		{name: "pin-value empty", args: ref(value), culprit: "pin-value", hint: "reference"},
		{name: "pin-value twice", args: ref(value + wrongPIN + "&pin-value=" + wrongPIN), secret: wrongPIN, culprit: "pin-value", hint: "reference"},
		{name: "pin-value with a wrong percent-encoding", args: ref(value + wrongPIN + "%zz"), secret: wrongPIN, culprit: "pin-value", hint: "reference"},
		{name: "pin-value before the question mark", args: ref("pkcs11:token=app;pin-value=" + wrongPIN), secret: wrongPIN, culprit: "pin-value", hint: "pkcs11:token=TOKEN;object=LABEL"},
		{name: "pin-value in capitals", args: ref("pkcs11:token=app?PIN-VALUE=" + wrongPIN), secret: wrongPIN, culprit: "PIN-VALUE", hint: "pin-value"},
		{name: "pin-source is the PIN of a program", args: ref("pkcs11:token=app?pin-source=pass:" + wrongPIN), secret: wrongPIN, culprit: "pass", hint: "a file or a variable"},
		{name: "pin-source is a command", args: ref("pkcs11:token=app?pin-source=exec:" + wrongPIN), secret: wrongPIN, culprit: "exec", hint: "a file or a variable"},
		{name: "--pin-source and --pkcs8-password", args: []string{"--pkcs8-password", wrongPIN}, secret: wrongPIN, culprit: "--pkcs8-password", hint: "--pin-source"},
	}
	for code, group := range map[int][]badInput{front.ExitPIN: append(locked, missing...), front.ExitUsage: usage} {
		for _, c := range group {
			c.code = code
			all = append(all, tokenInput{badInput: c})
		}
	}
	return all
}

// uriCases are no PKCS #11 URIs (RFC 7512, section 2.3).
func uriCases(*testing.T, *pki) (all []tokenInput) {
	for _, c := range []struct{ name, ref, culprit string }{
		{"unknown attribute", "pkcs11:token=app;objekt=app", "objekt"},
		{"vendor's attribute", "pkcs11:token=app;x-vendor=app", "x-vendor"},
		{"vendor's attribute in the query", "pkcs11:token=app?x-vendor=app", "x-vendor"},
		{"attribute twice", "pkcs11:token=app;token=app", "token"},
		{"wrong percent-encoding", "pkcs11:token=app;object=%zz", "object"},
		{"percent at the end", "pkcs11:token=app;id=%0", "id"},
		{"type of data", "pkcs11:token=app;type=data", "type"},
		{"fragment", "pkcs11:token=app#x", "token"},
		{"empty value", "pkcs11:token=app;object=", "object"},
		{"slot-id of letters", "pkcs11:slot-id=one", "slot-id"},
		{"slot-id of 30 digits", "pkcs11:slot-id=" + strings.Repeat("9", 30), "slot-id"},
		{"library-version of letters", "pkcs11:library-version=new", "library-version"},
		{"NUL in a label", "pkcs11:object=%00", "object"},
		{"label that is not UTF-8", "pkcs11:object=%FF", "object"},
		{"label that steers the terminal", "pkcs11:object=\x1b[2J\u202e", "object"},
		{"attribute of 10 KiB", "pkcs11:" + strings.Repeat("x", 10<<10) + "=app", "xxx"},
	} {
		all = append(all, tokenInput{badInput: badInput{name: "URI: " + c.name, args: []string{"--certificate", c.ref}, code: front.ExitUsage, culprit: c.culprit, hint: "reference"}})
	}
	for _, c := range []struct{ name, ref, culprit, hint string }{
		{"attribute in the wrong half", "pkcs11:token=app?object=app", "object", "pkcs11:token=TOKEN;object=LABEL"},
		{"module-path in the wrong half", "pkcs11:token=app;module-path={module}", "module-path", "pkcs11:token=TOKEN;object=LABEL"},
		{"no value", "pkcs11:token=app;object", "NAME=VALUE", "pkcs11:token=TOKEN;object=LABEL"},
		{"no name", "pkcs11:token=app;=app", "NAME=VALUE", "pkcs11:token=TOKEN;object=LABEL"},
		{"separator at the end", "pkcs11:token=app;", "NAME=VALUE", "pkcs11:token=TOKEN;object=LABEL"},
		{"URI of a web page", "pkcs11://token=app", "//", "without //"},
	} {
		all = append(all, tokenInput{badInput: badInput{name: "URI: " + c.name, args: []string{"--certificate", c.ref}, code: front.ExitUsage, culprit: c.culprit, hint: c.hint}})
	}
	for _, ref := range []string{"pkcs11:token=my app", "pkcs11:token=app "} {
		all = append(all, tokenInput{badInput: badInput{name: "URI: " + ref, args: []string{"--certificate", ref}, code: front.ExitUsage, culprit: "token", hint: "%20"}})
	}
	return append(all,
		tokenInput{badInput: badInput{name: "URI: attribute in capitals", args: []string{"--certificate", "pkcs11:Token=app"}, code: front.ExitUsage, culprit: "Token", hint: `"token"`}},
		tokenInput{badInput: badInput{name: "URI of a key: unknown attribute", args: []string{"--private-key", "pkcs11:objekt=app"}, code: front.ExitUsage, culprit: "objekt", hint: "reference"}},
		tokenInput{badInput: badInput{name: "URI of intermediates: unknown attribute", args: []string{"--intermediates", "pkcs11:objekt=app"}, code: front.ExitUsage, culprit: "objekt", hint: "reference"}},
	)
}

// goodTokenCases are those next to the bad ones.
func goodTokenCases(t *testing.T, p *pki) (all []tokenInput) {
	small, err := rsa.GenerateKey(rand.Reader, 1024) // the service may take it
	if err != nil {
		t.Fatal(err)
	}
	source := func(s string) []string { return []string{"--pin-source", s} }
	pin := func(text string) func(*scene) { return write("pin", []byte(text)) }
	for _, c := range []badInput{
		{name: "plain"},
		{name: "certificate file", args: []string{"--certificate", "cert.pem", "--private-key", "pkcs11:token=app"}},
		{name: "nothing but the scheme", args: []string{"--certificate", "PKCS11:"}},
		{name: "module-path", args: []string{"--pkcs11-lib=", "--certificate", "pkcs11:object=app?module-path={spy}"}},
		{name: "module-path against --pkcs11-lib", args: []string{"--pkcs11-lib=/nowhere", "--certificate", "pkcs11:object=app?module-path={spy}"}},
		{name: "--pkcs11-lib with characters of a URI", args: []string{"--pkcs11-lib", "{dir}/a&b;c=d ?#%20+é.so"}, setup: func(s *scene) { s.must(os.Symlink("spy.so", s.path("a&b;c=d ?#%20+é.so"))) }},
		{name: "label that looks like an attribute", setup: steps(importKey("app", "module-path=x", "02", p.key), importCert("app", "module-path=x", "02", p.leaf.Raw)),
			args: []string{"--certificate", "pkcs11:object=module-path=x"}},
		{name: "PIN file with a line end", args: source("file:pin"), setup: pin(pkcs11test.PIN + "\n")},
		{name: "PIN file with a Windows line end", args: source("file:pin"), setup: pin(pkcs11test.PIN + "\r\n")},
		{name: "PIN file without a line end", args: source("pin"), setup: pin(pkcs11test.PIN)},
		{name: "pin-value", args: []string{"--pin-source=", "--certificate", "pkcs11:object=app?pin-value=" + pkcs11test.PIN}},
		{name: "pin-value before --pin-source", args: []string{"--pin-source=env:UNSET", "--certificate", "pkcs11:object=app?pin-value=" + pkcs11test.PIN}},
		{name: "pin-source of the reference", args: []string{"--pin-source=", "--certificate", "pkcs11:object=app?pin-source=env:PIN"}},
		{name: "token shows no public half", setup: dropObject("pubkey")},
		{name: "RSA key of 1024 bits", setup: steps(initToken("rsa"), importKey("rsa", "app", "01", small), importCert("rsa", "app", "01", p.ca.Issue(t, small, nil).Raw)),
			args: []string{"--certificate", "pkcs11:token=rsa"}},
	} {
		all = append(all, tokenInput{badInput: c, logins: 1})
	}
	return append(all,
		// Each reference lists the slots: a call for their number, one for them.
		tokenInput{badInput: badInput{name: "key and certificate apart", args: []string{"--private-key", "pkcs11:token=app;id=%01"}}, logins: 1, calls: map[string]int{"C_GetSlotList": 4}},
		tokenInput{badInput: badInput{name: "three references", args: []string{"--private-key", "pkcs11:token=app;id=%01", "--intermediates", "pkcs11:token=app"}}, logins: 1, calls: map[string]int{"C_GetSlotList": 6}},
		tokenInput{badInput: badInput{name: "certificate alone", args: append(source("env:UNSET"), "--private-key", "key.pem")}},
		tokenInput{badInput: badInput{name: "certificate and intermediates", args: append(source("env:UNSET"), "--private-key", "key.pem", "--intermediates", "pkcs11:token=app")}, calls: map[string]int{"C_GetSlotList": 4}},
		tokenInput{badInput: badInput{name: "key that always authenticates", setup: setBool(storedAlways, 1)}, logins: 2},
		tokenInput{badInput: badInput{name: "p11-kit's proxy", args: []string{"--pkcs11-lib="}, nobody: true, setup: kit(map[string]string{"softhsm": "module: {dir}/softhsm.so\n"})}, plain: true},
		tokenInput{badInput: badInput{name: "module-name", args: []string{"--pkcs11-lib=", "--certificate", "pkcs11:object=app?module-name=softhsm2"}}, plain: true},
	)
}
