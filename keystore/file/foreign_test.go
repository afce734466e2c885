package file_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestOpenLegacyEncryption(t *testing.T) {
	k := newKit(t)
	k.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {rsa}")
	k.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {ec}")
	k.openssl("rsa -traditional -aes128 -passout env:PW -in {rsa} -out {rsa.old}")
	k.openssl("ec -aes256 -passout env:PW -in {ec} -out {ec.old}")
	k.openssl("ec -des3 -passout env:PW -in {ec} -out {des3.old}")
	for _, cipher := range []string{"des", "rc2", "seed"} {
		k.openssl("ec -" + cipher + " -passout env:PW -in {ec} -out {" + cipher + ".old} -provider legacy -provider default")
	}
	for _, name := range []string{"rsa.old", "ec.old", "des3.old", "des.old", "rc2.old", "seed.old"} {
		if !strings.Contains(string(k.read(name)), "Proc-Type: 4,ENCRYPTED") {
			t.Fatalf("%s: openssl did not use the legacy PEM encryption", name)
		}
		_, err := store.Open(t.Context(), k.ref(name), withPassword(testPassword))
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(signer.Hint(err), "openssl pkcs8") {
			t.Errorf("%s: error %v, hint %q", name, err, signer.Hint(err))
		}
		// The command of the hint works, with the legacy provider only where it is needed.
		_, command, _ := strings.Cut(signer.Hint(err), "openssl ")
		if strings.Contains(command, "-provider legacy") != slices.Contains([]string{"des.old", "rc2.old", "seed.old"}, name) {
			t.Errorf("%s: hint %q", name, signer.Hint(err))
		}
		k.openssl(command + " -passin env:PW -passout env:PW")
		s, err := store.Open(t.Context(), k.ref(name+".converted.pem"), withPassword(testPassword))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}

// The error for an unsupported key differs from the error for a wrong password.
func TestOpenUnsupportedKeys(t *testing.T) {
	for _, test := range []struct {
		name string
		make []string
		want error // nil: any error but a wrong password
	}{
		{"X25519", []string{"genpkey -algorithm X25519 -out {key}"}, errors.ErrUnsupported},
		{"X448", []string{"genpkey -algorithm X448 -out {key}"}, errors.ErrUnsupported},
		{"Ed448", []string{"genpkey -algorithm ED448 -out {key}"}, errors.ErrUnsupported},
		{"secp256k1", []string{"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out {key}"}, errors.ErrUnsupported},
		{"brainpoolP256r1", []string{"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -out {key}"}, errors.ErrUnsupported},
		{"DSA", []string{"genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out {params}", "genpkey -paramfile {params} -out {key}"}, errors.ErrUnsupported},
		{"DH", []string{"genpkey -algorithm DH -pkeyopt group:ffdhe2048 -out {key}"}, errors.ErrUnsupported},
		{"RSA-PSS", []string{"genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out {key}"}, errors.ErrUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newKit(t)
			for _, line := range test.make {
				k.openssl(line)
			}
			k.openssl("pkcs8 -topk8 -nocrypt -in {key} -outform DER -out {der}")
			k.openssl("pkcs8 -topk8 -in {key} -passout env:PW -out {encrypted}")
			for _, name := range []string{"key", "der", "encrypted"} {
				s, err := store.Open(t.Context(), k.ref(name), withPassword(testPassword))
				if err == nil || errors.Is(err, signer.ErrPINIncorrect) || !errors.Is(err, test.want) || !strings.Contains(err.Error(), strings.ReplaceAll(test.name, "DH", "Diffie-Hellman")) {
					t.Errorf("%s: %v, error %v, want %v", name, s, err, test.want)
				}
			}
			_, err := store.Open(t.Context(), k.ref("encrypted"), withPassword("wrong"))
			if !errors.Is(err, signer.ErrPINIncorrect) {
				t.Errorf("wrong password: error %v, want %v", err, signer.ErrPINIncorrect)
			}
		})
	}
}

func TestOpenUnsupportedTraditionalKeys(t *testing.T) {
	k := newKit(t)
	for name, lines := range map[string][]string{
		"secp256k1":       {"ecparam -name secp256k1 -genkey -out {secp256k1}"},
		"brainpoolP384r1": {"ecparam -name brainpoolP384r1 -genkey -out {brainpoolP384r1}"},
		"DSA": {"genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out {params}", "genpkey -paramfile {params} -out {new}",
			"dsa -in {new} -out {DSA}"},
	} {
		for _, line := range lines {
			k.openssl(line)
		}
		if s, err := store.Open(t.Context(), k.ref(name), keystore.Options{}); !errors.Is(err, errors.ErrUnsupported) || s != nil {
			t.Errorf("%s: opened %v, error %v", name, s, err)
		}
	}
}

func TestOpenForeignPKCS12(t *testing.T) {
	k := newKit(t)
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root")
	k.write("key", signertest.KeyPEM(t, key))
	k.write("cert", signertest.CertPEM(ca.Issue(t, key, nil)))
	k.openssl("pkcs12 -export -inkey {key} -in {cert} -passout env:PW -out {good}")
	good := k.read("good")
	// The outermost sequence has an indefinite length (X.690, section
	// 8.1.3.6).
	k.write("BER", []byte{0x30, 0x80}, good[4:], []byte{0, 0})
	k.openssl("pkcs12 -export -inkey {key} -in {cert} -passout env:PW -macalg sha384 -out {MAC}")
	k.openssl("pkcs12 -export -inkey {key} -in {cert} -passout env:PW -nomac -out {no-MAC}")
	k.openssl("pkcs12 -export -inkey {key} -in {cert} -passout env:PW -keypbe camellia-256-cbc -certpbe camellia-256-cbc -out {cipher}")
	k.openssl("pkcs12 -export -inkey {key} -in {cert} -passout env:PW -macalg sha3-256 -out {sha3}")
	k.openssl("pkcs12 -export -nokeys -in {cert} -passout env:PW -out {certificate}")
	k.openssl("pkcs12 -export -nocerts -inkey {key} -passout env:PW -out {alone}")
	k.write("trailing", good, []byte("x"))
	k.write("signed", []byte("\x30\x12\x02\x01\x03\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x00"))

	for _, name := range []string{"BER", "MAC", "no-MAC", "alone", "trailing"} {
		checkOpens(t, k.ref(name), key.Public(), withPassword(testPassword))
		if _, err := store.Open(t.Context(), k.ref(name), withPassword("wrong")); !errors.Is(err, signer.ErrPINIncorrect) {
			t.Errorf("%s with a wrong password: error %v", name, err)
		}
	}
	for name, want := range map[string]struct {
		err  error
		text string
	}{
		"cipher": {errors.ErrUnsupported, "Camellia-256"}, "sha3": {errors.ErrUnsupported, "SHA3-256"},
		"signed": {errors.ErrUnsupported, "signature"}, "certificate": {signer.ErrNotFound, "no private key"},
	} {
		_, err := store.Open(t.Context(), k.ref(name), withPassword(testPassword))
		if err == nil || errors.Is(err, signer.ErrPINIncorrect) || want.err != nil && !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
		if signer.Hint(err) == "" {
			t.Errorf("%s: error %v has no hint", name, err)
		}
	}
	// The halves can be in two files.
	for _, id := range []keystore.Identity{{Key: k.ref("alone"), Certificate: k.ref("certificate")}, {Key: k.ref("key"), Certificate: k.ref("certificate")}} {
		s, err := store.OpenIdentity(t.Context(), id, withPassword(testPassword))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}

// Keys in forms that OpenSSL reads and few programs write.
func TestOpenUnusualKeys(t *testing.T) {
	k := newKit(t)
	for _, curve := range []string{"P-256", "P-384", "P-521"} {
		for _, form := range []string{"uncompressed", "compressed"} {
			k.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:" + curve + " -out {named}")
			k.openssl("ec -in {named} -param_enc explicit -conv_form " + form + " -out {explicit}")
			k.openssl("pkcs8 -topk8 -nocrypt -in {explicit} -out {explicit8}")
			named, err := store.Open(t.Context(), k.ref("named"), keystore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkOpens(t, k.ref("explicit"), named.Public(), keystore.Options{})
			checkOpens(t, k.ref("explicit8"), named.Public(), keystore.Options{})
		}
	}
	k.openssl("genrsa -primes 3 -out {three} 2048")
	k.openssl("rsa -in {three} -traditional -out {three1}")
	k.openssl("rsa -in {three} -traditional -outform DER -out {three.der}")
	three, err := store.Open(t.Context(), k.ref("three"), keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkOpens(t, k.ref("three1"), three.Public(), keystore.Options{})
	checkOpens(t, k.ref("three.der"), three.Public(), keystore.Options{})
}

func TestOpenFilesOfOtherPrograms(t *testing.T) {
	k := newKit(t)
	k.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {key}")
	k.openssl("rsa -in {key} -outform MSBLOB -out {blob}")
	k.openssl("req -new -key {key} -subj /CN=a -outform DER -out {request}")
	k.openssl("req -x509 -new -key {key} -subj /CN=a -days 2 -set_serial -5 -out {negative}")
	k.openssl("crl2pkcs7 -nocrl -certfile {negative} -outform DER -out {p7}")
	k.openssl("pkey -in {key} -pubout -outform DER -out {public}")
	k.write("jks", []byte("\xfe\xed\xfe\xed\x00\x00\x00\x02"))
	k.write("jceks", []byte("\xce\xce\xce\xce\x00\x00\x00\x02"))
	ec := func(name, options string) {
		k.openssl("genpkey -algorithm EC -out {" + name + ".key} " + options)
		k.openssl("req -x509 -new -key {" + name + ".key} -subj /CN=a -days 2 -out {" + name + "}")
	}
	ec("explicit", "-pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit")
	for _, curve := range []string{"secp256k1", "brainpoolP256r1", "sect283k1"} {
		ec(curve, "-pkeyopt ec_paramgen_curve:"+curve)
	}
	k.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {named}")
	k.openssl("ec -in {named} -conv_form compressed -out {compressed.key}")
	k.openssl("req -x509 -new -key {compressed.key} -subj /CN=a -days 2 -out {compressed}")
	for name, want := range map[string][2]string{
		"explicit": {"by parameters instead of a name", "5480"}, "compressed": {"compressed point", "uncompressed"},
		"secp256k1": {"secp256k1", "P-256"}, "brainpoolP256r1": {"brainpoolP256r1", "P-256"}, "sect283k1": {"sect283k1", "P-256"},
		"blob": {"MSBLOB", "openssl rsa -inform MSBLOB"}, "request": {"request", "certificate"}, "p7": {"PKCS #7", "openssl pkcs7 -inform DER"},
		"public": {"public key", "Identity.Key"}, "jks": {"JKS", "keytool"}, "jceks": {"JCEKS", "keytool"}, "negative": {"negative serial", "CA"},
	} {
		_, err := store.OpenIdentity(t.Context(), keystore.Identity{Key: k.ref("key"), Certificate: k.ref(name)}, keystore.Options{})
		if err == nil || !strings.Contains(err.Error(), want[0]) || !strings.Contains(signer.Hint(err), want[1]) {
			t.Errorf("%s: error %v, hint %q", name, err, signer.Hint(err))
		}
		if strings.Contains(signer.Hint(err), "FILE") || strings.Contains(want[1], " ") && !strings.Contains(signer.Hint(err), k.path(name)) {
			t.Errorf("%s: hint %q lacks the path", name, signer.Hint(err))
		}
	}
}

// ssh-keygen converts only some keys.
func TestOpenOpenSSHKeys(t *testing.T) {
	signertest.Require(t, "ssh-keygen", "ssh-keygen")
	k := newKit(t)
	for kind, want := range map[string][2]string{
		"rsa": {"OPENSSH PRIVATE KEY", "ssh-keygen -p -m PKCS8"}, "ecdsa": {"OPENSSH PRIVATE KEY", "ssh-keygen -p -m PKCS8"},
		"ed25519": {"ssh-ed25519", "only RSA and ECDSA keys to PKCS #8; make another key, as with openssl genpkey -algorithm ed25519 -out new-key.pem"},
	} {
		for _, password := range []string{"", testPassword} {
			path := k.path(kind + password)
			if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", password, "-f", path).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			_, err := store.Open(t.Context(), k.ref(kind+password), withPassword(testPassword))
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want[0]) || !strings.Contains(signer.Hint(err), want[1]) {
				t.Errorf("%s: error %v, hint %q", kind, err, signer.Hint(err))
			}
		}
	}
}
