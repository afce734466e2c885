//go:build linux && cgo

package badinput

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The setups of tokens.

// tool runs a program over the tokens of the scene.
func (s *scene) tool(name string, args ...string) {
	s.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+s.path("softhsm2.conf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// copied makes a file of the folder like another one.
func copied(name, pattern string, change func([]byte) []byte) func(*scene) {
	return func(s *scene) {
		path := pattern
		if !filepath.IsAbs(path) {
			path = s.path(path)
		}
		found, err := filepath.Glob(path)
		s.must(err)
		if len(found) == 0 {
			s.Fatalf("there is no %s", path)
		}
		data, err := os.ReadFile(found[0])
		s.must(err)
		s.write(name, change(data))
	}
}

func initToken(label string) func(*scene) {
	return func(s *scene) {
		s.tool("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pkcs11test.PIN, "--so-pin", pkcs11test.SOPIN)
	}
}

// importKey makes a private and a public key object. The ID is in hex.
func importKey(token, label, id string, key crypto.Signer) func(*scene) {
	return func(s *scene) {
		s.write("import.pem", signertest.KeyPEM(s, key))
		importFile(token, label, id)(s)
	}
}

// importFile is importKey with what is in import.pem.
func importFile(token, label, id string) func(*scene) {
	return func(s *scene) {
		s.tool("softhsm2-util", "--import", s.path("import.pem"), "--token", token, "--label", label, "--id", id, "--pin", pkcs11test.PIN, "--force")
	}
}

func importCert(token, label, id string, der []byte) func(*scene) {
	return func(s *scene) {
		s.write("import.der", der)
		s.tool("pkcs11-tool", "--module", s.path("softhsm.so"), "--token-label", token, "--login", "--pin", pkcs11test.PIN,
			"--write-object", s.path("import.der"), "--type", "cert", "--label", label, "--id", id)
	}
}

// dropObject removes what has the ID 01: "cert", "privkey" or "pubkey".
func dropObject(kind string) func(*scene) {
	return func(s *scene) {
		s.tool("pkcs11-tool", "--module", s.path("softhsm.so"), "--token-label", "app", "--login", "--pin", pkcs11test.PIN,
			"--delete-object", "--type", kind, "--id", "01")
	}
}

// noTokens leaves the empty slot that SoftHSM always has.
func noTokens(s *scene) {
	s.must(os.RemoveAll(s.path("tokens")))
	s.must(os.Mkdir(s.path("tokens"), 0o755))
}

// Attributes in SoftHSM's files, and their kinds. All numbers there have eight
// bytes, in network order.
const (
	storedSign        = 0x108
	storedAlways      = 0x202
	storedTokenLabel  = 0x80000000 + 0x5348 + 1 // CKA_OS_TOKENLABEL
	storedTokenFlags  = 0x80000000 + 0x5348 + 3 // CKA_OS_TOKENFLAGS
	storedBool        = 1
	storedNumber      = 2
	storedBytes       = 3 // their number stands before them
	flagPINCountLow   = 0x10000
	flagPINFinalTry   = 0x20000
	flagPINIsLocked   = 0x40000
	storedHeaderBytes = 16
)

// changeStored rewrites an attribute wherever it is stored, which no tool does.
// change gets its value and what follows it.
func (s *scene) changeStored(attribute, kind uint64, change func(value []byte)) {
	s.Helper()
	header := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, attribute), kind)
	files, err := filepath.Glob(s.path("tokens/*/*.object"))
	s.must(err)
	changed := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		s.must(err)
		if i := bytes.Index(data, header); i >= 0 {
			change(data[i+storedHeaderBytes:])
			s.must(os.WriteFile(name, data, 0o600))
			changed++
		}
	}
	if changed == 0 {
		s.Fatalf("no object has the attribute %#x", attribute)
	}
}

func setBool(attribute uint64, to byte) func(*scene) {
	return func(s *scene) { s.changeStored(attribute, storedBool, func(v []byte) { v[0] = to }) }
}

func tokenFlag(set, clear uint64) func(*scene) {
	return func(s *scene) {
		s.changeStored(storedTokenFlags, storedNumber, func(v []byte) {
			binary.BigEndian.PutUint64(v, binary.BigEndian.Uint64(v)&^clear|set)
		})
	}
}

// countIsLow checks that one wrong PIN is what the token has seen.
func countIsLow(s *scene) {
	s.changeStored(storedTokenFlags, storedNumber, func(v []byte) {
		if f := binary.BigEndian.Uint64(v); f&flagPINCountLow == 0 || f&(flagPINFinalTry|flagPINIsLocked) != 0 {
			s.Errorf("the token's flags are %#x", f)
		}
	})
}

// garbage overwrites the certificate on the token.
func garbage(s *scene) {
	files, err := filepath.Glob(s.path("tokens/*/*.object"))
	s.must(err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		s.must(err)
		if i := bytes.Index(data, s.leaf.Raw); i >= 0 {
			copy(data[i:], bytes.Repeat([]byte("rubbish "), len(s.leaf.Raw)/8))
			s.must(os.WriteFile(name, data, 0o600))
			return
		}
	}
	s.Fatal("no object has the certificate")
}

// otherClass is the beginning of a library for 32 bits.
func otherClass(s *scene) {
	data := make([]byte, 4096)
	copy(data, "\x7fELF\x01\x01\x01")
	data[16], data[18] = 3, 3 // ET_DYN, EM_386
	s.write("module.so", data)
}

// kit configures p11-kit for the user of badInput.nobody.
func kit(modules map[string]string) func(*scene) {
	return func(s *scene) {
		signertest.Require(s, "p11kit", "p11-kit")
		s.must(os.MkdirAll(s.path(".config/pkcs11/modules"), 0o755))
		s.write(".config/pkcs11/pkcs11.conf", []byte("user-config: only\n"))
		for name, text := range modules {
			s.write(".config/pkcs11/modules/"+name+".module", []byte(strings.ReplaceAll(text, "{dir}", s.dir)))
		}
		given(s)
	}
}

// jail makes a folder with the program and what it needs to run, but no more,
// as a small container has it.
func jail(s *scene) {
	programs := []string{"holdfast"}
	if _, err := os.Stat(s.path("holdfast-pkcs11")); err == nil {
		programs = append(programs, "holdfast-pkcs11") // holdfast itself is then static
	}
	s.imprison(programs...)
	out, err := exec.Command("ldd", s.path(programs[len(programs)-1])).Output()
	s.must(err)
	for _, file := range libraryPath.FindAllString(string(out), -1) {
		name := "root" + file
		s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
		copied(name, file, func(d []byte) []byte { return d })(s)
		s.must(os.Chmod(s.path(name), 0o755))
	}
}

// libraryPath matches the files in what ldd says.
var libraryPath = regexp.MustCompile(`/\S+\.so\S*`)
