package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// An interop is a TPM that other programs also use.
type interop struct {
	*maker
	dir string
	env []string // environment of the programs
}

// newInterop starts a TPM. It requires tpm2-tools and OpenSSL with the provider
// tpm2.
func newInterop(t *testing.T) *interop {
	t.Helper()
	signertest.Require(t, "tpm2-tools", "tpm2_create")
	openssl := signertest.Require(t, "openssl", "openssl")
	out, err := exec.CommandContext(t.Context(), openssl, "version", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, folder, _ := strings.Cut(strings.TrimSpace(string(out)), " ") // MODULESDIR: "…"
	provider := filepath.Join(strings.Trim(folder, `"`), "tpm2.so")
	if _, err := os.Stat(provider); err != nil {
		signertest.Require(t, "tpm2-openssl", provider)
	}
	s := &interop{maker: newMaker(t, newTPM(t)), dir: t.TempDir()}
	s.env = append(os.Environ(), "TPM2TOOLS_TCTI="+s.emulator.TCTI(), "TPM2OPENSSL_TCTI="+s.emulator.TCTI(), "OPENSSL_CONF=/dev/null")
	s.write("message", []byte(message))
	return s
}

const message = "signed here and there\n"

// forTest returns a copy of s for a subtest.
func (s *interop) forTest(t *testing.T) *interop {
	c, m := *s, *s.maker
	m.TB = t
	c.maker = &m
	return &c
}

func (s *interop) path(name string) string { return filepath.Join(s.dir, name) }

func (s *interop) write(name string, data []byte) {
	s.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *interop) read(name string) []byte {
	s.Helper()
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		s.Fatal(err)
	}
	return data
}

// try runs a program in the folder of s.
func (s *interop) try(env []string, name string, args ...string) error {
	cmd := exec.CommandContext(s.Context(), name, args...)
	cmd.Dir, cmd.Env = s.dir, slices.Concat(s.env, env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
	}
	return nil
}

func (s *interop) run(name string, args ...string) {
	s.Helper()
	if err := s.try(nil, name, args...); err != nil {
		s.Fatal(err)
	}
}

// flushAll flushes the objects and sessions that programs left in the TPM.
func (s *interop) flushAll() {
	s.Helper()
	for _, h := range s.loadedHandles() {
		s.flush(h)
	}
}

var provider = []string{"-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"}

// genpkey creates a key file with OpenSSL.
func (s *interop) genpkey(name string, options ...string) []byte {
	s.Helper()
	args := slices.Concat([]string{"genpkey"}, provider, []string{"-out", name})
	for i, o := range options {
		flag := "-pkeyopt"
		if i == 0 {
			flag = "-algorithm"
		}
		args = append(args, flag, o)
	}
	s.run("openssl", args...)
	return s.read(name)
}

// A sharedKey is a key that Holdfast and other programs use.
type sharedKey struct {
	cfg Config

	// The name of the key for OpenSSL, and its password. "": the provider
	// cannot use the key.
	openssl, password string
	env               []string
	empty             bool // the provider may ask for an empty password

	// Arguments of tpm2_load and tpm2_sign; nil: not tested.
	load, sign []string
}

func (s *interop) file(name string, pem []byte, password, parentPassword string) sharedKey {
	s.Helper()
	s.write(name, pem)
	k := sharedKey{cfg: Config{PEM: pem, PIN: optionalPIN(password), ParentPIN: optionalPIN(parentPassword)}, openssl: name, password: password}
	if parentPassword != "" {
		k.env = []string{"TPM2OPENSSL_PARENT_AUTH=" + parentPassword}
	}
	return k
}

// withoutOpenSSL is for keys that version 1.1.1 of the provider cannot use.
func (k sharedKey) withoutOpenSSL() sharedKey {
	k.openssl = ""
	return k
}

// noPassword is for keys without a password whose file says otherwise.
func (k sharedKey) noPassword() sharedKey {
	k.cfg.PIN = func(context.Context, keystore.Prompt) ([]byte, error) { return nil, nil }
	return k
}

// opensslAsks is for keys with an empty password for which the provider may
// ask.
func (k sharedKey) opensslAsks() sharedKey {
	k.empty = true
	return k
}

// withTools also tests the key with tpm2_load and tpm2_sign.
func (k sharedKey) withTools(load ...string) sharedKey {
	k.load, k.sign = load, []string{}
	if k.password != "" {
		k.sign = []string{"-p", k.password}
	}
	return k
}

// encoded creates a key with tpm2_create and tpm2_encodeobject.
func (s *interop) encoded(name string, parent Handle, algorithm, password string) []byte {
	s.Helper()
	create := []string{"-Q", "-C", fmt.Sprintf("0x%x", parent), "-G", algorithm, "-u", name + ".pub", "-r", name + ".priv"}
	encode := []string{"-Q", "-C", fmt.Sprintf("0x%x", parent), "-u", name + ".pub", "-r", name + ".priv", "-o", name}
	if password != "" {
		create, encode = append(create, "-p", password), append(encode, "-p")
	}
	s.run("tpm2_create", create...)
	s.run("tpm2_encodeobject", encode...)
	return s.read(name)
}

// TestInterop creates keys with one program and signs with the others:
// Holdfast, OpenSSL with the provider tpm2, and tpm2-tools.
func TestInterop(t *testing.T) {
	t.Parallel()
	s := newInterop(t)
	s.persistentPrimary(eccParent, srkTemplate, "")
	s.persistentPrimary(authParent, srkTemplate, parentPassword)
	s.persistentPrimary(rsaParent, rsaSRKTemplate, "")
	s.persistentPrimary(rsaAuth, rsaSRKTemplate, parentPassword)
	const srkAttributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
	s.run("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-a", srkAttributes, "-c", "srk.ctx")
	s.flushAll()

	ours := func(kind keystore.KeyType, parent Handle, key, above string) func(*interop) sharedKey {
		return func(s *interop) sharedKey {
			return s.file("ours.pem", s.createFile(kind, CreateConfig{Parent: parent, PIN: optionalPIN(key), ParentPIN: optionalPIN(above)}), key, above)
		}
	}
	tools := func(make func(*interop) sharedKey, load ...string) func(*interop) sharedKey {
		return func(s *interop) sharedKey { return make(s).withTools(load...) }
	}
	alone := func(make func(*interop) sharedKey) func(*interop) sharedKey {
		return func(s *interop) sharedKey { return make(s).withoutOpenSSL() }
	}
	openssl := func(key, above string, options ...string) func(*interop) sharedKey {
		return func(s *interop) sharedKey {
			return s.file("theirs.pem", s.genpkey("theirs.pem", options...), key, above)
		}
	}
	for _, c := range []struct {
		name string
		make func(*interop) sharedKey
	}{
		{"openssl P-256", openssl("", "", "EC", "group:P-256")},
		{"openssl P-384", openssl("", "", "EC", "group:P-384")},
		{"openssl RSA-2048", openssl("", "", "RSA", "bits:2048")},
		{"openssl P-256, password", openssl(keyPassword, "", "EC", "group:P-256", "user-auth:"+keyPassword)},
		{"openssl RSA-2048, password", openssl(keyPassword, "", "RSA", "bits:2048", "user-auth:"+keyPassword)},
		{"openssl P-256, persistent parent", openssl("", "", "EC", "group:P-256", "parent:0x81000001")},
		{"openssl RSA-2048, persistent parent", openssl("", "", "RSA", "bits:2048", "parent:0x81000001")},
		{"openssl P-256, parent with password", openssl("", parentPassword, "EC", "group:P-256", "parent:0x81000002", "parent-auth:"+parentPassword)},
		{"openssl P-256, password, parent with password", openssl(keyPassword, parentPassword, "EC", "group:P-256", "parent:0x81000002", "parent-auth:"+parentPassword, "user-auth:"+keyPassword)},
		{"openssl P-256, RSA parent", openssl("", "", "EC", "group:P-256", "parent:0x81000003")},
		{"openssl P-256, RSA parent with password", openssl("", parentPassword, "EC", "group:P-256", "parent:0x81000005", "parent-auth:"+parentPassword)},

		{"ours P-256", tools(ours(keystore.P256, 0, "", ""), "-C", "srk.ctx")},
		{"ours P-384", tools(ours(keystore.P384, 0, "", ""), "-C", "srk.ctx")},
		{"ours P-521", tools(ours(keystore.P521, 0, "", ""), "-C", "srk.ctx")},
		{"ours RSA-2048", tools(ours(keystore.RSA2048, 0, "", ""), "-C", "srk.ctx")},
		{"ours RSA-3072", tools(ours(keystore.RSA3072, 0, "", ""), "-C", "srk.ctx")},
		{"ours P-256, password", tools(ours(keystore.P256, 0, keyPassword, ""), "-C", "srk.ctx")},
		{"ours RSA-2048, password", tools(ours(keystore.RSA2048, 0, keyPassword, ""), "-C", "srk.ctx")},
		{"ours P-256, persistent parent", tools(ours(keystore.P256, eccParent, "", ""), "-C", "0x81000001")},
		{"ours P-256, password, persistent parent", tools(ours(keystore.P256, eccParent, keyPassword, ""), "-C", "0x81000001")},
		{"ours P-256, parent with password", tools(ours(keystore.P256, authParent, "", parentPassword), "-C", "0x81000002", "-P", parentPassword)},
		{"ours RSA-2048, password, parent with password", tools(ours(keystore.RSA2048, authParent, keyPassword, parentPassword), "-C", "0x81000002", "-P", parentPassword)},
		{"ours P-256, RSA parent", tools(ours(keystore.P256, rsaParent, "", ""), "-C", "0x81000003")},
		{"ours P-256, RSA parent with password", tools(ours(keystore.P256, rsaAuth, "", parentPassword), "-C", "0x81000005", "-P", parentPassword)},
		// The provider treats hierarchies other than the owner hierarchy as
		// persistent handles, and cannot use a password for them.
		{"ours P-256, endorsement", alone(ours(keystore.P256, EndorsementHierarchy, "", ""))},
		{"ours P-256, null", alone(ours(keystore.P256, NullHierarchy, "", ""))},
		{"ours P-256, owner with password", alone(func(s *interop) sharedKey {
			s.setAuth(owner, parentPassword)
			s.Cleanup(func() { s.setAuth(entity{handle: tpm2.TPMRHOwner, password: parentPassword}, "") })
			return ours(keystore.P256, 0, "", parentPassword)(s)
		})},

		// tpm2_encodeobject 5.4 writes the inverse of emptyAuth, which misleads
		// the provider.
		{"tpm2_encodeobject P-256", alone(func(s *interop) sharedKey {
			return s.file("encoded.pem", s.encoded("encoded.pem", eccParent, "ecc256", ""), "", "").noPassword()
		})},
		{"tpm2_encodeobject RSA-2048", alone(func(s *interop) sharedKey {
			return s.file("encoded.pem", s.encoded("encoded.pem", eccParent, "rsa2048", ""), "", "").noPassword()
		})},
		{"tpm2_encodeobject P-256, password", alone(func(s *interop) sharedKey {
			return s.file("encoded.pem", s.encoded("encoded.pem", eccParent, "ecc256", keyPassword), keyPassword, "")
		})},
		// Version 1.1.1 of the provider assumes that such a key has no
		// password; version 1.3.0 asks for a password.
		{"emptyAuth absent, no password", func(s *interop) sharedKey {
			f := s.createUnderOwner(signingTemplate(keystore.P256), "")
			f.EmptyAuth = false
			return s.file("plain.pem", f.pem(s), "", "").noPassword().opensslAsks()
		}},
		{"emptyAuth true, no prompt", func(s *interop) sharedKey {
			k := s.file("plain.pem", s.createUnderOwner(signingTemplate(keystore.P256), "").pem(s), "", "")
			k.cfg.PIN = func(_ context.Context, p keystore.Prompt) ([]byte, error) {
				if !p.Optional {
					return nil, errors.New("asked for a password")
				}
				return nil, nil
			}
			return k
		}},
		{"tpm2_evictcontrol", func(s *interop) sharedKey { return s.evicted("") }},
		{"tpm2_evictcontrol, password", func(s *interop) sharedKey { return s.evicted(keyPassword) }},
		{"ours, persistent", func(s *interop) sharedKey { return s.generated("") }},
		{"ours, persistent, password", func(s *interop) sharedKey { return s.generated(keyPassword) }},
		{"tpm2_createpolicy, PCRs", alone(func(s *interop) sharedKey {
			s.run("tpm2_createpolicy", "-Q", "--policy-pcr", "-l", "sha256:0,16", "-L", "pcr.policy")
			s.run("tpm2_create", "-Q", "-C", "0x81000001", "-G", "ecc256", "-L", "pcr.policy",
				"-a", "fixedtpm|fixedparent|sensitivedataorigin|sign", "-u", "policy.pub", "-r", "policy.priv")
			selection := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{selectPCRs(tpm2.TPMAlgSHA256, []uint{0, 16})}}
			f := tss2{
				Type: oidLoadable, EmptyAuth: true, Parent: int64(eccParent), Public: s.read("policy.pub"), Private: s.read("policy.priv"),
				Policy: []tss2Policy{{int64(tpm2.TPMCCPolicyPCR), append([]byte{0, 0}, tpm2.Marshal(selection)...)}},
			}
			return s.file("policy.pem", f.pem(s), "", "")
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.forTest(t)
			k := c.make(s)
			s.flushAll()
			k.cfg.Device = s.emulator.Path
			key, err := Open(t.Context(), k.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer key.Close()
			public, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			s.write("public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
			for _, how := range signMethods(key.Public()) {
				sig, err := key.Sign(nil, how.digest(), how.opts)
				if err != nil {
					t.Fatalf("%s here: %v", how.name, err)
				}
				s.write("signature", sig)
				if err := s.try(nil, "openssl", slices.Concat([]string{"dgst", "-verify", "public.pem", "-signature", "signature"}, how.args, []string{"message"})...); err != nil {
					t.Errorf("%s here, verified by OpenSSL: %v", how.name, err)
				}
			}
			if err := key.Close(); err != nil {
				t.Fatal(err)
			}
			if left := s.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
			for _, how := range signMethods(key.Public()) {
				if k.openssl != "" {
					args := slices.Concat([]string{"dgst"}, provider, []string{"-sign", k.openssl, "-out", "signature"}, how.args, []string{"message"})
					if k.password != "" || k.empty {
						args = slices.Insert(args, 1, "-passin", "pass:"+k.password)
					}
					if err := s.try(k.env, "openssl", args...); err != nil {
						t.Errorf("%s by OpenSSL: %v", how.name, err)
					} else if err := how.verify(key.Public(), s.read("signature")); err != nil {
						t.Errorf("%s by OpenSSL, verified here: %v", how.name, err)
					}
				}
				if k.load != nil {
					s.split(k.cfg.PEM)
					s.run("tpm2_load", slices.Concat([]string{"-Q", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx"}, k.load)...)
					s.flushAll()
				}
				if k.sign != nil {
					context := []string{"-c", "key.ctx"}
					if k.cfg.Handle != 0 {
						context[1] = fmt.Sprintf("0x%x", k.cfg.Handle)
					}
					s.run("tpm2_sign", slices.Concat([]string{"-Q", "-f", "plain", "-o", "signature"}, context, k.sign, how.tool, []string{"message"})...)
					if err := how.verify(key.Public(), s.read("signature")); err != nil {
						t.Errorf("%s by tpm2_sign, verified here: %v", how.name, err)
					}
					s.flushAll()
				}
			}
		})
	}
}

// A signMethod is a signature scheme with its options in each program.
type signMethod struct {
	name string
	hash crypto.Hash
	opts crypto.SignerOpts
	args []string // options of openssl dgst
	tool []string // options of tpm2_sign
}

func (w signMethod) digest() []byte {
	h := w.hash.New()
	h.Write([]byte(message))
	return h.Sum(nil)
}

func (w signMethod) verify(pub crypto.PublicKey, sig []byte) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, w.digest(), sig) {
			return errors.New("wrong signature")
		}
		return nil
	case *rsa.PublicKey:
		if pss, ok := w.opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(pub, w.hash, w.digest(), sig, pss)
		}
		return rsa.VerifyPKCS1v15(pub, w.hash, w.digest(), sig)
	}
	return fmt.Errorf("key of type %T", pub)
}

func signMethods(pub crypto.PublicKey) []signMethod {
	if _, ok := pub.(*ecdsa.PublicKey); ok {
		return []signMethod{
			{"SHA-256", crypto.SHA256, crypto.SHA256, []string{"-sha256"}, []string{"-g", "sha256"}},
			{"SHA-384", crypto.SHA384, crypto.SHA384, []string{"-sha384"}, []string{"-g", "sha384"}},
		}
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	return []signMethod{
		{"SHA-256", crypto.SHA256, crypto.SHA256, []string{"-sha256"}, []string{"-g", "sha256", "-s", "rsassa"}},
		{"SHA-384", crypto.SHA384, crypto.SHA384, []string{"-sha384"}, []string{"-g", "sha384", "-s", "rsassa"}},
		{"PSS with SHA-256", crypto.SHA256, pss, []string{"-sha256", "-sigopt", "rsa_padding_mode:pss"}, []string{"-g", "sha256", "-s", "rsapss"}},
	}
}

// split writes the parts of a key file to key.pub and key.priv for tpm2_load,
// of which version 5.4 does not support key files.
func (s *interop) split(file []byte) {
	s.Helper()
	block, _ := pem.Decode(file)
	var f tss2
	if _, err := asn1.Unmarshal(block.Bytes, &f); err != nil {
		s.Fatal(err)
	}
	s.write("key.pub", f.Public)
	s.write("key.priv", f.Private)
}

// evicted creates a persistent key with tpm2-tools.
func (s *interop) evicted(password string) sharedKey {
	s.Helper()
	create := []string{"-Q", "-C", "0x81000001", "-G", "rsa2048", "-c", "evicted.ctx"}
	if password != "" {
		create = append(create, "-p", password)
	}
	s.run("tpm2_create", create...)
	s.flushAll()
	s.run("tpm2_evictcontrol", "-Q", "-C", "o", "-c", "evicted.ctx", "0x81010002")
	s.Cleanup(func() { s.remove(persistedKey) })
	return persistentKey(password)
}

// generated creates a persistent key with Holdfast.
func (s *interop) generated(password string) sharedKey {
	s.Helper()
	k, err := Backend{}.Generate(s.Context(), keystore.Ref{Scheme: "tpm", Rest: "handle=0x81010002;device=" + s.emulator.Path},
		keystore.KeySpec{Type: keystore.P256}, keystore.Call{Options: keystore.Options{PIN: optionalPIN(password)}})
	if err != nil {
		s.Fatal(err)
	}
	if err := k.Close(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.remove(persistedKey) })
	return persistentKey(password)
}

func persistentKey(password string) sharedKey {
	k := sharedKey{cfg: Config{Handle: persistedKey, PIN: optionalPIN(password)}, openssl: "handle:0x81010002", password: password}
	if password != "" {
		k.openssl += "?pass" // otherwise the provider does not ask for the password
	}
	k = k.withTools()
	k.load = nil
	return k
}

// TestInteropEncoding checks that other programs still write the encodings for
// which the parser is lenient.
func TestInteropEncoding(t *testing.T) {
	s := newInterop(t)
	s.persistentPrimary(eccParent, srkTemplate, "")
	isTrue, isFalse := []byte{0xa0, 3, 1, 1, 1}, []byte{0xa0, 3, 1, 1, 0}
	for _, c := range []struct {
		name string
		pem  []byte
		want []byte // emptyAuth
	}{
		{"openssl", s.genpkey("1.pem", "EC", "group:P-256"), isTrue},
		{"openssl, password", s.genpkey("2.pem", "EC", "group:P-256", "user-auth:"+keyPassword), isFalse},
		{"tpm2_encodeobject", s.encoded("3.pem", eccParent, "ecc256", ""), isFalse},
		{"tpm2_encodeobject, password", s.encoded("4.pem", eccParent, "ecc256", keyPassword), isTrue},
	} {
		block, _ := pem.Decode(c.pem)
		if block == nil {
			t.Fatalf("%s: no PEM", c.name)
		}
		if !bytes.Contains(block.Bytes[:32], c.want) {
			t.Errorf("%s: %x does not contain %x", c.name, block.Bytes[:32], c.want)
		}
	}
}

// TestInteropRestricted checks that RSA-PSS keys of OpenSSL, which are
// restricted, are refused.
func TestInteropRestricted(t *testing.T) {
	s := newInterop(t)
	pem := s.genpkey("pss.pem", "RSA-PSS", "bits:2048", "digest:SHA256")
	if err := refusal(s.maker, Config{PEM: pem, Device: s.emulator.Path}, false); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
}

// TestInteropCertificate creates a certificate request and a certificate with
// OpenSSL for a key of Holdfast, and puts the certificate into the key file.
func TestInteropCertificate(t *testing.T) {
	for _, kind := range []keystore.KeyType{keystore.P256, keystore.RSA2048} {
		t.Run(string(kind), func(t *testing.T) {
			s := newInterop(t)
			file := s.createFile(kind, CreateConfig{PIN: optionalPIN(keyPassword)})
			s.write("key.pem", file)
			common := slices.Concat([]string{"req"}, provider, []string{"-config", "openssl.cnf", "-new", "-key", "key.pem", "-passin", "pass:" + keyPassword, "-subj", "/CN=here"})
			s.write("openssl.cnf", []byte("[req]\ndistinguished_name = name\n[name]\n"))
			s.run("openssl", append(slices.Clone(common), "-out", "req.pem")...)
			s.run("openssl", append(slices.Clone(common), "-x509", "-days", "1", "-out", "cert.pem")...)
			block, _ := pem.Decode(s.read("req.pem"))
			req, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if err := req.CheckSignature(); err != nil {
				t.Error(err)
			}
			key, err := Open(t.Context(), Config{PEM: append(s.read("cert.pem"), file...), PIN: optionalPIN(keyPassword), Device: s.emulator.Path})
			if err != nil {
				t.Fatal(err)
			}
			defer key.Close()
			chain := key.Chain()
			if len(chain) != 1 {
				t.Fatalf("%d certificates, want 1", len(chain))
			}
			if err := chain[0].CheckSignature(chain[0].SignatureAlgorithm, chain[0].RawTBSCertificate, chain[0].Signature); err != nil {
				t.Error(err)
			}
			if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(req.PublicKey) {
				t.Error("the request is for another key")
			}
		})
	}
}
