package pages

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A hintCommand is a command of another program in a hint or a message. Its
// words in upper case are variables of its script, which sets them and runs the
// command as $RUN, in a folder of its own. A command of another system has no
// script.
type hintCommand struct{ command, script string }

const files = `
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
openssl req -x509 -new -key key.pem -subj /CN=app -days 1 -out cert.pem
yes secret | head -9 > stdin
`

// mldsaFiles marks a script that needs an OpenSSL with ML-DSA.
const mldsaFiles = `
openssl genpkey -algorithm ML-DSA-65 -out key.pem; cp key.pem mldsa.pem
`

const token11 = `
mkdir tokens && echo "directories.tokendir = $PWD/tokens" > conf && export SOFTHSM2_CONF=$PWD/conf
softhsm2-util --init-token --free --label t --so-pin 13579 --pin 24680 > /dev/null
set -- /usr/lib/*/softhsm/libsofthsm2.so /usr/lib/softhsm/libsofthsm2.so; PATH11=$1
`

var hintCommands = []hintCommand{
	{"openssl x509 -in FILE -noout -pubkey | openssl pkey -pubin -outform DER | openssl sha256", files + `FILE=cert.pem; test "$($RUN)" = "$(openssl pkey -in key.pem -pubout -outform DER | openssl sha256)"`},
	{"openssl x509 -in FILE -noout -subject -issuer -dates", files + `FILE=cert.pem; $RUN | grep notAfter`},
	{"openssl pkey -in FILE -pubout -outform DER | openssl sha256", files + `FILE=key.pem; $RUN | grep -E '[0-9a-f]{64}$'`},
	{"openssl req -new -key FILE -subj NAME -addext keyUsage=critical,digitalSignature -out PATH", files + `FILE=key.pem NAME=/CN=app PATH11=new.csr; $RUN; openssl req -in new.csr -noout -text | grep 'Digital Signature'`},
	{"openssl pkey -in FILE -noout", files + `FILE=key.pem; $RUN < stdin`},
	{"openssl x509 -in FILE -noout -text", files + `FILE=cert.pem; $RUN | grep CN`},
	{"openssl x509 -in FILE -noout", files + `FILE=cert.pem; $RUN`},
	{"openssl x509 -in FILE -out FILE.converted.pem", files + `openssl x509 -in cert.pem -trustout -out trusted; FILE=trusted; $RUN; grep -- '-BEGIN CERTIFICATE' $FILE.converted.pem`},
	{"openssl x509 -in cert.pem -noout -subject -nameopt RFC2253", files + `$RUN | grep 'CN=app'`},
	{"openssl pkcs7 -inform DER -in FILE -print_certs -out FILE.converted.pem", files + `openssl crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out p7; FILE=p7; $RUN; grep -- '-BEGIN CERTIFICATE' $FILE.converted.pem`},
	{"openssl rsa -inform PVK -in FILE -out FILE.converted.pem -provider legacy -provider default", `openssl genrsa -out rsa 2048; yes secret | head -9 > stdin
for FILE in none strong; do openssl rsa -in rsa -outform PVK -pvk-$FILE -passout pass:secret -provider legacy -provider default -out $FILE; $RUN < stdin; grep -- '-BEGIN PRIVATE KEY' $FILE.converted.pem; done`},
	{"openssl rsa -inform MSBLOB -in FILE -out FILE.converted.pem", `openssl genrsa -out rsa 2048; openssl rsa -in rsa -outform MSBLOB -out FILE; FILE=FILE; $RUN; grep -- '-BEGIN PRIVATE KEY' $FILE.converted.pem`},
	{"keytool -importkeystore -srckeystore FILE -destkeystore FILE.converted.p12 -deststoretype PKCS12", ""}, // needs Java
	{"openssl pkcs7 -in FILE -print_certs -out FILE.converted.pem", files + `openssl crl2pkcs7 -nocrl -certfile cert.pem -out p7; FILE=p7; $RUN; grep -- '-BEGIN CERTIFICATE' $FILE.converted.pem`},
	{"openssl pkcs8 -topk8 -in FILE -out FILE.converted.pem -provider legacy -provider default", files + `openssl pkcs8 -topk8 -in key.pem -v1 PBE-SHA1-RC2-40 -passout pass:secret -provider legacy -provider default -out old; FILE=old; $RUN < stdin; openssl pkey -in $FILE.converted.pem -passin pass:secret -noout
for c in des rc2 seed; do openssl ec -in key.pem -$c -passout pass:secret -provider legacy -provider default -out $c; FILE=$c; $RUN < stdin; grep -- '-BEGIN ENCRYPTED PRIVATE KEY' $FILE.converted.pem; done`},
	{"openssl pkey -in FILE -out FILE.converted.pem", files + `openssl pkcs8 -topk8 -in key.pem -passout pass:secret -out p8; FILE=p8; $RUN < stdin; grep -- '-BEGIN PRIVATE KEY' $FILE.converted.pem; test $(stat -c %a $FILE.converted.pem) = 600`},
	{"openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out FILE.new.pem", `FILE=f; $RUN; openssl pkey -in f.new.pem -noout`},
	{"openssl genpkey -algorithm ", `RUN="$RUN ML-DSA-65 -out f"; $RUN; openssl pkey -in f -noout -text_pub | grep ML-DSA-65`},
	{"openssl req -new -key FILE -subj /CN=NAME -out FILE.csr", mldsaFiles + `FILE=key.pem NAME=app; $RUN; openssl req -in key.pem.csr -noout -verify`},
	{"openssl req -x509 -new -key FILE -subj /CN=NAME -days 3650 -addext keyUsage=critical,keyCertSign,cRLSign -out FILE.pem", mldsaFiles + `FILE=key.pem NAME=CA; $RUN; openssl verify -x509_strict -CAfile key.pem.pem key.pem.pem; openssl x509 -in key.pem.pem -noout -ext basicConstraints,keyUsage | grep 'CA:TRUE'`},
	{`openssl req -config "" -x509 -in FILE.csr -CA CA.pem -CAkey CA-KEY.pem -days 30 -addext keyUsage=critical,digitalSignature -out FILE.pem`, mldsaFiles + files + `mv cert.pem CA.pem; mv key.pem CA-KEY.pem
openssl req -new -key mldsa.pem -subj /CN=app -out app.csr; FILE=app; $RUN; openssl verify -CAfile CA.pem app.pem; openssl x509 -in app.pem -noout -ext keyUsage | grep 'Digital Signature'`},
	{"openssl pkcs12 -legacy -in FILE -nodes -out FILE.converted.pem", files + `for o in '' '-legacy -keypbe PBE-SHA1-RC4-40 -certpbe PBE-SHA1-RC4-40'; do openssl pkcs12 -export $o -inkey key.pem -in cert.pem -passout pass:secret -out p12; rm -f p12.converted.pem; FILE=p12; $RUN < stdin; grep -- '-BEGIN PRIVATE KEY' $FILE.converted.pem; test $(stat -c %a $FILE.converted.pem) = 600; done`},
	{"openssl pkcs8 -topk8 -in FILE -out FILE.converted.pem", files + `openssl ec -in key.pem -aes128 -passout pass:secret -out old 2>/dev/null; grep Proc-Type old; FILE=old; $RUN < stdin; grep -- '-BEGIN ENCRYPTED PRIVATE KEY' $FILE.converted.pem`},
	{"openssl pkcs8 -topk8 -iter 600000 -in FILE -out FILE.converted.pem", files + `FILE=key.pem; $RUN < stdin; grep -- '-BEGIN ENCRYPTED PRIVATE KEY' $FILE.converted.pem`},
	{"openssl pkcs12 -in FILE -info -noout", files + `openssl pkcs12 -export -inkey key.pem -in cert.pem -passout pass:secret -out p12; FILE=p12; $RUN < stdin`},
	{"openssl pkcs12 -legacy -in FILE -out FILE.converted.pem", files + `openssl pkcs12 -export -legacy -keypbe PBE-SHA1-RC4-40 -certpbe PBE-SHA1-RC4-40 -inkey key.pem -in cert.pem -passout pass:secret -out p12; FILE=p12; $RUN < stdin; grep -- '-BEGIN ENCRYPTED PRIVATE KEY' $FILE.converted.pem`},
	{"openssl pkcs12 -in FILE -out FILE.converted.pem", files + `openssl pkcs12 -export -inkey key.pem -in cert.pem -passout pass:secret -out p12; FILE=p12; $RUN < stdin; grep -- '-BEGIN ENCRYPTED PRIVATE KEY' $FILE.converted.pem`},
	{"openssl x509 -req needs -extfile", ""}, // a fact, not a command
	{"cp FILE FILE.converted.pem && ssh-keygen -p -m PKCS8 -f FILE.converted.pem", `ssh-keygen -q -t ecdsa -N '' -f old; grep OPENSSH old
printf '#!/bin/sh\n' > none; chmod +x none; export SSH_ASKPASS=$PWD/none SSH_ASKPASS_REQUIRE=force
FILE=old; $RUN; grep -- '-BEGIN PRIVATE KEY' old.converted.pem`},
	{"ssh-keygen -p -m PKCS8 -f COPY", `ssh-keygen -q -t ecdsa -N '' -f COPY; grep OPENSSH COPY
printf '#!/bin/sh\n' > none; chmod +x none; export SSH_ASKPASS=$PWD/none SSH_ASKPASS_REQUIRE=force
COPY=COPY; $RUN; grep -- '-BEGIN PRIVATE KEY' COPY`},
	{"ssh-keygen -t ecdsa -b 256 -f NAME", `NAME=app; RUN="$RUN -N \\\"\\\""; $RUN; grep OPENSSH app`},

	{"chmod 600", `touch f; RUN="$RUN f"; chmod 644 f; $RUN; test $(stat -c %a f) = 600`},
	{"chmod go-w FILE", `touch f; chmod 666 f; FILE=f; $RUN; test $(stat -c %a f) = 644`},
	{"chmod go-w", `touch f; RUN="$RUN f"; chmod 666 f; $RUN; test $(stat -c %a f) = 644`},
	{"chmod g-w FILE", `touch f; chmod 664 f; FILE=f; $RUN; test $(stat -c %a f) = 644`},
	{"chmod g-w", `touch f; RUN="$RUN f"; chmod 664 f; $RUN; test $(stat -c %a f) = 644`},
	{"chmod o-w FILE", `touch f; chmod 666 f; FILE=f; $RUN; test $(stat -c %a f) = 664`},
	{"chmod +x FILE", `touch f; chmod 600 f; FILE=f; $RUN; test -x f`},
	{"chmod +x", `printf '#!/bin/sh\n' > f; RUN="$RUN f"; $RUN; ./f`},
	{"sudo chown NAME FILE", ""}, // it needs another user
	{"chmod 700", `mkdir d; RUN="$RUN d"; chmod 755 d; $RUN; test $(stat -c %a d) = 700`},
	{"usermod -aG softhsm USER", ""}, // it would change this machine

	{"pkcs11-tool -L --module PATH", token11 + `$RUN | grep SoftHSM`},
	{"pkcs11-tool --module PATH --list-slots", token11 + `$RUN | grep SoftHSM`},
	{"pkcs11-tool --module PATH --login --login-type so --init-pin", token11 + `RUN="$RUN --so-pin 13579 --new-pin 97531"; $RUN`},
	{"pkcs11-tool --module PATH --login --keypairgen --key-type EC:prime256v1 --usage-sign --label NAME", token11 + `NAME=app; RUN="$RUN --pin 24680"; $RUN`},

	{"tpm2_getcap handles-persistent", `$RUN`},
	{"tpm2_pcrread sha256:7", `$RUN | grep '7 : 0x0'`},
	{"tpm2_evictcontrol -c ", `tpm2_createprimary -Q -c p.ctx; tpm2_evictcontrol -Q -c p.ctx 0x81010001; tpm2_flushcontext -t; RUN="$RUN 0x81010001"; $RUN; tpm2_getcap handles-persistent | { ! grep 81010001; }`},
	{"tpm2_dictionarylockout --clear-lockout", `$RUN`},
	{"tpm2_flushcontext -t -l -s", `tpm2_createprimary -Q -c p.ctx; $RUN; tpm2_getcap handles-transient | { ! grep 0x8; }`},

	{"spire-agent api fetch x509 -socketPath", ""}, // SPIRE is not here
	{"spire-agent healthcheck -socketPath", ""},
	{"spire-server entry create", ""},

	{"certutil -user -repairstore MY SERIAL", ""}, // Windows
	{"certutil -user -csp PROVIDER -delkey NAME", ""},
	{"certutil -user -enumstore", ""},
	{"certutil -enumstore", ""},
	{"certutil -csplist", ""},
	{"certutil -scinfo", ""},
	{"sc start SCardSvr", ""},
	{"sc start KeyIso", ""},

	{"sc_auth create-ctk-identity", ""}, // macOS
	{"sc_auth import-ctk-certificate", ""},
	{"security import", ""},
	{"security unlock-keychain", ""},
	{"security list-keychains", ""},
	{"security list-smartcards", ""},
	{"ssh-keygen -L -f FILE", `ssh-keygen -q -t ed25519 -N '' -f key; ssh-keygen -q -s key -I app key.pub; FILE=key-cert.pub; $RUN | grep 'Public key: .*SHA256:'`},
	{"security set-key-partition-list", ""},
}

// TestHintCommands runs every command that has a script.
func TestHintCommands(t *testing.T) {
	programs := map[string]string{
		"openssl": "openssl", "cp": "ssh-keygen", "ssh-keygen": "ssh-keygen", "chmod": "chmod",
		"pkcs11-tool": "pkcs11-tool", "tpm2_getcap": "tpm2_getcap", "tpm2_evictcontrol": "tpm2_getcap",
		"tpm2_dictionarylockout": "tpm2_getcap", "tpm2_flushcontext": "tpm2_getcap", "tpm2_pcrread": "tpm2_getcap",
	}
	requirements := map[string]string{"pkcs11-tool": "opensc", "tpm2_getcap": "tpm2-tools"}
	for _, c := range hintCommands {
		if c.script == "" {
			continue
		}
		t.Run(c.command, func(t *testing.T) {
			t.Parallel()
			program := programs[strings.Fields(c.command)[0]]
			name := program
			if r := requirements[program]; r != "" {
				name = r
			}
			signertest.Require(t, name, program)
			env := os.Environ()
			if strings.Contains(c.script, "ML-DSA") {
				env = append(env, "PATH="+filepath.Dir(signertest.OpenSSL35(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
			}
			switch program {
			case "pkcs11-tool":
				signertest.Require(t, "softhsm", "softhsm2-util")
			case "tpm2_getcap":
				signertest.Require(t, "swtpm", "swtpm")
				env = append(env, "TPM2TOOLS_TCTI="+tpmtest.Start(t).TCTI())
			}
			words := regexp.MustCompile(`\b(FILE|COPY|NAME|PATH)\b`).ReplaceAllString(c.command, "$$$1")
			words = strings.ReplaceAll(words, "$PATH", "$PATH11")
			// A terminal would be asked for passwords instead of standard input.
			cmd := exec.Command("sh", "-ec", "RUN='eval "+words+"'\n"+c.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			cmd.Dir, cmd.Env = t.TempDir(), env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// program is a word with which a command begins.
var program = regexp.MustCompile(`\b(openssl|keytool|iconv|ssh-keygen|pkcs11-tool|softhsm2-util|p11tool|tpm2_[a-z]+|chmod|chown|usermod|certutil|security [a-z]+-|security import|sc_auth|sc start|keyctl|systemctl|spire-agent [a-z]+|spire-server [a-z]+)\b`)

// TestHintCommandsAreKnown fails if a text of the program has a command that is
// not among hintCommands, or if one of these is in no text.
func TestHintCommandsAreKnown(t *testing.T) {
	used := make(map[string]bool)
	texts := 0
	for place, text := range literals(t) {
		texts++
		if strings.Contains(text, "\n") {
			continue // help, whose examples have a test of their own
		}
		left := text
		for _, c := range hintCommands {
			if strings.Contains(left, c.command) {
				used[c.command] = true
				left = strings.ReplaceAll(left, c.command, "")
			}
		}
		if found := program.FindString(left); found != "" {
			t.Errorf("%s: a command that begins with %q is not in the table: %s", place, found, text)
		}
	}
	if texts < 1000 {
		t.Errorf("only %d texts", texts)
	}
	for _, c := range hintCommands {
		if !used[c.command] {
			t.Errorf("%q is in no text", c.command)
		}
	}
}

// literals returns the string literals of the module without its tests and
// programs for development, by their place.
func literals(t *testing.T) map[string]string {
	const root = "../../../.."
	found := make(map[string]string)
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || strings.HasSuffix(name, "test") || name == "testdata" || name == "script" || name == "tools" || name == "bin"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					found[fmt.Sprint(fset.Position(literal.Pos()))] = text
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
