//go:build linux

package badinput

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// signerProgram writes the program of a key, a shell script in which KEY stands for the
// public key of the certificate, and OTHER for another one.
func signerProgram(script string) func(*scene) {
	return func(s *scene) {
		own, err := x509.MarshalPKIXPublicKey(s.leaf.PublicKey)
		s.must(err)
		other, err := x509.MarshalPKIXPublicKey(signertest.NewKey(s, "p256").Public())
		s.must(err)
		script := strings.NewReplacer("OTHER", base64.StdEncoding.EncodeToString(other), "KEY", base64.StdEncoding.EncodeToString(own)).Replace(script)
		s.must(clitest.WriteProgram(s.path("signer"), []byte("#!/bin/sh\n"+script+"\n")))
	}
}

// programCases are references to programs, and programs, that are wrong.
func programCases(*pki) (all []badInput) {
	key := func(ref string) []string { return []string{"--private-key", ref} }
	const opens = `read -r line; echo '{"id":1,"version":1,"input":"digest","public_key":"KEY"}'; read -r line; `
	answer := func(text string) string { return "read -r line; echo '" + text + "'; exec cat >/dev/null" }
	for _, c := range []badInput{
		{name: "nothing", args: key("exec:"), code: front.ExitUsage, culprit: "not NAME=VALUE", hint: "exec:program=/usr/local/bin/kms-signer;key=NAME"},
		{name: "only a path", args: key("exec:./signer"), code: front.ExitUsage, culprit: "not NAME=VALUE", hint: "exec:program=./signer;key=NAME"},
		{name: "only a name", args: key("exec:signer"), code: front.ExitUsage, culprit: "not NAME=VALUE", hint: "exec:program=/usr/local/bin/signer;key=NAME"},
		{name: "no program", args: key("exec:key=app"), code: front.ExitUsage, culprit: "must contain program=", hint: "exec:program="},
		{name: "program without a folder", args: key("exec:program=cat;key=app"), code: front.ExitUsage, culprit: "PATH is not searched", hint: "./cat"},
		{name: "unknown attribute", args: key("exec:program=./signer;token=" + testPassword), code: front.ExitUsage, culprit: `attribute "token" is not one of program, key, pin-source`, hint: "reference"},
		{name: "PIN in the reference", args: key("exec:program=./signer;pin-value=" + testPassword), code: front.ExitUsage, culprit: `"pin-value"`, hint: "reference"},
		{name: "PIN as the source of the PIN", args: key("exec:program=./signer;pin-source=pass:" + testPassword), code: front.ExitUsage, culprit: "pass:…", hint: "store only the PIN"},
		{name: "does not exist", args: key("exec:program=./signer"), code: front.ExitNotFound, culprit: "the program cannot be started", hint: "name"},
		{name: "mistyped attribute", args: key("exec:program=./signer;pin_source=prompt"), code: front.ExitUsage, culprit: `"pin_source"`, hint: "did you mean pin-source?"},
		{name: "with an argument", args: key("exec:program=/usr/bin/python3 ./signer.py"), code: front.ExitNotFound, culprit: "no such file", hint: "gets no arguments"},
		{name: "not executable", args: key("exec:program=./key.pem"), code: front.ExitUnavailable, culprit: "permission denied", hint: "key.pem'"},
		{name: "a folder", args: key("exec:program=./folder"), setup: func(s *scene) { s.must(os.Mkdir(s.path("folder"), 0o755)) }, code: front.ExitUnavailable, culprit: "permission denied", hint: "names a folder"},
		{name: "others can write it", setup: steps(signerProgram("exec cat"), func(s *scene) { s.must(os.Chmod(s.path("signer"), 0o777)) }), code: front.ExitUnavailable, culprit: "can be written by other users (mode 0777)", hint: "chmod go-w"},
		{name: "others can write its folder", args: key("exec:program=./open/signer"), setup: func(s *scene) {
			s.must(os.Mkdir(s.path("open"), 0o700))
			s.must(clitest.WriteProgram(s.path("open/signer"), []byte("#!/bin/sh\nexec cat\n")))
			s.must(os.Chmod(s.path("open"), 0o777))
		}, code: front.ExitUnavailable, culprit: "can be written by other users (mode 0777)", hint: "/usr/local/bin"},
		{name: "no such interpreter", setup: func(s *scene) { s.must(clitest.WriteProgram(s.path("signer"), []byte("#!/no/such/python\n"))) }, code: front.ExitNotFound, culprit: "cannot be started", hint: "first line of the script"},
		{name: "ends", setup: signerProgram("echo 'no network' >&2; exit 9"), code: front.ExitUnavailable, culprit: "exit status 9): no network", hint: `printf '%s\n' '{`},
		{name: "steers the terminal", setup: signerProgram(`printf '\033[2J\302\233\n' >&2; exit 9`), code: front.ExitUnavailable, culprit: "exit status 9", hint: `printf '%s\n' '{`},
		{name: "greets", setup: signerProgram("echo Welcome; exec cat"), code: front.ExitOther, culprit: `: "Welcome"`, hint: `printf '%s\n' '{`},
		{name: "writes without an end", setup: signerProgram("exec tr '\\0' x </dev/zero"), code: front.ExitOther, culprit: "a line of more than 1048576 bytes", hint: `printf '%s\n' '{`},
		{name: "complains without an end", args: append(key("exec:program=./signer;key=app"), "--timeout", "1s"), setup: signerProgram("while :; do echo complaint >&2; done"), code: front.ExitUnavailable, culprit: "does not answer", hint: "log of the program"},
		{name: "hangs", args: append(key("exec:program=./signer;key=app"), "--timeout", "1s"), setup: signerProgram("exec sleep 1000"), code: front.ExitUnavailable, culprit: "does not answer", hint: "must flush each answer"},
		{name: "other version", setup: signerProgram(answer(`{"id":1,"version":2,"input":"digest","public_key":"KEY"}`)), code: front.ExitOther, culprit: "speaks version 2", hint: "version"},
		{name: "no such key", setup: signerProgram(answer(`{"id":1,"error":{"code":"not-found","message":"no key app"}}`)), code: front.ExitNotFound, culprit: "no key app", hint: "reference"},
		{name: "wants a PIN", setup: signerProgram(answer(`{"id":1,"error":{"code":"pin-required"}}`)), code: front.ExitPIN, culprit: "PIN", hint: "--pin-source"},
		{name: "wrong PIN", args: key("exec:program=./signer;pin-source=env:PIN"), env: []string{"PIN=" + testPassword}, code: front.ExitPIN, culprit: "PIN incorrect", hint: "PIN",
			setup: signerProgram(`read -r line; echo '{"id":1,"error":{"code":"pin-required"}}'; read -r line; echo '{"id":2,"error":{"code":"pin-incorrect"}}'; exec cat >/dev/null`)},
		{name: "key of another certificate", setup: signerProgram(answer(`{"id":1,"version":1,"input":"digest","public_key":"OTHER"}`)), code: front.ExitOther, culprit: "certificate is for another key", hint: "another certificate"},
		{name: "signature is none", setup: signerProgram(opens + `echo '{"id":2,"signature":"MEUC"}'; exec cat >/dev/null`), code: front.ExitOther, culprit: "does not verify with the public key", hint: "check that the program signs"},
		{name: "signature of r and s", setup: signerProgram(opens + fmt.Sprintf(`echo '{"id":2,"signature":"%s"}'; exec cat >/dev/null`, base64.StdEncoding.EncodeToString(make([]byte, 64)))), code: front.ExitOther, culprit: "does not verify with the public key", hint: "ASN.1 DER"},
		{name: "does not list the algorithm", setup: signerProgram(answer(`{"id":1,"version":1,"input":"digest","public_key":"KEY","algorithms":["ecdsa_sha384"]}`)), code: front.ExitUnavailable, culprit: `does not list ecdsa_sha256 in "algorithms"`, hint: "another algorithm"},
		{name: "ends when it signs", setup: signerProgram(opens + "exit 9"), code: front.ExitUnavailable, culprit: "started again without success", hint: `printf '%s\n' '{`},
	} {
		c.name = "program: " + c.name
		if c.args == nil {
			c.args = key("exec:program=./signer;key=app")
		}
		all = append(all, c)
	}
	return all
}
