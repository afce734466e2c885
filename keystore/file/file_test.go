package file_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const testPassword = "correct horse §"

// A kit creates files with the openssl program in its own folder.
type kit struct {
	t       testing.TB
	dir     string
	program string
}

func newKit(t testing.TB) *kit {
	return &kit{t, t.TempDir(), signertest.Require(t, "openssl", "openssl")}
}

func (k *kit) path(name string) string { return filepath.Join(k.dir, name) }

func (k *kit) ref(name string) keystore.Ref {
	return keystore.Ref{Scheme: keystore.SchemeFile, Rest: k.path(name)}
}

// openssl runs a command line. It replaces {x} with the path of x. The password
// is in the environment.
func (k *kit) openssl(line string) {
	k.t.Helper()
	args := strings.Fields(line)
	for i, a := range args {
		if strings.HasPrefix(a, "{") {
			args[i] = k.path(strings.Trim(a, "{}"))
		}
	}
	cmd := exec.Command(k.program, args...)
	cmd.Env = append(os.Environ(), "PW="+testPassword, "EMPTY=")
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("openssl %s: %v\n%s", line, err, out)
	}
}

func (k *kit) write(name string, parts ...[]byte) {
	k.t.Helper()
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if err := os.WriteFile(k.path(name), all, 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) read(name string) []byte {
	k.t.Helper()
	b, err := os.ReadFile(k.path(name))
	if err != nil {
		k.t.Fatal(err)
	}
	return b
}

var store = keystore.New(file.Backend{})

func withPassword(password string) keystore.Options {
	return keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(password), nil }}
}

// generated has the commands that generate each type of key, and that convert
// it to its traditional format.
var generated = []struct{ name, make, traditional string }{
	{"rsa2048", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {key}", "rsa -traditional"},
	{"p256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}", "ec"},
	{"p384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out {key}", "ec"},
	{"p521", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out {key}", "ec"},
	{"ed25519", "genpkey -algorithm ED25519 -out {key}", ""},
}

func TestOpenKeyFormats(t *testing.T) {
	for _, g := range generated {
		t.Run(g.name, func(t *testing.T) {
			k := newKit(t)
			k.openssl(g.make)
			k.openssl("pkey -in {key} -pubout -outform DER -out {pub}")
			pub, err := x509.ParsePKIXPublicKey(k.read("pub"))
			if err != nil {
				t.Fatal(err)
			}
			k.openssl("pkcs8 -topk8 -nocrypt -in {key} -outform DER -out {pkcs8.der}")
			files := []string{"key", "pkcs8.der"}
			if g.traditional != "" {
				k.openssl(g.traditional + " -in {key} -out {old}")
				k.openssl(g.traditional + " -in {key} -outform DER -out {old.der}")
				files = append(files, "old", "old.der")
			}
			for _, name := range files {
				checkOpens(t, k.ref(name), pub, keystore.Options{})
			}
		})
	}
}

func TestOpenWithECParameters(t *testing.T) {
	k := newKit(t)
	k.openssl("ecparam -name prime256v1 -genkey -out {key}")
	if !strings.Contains(string(k.read("key")), "EC PARAMETERS") {
		t.Fatal("openssl wrote no parameters")
	}
	k.openssl("pkey -in {key} -pubout -outform DER -out {pub}")
	pub, err := x509.ParsePKIXPublicKey(k.read("pub"))
	if err != nil {
		t.Fatal(err)
	}
	checkOpens(t, k.ref("key"), pub, keystore.Options{})
}

func checkOpens(t *testing.T, ref keystore.Ref, pub crypto.PublicKey, opts keystore.Options) {
	t.Helper()
	s, err := store.Open(t.Context(), ref, opts)
	if err != nil {
		t.Errorf("%s: %v", filepath.Base(ref.Rest), err)
		return
	}
	defer s.Close()
	if !signer.SamePublicKey(s.Public(), pub) {
		t.Errorf("%s: another key", filepath.Base(ref.Rest))
	}
}

func TestOpenEncryptedPKCS8(t *testing.T) {
	k := newKit(t)
	key := signertest.Key(t, "p256")
	k.write("key", signertest.KeyPEM(t, key))
	const base = "pkcs8 -topk8 -in {key} -passout env:PW -out {enc} "
	for _, flags := range []string{
		"-v2 aes-128-cbc", "-v2 aes-192-cbc", "-v2 aes-256-cbc", "-v2 des3",
		"-v2 aes-256-cbc -v2prf hmacWithSHA1", "-v2 aes-256-cbc -v2prf hmacWithSHA256",
		"-v2 aes-256-cbc -v2prf hmacWithSHA384", "-v2 aes-256-cbc -v2prf hmacWithSHA512",
		"-v2 des3 -v2prf hmacWithSHA1", "-v2 aes-256-cbc -iter 100000",
		"-scrypt", "-scrypt -scrypt_N 1024 -scrypt_r 8 -scrypt_p 16", "-outform DER",
	} {
		t.Run(flags, func(t *testing.T) {
			k.openssl(base + flags)
			checkOpens(t, k.ref("enc"), key.Public(), withPassword(testPassword))
			for _, c := range []struct {
				name string
				opts keystore.Options
				want error
			}{
				{"wrong password", withPassword("wrong"), signer.ErrPINIncorrect},
				{"empty password", withPassword(""), signer.ErrPINIncorrect},
				{"no PINFunc", keystore.Options{}, signer.ErrPINRequired},
			} {
				if _, err := store.Open(t.Context(), k.ref("enc"), c.opts); !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", c.name, err, c.want)
				}
			}
		})
	}
}

func TestOpenPKCS12(t *testing.T) {
	k := newKit(t)
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	for _, kind := range []string{"p256", "rsa2048"} {
		key := signertest.Key(t, kind)
		leaf := ca.Issue(t, key, nil)
		k.write("key", signertest.KeyPEM(t, key))
		k.write("cert", signertest.CertPEM(leaf))
		k.write("chain", signertest.CertPEM(ca.Root(), ca.Cert)) // not in order
		const base = "pkcs12 -export -inkey {key} -in {cert} -certfile {chain} -out {pfx} "
		for _, c := range []struct{ flags, password string }{
			{"-passout env:PW", testPassword},
			{"-passout env:PW -legacy", testPassword},
			{"-passout env:PW -macalg sha512 -iter 50000", testPassword},
			{"-passout env:PW -certpbe NONE", testPassword},
			{"-passout env:EMPTY", ""},
			{"-passout env:EMPTY -legacy", ""},
			{"-passout env:EMPTY -keypbe NONE -certpbe NONE -nomac", ""},
		} {
			t.Run(kind+" "+c.flags, func(t *testing.T) {
				k.openssl(base + c.flags)
				opts := keystore.Options{}
				if c.password != "" {
					opts = withPassword(c.password)
					if _, err := store.Open(t.Context(), k.ref("pfx"), keystore.Options{}); !errors.Is(err, signer.ErrPINRequired) {
						t.Errorf("without password: %v", err)
					}
					if _, err := store.Open(t.Context(), k.ref("pfx"), withPassword("wrong")); !errors.Is(err, signer.ErrPINIncorrect) {
						t.Errorf("wrong password: %v", err)
					}
				}
				s, err := store.OpenIdentity(t.Context(), keystore.Identity{Certificate: k.ref("pfx")}, opts)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				checkChain(t, s, leaf, ca.Cert)
			})
		}
	}
}

func checkChain(t *testing.T, s signer.Signer, want ...*x509.Certificate) {
	t.Helper()
	chain := s.Chain()
	if len(chain) != len(want) {
		t.Fatalf("chain of %d certificates, want %d", len(chain), len(want))
	}
	for i := range want {
		if !chain[i].Equal(want[i]) {
			t.Errorf("certificate %d is %q, want %q", i, chain[i].Subject, want[i].Subject)
		}
	}
}

func TestOpenIdentity(t *testing.T) {
	k := newKit(t)
	root := signertest.NewCA(t, "root")
	ca := root.Intermediate(t, "outer").Intermediate(t, "inner")
	key := signertest.Key(t, "p256")
	leaf := ca.Issue(t, key, nil)
	outer, inner := ca.Chain()[1], ca.Chain()[0]
	other := signertest.NewCA(t, "unrelated").Cert
	keyPEM := signertest.KeyPEM(t, key)
	k.write("key", keyPEM)
	k.write("leaf", signertest.CertPEM(leaf))
	k.write("leaf.der", leaf.Raw)
	k.write("fullchain", signertest.CertPEM(root.Cert, outer, other, leaf, inner))
	k.write("both", signertest.CertPEM(outer, inner), keyPEM, signertest.CertPEM(leaf))
	k.write("intermediates", signertest.CertPEM(root.Cert, outer, inner))
	k.write("text", []byte("subject=CN = client\r\nsome text\r\n"), signertest.CertPEM(leaf))
	env := func(name string) (string, bool) {
		if name == "BOTH" {
			return string(k.read("both")), true
		}
		return "", false
	}

	type texts struct{ Key, Certificate, Intermediates string }
	for _, c := range []struct {
		name  string
		id    texts
		stdin string
		want  []*x509.Certificate
	}{
		{"two files", texts{Key: "key", Certificate: "leaf"}, "", []*x509.Certificate{leaf}},
		{"DER certificate", texts{Key: "key", Certificate: "leaf.der"}, "", []*x509.Certificate{leaf}},
		{"text before PEM", texts{Key: "key", Certificate: "text"}, "", []*x509.Certificate{leaf}},
		{"bundle in any order", texts{Key: "key", Certificate: "fullchain"}, "", []*x509.Certificate{leaf, inner, outer}},
		{"separate intermediates", texts{Key: "key", Certificate: "leaf", Intermediates: "intermediates"}, "", []*x509.Certificate{leaf, inner, outer}},
		{"one file as certificate", texts{Certificate: "both"}, "", []*x509.Certificate{leaf, inner, outer}},
		{"one file as key", texts{Key: "both"}, "", []*x509.Certificate{leaf, inner, outer}},
		{"one file as all three", texts{Key: "both", Certificate: "both", Intermediates: "both"}, "", []*x509.Certificate{leaf, inner, outer}},
		{"key from standard input", texts{Key: "-", Certificate: "leaf"}, "key", []*x509.Certificate{leaf}},
		{"both from standard input", texts{Key: "-", Certificate: "-"}, "both", []*x509.Certificate{leaf, inner, outer}},
		{"both from a variable", texts{Key: "env:BOTH"}, "", []*x509.Certificate{leaf, inner, outer}},
		{"file URIs", texts{Key: "file:key", Certificate: "file:leaf"}, "", []*x509.Certificate{leaf}},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := keystore.Options{LookupEnv: env}
			if c.stdin != "" {
				opts.Stdin = strings.NewReader(string(k.read(c.stdin)))
			}
			var id keystore.Identity
			for _, in := range []struct {
				ref  *keystore.Ref
				text string
			}{{&id.Key, c.id.Key}, {&id.Certificate, c.id.Certificate}, {&id.Intermediates, c.id.Intermediates}} {
				switch {
				case in.text == "":
					continue
				case in.text == "-", strings.HasPrefix(in.text, "env:"):
				case strings.HasPrefix(in.text, "file:"):
					in.text = "file://" + k.path(strings.TrimPrefix(in.text, "file:"))
				default:
					in.text = k.path(in.text)
				}
				var err error
				if *in.ref, err = keystore.ParseRef(in.text); err != nil {
					t.Fatal(err)
				}
			}
			s, err := store.OpenIdentity(t.Context(), id, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			checkChain(t, s, c.want...)
		})
	}
}

// The contract test runs once for each type of key. The file formats differ
// only in how they are parsed.
func TestContract(t *testing.T) {
	k := newKit(t)
	for _, kind := range signertest.KeyKinds() {
		t.Run(kind, func(t *testing.T) {
			key := signertest.Key(t, kind)
			ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
			k.write(kind, signertest.KeyPEM(t, key), signertest.CertPEM(ca.Issue(t, key, nil), ca.Cert))
			signertest.Run(t, func(t *testing.T) signer.Signer {
				s, err := store.Open(t.Context(), k.ref(kind), keystore.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

// The same for each parameter set of ML-DSA, with the keys that OpenSSL writes in
// each of the forms of RFC 9881, section 6, and in those of its drafts.
func TestContractMLDSA(t *testing.T) {
	for _, set := range []string{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"} {
		forms := []string{"seed-only", "priv-only", "seed-priv"}
		if set == "ML-DSA-44" {
			forms = append(forms, "bare-seed", "bare-priv", "oqskeypair")
		}
		for _, form := range forms {
			t.Run(set+" "+form, func(t *testing.T) {
				t.Parallel()
				k := newKit(t)
				signertest.IssueMLDSA(t, k.dir, set, form)
				signertest.Run(t, func(t *testing.T) signer.Signer {
					s, err := store.OpenIdentity(t.Context(), keystore.Identity{Key: k.ref("key.pem"), Certificate: k.ref("cert.pem")}, keystore.Options{})
					if err != nil {
						t.Fatal(err)
					}
					if name := signer.DescribeKey(s.Public()); name != set || len(s.Chain()) != 1 {
						t.Errorf("%s with %d certificates", name, len(s.Chain()))
					}
					return s
				})
			})
		}
	}
}

// Another program took the whole password file for the password.
func TestPasswordWithLineEnd(t *testing.T) {
	k := newKit(t)
	key := signertest.Key(t, "p256")
	k.write("key", signertest.KeyPEM(t, key))
	k.write("cert", signertest.CertPEM(signertest.NewCA(t, "root").Issue(t, key, nil)))
	for name, end := range map[string]string{"none": "", "Unix": "\n", "Windows": "\r\n"} {
		for _, encrypted := range []string{
			"pkcs8 -topk8 -in {key} -passout env:LINE -out {out}", "pkcs8 -topk8 -in {key} -scrypt -passout env:LINE -out {out}",
			"pkcs12 -export -inkey {key} -in {cert} -nomac -passout env:LINE -out {out}",
		} {
			for _, withEnd := range []bool{false, true} {
				password := "secret"
				if withEnd {
					password += end
				}
				t.Setenv("LINE", password)
				k.openssl(encrypted)
				for _, source := range []string{"secret" + end, "wrong" + end} {
					k.write("pin", []byte(source))
					pin, err := store.PINSource(k.ref("pin"), keystore.Options{})
					if err != nil {
						t.Fatal(err)
					}
					s, err := store.Open(t.Context(), k.ref("out"), keystore.Options{PIN: pin})
					if source[0] == 'w' {
						if !errors.Is(err, signer.ErrPINIncorrect) {
							t.Errorf("%s, %s: error %v for a wrong password", name, encrypted, err)
						}
					} else if err != nil {
						t.Errorf("%s, %s, with its line end: %t: %v", name, encrypted, withEnd, err)
					} else {
						s.Close()
					}
				}
			}
		}
	}
}
