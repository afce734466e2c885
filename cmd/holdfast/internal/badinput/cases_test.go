//go:build linux

package badinput

import (
	"bytes"
	"encoding/pem"
	"os"
	"strings"
	"syscall"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// fileCases are what can stand where the file of the key or of the certificate
// should.
func fileCases(p *pki) (all []badInput) {
	for _, file := range []struct {
		name, flag string
		good       []byte
	}{{"key.pem", "--private-key", p.keyPEM}, {"cert.pem", "--certificate", p.certPEM}} {
		name, good := file.name, file.good
		firstLine := bytes.IndexByte(good, '\n') + 1
		lastLine := bytes.LastIndex(good, []byte("-----END"))
		block, _ := pem.Decode(good)
		instead := func(make func(path string) error) func(*scene) {
			return steps(remove(name), func(s *scene) { s.must(make(s.path(name))) })
		}
		for _, c := range []badInput{
			{name: "missing", setup: remove(name), code: front.ExitNotFound, hint: "name"},
			{name: "empty", setup: write(name), code: front.ExitOther, hint: "PEM"},
			{name: "white space", setup: write(name, []byte(" \r\n\t\n")), code: front.ExitOther, hint: "PEM"},
			{name: "text", setup: write(name, []byte("no key today\n")), code: front.ExitOther, hint: "PEM"},
			{name: "binary", setup: write(name, []byte("\x7fELF\x02\x01\x01\x00\xfe\xed\xfa\xce\x9b\x31\x6d")), code: front.ExitOther, hint: "PEM"},
			{name: "zeros", setup: write(name, make([]byte, 4096)), code: front.ExitOther, hint: "PEM"},
			{name: "DER of nothing", setup: write(name, []byte{0x30, 0x03, 0x02, 0x01, 0x05}), code: front.ExitOther, hint: "openssl"},
			{name: "DER too short", setup: write(name, block.Bytes[:40]), code: front.ExitOther, hint: "openssl"},
			{name: "DER with a length of 2 GiB", setup: write(name, []byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x01, 0x00}), code: front.ExitOther, hint: "openssl"},
			{name: "first line cut", setup: write(name, good[:14]), code: front.ExitOther, hint: "again"},
			{name: "first line alone", setup: write(name, good[:firstLine]), code: front.ExitOther, hint: "again"},
			{name: "cut in the middle", setup: write(name, good[:len(good)/2]), code: front.ExitOther, hint: "again"},
			{name: "last line missing", setup: write(name, good[:lastLine]), code: front.ExitOther, hint: "again"},
			{name: "last line cut", setup: write(name, good[:len(good)-4]), code: front.ExitOther, hint: "again"},
			{name: "not base64", setup: write(name, good[:firstLine], []byte("!!!!"), good[firstLine+4:]), code: front.ExitOther, hint: "again"},
			{name: "one bit wrong", setup: write(name, pemOf(block.Type, append([]byte{0x31}, block.Bytes[1:]...))), code: front.ExitOther, hint: "openssl"},
			{name: "PEM of nothing", setup: write(name, pemOf(block.Type, nil)), code: front.ExitOther, hint: "openssl"},
			{name: "PEM of text", setup: write(name, pemOf(block.Type, []byte("no key today"))), code: front.ExitOther, hint: "openssl"},
			{name: "PEM of another kind", setup: write(name, pemOf("HOUSE KEY", block.Bytes)), code: front.ExitUnavailable, hint: "PEM"},
			{name: "OpenSSH key", setup: write(name, pemOf("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00"))), code: front.ExitUnavailable, hint: "ssh-keygen"},
			{name: "certificate request", setup: write(name, pemOf("CERTIFICATE REQUEST", block.Bytes)), code: front.ExitUnavailable, hint: "request"},
			{name: "PKCS #7", setup: write(name, pemOf("PKCS7", block.Bytes)), code: front.ExitUnavailable, hint: "openssl pkcs7"},
			{name: "folder", setup: instead(func(path string) error { return os.Mkdir(path, 0o700) }), code: front.ExitOther, hint: "file"},
			{name: "FIFO", setup: instead(func(path string) error { return syscall.Mkfifo(path, 0o600) }), code: front.ExitOther, hint: "standard input"},
			{name: "socket", setup: instead(func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) }), code: front.ExitOther, hint: "file"},
			{name: "endless device", setup: instead(func(path string) error { return os.Symlink("/dev/zero", path) }), code: front.ExitOther, hint: "file"},
			{name: "empty device", setup: instead(func(path string) error { return os.Symlink("/dev/null", path) }), code: front.ExitOther, hint: "file"},
			{name: "dangling link", setup: instead(func(path string) error { return os.Symlink("nowhere", path) }), code: front.ExitNotFound, hint: "name"},
			{name: "link to itself", setup: instead(func(path string) error { return os.Symlink(name, path) }), code: front.ExitOther, hint: "name"},
			{name: "3 GiB", setup: steps(write(name), func(s *scene) { s.must(os.Truncate(s.path(name), 3<<30)) }), code: front.ExitOther, hint: "name"},
			{name: "no permission", setup: func(s *scene) {
				for _, f := range []string{"key.pem", "cert.pem"} {
					s.must(os.Chmod(s.path(f), 0o644))
				}
				s.must(os.Chmod(s.path(name), 0))
			}, nobody: true, code: front.ExitUnavailable, hint: "user"},
			{name: "below a file", args: []string{file.flag, "key.pem/" + name}, code: front.ExitOther, hint: "name"},
			{name: "name of 300 characters", args: []string{file.flag, name + strings.Repeat("x", 300)}, code: front.ExitOther, hint: "name"},
			{name: "name with line end", args: []string{file.flag, name + "\nx"}, code: front.ExitUsage, hint: "reference"},
			{name: "name that steers the terminal", args: []string{file.flag, name + "\x1b[2J\u009b2J\u202e"}, code: front.ExitNotFound, hint: "name"},
			{name: "name that is not UTF-8", args: []string{file.flag, name + "\xff\xfe"}, code: front.ExitNotFound, hint: "name"},
		} {
			c.name, c.culprit = name+": "+c.name, name
			if c.nobody && name == "cert.pem" {
				c.warning = "key.pem"
			}
			all = append(all, c)
		}
	}
	return all
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// keyCases are good files in the wrong place, and keys that do not fit.
func keyCases(p *pki) []badInput {
	foreign := func(s *scene, kind string) []byte {
		return signertest.CertPEM(s.ca.Issue(s, signertest.NewKey(s, kind), nil))
	}
	return []badInput{
		{name: "key and certificate swapped", args: []string{"--private-key", "cert.pem", "--certificate", "key.pem"},
			code: front.ExitNotFound, culprit: "key.pem", hint: "the key file"},
		{name: "key twice", args: []string{"--certificate", "key.pem"}, code: front.ExitNotFound, culprit: "key.pem", hint: "--certificate"},
		{name: "certificate twice", args: []string{"--private-key", "cert.pem"}, code: front.ExitNotFound, culprit: "cert.pem", hint: "--private-key"},
		{name: "certificate alone", args: []string{"--private-key="}, code: front.ExitNotFound, culprit: "cert.pem", hint: "--private-key"},
		{name: "key alone", args: []string{"--certificate="}, code: front.ExitNotFound, culprit: "key.pem", hint: "certificate"},
		{name: "neither", args: []string{"--certificate=", "--private-key="}, code: front.ExitUsage, culprit: "--certificate", hint: "cert.pem"},
		{name: "no flags at all", bare: true, args: []string{"credential-process"}, code: front.ExitUsage, culprit: "--certificate", hint: "cert.pem"},
		{name: "public key", setup: openssl("pkey", "-in", "plain.pem", "-pubout", "-out", "key.pem"),
			code: front.ExitNotFound, culprit: "key.pem", hint: "the file of the private key"},
		{name: "two keys", setup: func(s *scene) {
			s.write("key.pem", append(signertest.KeyPEM(s, signertest.NewKey(s, "p256")), signertest.KeyPEM(s, signertest.NewKey(s, "p256"))...))
		}, code: front.ExitOther, culprit: "key.pem", hint: "--certificate"},
		{name: "key of another pair", setup: func(s *scene) { s.write("key.pem", signertest.KeyPEM(s, signertest.NewKey(s, "p256"))) },
			code: front.ExitOther, culprit: "key.pem", hint: "other certificate"},
		{name: "key of another type", setup: func(s *scene) { s.write("key.pem", signertest.KeyPEM(s, signertest.Key(s, "rsa2048"))) },
			code: front.ExitOther, culprit: "cert.pem", hint: "other certificate"},
		{name: "two certificates of other keys", setup: func(s *scene) {
			s.write("cert.pem", append(foreign(s, "p256"), foreign(s, "p384")...))
		}, code: front.ExitOther, culprit: "cert.pem", hint: "other certificate"},
		{name: "CA's certificate instead", setup: write("cert.pem", p.caPEM), code: front.ExitOther, culprit: "cert.pem", hint: "certificate"},
		{name: "CA's key and certificate", setup: func(s *scene) {
			s.write("cert.pem", s.caPEM)
			s.write("key.pem", signertest.KeyPEM(s, s.ca.Key))
		}, code: front.ExitOther, culprit: "cert.pem", hint: "CA:FALSE"},
		{name: "X25519 key", setup: openssl("genpkey", "-algorithm", "X25519", "-out", "key.pem"),
			code: front.ExitUnavailable, culprit: "key.pem", hint: "ECDSA"},
		{name: "RSA key of 512 bits", setup: steps(
			openssl("genrsa", "-out", "key.pem", "512"),
			openssl("req", "-new", "-x509", "-key", "key.pem", "-subj", "/CN=x", "-out", "cert.pem", "-addext", "keyUsage=digitalSignature", "-addext", "basicConstraints=CA:FALSE")),
			code: front.ExitUnavailable, culprit: "key.pem", hint: "RSA"},
		{name: "key on secp256k1", setup: openssl("ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "key.pem"),
			code: front.ExitUnavailable, culprit: "key.pem", hint: "P-256"},
		{name: "intermediates missing", args: []string{"--intermediates", "more.pem"}, code: front.ExitNotFound, culprit: "more.pem", hint: "name"},
		{name: "intermediates empty", args: []string{"--intermediates", "more.pem"}, setup: write("more.pem"), code: front.ExitOther, culprit: "more.pem", hint: "PEM"},
		{name: "intermediates are text", args: []string{"--intermediates", "more.pem"}, setup: write("more.pem", []byte("none")), code: front.ExitOther, culprit: "more.pem", hint: "PEM"},
		{name: "intermediates are a key", args: []string{"--intermediates", "key.pem"}, code: front.ExitNotFound, culprit: "key.pem", hint: "certificate"},
		{name: "intermediates cut", args: []string{"--intermediates", "more.pem"}, setup: write("more.pem", p.caPEM, p.caPEM[:99]), code: front.ExitOther, culprit: "more.pem", hint: "again"},
		{name: "PEM text as the key's name", args: []string{"--private-key", string(p.keyPEM)}, code: front.ExitUsage, culprit: "PEM", hint: "file"},
		{name: "PEM text as the certificate's name", args: []string{"--certificate", string(p.certPEM)}, code: front.ExitUsage, culprit: "PEM", hint: "file"},
	}
}
