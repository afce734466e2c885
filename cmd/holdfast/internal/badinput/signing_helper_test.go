//go:build linux

package badinput

import (
	"os"
	"strings"
	"syscall"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// signStringCases are the faults of sign-string.
func signStringCases(p *pki) (all []badInput) {
	add := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "sign-string: " + name, bare: true, args: append([]string{"sign-string"}, args...),
			setup: setup, code: code, culprit: culprit, hint: hint, secret: "closesesame"})
	}
	key := func(args ...string) []string { return append([]string{"--private-key", "key.pem"}, args...) }
	locked := openssl("pkcs8", "-topk8", "-in", "plain.pem", "-out", "key.pem", "-passout", "env:PW")

	add("no flags", front.ExitUsage, "--certificate", "cert.pem", nil)
	add("argument", front.ExitUsage, "extra", "--help", nil, key("extra")...)
	add("text to sign", front.ExitUsage, "--string", "--help", nil, key("--string", "x")...)
	add("flag of another command", front.ExitUsage, "--role-arn", "--help", nil, key("--role-arn", roleARN)...)
	for _, digest := range []string{"sha1", "SHA-256", "MD5", "SHA1", " ", "SHA256\n"} {
		add("digest "+digest, front.ExitUsage, "--digest", "--digest SHA256", nil, key("--digest", digest)...)
	}
	for _, format := range []string{"JSON", "hex", "bin ", "\x1b[2J"} {
		add("format "+format, front.ExitUsage, "--format", "--format json", nil, key("--format", format)...)
	}
	add("key missing", front.ExitNotFound, "none.pem", "name", nil, "--private-key", "none.pem")
	add("key empty", front.ExitOther, "key.pem", "PEM", write("key.pem"), key()...)
	add("key cut", front.ExitOther, "key.pem", "again", write("key.pem", p.keyPEM[:len(p.keyPEM)/2]), key()...)
	add("key is a certificate", front.ExitNotFound, "cert.pem", "--private-key", nil, "--private-key", "cert.pem")
	add("key is a folder", front.ExitOther, "folder", "file", func(s *scene) { s.must(os.Mkdir(s.path("folder"), 0o700)) }, "--private-key", "folder")
	add("key is a FIFO", front.ExitOther, "fifo", "standard input", func(s *scene) { s.must(syscall.Mkfifo(s.path("fifo"), 0o600)) }, "--private-key", "fifo")
	add("key is endless", front.ExitOther, "/dev/zero", "file", nil, "--private-key", "/dev/zero")
	add("key on no standard input", front.ExitOther, "-: is empty", "PEM", nil, "--private-key", "-")
	add("key in a variable that is not set", front.ExitNotFound, "env:KEY", "export", nil, "--private-key", "env:KEY")
	add("PEM text as the name", front.ExitUsage, "PEM", "file", nil, "--private-key", string(p.keyPEM))
	add("name that steers the terminal", front.ExitNotFound, "key.pem", "name", nil, "--private-key", "key.pem\x1b[2J\u202e")
	add("unknown scheme", front.ExitUsage, "vault", "./vault:", nil, "--private-key", "vault:kv/key")
	for _, kind := range []string{"ed25519", "X25519"} {
		add("key is "+kind, front.ExitUnavailable, "key.pem", "ECDSA", openssl("genpkey", "-algorithm", kind, "-out", "key.pem"), key()...)
	}
	add("key on secp256k1", front.ExitUnavailable, "secp256k1", "P-256", openssl("ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "key.pem"), key()...)
	add("RSA key too short", front.ExitUnavailable, "512 bits", "openssl genpkey", openssl("genrsa", "-out", "key.pem", "512"), key("--digest", "SHA512")...)
	add("certificate missing", front.ExitNotFound, "none.pem", "name", nil, key("--certificate", "none.pem")...)
	add("certificate of another key", front.ExitOther, "other.pem", "other certificate", func(s *scene) { s.write("other.pem", signertest.CertPEM(s.ca.Cert)) }, key("--certificate", "other.pem")...)
	add("certificate alone", front.ExitNotFound, "cert.pem", "--private-key", nil, "--certificate", "cert.pem")

	add("password from nowhere", front.ExitPIN, "key.pem", "--pin-source", locked, key()...)
	add("password wrong", front.ExitPIN, "key.pem", "password", locked, key("--pkcs8-password", "closesesame")...)
	add("password without quotes", front.ExitUsage, "argument", "quotes", locked, key("--pkcs8-password", "open", "closesesame")...)
	add("password from two flags", front.ExitUsage, "--tpm-key-password", "one of", locked, key("--pkcs8-password", testPassword, "--tpm-key-password", "closesesame")...)
	add("password from two sources", front.ExitUsage, "--pkcs8-password", "--pin-source", locked, key("--pkcs8-password", testPassword, "--pin-source", "env:PIN")...)
	add("password file missing", front.ExitPIN, "pin-source pin", "one line", locked, key("--pin-source", "file:pin")...)
	add("PIN source of an unknown scheme", front.ExitUsage, "vault", "env:NAME", locked, key("--pin-source", "vault:pin")...)

	add("selector on Linux", front.ExitUnavailable, "--cert-selector", "PKCS #11", nil, "--cert-selector", "Key=x509Subject,Value=CN=app")
	add("selector with a key", front.ExitUsage, "--private-key", "one of", nil, key("--cert-selector", "Key=x509Subject,Value=CN=app")...)
	add("store with --reuse-pin", front.ExitUsage, "--reuse-pin", "one of", nil, "--system-store-name", "MY", "--reuse-pin")
	for ref, culprit := range map[string]string{"winstore:subject=CN=app": "winstore", "keychain:label=app": "keychain", "pkcs11:token=a?pin-value=closesesame": "pkcs11"} {
		add("key in "+culprit, front.ExitUnavailable, culprit, "", nil, "--private-key", ref)
	}
	add("TPM handle of letters", front.ExitUsage, "handle:zz", "", nil, "--private-key", "handle:zz")
	all = append(all, badInput{name: "sign-string: no TPM", bare: true, args: []string{"sign-string", "--private-key", "handle:81010002"},
		env: []string{"TPM_DEVICE=/nowhere"}, code: front.ExitUnavailable, culprit: "/nowhere"})
	return all
}

// certificateDataCases are the faults of read-certificate-data.
func certificateDataCases(p *pki) (all []badInput) {
	add := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "read-certificate-data: " + name, bare: true, args: append([]string{"read-certificate-data"}, args...),
			setup: setup, code: code, culprit: culprit, hint: hint, secret: "closesesame"})
	}
	certificate := func(args ...string) []string { return append([]string{"--certificate", "cert.pem"}, args...) }
	pfx := openssl("pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "cert.pem", "-passout", "env:PW")

	add("no flags", front.ExitUsage, "--certificate", "cert.pem", nil)
	add("argument", front.ExitUsage, "cert.pem", "--help", nil, "cert.pem")
	add("private key", front.ExitUsage, "--private-key", "--help", nil, certificate("--private-key", "key.pem")...)
	add("password flag", front.ExitUsage, "--pkcs8-password", "--help", nil, certificate("--pkcs8-password=closesesame")...)
	add("missing", front.ExitNotFound, "none.pem", "name", nil, "--certificate", "none.pem")
	add("empty", front.ExitOther, "cert.pem", "PEM", write("cert.pem"), certificate()...)
	add("text", front.ExitOther, "cert.pem", "PEM", write("cert.pem", []byte("no certificate today\n")), certificate()...)
	add("cut", front.ExitOther, "cert.pem", "again", write("cert.pem", p.certPEM[:len(p.certPEM)/2]), certificate()...)
	add("DER too short", front.ExitOther, "cert.pem", "openssl", write("cert.pem", p.leaf.Raw[:40]), certificate()...)
	add("PEM of text", front.ExitOther, "cert.pem", "openssl", write("cert.pem", pemOf("CERTIFICATE", []byte("none"))), certificate()...)
	add("key", front.ExitNotFound, "key.pem", "certificate", nil, "--certificate", "key.pem")
	add("request", front.ExitUnavailable, "cert.pem", "request", openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=app", "-out", "cert.pem"), certificate()...)
	add("folder", front.ExitOther, "folder", "file", func(s *scene) { s.must(os.Mkdir(s.path("folder"), 0o700)) }, "--certificate", "folder")
	add("FIFO", front.ExitOther, "fifo", "standard input", func(s *scene) { s.must(syscall.Mkfifo(s.path("fifo"), 0o600)) }, "--certificate", "fifo")
	add("endless", front.ExitOther, "/dev/zero", "file", nil, "--certificate", "/dev/zero")
	add("3 GiB", front.ExitOther, "cert.pem", "name", func(s *scene) { s.must(os.Truncate(s.path("cert.pem"), 3<<30)) }, certificate()...)
	add("name with a line end", front.ExitUsage, "cert.pem", "reference", nil, "--certificate", "cert.pem\nx")
	add("PEM text as the name", front.ExitUsage, "PEM", "file", nil, "--certificate", string(p.certPEM))
	add("Ed25519", front.ExitUnavailable, "Ed25519", "ECDSA", openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", "ed.key", "-subj", "/CN=app", "-out", "cert.pem"), certificate()...)
	add("PKCS #12 without password", front.ExitPIN, "cert.pem", "--pin-source", pfx, certificate()...)
	add("PKCS #12 by prompt without a terminal", front.ExitPIN, "terminal", "--pin-source", pfx, certificate("--pin-source", "prompt")...)
	all = append(all, badInput{name: "read-certificate-data: PKCS #12 with a wrong password", bare: true, args: append([]string{"read-certificate-data"}, certificate("--pin-source", "env:PIN")...),
		setup: pfx, env: []string{"PIN=closesesame"}, secret: "closesesame", code: front.ExitPIN, culprit: "cert.pem", hint: "password"})
	add("PIN source of an unknown scheme", front.ExitUsage, "vault", "env:NAME", nil, certificate("--pin-source", "vault:pin")...)

	add("selector and certificate", front.ExitUsage, "--cert-selector", "one of", nil, certificate("--cert-selector", "Key=x509Subject,Value=CN=app")...)
	add("store and certificate", front.ExitUsage, "--system-store-name", "one of", nil, certificate("--system-store-name", "MY")...)
	add("selector on Linux", front.ExitUnavailable, "--cert-selector", "PKCS #11", nil, "--cert-selector", "Key=x509Subject,Value=CN=app")
	add("store on Linux", front.ExitUnavailable, "--system-store-name", "PKCS #11", nil, "--system-store-name", "MY")
	add("selector without a key", front.ExitUsage, "Key=NAME", "x509Subject", nil, "--cert-selector", "CN=app")
	add("selector file missing", front.ExitNotFound, "none.json", "name", nil, "--cert-selector", "file://none.json")
	add("selector file is no JSON", front.ExitUsage, "JSON", "--help", write("bad.json", []byte("[")), "--cert-selector", "file://bad.json")
	for _, ref := range []string{"winstore:subject=CN=app", "keychain:label=app", "pkcs11:token=a?pin-value=closesesame"} {
		scheme, _, _ := strings.Cut(ref, ":")
		add("certificate in "+scheme, front.ExitUnavailable, scheme, "", nil, "--certificate", ref)
	}
	add("TPM key file missing", front.ExitNotFound, "none.pem", "name", nil, "--certificate", "tpm:path=none.pem")
	return all
}

// environmentCases are the faults of the variables of AWS clients.
func environmentCases(*pki) (all []badInput) {
	add := func(culprit, hint string, env ...string) {
		all = append(all, badInput{name: strings.Join(env, " "), args: []string{"--endpoint="}, env: env, code: front.ExitUsage, culprit: culprit, hint: hint})
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ROLESANYWHERE"} {
		for _, url := range []string{"ftp://{addr}", "{url}/sessions", "http://192.0.2.1", "https://", "https://%zz", "https://h\x1b[2J", "https://user:" + testPassword + "@localhost"} {
			add("environment variable "+name+": ", "unset the variable", name+"="+url)
		}
		add("environment variable "+name+" sets an endpoint", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true", name+"={url}", "AWS_USE_FIPS_ENDPOINT=true")
	}
	for _, url := range []string{"ftp://{addr}", "{url}/path", "http://192.0.2.1", "http://::1:9911", "https://user:" + testPassword + "@localhost"} {
		all = append(all, badInput{name: "AWS_ENDPOINT_URL_STS=" + url, args: []string{"--assume-role-arn=" + testSecond}, env: []string{"AWS_ENDPOINT_URL_STS=" + url},
			code: front.ExitUsage, culprit: "environment variable AWS_ENDPOINT_URL_STS: ", hint: "unset the variable", secret: testPassword})
	}
	add("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true or false", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=maybe", "AWS_ENDPOINT_URL={url}")
	for _, n := range []string{"0", "-1", "1.5", "many", "99999999999999999999"} {
		all = append(all, badInput{name: "AWS_MAX_ATTEMPTS=" + n, env: []string{"AWS_MAX_ATTEMPTS=" + n}, code: front.ExitUsage, culprit: "AWS_MAX_ATTEMPTS", hint: "the default is 4"})
	}
	denied := refused{status: 503, code: "ServiceUnavailableException", message: "Sorry"}
	return append(all,
		badInput{name: "AWS_MAX_ATTEMPTS=1 and no service", env: []string{"AWS_MAX_ATTEMPTS=1"}, serve: answer(denied.ServeHTTP), code: front.ExitRefused, culprit: "503", hint: "later", sent: 1},
		badInput{name: "AWS_ENDPOINT_URL of a service that is down", args: []string{"--endpoint="}, env: []string{"AWS_MAX_ATTEMPTS=2", "AWS_ENDPOINT_URL={url}"}, serve: answer(denied.ServeHTTP), code: front.ExitRefused, culprit: "503", hint: "later", sent: 2},
	)
}
