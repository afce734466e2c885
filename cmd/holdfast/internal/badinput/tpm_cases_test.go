//go:build linux

package badinput

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/pem"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/tpm"
)

const wrongPassword = "closesesame"

// silence is how long a TPM that does not answer may hold a command up: 15
// seconds, and what the machine needs beside.
const silence = 25 * time.Second

func badTPMCases() (cases []tpmInput) {
	for _, group := range []func() []tpmInput{
		tpmDeviceCases, tpmReferenceCases, tpmFileCases, tpmKeyCases, tpmPasswordCases, tpmStateCases,
	} {
		cases = append(cases, group()...)
	}
	return cases
}

func tpmInputs(bad []badInput) (cases []tpmInput) {
	for _, b := range bad {
		cases = append(cases, tpmInput{badInput: b})
	}
	return cases
}

// tpmDeviceCases have no TPM, or something else in its place.
func tpmDeviceCases() (cases []tpmInput) {
	socket := func(s *scene) { s.must(syscall.Mknod(s.path("tpm"), syscall.S_IFSOCK|0o666, 0)) }
	readable := func(s *scene) {
		for _, name := range []string{"key.pem", "cert.pem"} {
			s.must(os.Chmod(s.path(name), 0o640))
		}
		given(s)
	}
	saying := func(text string) func(*scene) {
		return listening("tpm", func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, text)
		})
	}
	mute := func(text string) func(*scene) {
		return listening("tpm", func(c net.Conn) {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, c)
		})
	}
	success := "\x80\x01\x00\x00\x00\x0a\x00\x00\x00\x00"
	for _, c := range []badInput{
		{name: "missing", hint: "TPM_DEVICE"},
		{name: "a file", setup: write("tpm", []byte("TPM")), hint: "device"},
		{name: "a folder", setup: func(s *scene) { s.must(os.Mkdir(s.path("tpm"), 0o700)) }, hint: "device"},
		{name: "a FIFO", setup: func(s *scene) { s.must(syscall.Mkfifo(s.path("tpm"), 0o600)) }, hint: "device"},
		{name: "a dangling link", setup: func(s *scene) { s.must(os.Symlink("nowhere", s.path("tpm"))) }, hint: "TPM_DEVICE"},
		{name: "a link to itself", setup: func(s *scene) { s.must(os.Symlink("tpm", s.path("tpm"))) }, hint: "device"},
		{name: "/dev/null", setup: func(s *scene) { s.must(os.Symlink("/dev/null", s.path("tpm"))) }, hint: "device"},
		{name: "/dev/zero", setup: func(s *scene) { s.must(os.Symlink("/dev/zero", s.path("tpm"))) }, hint: "device"},
		{name: "/dev/full", setup: func(s *scene) { s.must(os.Symlink("/dev/full", s.path("tpm"))) }, hint: "device"},
		{name: "/dev/tty", setup: func(s *scene) { s.must(os.Symlink("/dev/tty", s.path("tpm"))) }, hint: "device"},
		{name: "a socket nobody listens on", setup: socket, hint: "emulator"},
		{name: "a socket of datagrams", setup: func(s *scene) {
			l, err := net.ListenPacket("unixgram", s.path("tpm"))
			s.must(err)
			s.Cleanup(func() { l.Close() })
		}, hint: "device"},
		{name: "not permitted", setup: steps(socket, func(s *scene) { readable(s); s.must(os.Chmod(s.path("tpm"), 0)) }), nobody: true, hint: "tss"},
		{name: "a socket that closes", setup: listening("tpm", func(net.Conn) {}), hint: "device"},
		{name: "a socket that speaks SSH", setup: saying("SSH-2.0-\x1b[2JOpenSSH_9.2\r\n"), hint: "device"},
		{name: "a socket that speaks zeros", setup: saying(strings.Repeat("\x00", 8192)), hint: "device"},
		{name: "a socket that announces 4 GiB", setup: saying("\x80\x01\xff\xff\xff\xff\x00\x00\x00\x00"), hint: "device"},
		{name: "a socket that announces 5 bytes", setup: saying("\x80\x01\x00\x00\x00\x05\x00\x00\x00\x00"), hint: "device"},
		{name: "a socket that closes in an answer", setup: saying(success[:6]), hint: "device"},
		{name: "a socket that says yes and no more", setup: saying(success), culprit: "TPM 2.0", hint: "device"},
		{name: "a TPM 1.2", culprit: "TPM 1.2", setup: saying("\x00\xc4\x00\x00\x00\x0a\x00\x00\x00\x1e"), hint: "TPM 2.0"},
		{name: "mute", setup: mute(""), time: silence, hint: "device"},
		{name: "mute in an answer", setup: mute(success[:6]), time: silence, hint: "device"},
	} {
		c.code, c.culprit, c.env = front.ExitUnavailable, cmp.Or(c.culprit, "{dir}/tpm"), []string{"TPM_DEVICE={dir}/tpm"}
		c.name = "device is " + c.name
		cases = append(cases, tpmInput{badInput: c})
	}
	cases = append(cases, tpmInput{badInput: badInput{name: "no TPM", setup: tpmJail, env: []string{"TPM_DEVICE="}, code: front.ExitUnavailable, culprit: "/dev/tpmrm0", hint: "device="}})
	return append(cases, tpmInputs([]badInput{
		{name: "device= is missing", args: []string{"--private-key", "tpm:path=key.pem;device={dir}/gone"}, code: front.ExitUnavailable, culprit: "{dir}/gone", hint: "device="},
		{name: "device= is missing, for a handle", args: []string{"--private-key", "tpm:handle=0x81010002;device={dir}/gone"}, code: front.ExitUnavailable, culprit: "{dir}/gone", hint: "device="},
		{name: "TPM_DEVICE is missing, for a handle", args: []string{"--private-key", "handle:81010002"}, env: []string{"TPM_DEVICE={dir}/gone"}, code: front.ExitUnavailable, culprit: "{dir}/gone", hint: "TPM_DEVICE"},
		{name: "TPM_DEVICE steers the terminal", env: []string{"TPM_DEVICE={dir}/\x1b[2J\u202e"}, code: front.ExitUnavailable, culprit: "{dir}/", hint: "TPM_DEVICE"},
		{name: "TPM_DEVICE of 300 characters", env: []string{"TPM_DEVICE={dir}/" + strings.Repeat("x", 300)}, code: front.ExitUnavailable, culprit: "{dir}/x", hint: "device"},
	})...)
}

// tpmJail makes a folder with the program and the key, and no devices.
func tpmJail(s *scene) { s.imprison("holdfast", "key.pem", "cert.pem") }

// tpmReferenceCases are no references to keys of a TPM.
func tpmReferenceCases() (cases []tpmInput) {
	for _, c := range []struct{ name, ref, culprit, hint string }{
		{"nothing", "tpm:", "NAME=VALUE", "%3B"},
		{"a path without its name", "tpm:key.pem", "NAME=VALUE", "tpm:path=key.pem"},
		{"unknown attribute", "tpm:path=key.pem;objekt=app", "objekt", "reference"},
		{"attribute in capitals", "tpm:PATH=key.pem", "PATH", "did you mean path?"},
		{"attribute twice", "tpm:path=key.pem;path=key.pem", "twice", "reference"},
		{"attribute empty", "tpm:path=", "path", "reference"},
		{"attribute without a name", "tpm:path=key.pem;=x", "NAME=VALUE", "%3B"},
		{"separator at the end", "tpm:path=key.pem;", "NAME=VALUE", "%3B"},
		{"separator of a query", "tpm:path=key.pem?device=/dev/tpm0;x", "NAME=VALUE", "%3B"},
		{"path and handle", "tpm:path=key.pem;handle=0x81010002", "path= or handle=", "tpm:path="},
		{"neither path nor handle", "tpm:device=/dev/tpm0", "path= or handle=", "tpm:path="},
		{"wrong percent-encoding", "tpm:path=key%zz.pem", "path", "reference"},
		{"half a percent-encoding", "tpm:path=key.pem%2", "path", "reference"},
		{"NUL", "tpm:path=key%00.pem", "path", "reference"},
		{"line end in a device", "tpm:path=key.pem;device=/dev/tpm0%0A", "device", "reference"},
		{"pcrs for opening", "tpm:path=key.pem;pcrs=sha256:7", "pcrs", "reference"},
		{"parent for opening", "tpm:path=key.pem;parent=0x81000001", "parent", "reference"},
		{"pin-source and pin-value", "tpm:path=key.pem;pin-source=env:PIN;pin-value=" + wrongPassword, "pin-source and pin-value", "reference"},
		{"pin-value and pin-source", "tpm:path=key.pem;pin-value=" + wrongPassword + ";pin-source=env:PIN", "pin-source and pin-value", "reference"},
		{"pin-value twice", "tpm:path=key.pem;pin-value=" + wrongPassword + ";pin-value=" + wrongPassword, "pin-value", "reference"},
		{"pin-value with a separator", "tpm:path=key.pem;pin-value=a;" + wrongPassword + "=b", "pin-value", "reference"},
		{"pin-value with a wrong percent-encoding", "tpm:path=key.pem;pin-value=" + wrongPassword + "%", "pin-value", "reference"},
		{"pin-value in capitals", "tpm:path=key.pem;PIN-VALUE=" + wrongPassword, "PIN-VALUE", "did you mean pin-value?"},
		{"pin-source is the password", "tpm:path=key.pem;pin-source=pass:" + wrongPassword, "pass", "a file or a variable"},
		{"pin-source is a prompt with a scheme", "tpm:path=key.pem;pin-source=prompt:", "prompt", "a file or a variable"},
		{"parent-auth-source is the password", "tpm:path=key.pem;parent-auth-source=pass:" + wrongPassword, "pass", "a file or a variable"},
		{"handle is no number", "tpm:handle=key", "handle", "0x81000000"},
		{"handle without 0x", "tpm:handle=81010002", "81010002", "tpm:handle=0x81010002"},
		{"handle of a transient object", "tpm:handle=0x80000000", "0x80000000", "0x81000000"},
		{"handle of a hierarchy", "tpm:handle=0x40000001", "0x40000001", "0x81000000"},
		{"handle of NV memory", "tpm:handle=0x01c00002", "0x01c00002", "0x81000000"},
		{"handle of 33 bits", "tpm:handle=0x181010002", "0x181010002", "0x81000000"},
		{"handle negative", "tpm:handle=-2130640638", "-2130640638", "0x81000000"},
		{"handle: without one", "handle:", "handle", "0x81000000"},
		{"handle: is no number", "handle:key", "key", "0x81000000"},
		{"handle: transient", "handle:0x80000000", "0x80000000", "0x81000000"},
		{"handle: with attributes", "handle:0x81010002;device=/dev/tpm0", "0x81010002;", "0x81000000"},
		{"handle: that is a path", "handle:/dev/tpm0", "/dev/tpm0", "0x81000000"},
	} {
		cases = append(cases, tpmInput{badInput: badInput{name: "reference: " + c.name, args: []string{"--private-key", c.ref}, secret: wrongPassword,
			env: []string{"TPM_DEVICE={dir}/gone"}, code: front.ExitUsage, culprit: c.culprit, hint: c.hint}})
	}
	return append(cases, tpmInputs([]badInput{
		{name: "reference of the certificate: unknown attribute", args: []string{"--certificate", "tpm:objekt=app"}, code: front.ExitUsage, culprit: "objekt", hint: "reference"},
		{name: "reference of the certificate: a handle, which has none", args: []string{"--certificate", "tpm:handle=0x81010002"}, code: front.ExitNotFound, culprit: "handle=0x81010002", hint: "--certificate"},
		{name: "reference of intermediates: a key file without certificates", args: []string{"--intermediates", "tpm:path=key.pem"}, code: front.ExitNotFound, culprit: "tpm:path=key.pem", hint: "certificate"},
	})...)
}

// tpmFileCases have a key file that is missing or damaged.
func tpmFileCases() (cases []tpmInput) {
	edit := func(change func([]byte) []byte) func(*scene) {
		return func(s *scene) {
			data, err := os.ReadFile(s.path("key.pem"))
			s.must(err)
			s.write("key.pem", change(bytes.Clone(data)))
		}
	}
	inside := func(change func([]byte) []byte) func(*scene) {
		return edit(func(d []byte) []byte {
			b, _ := pem.Decode(d)
			return pemOf(b.Type, change(b.Bytes))
		})
	}
	for _, c := range []badInput{
		{name: "missing", setup: remove("key.pem"), code: front.ExitNotFound, hint: "name"},
		{name: "empty", setup: write("key.pem"), code: front.ExitOther, hint: "PEM"},
		{name: "a folder", setup: steps(remove("key.pem"), func(s *scene) { s.must(os.Mkdir(s.path("key.pem"), 0o700)) }), code: front.ExitOther, hint: ""},
		{name: "a FIFO", setup: steps(remove("key.pem"), func(s *scene) { s.must(syscall.Mkfifo(s.path("key.pem"), 0o600)) }), code: front.ExitOther, hint: "standard input"},
		{name: "5 MiB", setup: edit(func(d []byte) []byte { return append(d, make([]byte, 5<<20)...) }), code: front.ExitOther, hint: ""},
		{name: "unreadable", setup: func(s *scene) { given(s); s.must(os.Chmod(s.path("key.pem"), 0)) }, nobody: true, code: front.ExitUnavailable, hint: "user"},
		{name: "cut in the first line", setup: edit(func(d []byte) []byte { return d[:20] }), code: front.ExitOther, hint: "again"},
		{name: "cut after the first line", setup: edit(func(d []byte) []byte { return d[:bytes.IndexByte(d, '\n')+1] }), code: front.ExitOther, hint: "again"},
		{name: "cut in the middle", setup: edit(func(d []byte) []byte { return d[:len(d)/2] }), code: front.ExitOther, hint: "again"},
		{name: "cut before the last line", setup: edit(func(d []byte) []byte { return d[:bytes.LastIndex(d, []byte("-----END"))] }), code: front.ExitOther, hint: "again"},
		{name: "cut in the last line", setup: edit(func(d []byte) []byte { return d[:len(d)-5] }), code: front.ExitOther, hint: "again"},
		{name: "not base64", setup: edit(func(d []byte) []byte { d[bytes.IndexByte(d, '\n')+3] = '!'; return d }), code: front.ExitOther, hint: "again"},
		{name: "PEM of nothing", setup: write("key.pem", pemOf("TSS2 PRIVATE KEY", nil)), code: front.ExitOther, hint: "again"},
		{name: "PEM of text", setup: write("key.pem", pemOf("TSS2 PRIVATE KEY", []byte("no key today"))), code: front.ExitOther, hint: "again"},
		{name: "PEM of another kind", setup: edit(func(d []byte) []byte { return bytes.ReplaceAll(d, []byte("TSS2 PRIVATE KEY"), []byte("TSS2 KEY BLOB")) }), code: front.ExitUnavailable, hint: "PEM"},
		{name: "cut in the DER", setup: inside(func(d []byte) []byte { return d[:len(d)/2] }), code: front.ExitOther, hint: "again"},
		{name: "bytes behind the DER", setup: inside(func(d []byte) []byte { return append(d, 0) }), code: front.ExitOther, hint: "again"},
		{name: "length of 2 GiB", setup: inside(func(d []byte) []byte { return append([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, d[2:]...) }), code: front.ExitOther, hint: "again"},
		{name: "two keys", setup: edit(func(d []byte) []byte { return append(d, d...) }), code: front.ExitNotFound, hint: "each key"},
		{name: "with a software key beside", setup: func(s *scene) { edit(func(d []byte) []byte { return append(d, s.keyPEM...) })(s) }, code: front.ExitNotFound, hint: "each key"},
		{name: "with a certificate that is cut", setup: func(s *scene) { edit(func(d []byte) []byte { return append(d, s.certPEM[:99]...) })(s) }, code: front.ExitOther, hint: "again"},
		{name: "with a certificate that is junk", setup: edit(func(d []byte) []byte { return append(d, pemOf("CERTIFICATE", []byte("junk"))...) }), code: front.ExitOther, hint: ""},
	} {
		c.name, c.culprit = "key file is "+c.name, "key.pem"
		plain, named := c, c
		cases = append(cases, tpmInput{badInput: plain})
		if c.name == "key file is missing" || strings.Contains(c.name, " cut ") {
			named.name, named.args = c.name+", by its name", []string{"--private-key", "tpm:path=key.pem"}
			if strings.HasSuffix(c.name, "missing") {
				named.culprit = "tpm:path=key.pem"
			}
			cases = append(cases, tpmInput{badInput: named})
		}
	}
	return append(cases, tpmInputs([]badInput{
		{name: "tpm: of a software key", args: []string{"--private-key", "tpm:path=software.pem"}, code: front.ExitNotFound, culprit: "software.pem", hint: "TSS2"},
		{name: "tpm: of a certificate", args: []string{"--private-key", "tpm:path=cert.pem"}, code: front.ExitNotFound, culprit: "cert.pem", hint: "TSS2"},
		{name: "tpm: of DER", args: []string{"--private-key", "tpm:path=key.der"}, setup: func(s *scene) {
			data, err := os.ReadFile(s.path("key.pem"))
			s.must(err)
			b, _ := pem.Decode(data)
			s.write("key.der", b.Bytes)
		}, code: front.ExitNotFound, culprit: "key.der", hint: "TSS2"},
		{name: "key file in a variable that is not set", args: []string{"--private-key", "env:KEY"}, code: front.ExitNotFound, culprit: "env:KEY", hint: "export"},
	})...)
}

// Places in a TPM2B_PUBLIC (TPM 2.0 Library, part 2, section 12.2.4).
const (
	publicType       = 2
	publicNameAlg    = 4
	publicAttributes = 6
	publicPolicy     = 10
)

const (
	attributeNoDA       = 1 << 10
	attributeRestricted = 1 << 16
	attributeDecrypt    = 1 << 17
	attributeSign       = 1 << 18
)

// tpmKeyCases have a key file that is whole, but no key that can be used here.
func tpmKeyCases() []tpmInput {
	public := func(change func([]byte) []byte) func(*scene) {
		return changed("key.pem", func(k *tssKey) { k.Public = change(k.Public) })
	}
	attributes := func(with, without uint32) func(*scene) {
		return public(func(p []byte) []byte {
			a := p[publicAttributes:]
			binary.BigEndian.PutUint32(a, binary.BigEndian.Uint32(a)&^without|with)
			return p
		})
	}
	flip := func(at int) func([]byte) []byte {
		return func(p []byte) []byte {
			p[(at+len(p))%len(p)] ^= 0x10
			return p
		}
	}
	parent := func(h int64) func(*scene) { return changed("key.pem", func(k *tssKey) { k.Parent = h }) }
	rsa := []string{"--private-key", "rsa.pem", "--certificate", "rsa-cert.pem"}
	cases := tpmInputs([]badInput{
		{name: "public part empty", setup: public(func([]byte) []byte { return nil }), code: front.ExitOther, hint: "again"},
		{name: "public part of one byte", setup: public(func([]byte) []byte { return []byte{0} }), code: front.ExitOther, hint: "again"},
		{name: "public part of nothing", setup: public(func([]byte) []byte { return []byte{0, 0} }), code: front.ExitOther, hint: "again"},
		{name: "public part junk", setup: public(func(p []byte) []byte {
			return append([]byte{0, byte(len(p) - 2)}, bytes.Repeat([]byte{0xa5}, len(p)-2)...)
		}), code: front.ExitOther, hint: "again"},
		{name: "public part ones", setup: public(func(p []byte) []byte { return bytes.Repeat([]byte{0xff}, len(p)) }), code: front.ExitOther, hint: "again"},
		{name: "public part cut", setup: public(func(p []byte) []byte { return p[:len(p)-3] }), code: front.ExitOther, hint: "again"},
		{name: "public part with bytes behind", setup: public(func(p []byte) []byte { return append(p, 0) }), code: front.ExitOther, hint: "again"},
		{name: "public part with bytes inside", setup: public(func(p []byte) []byte { p[1]++; return append(p, 0) }), code: front.ExitOther, hint: "again"},
		{name: "public part: a bit of the point flipped", setup: public(flip(-1)), code: front.ExitOther, hint: "again"},
		{name: "public part: a bit of an attribute flipped", setup: attributes(0, attributeNoDA), code: front.ExitNotFound, hint: "made"},
		{name: "public part: a type that is unknown", setup: public(flip(publicType)), code: front.ExitOther, hint: "again"},
		{name: "public part: a hash that is unknown", setup: public(func(p []byte) []byte { p[publicNameAlg+1] = 0x77; return p }), code: front.ExitUnavailable, hint: ""},
		{name: "private part empty", setup: changed("key.pem", func(k *tssKey) { k.Private = nil }), code: front.ExitOther, hint: "again"},
		{name: "private part cut", setup: changed("key.pem", func(k *tssKey) { k.Private = k.Private[:len(k.Private)/2] }), code: front.ExitOther, hint: "again"},
		{name: "private part shorter", setup: changed("key.pem", func(k *tssKey) { k.Private = append([]byte{0, 8}, k.Private[2:10]...) }), code: front.ExitOther, hint: ""},
		{name: "private part: a bit flipped", setup: changed("key.pem", func(k *tssKey) { flip(-1)(k.Private) }), code: front.ExitNotFound, hint: "made"},
		{name: "private part: a bit of its hash flipped", setup: changed("key.pem", func(k *tssKey) { flip(6)(k.Private) }), code: front.ExitNotFound, hint: "made"},
		{name: "private part: of 64 KiB", setup: changed("key.pem", func(k *tssKey) { k.Private = append([]byte{0xff, 0xff}, make([]byte, 0xffff)...) }), code: front.ExitOther, hint: ""},
		{name: "parent: a bit flipped", setup: parent(0x40000011), code: front.ExitOther, hint: "again"},
		{name: "parent: a transient object", setup: parent(0x80000000), code: front.ExitOther, hint: "again"},
		{name: "parent: a PCR", setup: parent(1), code: front.ExitOther, hint: "again"},
		{name: "parent: of 40 bits", setup: parent(0x4040000001), code: front.ExitOther, hint: "again"},
		{name: "parent: negative", setup: parent(-1), code: front.ExitOther, hint: "again"},
		{name: "parent: another hierarchy", setup: parent(0x40000007), code: front.ExitNotFound, hint: "made"},
		{name: "parent: the endorsement hierarchy", setup: parent(0x4000000b), code: front.ExitNotFound, hint: "made"},
		{name: "parent: a persistent object that is not there", setup: parent(0x81000123), code: front.ExitNotFound, hint: "tpm2_getcap"},
		{name: "policy: of TPM2_PolicyAuthorize", setup: changed("key.pem", func(k *tssKey) { k.Policy = []tssStep{{0x16a, nil}} }), code: front.ExitUnavailable, hint: "policies"},
		{name: "policy: of PCRs without parameters", setup: changed("key.pem", func(k *tssKey) { k.Policy = []tssStep{{0x17f, nil}} }), code: front.ExitOther, hint: "again"},
		{name: "policy: one that the key does not have", setup: changed("key.pem", func(k *tssKey) { k.Policy = []tssStep{{0x16b, nil}} }), code: front.ExitUnavailable, hint: ""},
		{name: "policy: 17 steps", setup: changed("key.pem", func(k *tssKey) { k.Policy = make([]tssStep, 17) }), code: front.ExitOther, hint: "again"},
		{name: "importable without its secret", setup: changed("key.pem", func(k *tssKey) { k.Type[len(k.Type)-1] = 4 }), code: front.ExitOther, hint: "again"},
		{name: "storage key", setup: attributes(attributeRestricted|attributeDecrypt, attributeSign), code: front.ExitUnavailable, hint: "restricted"},
		{name: "restricted key", setup: attributes(attributeRestricted, 0), code: front.ExitUnavailable, hint: "restricted"},
		{name: "key that may not sign", setup: attributes(0, attributeSign), code: front.ExitUnavailable, hint: "sign"},
		{name: "sealed data", args: []string{"--private-key", "sealed.pem"}, code: front.ExitUnavailable, culprit: "sealed.pem", hint: "pin-source"},
		{name: "RSA key: a bit of the modulus flipped", args: rsa, setup: changed("rsa.pem", func(k *tssKey) { flip(-2)(k.Public) }), code: front.ExitNotFound, culprit: "rsa.pem", hint: "made"},
		{name: "RSA key: even modulus", args: rsa, setup: changed("rsa.pem", func(k *tssKey) { k.Public[len(k.Public)-1] &^= 1 }), code: front.ExitOther, culprit: "rsa.pem", hint: "again"},
		{name: "certificate of another key", args: []string{"--certificate", "other-cert.pem"}, code: front.ExitOther, hint: "other certificate"},
		{name: "certificate of another key in the file", setup: func(s *scene) {
			data, err := os.ReadFile(s.path("key.pem"))
			s.must(err)
			s.write("key.pem", append(data, s.certPEM...))
		}, args: []string{"--certificate="}, code: front.ExitNotFound, hint: "--certificate"},
		{name: "no certificate", args: []string{"--certificate="}, code: front.ExitNotFound, hint: "certificate"},
		{name: "key file as certificate", args: []string{"--certificate", "key.pem"}, code: front.ExitNotFound, hint: "certificate"},
	})
	for i := range cases {
		c := &cases[i]
		c.name, c.culprit = "key: "+c.name, cmp.Or(c.culprit, "key.pem")
	}
	return append(cases,
		tpmInput{own: prepared(create("", keystore.P256, ""), func(s *tpmScene) {
			s.setPolicyBit()
		}), badInput: badInput{name: "key: another policy in the public part", code: front.ExitNotFound, culprit: "key.pem", hint: "made"}},
		tpmInput{own: func(*tpmScene) {}, badInput: badInput{name: "key: of another TPM", code: front.ExitNotFound, culprit: "key.pem", hint: "made"}},
		tpmInput{own: prepared(persistPrimary(0x81000001)), badInput: badInput{name: "key: of another TPM, with its parent there", setup: parent(0x81000001), code: front.ExitNotFound, culprit: "key.pem", hint: "made"}},
		tpmInput{own: prepared(create("", keystore.P256, ""), persist("tpm:handle=0x81010002")), badInput: badInput{name: "parent: a key that is none", setup: parent(0x81010002), code: front.ExitUnavailable, culprit: "key.pem", hint: ""}},
	)
}

// setPolicyBit changes the policy that the public part of key.pem names: it has
// none, and gets one.
func (s *tpmScene) setPolicyBit() {
	changed("key.pem", func(k *tssKey) {
		p := append(bytes.Clone(k.Public[:publicPolicy]), 0, 32)
		p = append(append(p, bytes.Repeat([]byte{7}, 32)...), k.Public[publicPolicy+2:]...)
		binary.BigEndian.PutUint16(p, uint16(len(p)-2))
		k.Public = p
	})(s.scene)
}

// tpmPasswordCases give no password, or another. How many tries the TPM counts
// is told for each.
func tpmPasswordCases() (cases []tpmInput) {
	source := func(s string) []string { return []string{"--pin-source", s} }
	flag := func(s string) []string { return []string{"--tpm-key-password", s} }
	file := func(text string) func(*scene) { return write("pin", []byte(text)) }
	withPIN := create(testPassword, keystore.P256, "")
	emptyAuth := changed("key.pem", func(k *tssKey) { k.EmptyAuth = true })
	env := []string{"WRONG=" + wrongPassword}
	for tries, group := range map[int][]badInput{
		1: {
			{name: "wrong", args: source("env:WRONG"), env: env},
			{name: "wrong in a file", args: source("file:pin"), setup: file(wrongPassword + "\n")},
			{name: "wrong by --tpm-key-password", args: flag(wrongPassword)},
			{name: "wrong by pin-value", args: []string{"--private-key", "tpm:path=key.pem;pin-value=" + wrongPassword}},
			{name: "wrong by pin-value, and a right --pin-source", args: append(source("env:PIN"), "--private-key", "tpm:path=key.pem;pin-value="+wrongPassword)},
			{name: "wrong by pin-source", args: []string{"--private-key", "tpm:path=key.pem;pin-source=env:WRONG"}, env: env},
			{name: "of 32 bytes, wrong", args: source("env:WRONG"), env: []string{"WRONG=" + strings.Repeat("8", 32)}},
			{name: "with a blank behind", args: source("env:WRONG"), env: []string{"WRONG=" + testPassword + " "}},
			{name: "none, by --no-tpm-key-password", args: []string{"--no-tpm-key-password"}, hint: "--pin-source"},
			{name: "none, since the file says so", setup: emptyAuth, hint: "--pin-source"},
			{name: "wrong, of a file that says there is none", setup: emptyAuth, args: source("env:WRONG"), env: env},
		},
		0: {
			{name: "from nowhere", hint: "--pin-source"},
			{name: "by prompt without a terminal", args: source("prompt"), culprit: "terminal", hint: "--pin-source"},
			{name: "of a software key", args: []string{"--pkcs8-password", testPassword}, hint: "--pin-source"},
			{name: "of 33 bytes", args: source("env:WRONG"), env: []string{"WRONG=" + strings.Repeat("8", 33)}, secret: strings.Repeat("8", 33), hint: ""},
			{name: "of 33 bytes by --tpm-key-password", args: flag(strings.Repeat("8", 33)), secret: strings.Repeat("8", 33), hint: ""},
			{name: "file missing", args: source("file:pin"), culprit: "pin-source pin", hint: "one line"},
			{name: "file empty", args: source("file:pin"), setup: file(""), culprit: "pin-source pin", hint: "one line"},
			{name: "file with a line end alone", args: source("file:pin"), setup: file("\n"), culprit: "pin-source pin", hint: "one line"},
			{name: "file of two lines", args: source("file:pin"), setup: file(testPassword + "\n" + wrongPassword + "\n"), culprit: "pin-source pin", hint: "one line"},
			{name: "file with NUL", args: source("file:pin"), setup: file("open\x00sesame"), culprit: "pin-source pin", hint: "one line"},
			{name: "file of 1 MiB", args: source("file:pin"), setup: file(strings.Repeat("8", 1<<20)), culprit: "pin-source pin", hint: "one line"},
			{name: "file is a folder", args: source("file:pin"), setup: func(s *scene) { s.must(os.Mkdir(s.path("pin"), 0o700)) }, culprit: "pin-source pin", hint: "file"},
			{name: "file of pin-source missing", args: []string{"--private-key", "tpm:path=key.pem;pin-source=file:{dir}/gone"}, culprit: "/gone", hint: "one line"},
			{name: "variable not set", args: source("env:UNSET"), culprit: "env:UNSET", hint: "variable"},
			{name: "variable empty", args: source("env:WRONG"), env: []string{"WRONG="}, culprit: "env:WRONG", hint: "one line"},
			{name: "sealed, in a file that is missing", args: source("tpm:path=gone.pem"), culprit: "gone.pem", hint: ""},
			{name: "sealed, by another TPM", args: source("tpm:path=sealed.pem"), culprit: "sealed.pem", hint: "made"},
			{name: "sealed, in a file that has a key", args: source("tpm:path=key.pem"), culprit: "key.pem", hint: ""},
			{name: "sealed, with a pin-source that is sealed", args: source("tpm:path=sealed.pem;pin-source=tpm:path=sealed.pem"), culprit: "pin-source", hint: "file"},
		},
	} {
		for _, c := range group {
			c.name, c.code = "password "+c.name, front.ExitPIN
			c.culprit, c.secret = cmp.Or(c.culprit, "key.pem"), cmp.Or(c.secret, wrongPassword)
			if c.hint == "" && tries == 1 {
				c.hint = "right password"
			}
			cases = append(cases, tpmInput{badInput: c, own: withPIN, tries: tries})
		}
	}
	both := []string{"--tpm-key-password", wrongPassword}
	cases = append(cases, tpmInputs([]badInput{
		{name: "--tpm-key-password and --pin-source", args: append(source("env:PIN"), both...), secret: wrongPassword, code: front.ExitUsage, culprit: "--tpm-key-password", hint: "--pin-source"},
		{name: "--tpm-key-password and --no-tpm-key-password", args: append([]string{"--no-tpm-key-password"}, both...), secret: wrongPassword, code: front.ExitUsage, culprit: "--no-tpm-key-password", hint: "one"},
		{name: "--no-tpm-key-password and --pin-source", args: append(source("env:PIN"), "--no-tpm-key-password"), code: front.ExitUsage, culprit: "--no-tpm-key-password", hint: "--pin-source"},
		{name: "--tpm-key-password and --pkcs8-password", args: append([]string{"--pkcs8-password", wrongPassword}, both...), secret: wrongPassword, code: front.ExitUsage, culprit: "--pkcs8-password", hint: "one"},
		{name: "--tpm-key-password without quotes", args: append(both, "sword"), secret: "sword", code: front.ExitUsage, culprit: "argument", hint: "quotes"},
	})...)
	locked := prepared(withPIN, wrong(maxTries))
	last := prepared(withPIN, wrong(maxTries-1))
	bad := func(name, hint string, args ...string) badInput {
		return badInput{name: name, args: args, setup: file(wrongPassword + "\n"), env: env, secret: wrongPassword, code: front.ExitPIN, culprit: "key.pem", hint: hint}
	}
	value := "tpm:path=key.pem;pin-value=" + testPassword
	lockedOut := func(name string, args ...string) tpmInput {
		b := bad(name, "tpm2_dictionarylockout", args...)
		b.culprit = "16m40s" // swtpm gives a try back after 1000 s
		return tpmInput{own: locked, badInput: b}
	}
	return append(cases,
		tpmInput{own: withPIN, runs: 2, tries: 2, badInput: bad("password wrong, twice", "right password", source("file:pin")...)},
		lockedOut("lockout, and the right password", source("env:PIN")...),
		lockedOut("lockout, and the right password by pin-value", "--private-key", value),
		lockedOut("lockout, and a wrong password", source("env:WRONG")...),
		lockedOut("lockout, and no password"),
		tpmInput{own: last, badInput: bad("last try, with a file", "--pin-source prompt", source("file:pin")...)},
		tpmInput{own: last, badInput: bad("last try, with a variable that is right", "--pin-source prompt", source("env:PIN")...)},
		tpmInput{own: last, badInput: bad("last try, with --tpm-key-password", "--pin-source prompt", flag(wrongPassword)...)},
		tpmInput{own: last, badInput: bad("last try, with --no-tpm-key-password", "--pin-source prompt", "--no-tpm-key-password")},
		tpmInput{own: last, badInput: bad("last try, with pin-value", "--pin-source prompt", "--private-key", value)},
		tpmInput{own: prepared(last, func(s *tpmScene) { emptyAuth(s.scene) }), badInput: bad("last try, with a file, for a key that says there is none", "--pin-source prompt", source("file:pin")...)},
	)
}

// tpmStateCases have a TPM in another state than the key wants.
func tpmStateCases() []tpmInput {
	none := func(*tpmScene) {}
	handle := []string{"--private-key", "tpm:handle=0x81010002"}
	pin := "tpm:handle=0x81010002;pin-value=" + testPassword
	bound := prepared(create("", keystore.P256, "sha256:16"), extend(16))
	boundPIN := prepared(create(testPassword, keystore.P256, "sha256:16"), extend(16))
	const parentAuth = "tpm:path=key.pem;parent-auth-source=env:"
	return []tpmInput{
		{own: none, badInput: badInput{name: "handle that is free", args: handle, code: front.ExitNotFound, culprit: "0x81010002", hint: "tpm2_getcap"}},
		{own: none, badInput: badInput{name: "handle: that is free", args: []string{"--private-key", "handle:81010002"}, code: front.ExitNotFound, culprit: "81010002", hint: "tpm2_getcap"}},
		{own: persistPrimary(0x81010002), badInput: badInput{name: "handle of a storage key", args: handle, code: front.ExitUnavailable, culprit: "0x81010002", hint: "restricted"}},
		{own: persist("tpm:handle=0x81010002"), badInput: badInput{name: "handle of a key with another certificate", args: append(handle, "--certificate", "other-cert.pem"), code: front.ExitOther, culprit: "0x81010002", hint: "other certificate"}},
		{own: persist("tpm:handle=0x81010002"), badInput: badInput{name: "handle of a key without certificate", args: append(handle, "--certificate="), code: front.ExitNotFound, culprit: "0x81010002", hint: "--certificate"}},
		{own: persist(pin), tries: 1, badInput: badInput{name: "handle of a key with a password, and none", args: handle, code: front.ExitPIN, culprit: "0x81010002", hint: "--pin-source"}},
		{own: persist(pin), tries: 1, badInput: badInput{name: "handle of a key with a password, and a wrong one", args: append(handle, "--tpm-key-password", wrongPassword), secret: wrongPassword, code: front.ExitPIN, culprit: "0x81010002", hint: "right password"}},
		{own: prepared(persist(pin), wrong(maxTries-1)), badInput: badInput{name: "handle of a key with a password, and none at the last try", args: handle, code: front.ExitPIN, culprit: "0x81010002", hint: "tpm2_dictionarylockout"}},

		{own: bound, badInput: badInput{name: "PCR changed", code: front.ExitUnavailable, culprit: "key.pem", hint: "PCR"}},
		{own: boundPIN, badInput: badInput{name: "PCR changed, and the right password", args: []string{"--pin-source", "env:PIN"}, code: front.ExitUnavailable, culprit: "key.pem", hint: "PCR"}},
		{own: create(testPassword, keystore.P256, "sha256:16"), tries: 1, badInput: badInput{name: "PCR as it was, and a wrong password", args: []string{"--tpm-key-password", wrongPassword}, secret: wrongPassword, code: front.ExitPIN, culprit: "key.pem", hint: "right password"}},
		{own: create("", keystore.P256, "sha256:16"), badInput: badInput{name: "policy lost from the file", setup: changed("key.pem", func(k *tssKey) { k.Policy = nil }), code: front.ExitUnavailable, culprit: "key.pem", hint: "tool"}},
		{own: create("", keystore.P256, "sha256:16"), badInput: badInput{name: "policy: a bit of the PCRs' digest flipped", setup: changed("key.pem", func(k *tssKey) { k.Policy[0].Parameters[5] ^= 1 }), code: front.ExitUnavailable, culprit: "key.pem", hint: "PCR"}},
		{own: create("", keystore.P256, "sha256:16"), badInput: badInput{name: "policy: another PCR", setup: changed("key.pem", func(k *tssKey) { p := k.Policy[0].Parameters; p[len(p)-1] ^= 3 }), code: front.ExitUnavailable, culprit: "key.pem", hint: "PCR"}},
		{own: create("", keystore.P256, "sha256:16"), badInput: badInput{name: "policy: a bank that the TPM does not have", setup: changed("key.pem", func(k *tssKey) { p := k.Policy[0].Parameters; p[len(p)-5] = 0x77 }), code: front.ExitUnavailable, culprit: "key.pem", hint: ""}},
		{own: func(s *tpmScene) {
			bank, err := tpm.ParsePCRs("sha256:16")
			s.must(err)
			data, err := tpm.Seal(s.Context(), tpm.CreateConfig{Device: s.tpm.Path, PCRs: bank}, []byte(testPassword))
			s.must(err)
			create(testPassword, keystore.P256, "")(s)
			s.write("sealed.pem", data)
			extend(16)(s)
		}, badInput: badInput{name: "password sealed to a PCR that changed", args: []string{"--pin-source", "tpm:path=sealed.pem"}, code: front.ExitPIN, culprit: "sealed.pem", hint: "PCR"}},

		{own: prepared(create("", keystore.P256, ""), protect("owner")), badInput: badInput{name: "parent with a password, and none", code: front.ExitPIN, culprit: "parent", hint: "parent-auth-source"}},
		{own: prepared(create("", keystore.P256, ""), protect("owner")), badInput: badInput{name: "parent with a password, and a wrong one", args: []string{"--private-key", parentAuth + "WRONG"}, env: []string{"WRONG=" + wrongPassword}, secret: wrongPassword, code: front.ExitPIN, culprit: "parent", hint: "right password"}},
		{own: prepared(create("", keystore.P256, ""), protect("owner")), badInput: badInput{name: "parent with a password, and that of the key", args: []string{"--tpm-key-password", "owner"}, secret: "owner-", code: front.ExitPIN, culprit: "parent", hint: "parent-auth-source"}},
		{own: prepared(create("", keystore.P256, ""), protect("owner")), badInput: badInput{name: "parent with a password, from nowhere", args: []string{"--private-key", parentAuth + "UNSET"}, code: front.ExitPIN, culprit: "UNSET", hint: "variable"}},
	}
}

// goodTPMCases are those next to the bad ones.
func goodTPMCases() (cases []tpmInput) {
	key := func(s string) []string { return []string{"--private-key", s} }
	pinned := func(args ...string) []string {
		return append([]string{"--private-key", "pin.pem", "--certificate", "pin-cert.pem"}, args...)
	}
	file := func(text string) func(*scene) { return write("pin", []byte(text)) }
	edit := func(change func([]byte) []byte) func(*scene) {
		return func(s *scene) {
			data, err := os.ReadFile(s.path("key.pem"))
			s.must(err)
			s.write("key.pem", change(data))
		}
	}
	both := func(s *scene) {
		cert, err := os.ReadFile(s.path("cert.pem"))
		s.must(err)
		edit(func(d []byte) []byte { return append(d, cert...) })(s)
	}
	cases = tpmInputs([]badInput{
		{name: "plain"},
		{name: "tpm:path", args: key("tpm:path=key.pem")},
		{name: "TPM:path", args: key("TPM:path=key.pem")},
		{name: "file:", args: key("file:{dir}/key.pem")},
		{name: "device=", args: key("tpm:path=key.pem;device={tpm}"), env: []string{"TPM_DEVICE=/nowhere"}},
		{name: "path with characters of a reference", args: key("tpm:path=a%3Bb%25c.pem"), setup: func(s *scene) { s.must(os.Rename(s.path("key.pem"), s.path("a;b%c.pem"))) }},
		{name: "RSA", args: []string{"--private-key", "rsa.pem", "--certificate", "rsa-cert.pem"}},
		{name: "key and certificate in one file", setup: both, args: []string{"--certificate="}},
		{name: "key and certificate in one file, as certificate", setup: both, args: []string{"--certificate", "key.pem", "--private-key="}},
		{name: "key and certificate in one file, by tpm:", setup: both, args: []string{"--certificate", "tpm:path=key.pem", "--private-key="}},
		{name: "text around", setup: edit(func(d []byte) []byte { return append([]byte("a key\n"), d...) })},
		{name: "Windows line ends", setup: edit(func(d []byte) []byte { return bytes.ReplaceAll(d, []byte("\n"), []byte("\r\n")) })},
		{name: "byte order mark", setup: edit(func(d []byte) []byte { return append([]byte("\ufeff"), d...) })},
		{name: "no password, and one is given", args: []string{"--no-tpm-key-password"}},
		{name: "password file with a line end", args: pinned("--pin-source", "file:pin"), setup: file(testPassword + "\n")},
		{name: "password file with a Windows line end", args: pinned("--pin-source", "file:pin"), setup: file(testPassword + "\r\n")},
		{name: "password file without a line end", args: pinned("--pin-source", "pin"), setup: file(testPassword)},
		{name: "password in a variable", args: pinned("--pin-source", "env:PIN")},
		{name: "--tpm-key-password", args: pinned("--tpm-key-password", testPassword)},
		{name: "pin-value", args: pinned("--private-key", "tpm:path=pin.pem;pin-value="+testPassword)},
		{name: "pin-value before --pin-source", args: pinned("--pin-source", "env:UNSET", "--private-key", "tpm:path=pin.pem;pin-value="+testPassword)},
		{name: "pin-source of the reference", args: pinned("--private-key", "tpm:path=pin.pem;pin-source=env:PIN")},
		{name: "password that is sealed", args: pinned("--pin-source", "tpm:path=sealed.pem")},
		{name: "password that is sealed, in the reference", args: pinned("--private-key", "tpm:path=pin.pem;pin-source=tpm:path=sealed.pem")},
		{name: "password, and a file that says there is none", args: pinned("--pin-source", "env:PIN"), setup: changed("pin.pem", func(k *tssKey) { k.EmptyAuth = true })},
		{name: "no password, and a file that says there is one", args: []string{"--no-tpm-key-password"}, setup: changed("key.pem", func(k *tssKey) { k.EmptyAuth = false })},
		{name: "key file from standard input", args: key("-"), setup: func(s *scene) {
			f, err := os.Open(s.path("key.pem"))
			s.must(err)
			s.stdin = f
		}},
	})
	for _, ref := range []string{"tpm:handle=0x81010002", "tpm:handle=0X81010002", "tpm:handle=2164326402", "handle:81010002", "handle:0x81010002", "handle:0X81010002", "HANDLE:0x81010002"} {
		cases = append(cases, tpmInput{own: persist("tpm:handle=0x81010002"), badInput: badInput{name: ref, args: key(ref)}})
	}
	long := strings.Repeat("8", 32)
	return append(cases,
		tpmInput{own: persist("tpm:handle=0x8101abcd"), badInput: badInput{name: "handle: in capitals", args: key("handle:0X8101ABCD")}},
		tpmInput{own: persist("tpm:handle=0x81010002;pin-value=" + testPassword), badInput: badInput{name: "handle of a key with a password", args: append(key("handle:81010002"), "--pin-source", "env:PIN")}},
		tpmInput{own: create(long, keystore.P256, ""), badInput: badInput{name: "password of 32 bytes", args: []string{"--pin-source", "env:LONG"}, env: []string{"LONG=" + long}}},
		tpmInput{own: prepared(create(testPassword, keystore.P256, ""), wrong(1)), badInput: badInput{name: "password right after a wrong one", args: []string{"--pin-source", "env:PIN"}}},
		tpmInput{own: create("", keystore.P256, "sha256:16"), badInput: badInput{name: "PCR as it was"}},
		tpmInput{own: prepared(create("", keystore.P256, "sha256:16"), extend(23)), badInput: badInput{name: "another PCR changed"}},
		tpmInput{own: create(testPassword, keystore.P256, "sha256:16"), badInput: badInput{name: "PCR as it was, and the password", args: []string{"--pin-source", "env:PIN"}}},
		tpmInput{own: prepared(create("", keystore.P256, ""), protect("owner")), badInput: badInput{name: "parent with a password", args: key("tpm:path=key.pem;parent-auth-source=env:OWNER"), env: []string{"OWNER=owner"}}},
		tpmInput{own: prepared(wrong(maxTries), create("", keystore.P256, "")), badInput: badInput{name: "lockout, and a key without password"}},
		tpmInput{own: prepared(create("", keystore.P256, ""), func(s *tpmScene) { s.tpm.Kill(); s.must(s.tpm.Restart()) }), badInput: badInput{name: "TPM switched off and on"}},
	)
}
