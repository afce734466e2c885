package file_test

import (
	"errors"
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
	for _, name := range []string{"rsa.old", "ec.old"} {
		if !strings.Contains(string(k.read(name)), "Proc-Type: 4,ENCRYPTED") {
			t.Fatalf("%s: openssl did not use the legacy PEM encryption", name)
		}
		_, err := store.Open(t.Context(), k.ref(name), withPassword(testPassword))
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(signer.Hint(err), "openssl pkcs8") {
			t.Errorf("%s: error %v, hint %q", name, err, signer.Hint(err))
		}
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
		{"X448", []string{"genpkey -algorithm X448 -out {key}"}, nil},
		{"Ed448", []string{"genpkey -algorithm ED448 -out {key}"}, nil},
		{"secp256k1", []string{"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out {key}"}, nil},
		{"brainpoolP256r1", []string{"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -out {key}"}, nil},
		{"P-256 with explicit parameters", []string{"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out {key}"}, nil},
		{"DSA", []string{"genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out {params}", "genpkey -paramfile {params} -out {key}"}, nil},
		{"DH", []string{"genpkey -algorithm DH -pkeyopt group:ffdhe2048 -out {key}"}, nil},
		{"RSA-PSS", []string{"genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out {key}"}, nil},
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
				if err == nil || errors.Is(err, signer.ErrPINIncorrect) || test.want != nil && !errors.Is(err, test.want) {
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
		"secp256k1": {"ecparam -name secp256k1 -genkey -out {secp256k1}"},
		"explicit":  {"ecparam -name prime256v1 -param_enc explicit -genkey -out {explicit}"},
		"DSA": {"genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out {params}", "genpkey -paramfile {params} -out {new}",
			"dsa -in {new} -out {DSA}"},
	} {
		for _, line := range lines {
			k.openssl(line)
		}
		if s, err := store.Open(t.Context(), k.ref(name), keystore.Options{}); err == nil {
			t.Errorf("%s: opened %v", name, s.Public())
		}
	}
}

func TestOpenUnsupportedPKCS12(t *testing.T) {
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
	k.openssl("pkcs12 -export -inkey {key} -in {cert} -passout env:PW -keypbe camellia-256-cbc -certpbe camellia-256-cbc -out {cipher}")
	k.openssl("pkcs12 -export -nokeys -in {cert} -passout env:PW -out {certificate}")
	k.openssl("pkcs12 -export -nocerts -inkey {key} -passout env:PW -out {alone}")
	k.write("trailing", good, []byte("x"))

	for name, want := range map[string]error{
		"BER": errors.ErrUnsupported, "MAC": errors.ErrUnsupported, "cipher": errors.ErrUnsupported,
		"certificate": nil, "alone": nil, "trailing": nil,
	} {
		_, err := store.Open(t.Context(), k.ref(name), withPassword(testPassword))
		if err == nil || errors.Is(err, signer.ErrPINIncorrect) || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
		if signer.Hint(err) == "" {
			t.Errorf("%s: error %v has no hint", name, err)
		}
	}
}
