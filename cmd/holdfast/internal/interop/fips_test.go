package interop

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// fipsRows are the commands of each row of docs/fips.md. If the page has an error, the
// last command of the row fails with it. Names that begin with $ are those of
// newFIPSShop, and $MODE is the mode.
var fipsRows = map[string][]string{
	"RSA of 2048 bits and more":              {"sign-string --private-key rsa2048.pem", "sign-string --private-key rsa3072.pem", "verify --certificate rsa2048-cert.pem --private-key rsa2048.pem"},
	"RSA of 1024 bits":                       {"sign-string --private-key rsa1024.pem"},
	"ECDSA P-256, P-384, P-521":              {"sign-string --private-key p256.pem", "sign-string --private-key p384.pem", "sign-string --private-key p521.pem"},
	"Ed25519, for `csr` and `generate`":      {"csr --private-key ed25519.pem --subject CN=app", "generate --private-key ed25519-$MODE.pem --key-type ed25519"},
	"ML-DSA in a file":                       {"sign-string --private-key mldsa/key.pem"},
	"PKCS #11, RSA and ECDSA":                {"sign-string $TOKEN_P256", "sign-string $TOKEN_RSA", "verify $TOKEN_RSA"},
	"TPM, without a password":                {"sign-string $TPM_FILE", "sign-string $TPM_HANDLE", "verify $TPM_FILE"},
	"TPM, with a password":                   {"sign-string --private-key tpm-locked.pem --pin-source file:pin"},
	"PKCS #8, PKCS #1, SEC 1, not encrypted": {"sign-string --private-key p256.pem", "sign-string --private-key pkcs1.pem", "sign-string --private-key sec1.pem"},
	"PKCS #8 that `holdfast generate` encrypted": {
		"generate --private-key locked-$MODE.pem --pin-source file:pin", "sign-string --private-key locked-$MODE.pem --pin-source file:pin",
	},
	"PKCS #8 with PBKDF2 of OpenSSL before 3.2": {"sign-string --private-key pbkdf2.pem --pin-source file:pin"},
	"PKCS #8 with PBKDF2 and SHA-1":             {"sign-string --private-key sha1.pem --pin-source file:pin"},
	"PKCS #8 with triple DES":                   {"sign-string --private-key des3.pem --pin-source file:pin"},
	"PKCS #8 with scrypt":                       {"sign-string --private-key scrypt.pem --pin-source file:pin"},
	"PKCS #12 with PBMAC1":                      {"sign-string --certificate pbmac1.p12 --pin-source file:pin"},
	"PKCS #12 without encryption and MAC":       {"sign-string --certificate bare.p12"},
	"PKCS #12 with AES and the MAC of RFC 7292": {"sign-string --certificate aes.p12 --pin-source file:pin"},
	"PKCS #12 with triple DES":                  {"sign-string --certificate des3.p12 --pin-source file:pin"},
	"PKCS #12 with RC2":                         {"sign-string --certificate rc2.p12 --pin-source file:pin"},
	"`credential-process` over HTTPS, with RSA and ECDSA": {
		"credential-process --certificate rsa2048-cert.pem --private-key rsa2048.pem $HTTPS", "credential-process --certificate p256-cert.pem --private-key p256.pem $HTTPS",
	},
	"`credential-process` and `emulator` over HTTP, with RSA and ECDSA": {
		"credential-process --certificate rsa2048-cert.pem --private-key rsa2048.pem $HTTP", "credential-process --certificate p256-cert.pem --private-key p256.pem $HTTP",
	},
	"`credential-process` with PKCS #11 and TPM keys": {
		"credential-process $TOKEN_P256 $HTTPS", "credential-process $TOKEN_RSA $HTTPS", "credential-process $TPM_FILE $HTTPS", "credential-process $TPM_HANDLE $HTTPS",
	},
	"`serve`": nil, // see serveInFIPSMode
	"`csr`, `ca init`, `ca issue`, `ca crl`, `verify`": {
		"csr --private-key p256.pem --subject CN=app --out $MODE.csr",
		"ca init --dir ca-$MODE --private-key ca-$MODE.pem --generate p256 --pin-source file:pin --subject CN=CA",
		"ca issue --dir ca-$MODE --csr $MODE.csr --subject CN=app --pin-source file:pin --out $MODE-issued.pem",
		"ca crl --dir ca-$MODE --pin-source file:pin --out $MODE.crl",
		"verify --certificate $MODE-issued.pem --private-key p256.pem --trust-anchor ca-$MODE/ca.pem --crl $MODE.crl",
	},
	"`generate` of a file":  {"generate --private-key rsa-$MODE.pem --key-type rsa2048", "generate --private-key p384-$MODE.pem --key-type p384"},
	"`generate` on a token": {"generate --private-key $TOKEN-$MODE --pin-source file:token-pin"},
	"`sign-blob`, `verify-blob`, with RSA, ECDSA and Ed25519": {
		"sign-blob --private-key rsa2048.pem --signature rsa-$MODE.sig p256-cert.pem", "verify-blob --signer rsa2048-cert.pem --signature rsa-$MODE.sig p256-cert.pem",
		"sign-blob --private-key p256.pem --signature p256-$MODE.sig p256-cert.pem", "verify-blob --signer p256-cert.pem --signature p256-$MODE.sig p256-cert.pem",
		"sign-blob --private-key ed25519.pem --signature ed25519-$MODE.sig p256-cert.pem",
	},
	"`generate` in a TPM": {"generate --private-key tpm:path=tpm-$MODE.pem"},
	"`seal`":              {"seal --to tpm:path=sealed-$MODE.pem --secret-source file:pin"},
	"a PIN from `tpm:path=`": {
		"sign-string --private-key locked.pem --pin-source tpm:path=sealed.pem",
	},
	"`attest`":                 {"attest --private-key attested.pem --out evidence-$MODE.json"},
	"`ca issue --attestation`": {"ca issue --dir ca --attestation evidence.json --ek-roots makers.pem --subject CN=$MODE --pin-source file:pin --out wrapped-$MODE.json"},
	"`install` of a certificate for an attested key":                  {"install --certificate wrapped.json --private-key attested.pem --to installed-$MODE.pem"},
	"SHA-1 thumbprints of `read-certificate-data` and of `winstore:`": {"read-certificate-data $TOKEN_ALL"},
}

// A fipsShop is a folder with everything that the rows need, made without a mode.
type fipsShop struct {
	dir  string
	env  []string
	vars map[string]string
	ca   *signertest.CA
	urls *emulator.Server
}

func newFIPSShop(t *testing.T) *fipsShop {
	t.Helper()
	s := &fipsShop{dir: t.TempDir(), ca: signertest.NewCA(t, "root"), vars: make(map[string]string)}
	s.write(t, "pin", []byte("a long password\n"))
	s.write(t, "root.pem", signertest.CertPEM(s.ca.Root()))
	for _, kind := range []string{"rsa1024", "rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"} {
		if kind == "rsa1024" { // Go makes none
			s.openssl(t, "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", "rsa1024.pem")
			continue
		}
		key := signertest.Key(t, kind)
		s.write(t, kind+".pem", signertest.KeyPEM(t, key))
		s.write(t, kind+"-cert.pem", signertest.CertPEM(s.ca.Issue(t, key, nil)))
	}
	s.openssl(t, "rsa", "-in", "rsa2048.pem", "-traditional", "-out", "pkcs1.pem")
	s.openssl(t, "ec", "-in", "p256.pem", "-out", "sec1.pem")
	for name, args := range map[string][]string{
		"pbkdf2": {"-v2", "aes-256-cbc"}, "sha1": {"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"}, "des3": {"-v2", "des3"}, "scrypt": {"-scrypt"},
	} {
		s.openssl(t, append([]string{"pkcs8", "-topk8", "-in", "p256.pem", "-passout", "file:pin", "-out", name + ".pem"}, args...)...)
	}
	for name, encoder := range map[string]*pkcs12.Encoder{
		"pbmac1": pkcs12.Modern2026, "bare": pkcs12.Passwordless, "aes": pkcs12.Modern2023, "des3": pkcs12.LegacyDES, "rc2": pkcs12.LegacyRC2,
	} {
		password := "a long password"
		if name == "bare" {
			password = ""
		}
		key := signertest.Key(t, "p256")
		data, err := encoder.Encode(key, s.ca.Issue(t, key, nil), nil, password)
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, name+".p12", data)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "mldsa"), 0o700); err != nil {
		t.Fatal(err)
	}
	signertest.IssueMLDSA(t, filepath.Join(s.dir, "mldsa"), "ML-DSA-65", "seed-only")
	s.tokens(t)
	s.tpms(t)
	s.https(t)
	return s
}

func (s *fipsShop) tokens(t *testing.T) {
	t.Helper()
	ids := clitest.TokenIdentities(t, s.ca)
	if len(ids) == 0 {
		signertest.Skip(t, "softhsm", errors.New("this build has no PKCS #11"))
	}
	s.vars["TOKEN_P256"], s.vars["TOKEN_RSA"] = strings.Join(ids[0].Flags, " "), strings.Join(ids[1].Flags, " ")
	s.vars["TOKEN"] = strings.Replace(ids[0].Flags[1], "object=p256", "object=new", 1)
	if before, after, found := strings.Cut(s.vars["TOKEN"], "?"); found {
		s.vars["TOKEN"] = before // $TOKEN-$MODE is the label, so the module goes to the environment
		_, path, _ := strings.Cut(after, "module-path=")
		s.env = append(s.env, "PKCS11_MODULE_PATH="+path)
	}
	s.vars["TOKEN_ALL"] = "--certificate " + regexp.MustCompile(`;object=[^?]*`).ReplaceAllString(ids[0].Flags[1], "") + " " + strings.Join(ids[0].Flags[2:], " ")
	s.env = append(s.env, ids[0].Env...)
	pin, err := os.ReadFile(filepath.Join(ids[0].Dir, "pin"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "token-pin", pin)
}

func (s *fipsShop) tpms(t *testing.T) {
	t.Helper()
	signertest.Require(t, "swtpm", "swtpm_setup")
	maker := tpmtest.NewMaker(t)
	s.env = append(s.env, "TPM_DEVICE="+maker.Start(t).Path)
	roots, err := os.ReadFile(maker.Roots)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "makers.pem", roots)
	for _, command := range []string{
		"generate --private-key tpm:path=tpm.pem --out tpm.pub",
		"generate --private-key tpm:path=tpm-locked.pem --pin-source file:pin",
		"generate --private-key tpm:handle=0x81010002 --key-type rsa2048 --out handle.pub",
		"generate --private-key tpm:path=attested.pem",
		"attest --private-key attested.pem --out evidence.json",
		"ca init --dir ca --private-key ca-key.pem --generate p256 --pin-source file:pin --subject CN=CA",
		"ca issue --dir ca --attestation evidence.json --ek-roots makers.pem --subject CN=app --pin-source file:pin --out wrapped.json",
		"generate --private-key locked.pem --pin-source file:pin",
		"seal --to tpm:path=sealed.pem --secret-source file:pin",
	} {
		if out, err := s.run("off", command); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	for _, name := range []string{"tpm", "handle"} {
		data, err := os.ReadFile(filepath.Join(s.dir, name+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, name+"-cert.pem", signertest.CertPEM(s.ca.Issue(t, publicKey{pub: pub}, nil)))
	}
	s.vars["TPM_FILE"] = "--certificate tpm-cert.pem --private-key tpm.pem"
	s.vars["TPM_HANDLE"] = "--certificate handle-cert.pem --private-key tpm:handle=0x81010002"
}

// A publicKey is a key to certify, which is elsewhere.
type publicKey struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (k publicKey) Public() crypto.PublicKey { return k.pub }

// https runs an emulator behind TLS.
func (s *fipsShop) https(t *testing.T) {
	t.Helper()
	var err error
	if s.urls, err = emulator.New(emulator.Config{TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{filepath.Join(s.dir, "root.pem")}}}}); err != nil {
		t.Fatal(err)
	}
	key := signertest.Key(t, "p256")
	leaf := s.ca.Issue(t, key, func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	server := httptest.NewUnstartedServer(s.urls)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: crypto.Signer(key)}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	s.env = append(s.env, "AWS_CA_BUNDLE="+filepath.Join(s.dir, "root.pem"))
	s.vars["HTTPS"] = strings.Join(emulatorFlags(s.urls, server.URL), " ")
}

func (s *fipsShop) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *fipsShop) openssl(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(signertest.Require(t, "openssl", "openssl"), args...)
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
}

// run runs a command of Holdfast in a mode.
func (s *fipsShop) run(mode, command string) (string, error) {
	command = os.Expand(command, func(name string) string {
		if name == "MODE" {
			return mode
		}
		return s.vars[name]
	})
	cmd := exec.Command("holdfast", strings.Fields(command)...)
	cmd.Dir = s.dir
	cmd.Env = append(slices.Concat(os.Environ(), s.env), "GODEBUG=fips140="+mode)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestFIPSPage runs each row of docs/fips.md.
func TestFIPSPage(t *testing.T) {
	rows := readFIPSPage(t)
	for name := range fipsRows {
		if rows[name] == nil {
			t.Errorf("docs/fips.md has no row %q", name)
		}
	}
	s := newFIPSShop(t)
	for i, mode := range []string{"on", "only"} {
		s.emulate(t, mode)
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			t.Run(mode+"/"+name, func(t *testing.T) {
				commands, known := fipsRows[name]
				if !known {
					t.Fatal("the row has no commands")
				}
				if name == "`serve`" {
					s.serve(t, mode)
					return
				}
				want := strings.Trim(rows[name][i], "`")
				for j, command := range commands {
					out, err := s.run(mode, command)
					code := 5
					if strings.HasPrefix(name, "a PIN ") {
						code = 4 // as for every PIN that cannot be had
					}
					refused := j == len(commands)-1 && want != "yes"
					switch {
					case !refused && err != nil:
						t.Errorf("%s: %v\n%s", command, err, out)
					case refused && (!isExit(err, code) || !strings.Contains(out, want) || !strings.Contains(out, "hint: ")):
						t.Errorf("%s: %v, want exit code %d with a hint and %q\n%s", command, err, code, want, out)
					}
				}
			})
		}
	}
}

func isExit(err error, code int) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == code
}

// readFIPSPage returns the cells for the modes on and only, by the first cell of a row.
func readFIPSPage(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "fips.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(page), "\n## Kinds of keys\n")
	rows := make(map[string][]string)
	for line := range strings.Lines(tables) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || strings.HasSuffix(line, "| `on` | `only` |\n") {
			continue
		}
		rows[strings.TrimPrefix(cells[0], "| ")] = []string{cells[1], strings.TrimSuffix(cells[2], " |")}
	}
	if len(rows) < 30 {
		t.Fatalf("docs/fips.md has %d rows", len(rows))
	}
	return rows
}

// emulate runs "holdfast emulator" in a mode until the test ends.
func (s *fipsShop) emulate(t *testing.T, mode string) {
	t.Helper()
	t.Setenv("GODEBUG", "fips140="+mode) // this process has read it before
	_, flags, stop, err := clitest.RunEmulator(s.dir, "--trust-anchor", "root.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	s.vars["HTTP"] = flags
}

// serve gets credentials from "holdfast serve", which gets them with TLS.
func (s *fipsShop) serve(t *testing.T, mode string) {
	t.Helper()
	for _, kind := range []string{"rsa2048", "p256"} {
		args := append([]string{"--certificate", kind + "-cert.pem", "--private-key", kind + ".pem"}, strings.Fields(s.vars["HTTPS"])...)
		served := clitest.StartServe(t, s.dir, append(slices.Clone(s.env), "GODEBUG=fips140="+mode), args...)
		clitest.Eventually(t, "serve has credentials", func() bool {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, served.URL+"/credentials", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", served.TokenValue())
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			return err == nil && response.StatusCode == http.StatusOK && strings.Contains(string(body), "AccessKeyId")
		})
	}
}
