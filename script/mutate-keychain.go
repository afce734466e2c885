//go:build ignore

// mutate-keychain breaks the keychain backend in one place at a time and checks
// that its tests fail. It does not modify the source files: it passes each
// broken file to the compiler with -overlay. It needs Linux and cc. With an
// argument, it runs only the mutations whose names contain it.
//
//	go run script/mutate-keychain.go [PART OF A NAME]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A mutation replaces a text that occurs exactly once in a file.
type mutation struct{ name, file, old, new string }

const (
	item   = "internal/secfw/item.go"
	key    = "internal/secfw/key.go"
	cf     = "internal/secfw/cf.go"
	errs   = "internal/secfw/errors.go"
	load   = "internal/secfw/load.go"
	outer  = "key.go"
	find   = "find.go"
	choice = "algorithm.go"
)

var mutations = []mutation{
	// Missing releases
	{"leak the query", item, "\tdefer a.cf.Release(query)\n", ""},
	{"leak the result of a query", item, "\t\tdefer a.cf.Release(result)\n", "\t\t_ = result\n"},
	{"leak the certificate of an identity", item, "\tdefer a.cf.Release(cert)\n", ""},
	{"leak the data of a certificate", item, "\tdefer a.cf.Release(d)\n", ""},
	{"leak the digest", key, "\tdefer a.cf.Release(data)\n", ""},
	{"leak the signature", key, "\tdefer a.cf.Release(sig)\n", ""},
	{"leak an error that comes with a result", key, "\t\ta.cf.Release(failure)\n", ""},
	{"leak the error", errs, "\tdefer a.cf.Release(ref)\n", ""},
	{"leak the text of an error", errs, "\t\te.Message = a.text(s)\n\t\ta.cf.Release(s)\n\t}\n\treturn e\n}\n\n", "\t\te.Message = a.text(s)\n\t}\n\treturn e\n}\n\n"},
	{"leak the description of an error", errs, "ErrorCopyDescription(ref); s != 0 {\n\t\te.Message = a.text(s)\n\t\ta.cf.Release(s)\n", "ErrorCopyDescription(ref); s != 0 {\n\t\te.Message = a.text(s)\n"},
	{"leak identities that were not chosen", find, "\tfor _, id := range f.all {\n\t\tid.handle.Release()\n", "\tfor range f.all {\n"},
	{"leak an identity that was found twice", find, "\t\tid.handle.Release()\n\t\treturn\n", "\t\treturn\n"},
	{"leak a key that may not sign", outer, "\t\tkey.Release()\n\t\treturn nil, signer", "\t\treturn nil, signer"},
	{"leak the key of each signature", outer, "\tdefer key.Release()\n", ""},
	{"leak the key on Close", outer, "\tif key != nil {\n\t\tkey.Release()\n", "\tif key != nil {\n"},
	{"leak a key that is opened after the context is done", outer, "func(k *Key) { _ = k.Close() }", "nil"},

	// Missing retains and extra releases
	{"no retain of an identity", item, "identity{a, a.cf.Retain(ref)}", "identity{a, ref}"},
	{"release the signature twice", key, "\tdefer a.cf.Release(sig)\n", "\tdefer a.cf.Release(sig)\n\tdefer a.cf.Release(sig)\n"},
	{"release the domain of an error, which is borrowed", errs, "\te := &native.Error{Call: call, Domain: a.text(", "\ta.cf.Release(a.cf.ErrorGetDomain(ref))\n\te := &native.Error{Call: call, Domain: a.text("},
	{"release a dictionary's value, which is borrowed", item, "a.constants[\"kSecValueRef\"])\n", "a.constants[\"kSecValueRef\"])\n\t\ta.cf.Release(ref)\n"},
	{"no retain of a key during a signature", outer, "\t\tk.key.Retain()\n", ""},
	{"Close keeps the key", outer, "\tk.key = nil\n\tk.mu", "\tk.mu"},
	{"Retain does nothing", key, "{ k.api.cf.Retain(k.ref) }", "{}"},

	// Errors
	{"check the error instead of the result", key, "\tif sig == 0 {\n", "\tif failure != 0 {\n"},
	{"an empty result is an error", item, "if status == statusItemNotFound {", "if status == 1 {"},
	{"a failed query is an empty result", item, "err != nil || result == 0 {\n\t\treturn err", "err != nil || result == 0 {\n\t\treturn nil"},
	{"a scope's error is dropped", find, "\t\t\tfound.failed = append(found.failed,", "\t\t\t_ = append(found.failed,"},
	{"an identity that cannot be read is dropped", find, "len(found.broken) < maxListed", "false"},
	{"a missing private key is used", key, "\tif ref == 0 { //", "\tif false { //"},
	{"a missing certificate is used", item, "\tif cert == 0 {", "\tif false {"},
	{"a missing error reference is used", errs, "\tif ref == 0 {", "\tif false {"},
	{"the sign of an error code is inverted", errs, "Code: int(status)", "Code: int(-status)"},

	// Passing of values
	{"NULL callbacks", cf, "a.callbacks[\"kCFTypeDictionaryKeyCallBacks\"], a.callbacks[\"kCFTypeDictionaryValueCallBacks\"]", "0, 0"},
	{"the length of a string is used as its size", cf, "a.cf.StringGetMaximumSizeForEncoding(a.cf.StringGetLength(s), encodingUTF8)", "a.cf.StringGetLength(s)"},
	{"no space for the terminating NUL", cf, "make([]byte, n+1)", "make([]byte, max(n-2, 1))"},
	{"data is not copied", cf, "bytes.Clone(unsafe.Slice(a.cf.DataGetBytePtr(d), n))", "unsafe.Slice(a.cf.DataGetBytePtr(d), n)"},
	{"data of any size is copied", cf, "n <= 0 || n > maxCopy", "n <= 0"},
	{"empty data is copied", cf, "n <= 0 || n > maxCopy", "n < 0 || n > maxCopy"},
	{"the address of a constant is used as its value", load, "Ref(loadWord(p))", "Ref(p)"},
	{"callbacks are dereferenced", load, "l.find(cf, name)\n", "loadWord(l.find(cf, name))\n"},
	{"Boolean result of a key function as a word", load, "KeyIsAlgorithmSupported func(key Ref, operation int, algorithm Ref) uint8", "KeyIsAlgorithmSupported func(key Ref, operation int, algorithm Ref) uint"},
	{"Boolean result of a string function as a word", load, "size int, encoding uint32) uint8", "size int, encoding uint32) uint"},
	{"missing symbols are not reported", load, "\t\tl.missing = append(l.missing, fmt.Errorf(\"symbol", "\t\t_ = append(l.missing, fmt.Errorf(\"symbol"},
	{"two functions swapped", load, "{\"SecIdentityCopyCertificate\", &f.IdentityCopyCertificate},\n\t\t{\"SecIdentityCopyPrivateKey\", &f.IdentityCopyPrivateKey}", "{\"SecIdentityCopyCertificate\", &f.IdentityCopyPrivateKey},\n\t\t{\"SecIdentityCopyPrivateKey\", &f.IdentityCopyCertificate}"},
	{"items of another class are accepted", item, "a.cf.GetTypeID(ref) != typeID", "false"},
	{"a single item is used as an array", item, "if a.cf.GetTypeID(result) != a.cf.ArrayGetTypeID() {", "if false {"},

	// Queries and algorithms
	{"file-based keychains are queried with the wrong flag", item, "{\"kSecUseDataProtectionKeychain\", \"kCFBooleanFalse\"}", "{\"kSecUseDataProtectionKeychain\", \"kCFBooleanTrue\"}"},
	{"tokens are queried as another scope", item, "{\"kSecAttrAccessGroup\", \"kSecAttrAccessGroupToken\"}", "{\"kSecUseDataProtectionKeychain\", \"kCFBooleanTrue\"}"},
	{"PSS as PKCS #1", choice, "tls.PSSWithSHA256, \"kSecKeyAlgorithmRSASignatureDigestPSSSHA256\"", "tls.PSSWithSHA256, \"kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA256\""},
	{"any salt length is accepted", choice, "m.Padding == signer.PSS && m.SaltLen", "false && m.SaltLen"},
	{"schemes that the key does not support", choice, " && supported(a.name)", ""},
	{"the length of a digest is not checked", outer, "\tm, err := signer.MechanismFor(k.pub, digest, opts)\n", "\tm, err := signer.MechanismFor(k.pub, make([]byte, opts.HashFunc().Size()), opts)\n"},
	{"the context is ignored", outer, "await.InTime(ctx,", "await.InTime(context.WithoutCancel(ctx),"},
	{"label is not compared", find, "cfg.Label == id.label", "true"},
	{"another certificate for the key becomes the leaf", find, " && !signer.SamePublicKey(c.PublicKey, leaf.PublicKey)", ""},
}

// timeout bounds the tests of one mutation; some mutations make them hang.
const timeout = 2 * time.Minute

func main() {
	part := strings.Join(os.Args[1:], " ")
	if err := run(part); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(part string) error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if out, err := test(""); err != nil {
		return fmt.Errorf("the tests fail without a mutation: %w\n%s", err, out)
	}
	survivors, tried := 0, 0
	for _, m := range mutations {
		if !strings.Contains(m.name, part) {
			continue
		}
		overlay, err := m.overlay(dir)
		if err != nil {
			return err
		}
		tried++
		verdict := "killed  "
		out, err := test(overlay)
		if err == nil {
			survivors++
			verdict = "SURVIVED"
		}
		fmt.Printf("%s  %s  (%s)\n", verdict, m.name, reason(out))
	}
	fmt.Printf("%d of %d killed\n", tried-survivors, tried)
	if survivors > 0 {
		return fmt.Errorf("%d mutations survived", survivors)
	}
	return nil
}

// overlay writes the broken file and the overlay file for the compiler, and
// returns the path of the overlay file.
func (m mutation) overlay(dir string) (string, error) {
	path, err := filepath.Abs(filepath.Join("keychain", m.file))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("mutation %q: %s contains the text %d times", m.name, m.file, n)
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, bytes.Replace(source, []byte(m.old), []byte(m.new), 1), 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}

// test runs the tests of the binding and then those of the backend. It disables
// vet, which would reject some mutations before the tests run.
func test(overlay string) (out []byte, err error) {
	for _, pkg := range []string{"./keychain/internal/secfw", "./keychain"} {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-failfast", "-timeout=15s", "-overlay="+overlay, pkg)
		cmd.Env = append(os.Environ(), "HOLDFAST_REQUIRE=cc")
		out, err = cmd.CombinedOutput()
		cancel()
		if err != nil {
			return out, err
		}
	}
	return nil, nil
}

// reason returns the most informative line of a test's output.
func reason(out []byte) string {
	for _, mark := range []string{"panic: ", "SIG", "_test.go:", "fakesec.go:", ".go:", "FAIL"} {
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, mark) {
				return strings.TrimSpace(line)
			}
		}
	}
	return "no failure"
}
