//go:build linux

package badinput

import (
	"bytes"
	"os"
	"strings"
	"syscall"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// blobCases are those of sign-blob and verify-blob, with the good key, a file app and a
// file app.sig unless setup changes them.
func blobCases(*pki) (all []badInput) {
	files := steps(write("app", []byte("the program\n")), func(s *scene) { s.write("ca.pem", s.caPEM) })
	sign := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "sign-blob: " + name, bare: true, setup: steps(files, setup), code: code, culprit: culprit, hint: hint,
			args: append([]string{"sign-blob", "--certificate", "cert.pem", "--private-key", "key.pem"}, args...)})
	}
	verify := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "verify-blob: " + name, bare: true, setup: steps(files, write("app.sig", bytes.Repeat([]byte{0xff}, 70)), setup), code: code, culprit: culprit, hint: hint,
			args: append([]string{"verify-blob"}, args...)})
	}
	same := func(*scene) {}
	fifo := func(name string) func(*scene) {
		return func(s *scene) { s.must(syscall.Mkfifo(s.path(name), 0o600)) }
	}
	folder := func(name string) func(*scene) { return func(s *scene) { s.must(os.Mkdir(s.path(name), 0o700)) } }
	huge := func(name string) func(*scene) {
		return steps(write(name), func(s *scene) { s.must(os.Truncate(s.path(name), 3<<30)) })
	}

	sign("no file", front.ExitUsage, "FILE is not given", "sign-blob SHA256SUMS", same)
	sign("an empty name", front.ExitUsage, "FILE", "variable", same, "")
	sign("two files", front.ExitUsage, "2 arguments", "sha256sum", same, "app", "cert.pem")
	sign("a missing file", front.ExitNotFound, "none", "name", same, "none")
	sign("a folder", front.ExitOther, "d: is a directory", "file in it", folder("d"), "d")
	sign("a FIFO", front.ExitOther, "fifo: is a FIFO", "standard input", fifo("fifo"), "fifo")
	sign("an endless device", front.ExitOther, "/dev/zero", "file", same, "--signature", "s", "/dev/zero")
	sign("a name with control characters", front.ExitNotFound, "?[31m", "name", same, "\x1b[31m")
	sign("a request to Roles Anywhere", front.ExitOther, "request.txt: is the text of a request", "do not sign it",
		write("request.txt", []byte("AWS4-X509-ECDSA-SHA256\n20261130T000000Z\n")), "request.txt")
	sign("standard input without a signature", front.ExitUsage, "--signature is not given", "--signature app.sig", same, "-")
	sign("standard input twice", front.ExitUsage, "both the content and the key", "file", same, "--certificate=", "--private-key", "-", "--signature", "s", "-")
	sign("an old signature", front.ExitOther, "app.sig: file already exists", "--force", write("app.sig"), "app")
	sign("an old certificate", front.ExitOther, "app.sig.pem: file already exists", "--force", write("app.sig.pem"), "app")
	sign("the key as the signature", front.ExitOther, "key.pem: contains something other than a signature", "--signature", same, "--force", "--signature", "key.pem", "app")
	sign("the file as the signature", front.ExitOther, "app: is the file that is to be signed", "--signature", same, "--force", "--signature", "app", "app")
	sign("a folder as the signature", front.ExitOther, "d: is not a regular file", "--signature", folder("d"), "--force", "--signature", "d", "app")
	sign("a FIFO as the signature", front.ExitOther, "fifo: is not a regular file", "--signature", fifo("fifo"), "--force", "--signature", "fifo", "app")
	sign("a signature in no folder", front.ExitNotFound, "none/app.sig", "name", same, "--signature", "none/app.sig", "app")
	sign("a signature below a file", front.ExitOther, "app/app.sig", "", same, "--signature", "app/app.sig", "app")
	sign("another key", front.ExitOther, "certificate is for another key", "private key", func(s *scene) {
		s.write("other.pem", signertest.KeyPEM(s, signertest.NewKey(s, "p256")))
	}, "--private-key", "other.pem", "app")
	sign("a missing key", front.ExitNotFound, "none.pem", "name", same, "--private-key", "none.pem", "app")
	all = append(all, badInput{name: "sign-blob: no key", bare: true, args: []string{"sign-blob", "app"}, code: front.ExitUsage, culprit: "--private-key", hint: "--certificate cert.pem"})

	signer := []string{"--signer", "cert.pem", "app"}
	trust := []string{"--trust-anchor", "ca.pem", "--certificate", "cert.pem", "--subject", "CN=client", "app"}
	verify("nobody is trusted", front.ExitUsage, "proves nothing", "--signer FILE", same, "app")
	verify("a CA without a subject", front.ExitUsage, "--subject is not given", "--subject 'CN=", same, "--trust-anchor", "ca.pem", "app")
	verify("an empty subject", front.ExitUsage, "--subject is an empty text", "leave the flag out", same, "--subject=", "--trust-anchor", "ca.pem", "app")
	verify("an empty signer", front.ExitUsage, "--signer is an empty text", "leave the flag out", same, "--signer=", "app")
	verify("a subject that is none", front.ExitUsage, "--subject", "", same, "--trust-anchor", "ca.pem", "--subject", "me", "app")
	verify("a token", front.ExitUsage, "--signer pkcs11:token=x is not a file", "path", same, "--signer", "pkcs11:token=x", "app")
	verify("a missing file", front.ExitNotFound, "none", "name", same, "--signer", "cert.pem", "none")
	verify("a missing signature", front.ExitNotFound, "app.sig", "name", remove("app.sig"), signer...)
	verify("a missing signature with an absolute path", front.ExitNotFound, "/none/app.sig", "check the name", same, "--signature", "/none/app.sig", "--signer", "cert.pem", "app")
	verify("a missing signer", front.ExitNotFound, "none.pem", "name", same, "--signer", "none.pem", "app")
	verify("a missing CA", front.ExitNotFound, "none.pem", "name", same, "--trust-anchor", "none.pem", "--subject", "CN=client", "app")
	verify("a missing certificate", front.ExitNotFound, "app.sig.pem", "--certificate FILE", same, "--trust-anchor", "ca.pem", "--subject", "CN=client", "app")
	verify("an empty signature", front.ExitOther, "app.sig: is empty", "again", write("app.sig"), signer...)
	verify("a signature in PEM", front.ExitOther, "app.sig: is PEM", "sign-blob", func(s *scene) { s.write("app.sig", s.certPEM) }, signer...)
	verify("a signature in base64", front.ExitOther, "app.sig: is base64", "base64 -d app.sig > app.sig.raw", write("app.sig", []byte("MEUCIQ==\n")), signer...)
	verify("a signature in hexadecimal", front.ExitOther, "app.sig: is hexadecimal", "sign-blob", write("app.sig", []byte("30 45 02\n")), signer...)
	verify("a signature of 3 GiB", front.ExitOther, "app.sig: is larger than 8 KiB", "", huge("app.sig"), signer...)
	verify("a signature that is a FIFO", front.ExitOther, "app.sig: is a FIFO", "", steps(remove("app.sig"), fifo("app.sig")), signer...)
	verify("a signature that is a folder", front.ExitOther, "app.sig: is a directory", "", steps(remove("app.sig"), folder("app.sig")), signer...)
	verify("a wrong signature", front.ExitOther, "app: the signature does not verify: app.sig is not a signature of it by CN=client", "was changed", same, signer...)
	verify("a certificate for authentication", front.ExitOther, "lack codeSigning", "codeSigning", same, trust...)
	verify("another subject", front.ExitOther, `cert.pem: another signer: the certificate is that of "CN=client"`, "somebody else", same, append(trust[:5:5], "CN=other", "app")...)
	verify("a signer of 3 GiB", front.ExitOther, "cert.pem", "", huge("cert.pem"), signer...)
	verify("a signer that is text", front.ExitOther, "cert.pem", "PEM", write("cert.pem", []byte("me\n")), signer...)
	verify("a signer that is a damaged key", front.ExitOther, "--signer cert.pem: the public key is damaged", "PUBLIC KEY", write("cert.pem", pemOf("PUBLIC KEY", []byte("x"))), signer...)
	verify("a private key as the signer", front.ExitNotFound, "--signer key.pem is a private key", "the public key of the signer", same, "--signer", "key.pem", "app")
	verify("a CA that is none", front.ExitOther, "--trust-anchor cert.pem: the certificate \"CN=client\" is not that of a CA", "--signer FILE", same, "--trust-anchor", "cert.pem", "--certificate", "cert.pem", "--subject", "CN=client", "app")
	verify("a bundle of 4000 certificates", front.ExitOther, "another signer", "", func(s *scene) { s.write("cert.pem", bytes.Repeat(s.certPEM, 4000)) }, append(trust[:5:5], "CN="+strings.Repeat("x", 64), "app")...)
	return all
}
