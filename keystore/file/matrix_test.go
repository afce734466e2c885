package file_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A combination is a file that another program writes: the key and its
// certificate are in the files KIND and KIND.crt.
type combination struct {
	kind     string // of the key
	command  string // its output is OUT; the password is in PW
	password string
	refusal  string // a word of the reason; "": the file is opened
}

var matrixPasswords = []string{"secret", "§ é", "pass 🔑 word", strings.Repeat("long", 20)}

// matrixKinds are the kinds of keys, with the reason why one is refused.
var matrixKinds = []struct{ kind, generate, refusal string }{
	{"rsa2048", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", ""},
	{"rsa3primes", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3", ""},
	{"p256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", ""},
	{"p384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", ""},
	{"p521", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521", ""},
	{"explicit", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit", ""},
	{"ed25519", "genpkey -algorithm ED25519", ""},
	{"p224", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-224", "P-224"},
	{"secp256k1", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "secp256k1"},
	{"brainpool", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP384r1", "brainpoolP384r1"},
	{"sm2", "genpkey -algorithm SM2", "SM2"},
	{"ed448", "genpkey -algorithm ED448", "Ed448"},
	{"x25519", "genpkey -algorithm X25519", "X25519"},
	{"x448", "genpkey -algorithm X448", "X448"},
	{"pss", "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048", "RSA-PSS"},
	{"dh", "genpkey -algorithm DH -pkeyopt group:ffdhe2048", "Diffie-Hellman"},
}

const legacy = " -provider legacy -provider default"

// keyFileCombinations are the key files of OpenSSL and GnuTLS.
func keyFileCombinations() (all []combination) {
	add := func(kind, command, password, refusal string) {
		all = append(all, combination{kind, command, password, refusal})
	}
	for _, k := range matrixKinds {
		for _, form := range []string{"PEM", "DER"} {
			add(k.kind, "openssl pkey -in KIND -outform "+form+" -out OUT", "", k.refusal)
			if k.kind != "ed25519" && k.kind != "explicit" && k.refusal == "" || strings.Contains(k.kind, "secp") || k.kind == "brainpool" {
				add(k.kind, "openssl pkey -in KIND -traditional -outform "+form+" -out OUT", "", k.refusal)
			}
			add(k.kind, "openssl pkcs8 -topk8 -in KIND -passout env:PW -outform "+form+" -out OUT", "secret", k.refusal)
		}
		add(k.kind, "openssl pkcs12 -export -nocerts -inkey KIND -passout env:PW -out OUT", "secret", k.refusal)
		if k.kind == "p256" || k.kind == "rsa2048" {
			add(k.kind, "openssl pkey -in KIND -traditional -aes128 -passout env:PW -out OUT", "secret", "legacy PEM encryption")
		}
	}
	for _, kind := range []string{"p256", "rsa2048"} {
		for _, password := range matrixPasswords {
			for _, c := range []struct{ flags, refusal string }{
				{"-v2 aes-128-cbc", ""}, {"-v2 aes-192-cbc", ""}, {"-v2 aes-256-cbc", ""}, {"-v2 des3", ""},
				{"-v2 aes-256-cbc -v2prf hmacWithSHA1", ""}, {"-v2 aes-128-cbc -v2prf hmacWithSHA224", ""},
				{"-v2 aes-256-cbc -v2prf hmacWithSHA384", ""}, {"-v2 aes-256-cbc -v2prf hmacWithSHA512", ""},
				{"-scrypt", ""}, {"-v2 camellia-128-cbc", "Camellia-128"}, {"-v2 aria-256-cbc", "ARIA-256"},
				{"-v1 PBE-SHA1-3DES", "triple DES"}, {"-v1 PBE-SHA1-RC2-40" + legacy, "RC2"},
				{"-v1 PBE-SHA1-RC4-128" + legacy, "RC4"}, {"-v1 PBE-MD5-DES" + legacy, "MD5 and DES"},
			} {
				add(kind, "openssl pkcs8 -topk8 -in KIND -passout env:PW -out OUT "+c.flags, password, c.refusal)
			}
			for cipher, refusal := range map[string]string{"aes-128": "", "aes-192": "", "aes-256": "", "3des": "", "3des-pkcs12": "triple DES", "rc2-40": "RC2", "arcfour": "RC4"} {
				add(kind, "certtool --to-p8 --load-privkey KIND --password PASSWORD --pkcs-cipher "+cipher+" --outfile OUT", password, refusal)
			}
		}
	}
	return all
}

// pkcs12Combinations are the PKCS #12 files of OpenSSL and GnuTLS.
func pkcs12Combinations() (all []combination) {
	add := func(kind, command, password, refusal string) {
		all = append(all, combination{kind, command, password, refusal})
	}
	for _, kind := range []string{"p256", "rsa2048"} {
		const export = "openssl pkcs12 -export -inkey KIND -in KIND.crt -passout env:PW -out OUT "
		for _, password := range append(matrixPasswords, "") {
			for i, key := range []struct{ name, refusal string }{
				{"aes-128-cbc", ""}, {"aes-256-cbc", ""}, {"des-ede3-cbc", ""}, {"PBE-SHA1-3DES", ""}, {"PBE-SHA1-2DES", ""}, {"PBE-SHA1-RC2-40", ""},
				{"PBE-SHA1-RC2-128", ""}, {"NONE", ""}, {"PBE-SHA1-RC4-128", "RC4"}, {"camellia-256-cbc", "Camellia-256"},
			} {
				flags := "-keypbe " + key.name + " -certpbe " + []string{key.name, "NONE", "aes-256-cbc"}[i%3] + legacy
				add(kind, export+flags, password, key.refusal)
				add(kind, export+flags+" -nomac", password, key.refusal)
			}
			for mac, refusal := range map[string]string{"sha1": "", "sha224": "", "sha384": "", "sha512": "", "md5": "MD5", "sha3-256": "SHA3-256"} {
				add(kind, export+"-macalg "+mac, password, refusal)
			}
			add(kind, export+"-caname a -certfile ed25519.crt -name café", password, "")
			if password == "" {
				continue
			}
			for cipher, refusal := range map[string]string{"aes-128": "", "aes-256": "", "3des": "", "3des-pkcs12": "", "rc2-40": "", "arcfour": "RC4"} {
				add(kind, "certtool --to-p12 --load-privkey KIND --load-certificate KIND.crt --p12-name a --password PASSWORD --outder --outfile OUT --pkcs-cipher "+cipher, password, refusal)
			}
			add(kind, "certtool --to-p12 --load-privkey KIND --load-certificate chain.crt --p12-name a --password PASSWORD --outfile OUT", password, "")
		}
		add(kind, "certtool --to-p12 --load-privkey KIND --load-certificate KIND.crt --p12-name a --null-password --outder --outfile OUT", "", "")
		add(kind, "certtool --to-p12 --load-privkey KIND --load-certificate KIND.crt --p12-name a --empty-password --outder --outfile OUT", "", "")
	}
	return all
}

// TestFilesOfOpenSSLAndGnuTLS opens every file that the programs can write: the
// key is the one that the program was given, or the reason for the refusal is
// true. It takes each sixteenth file, or all with HOLDFAST_SOAK=1.
func TestFilesOfOpenSSLAndGnuTLS(t *testing.T) {
	signertest.Require(t, "gnutls", "certtool")
	k := newKit(t)
	publics := make(map[string]crypto.PublicKey)
	for _, kind := range matrixKinds {
		k.openssl(kind.generate + " -out {" + kind.kind + "}")
		if kind.refusal != "" {
			continue
		}
		named := ""
		if kind.kind == "explicit" {
			named = " -ec_param_enc named_curve"
		}
		k.openssl("pkey -in {" + kind.kind + "} -pubout" + named + " -outform DER -out {pub}")
		pub, err := x509.ParsePKIXPublicKey(k.read("pub"))
		if err != nil {
			t.Fatalf("%s: %v", kind.kind, err)
		}
		publics[kind.kind] = pub
	}
	for _, kind := range []string{"rsa2048", "p256", "ed25519"} {
		k.openssl("req -x509 -new -key {" + kind + "} -subj /CN=" + kind + " -days 2 -out {" + kind + ".crt}")
	}
	k.write("chain.crt", k.read("p256.crt"), k.read("rsa2048.crt"), k.read("ed25519.crt"))

	all := append(keyFileCombinations(), pkcs12Combinations()...)
	step := 16
	if os.Getenv("HOLDFAST_SOAK") != "" {
		step = 1
	}
	var written, opened, unwritten atomic.Int64
	t.Run("group", func(t *testing.T) {
		for i := 0; i < len(all); i += step {
			c := all[i]
			t.Run(fmt.Sprintf("%s %d %s", c.kind, len(c.password), c.command), func(t *testing.T) {
				t.Parallel()
				name := fmt.Sprintf("out%d", i)
				if out, err := k.write1(c, name); err != nil {
					unwritten.Add(1)
					t.Logf("not written: %s", out)
					return
				}
				written.Add(1)
				if checkCombination(t, k, c, name, publics[c.kind]) {
					opened.Add(1)
				}
			})
		}
	})
	t.Logf("%d files written, %d opened, %d not written", written.Load(), opened.Load(), unwritten.Load())
	if n := written.Load(); n < int64(300/step) {
		t.Errorf("only %d files of %d written", n, len(all))
	}
}

// write1 runs the command of c.
func (k *kit) write1(c combination, name string) ([]byte, error) {
	args := strings.Fields(c.command)
	for i, a := range args {
		args[i] = strings.NewReplacer("KIND", c.kind, "OUT", name).Replace(a)
		if a == "PASSWORD" {
			args[i] = c.password
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = k.dir
	cmd.Env = append(os.Environ(), "PW="+c.password)
	return cmd.CombinedOutput()
}

func checkCombination(t *testing.T, k *kit, c combination, name string, pub crypto.PublicKey) bool {
	var opts keystore.Options
	if c.password != "" {
		opts.PIN = func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(c.password), nil }
	}
	s, err := store.Open(t.Context(), keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(k.dir, name)}, opts)
	if c.refusal != "" {
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), c.refusal) || signer.Hint(err) == "" {
			t.Errorf("error %v, hint %q, want %q", err, signer.Hint(err), c.refusal)
		}
		return false
	}
	if err != nil {
		t.Errorf("error %v", err)
		return false
	}
	defer s.Close()
	if pub == nil || !signer.SamePublicKey(s.Public(), pub) {
		t.Error("another key")
	}
	return true
}
