package tpm

import (
	"crypto"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// newTPM starts an emulator.
func newTPM(tb testing.TB) *tpmtest.TPM {
	tb.Helper()
	signertest.Require(tb, "swtpm", "swtpm")
	return tpmtest.Start(tb)
}

func TestContract(t *testing.T) {
	t.Parallel()
	m := newMaker(t, newTPM(t))
	for _, kind := range []keystore.KeyType{keystore.RSA2048, keystore.RSA3072, keystore.P256, keystore.P384, keystore.P521} {
		t.Run(string(kind), func(t *testing.T) {
			m.TB = t
			m.contract(Config{PEM: m.createFile(kind, CreateConfig{})})
		})
	}
}

// contract runs the contract tests of signers, and checks that nothing is left
// in the TPM.
func (m *maker) contract(cfg Config) {
	t := m.TB.(*testing.T)
	t.Helper()
	cfg.Device = m.emulator.Path
	signertest.Run(t, func(t *testing.T) signer.Signer {
		k, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return k
	})
	if left := m.loadedHandles(); len(left) > 0 {
		t.Errorf("left in the TPM: %x", left)
	}
}

// createFile returns a key file from Create.
func (m *maker) createFile(kind keystore.KeyType, cfg CreateConfig) []byte {
	m.Helper()
	cfg.Device = m.emulator.Path
	pem, err := Create(m.Context(), cfg, kind)
	if err != nil {
		m.Fatal(err)
	}
	return pem
}

// Handles of persistent objects.
const (
	eccParent    = 0x81000001
	authParent   = 0x81000002
	rsaParent    = 0x81000003
	p384Parent   = 0x81000004
	rsaAuth      = 0x81000005
	persistedKey = 0x81010002
)

// TestContractKeyKinds tests keys of all kinds under all kinds of parents. Some
// combinations are tested only with P-256, which takes a tenth of the time.
func TestContractKeyKinds(t *testing.T) {
	t.Parallel()
	m := newMaker(t, newTPM(t))
	p384SRK := srkTemplate
	p384SRK.NameAlg = tpm2.TPMAlgSHA384
	p384SRK.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Symmetric: tpm2.TPMTSymDefObject{
			Algorithm: tpm2.TPMAlgAES,
			KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(256)),
			Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
		},
		CurveID: tpm2.TPMECCNistP384,
	})
	m.persistentPrimary(eccParent, srkTemplate, "")
	m.persistentPrimary(authParent, srkTemplate, parentPassword)
	m.persistentPrimary(rsaParent, rsaSRKTemplate, "")
	m.persistentPrimary(p384Parent, p384SRK, "")
	m.persistentPrimary(rsaAuth, rsaSRKTemplate, parentPassword)

	// below is a test case with a key that Create creates under a parent.
	below := func(parent Handle, key, above string, pcrs ...PCRs) func(*maker, keystore.KeyType) Config {
		return func(m *maker, kind keystore.KeyType) Config {
			return Config{
				PEM: m.createFile(kind, CreateConfig{Parent: parent, PIN: optionalPIN(key), ParentPIN: optionalPIN(above), PCRs: pcrs}),
				PIN: optionalPIN(key), ParentPIN: optionalPIN(above),
			}
		}
	}
	// changed is a test case with a key whose public area is changed, under
	// the owner hierarchy.
	changed := func(password string, change func(*tpm2.TPMTPublic)) func(*maker, keystore.KeyType) Config {
		return func(m *maker, kind keystore.KeyType) Config {
			template := signingTemplate(kind)
			change(&template)
			return Config{PEM: m.createUnderOwner(template, password).pem(m), PIN: optionalPIN(password)}
		}
	}
	var (
		pcrs     = []PCRs{{Hash: crypto.SHA256, Numbers: []uint{7, 16, 0}}}
		twoBanks = append([]PCRs{{Hash: crypto.SHA1, Numbers: []uint{23}}}, pcrs...)
		ecc      = []keystore.KeyType{keystore.P256}
		rsa      = []keystore.KeyType{keystore.RSA2048}
		both     = []keystore.KeyType{keystore.P256, keystore.RSA2048}
	)
	for _, c := range []struct {
		name  string
		kinds []keystore.KeyType
		make  func(*maker, keystore.KeyType) Config
	}{
		{"owner", both, below(OwnerHierarchy, "", "")},
		{"endorsement", both, below(EndorsementHierarchy, "", "")},
		{"platform", both, below(PlatformHierarchy, "", "")},
		{"null", both, below(NullHierarchy, "", "")},
		{"persistent parent", both, below(eccParent, "", "")},
		{"persistent P-384 parent", ecc, below(p384Parent, "", "")},
		{"persistent RSA parent", both, below(rsaParent, "", "")},
		{"parent with password", both, below(authParent, "", parentPassword)},
		{"RSA parent with password", ecc, below(rsaAuth, "", parentPassword)},
		{"password", both, below(OwnerHierarchy, keyPassword, "")},
		{"password, endorsement", ecc, below(EndorsementHierarchy, keyPassword, "")},
		{"password, persistent parent", ecc, below(eccParent, keyPassword, "")},
		{"password, P-384 parent", ecc, below(p384Parent, keyPassword, "")},
		{"password, RSA parent", ecc, below(rsaParent, keyPassword, "")},
		{"password, parent with password", ecc, below(authParent, keyPassword, parentPassword)},
		{"password, RSA parent with password", ecc, below(rsaAuth, keyPassword, parentPassword)},
		{"longest password", ecc, below(OwnerHierarchy, "0123456789abcdef0123456789abcdef", "")},
		{"owner with password", both, func(m *maker, kind keystore.KeyType) Config {
			m.setAuth(owner, parentPassword)
			m.Cleanup(func() { m.setAuth(entity{handle: tpm2.TPMRHOwner, password: parentPassword}, "") })
			return below(0, "", parentPassword)(m, kind)
		}},
		{"password, owner with password", ecc, func(m *maker, kind keystore.KeyType) Config {
			m.setAuth(owner, parentPassword)
			m.Cleanup(func() { m.setAuth(entity{handle: tpm2.TPMRHOwner, password: parentPassword}, "") })
			return below(0, keyPassword, parentPassword)(m, kind)
		}},
		{"RSA parent in the file", both, func(m *maker, kind keystore.KeyType) Config {
			srk := m.primary(owner, rsaSRKTemplate, "")
			defer m.flush(srk.handle)
			f := m.create(srk, tpm2.TPMRHOwner, signingTemplate(kind), "")
			f.RSAParent = true
			return Config{PEM: f.pem(m)}
		}},
		{"password, RSA parent in the file", ecc, func(m *maker, kind keystore.KeyType) Config {
			srk := m.primary(owner, rsaSRKTemplate, "")
			defer m.flush(srk.handle)
			f := m.create(srk, tpm2.TPMRHOwner, signingTemplate(kind), keyPassword)
			f.RSAParent = true
			return Config{PEM: f.pem(m), PIN: optionalPIN(keyPassword)}
		}},
		{"PCRs", both, below(OwnerHierarchy, "", "", pcrs...)},
		{"PCRs of two banks", ecc, below(OwnerHierarchy, "", "", twoBanks...)},
		{"PCRs, selection first", ecc, func(m *maker, kind keystore.KeyType) Config {
			selection := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{selectPCRs(tpm2.TPMAlgSHA256, []uint{1})}}
			template := signingTemplate(kind)
			template.ObjectAttributes.UserWithAuth = false
			template.AuthPolicy = m.policyDigest(tpm2.TPMAlgSHA256, func(s tpm2.TPMISHPolicy) error {
				_, err := tpm2.PolicyPCR{PolicySession: s, Pcrs: selection}.Execute(m.tpm)
				return err
			})
			f := m.createUnderOwner(template, "")
			// An empty digest means the current PCR values.
			f.Policy = []tss2Policy{{int64(tpm2.TPMCCPolicyPCR), append(tpm2.Marshal(selection), 0, 0)}}
			return Config{PEM: f.pem(m)}
		}},
		{"PCRs, selection first and digest without its size", ecc, func(m *maker, kind keystore.KeyType) Config {
			cfg := below(OwnerHierarchy, "", "", pcrs...)(m, kind)
			cfg.PEM = rewrite(m, cfg.PEM, func(f *tss2) {
				p := f.Policy[0].Parameters
				f.Policy[0].Parameters = slices.Concat(p[2+32:], p[2:2+32])
			})
			return cfg
		}},
		{"parent as a negative number", ecc, func(m *maker, kind keystore.KeyType) Config {
			cfg := below(eccParent, "", "")(m, kind)
			cfg.PEM = rewrite(m, cfg.PEM, func(f *tss2) { f.Parent -= 1 << 32 })
			return cfg
		}},
		{"parent 0", ecc, func(m *maker, kind keystore.KeyType) Config {
			cfg := below(OwnerHierarchy, "", "")(m, kind)
			cfg.PEM = rewrite(m, cfg.PEM, func(f *tss2) { f.Parent = 0 })
			return cfg
		}},
		{"PCRs and password", both, below(OwnerHierarchy, keyPassword, "", pcrs...)},
		{"PCRs and password, RSA parent with password", ecc, below(rsaAuth, keyPassword, parentPassword, pcrs...)},
		{"password by policy", both, func(m *maker, kind keystore.KeyType) Config {
			return m.byPolicy(signingTemplate(kind), tpm2.TPMCCPolicyAuthValue, keyPassword)
		}},
		{"password by policy, as TPM2_PolicyPassword", ecc, func(m *maker, kind keystore.KeyType) Config {
			return m.byPolicy(signingTemplate(kind), ccPolicyPassword, keyPassword)
		}},
		{"no password by policy", ecc, func(m *maker, kind keystore.KeyType) Config {
			return m.byPolicy(signingTemplate(kind), tpm2.TPMCCPolicyAuthValue, "")
		}},
		{"password by policy, SHA-384", ecc, func(m *maker, kind keystore.KeyType) Config {
			template := signingTemplate(kind)
			template.NameAlg = tpm2.TPMAlgSHA384
			return m.byPolicy(template, tpm2.TPMCCPolicyAuthValue, keyPassword)
		}},
		{"importable", both, func(m *maker, kind keystore.KeyType) Config {
			srk := m.primary(owner, srkTemplate, "")
			defer m.flush(srk.handle)
			return Config{PEM: m.importable(srk, tpm2.TPMRHOwner, signingTemplate(kind), "").pem(m)}
		}},
		{"importable, password", ecc, func(m *maker, kind keystore.KeyType) Config {
			srk := m.primary(owner, srkTemplate, "")
			defer m.flush(srk.handle)
			return Config{PEM: m.importable(srk, tpm2.TPMRHOwner, signingTemplate(kind), keyPassword).pem(m), PIN: optionalPIN(keyPassword)}
		}},
		{"importable, RSA parent with password", ecc, func(m *maker, kind keystore.KeyType) Config {
			o := run(m, tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(rsaAuth)}.Execute)
			parent := entity{rsaAuth, o.Name, parentPassword}
			return Config{PEM: m.importable(parent, rsaAuth, signingTemplate(kind), keyPassword).pem(m), PIN: optionalPIN(keyPassword), ParentPIN: optionalPIN(parentPassword)}
		}},
		{"persistent", both, func(m *maker, kind keystore.KeyType) Config {
			m.persistent(persistedKey, signingTemplate(kind), "")
			m.Cleanup(func() { m.remove(persistedKey) })
			return Config{Handle: persistedKey}
		}},
		{"persistent, password", both, func(m *maker, kind keystore.KeyType) Config {
			m.persistent(persistedKey, signingTemplate(kind), keyPassword)
			m.Cleanup(func() { m.remove(persistedKey) })
			return Config{Handle: persistedKey, PIN: optionalPIN(keyPassword)}
		}},
		{"persistent, SHA-384, password", ecc, func(m *maker, kind keystore.KeyType) Config {
			template := signingTemplate(kind)
			template.NameAlg = tpm2.TPMAlgSHA384
			m.persistent(persistedKey, template, keyPassword)
			m.Cleanup(func() { m.remove(persistedKey) })
			return Config{Handle: persistedKey, PIN: optionalPIN(keyPassword)}
		}},
		{"decrypts alone", rsa, changed("", func(p *tpm2.TPMTPublic) {
			p.ObjectAttributes.SignEncrypt, p.ObjectAttributes.Decrypt = false, true
		})},
		{"decrypts alone, password", rsa, changed(keyPassword, func(p *tpm2.TPMTPublic) {
			p.ObjectAttributes.SignEncrypt, p.ObjectAttributes.Decrypt = false, true
		})},
		{"signs and decrypts", both, changed("", func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true })},
		{"signs and decrypts, password", rsa, changed(keyPassword, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true })},
		{"PKCS #1 v1.5 with SHA-256", rsa, changed("", onlyRSA(rsassa(tpm2.TPMAlgSHA256)))},
		{"PSS with SHA-256", rsa, changed("", onlyRSA(rsapss(tpm2.TPMAlgSHA256)))},
		{"PSS with SHA-512", rsa, changed("", onlyRSA(rsapss(tpm2.TPMAlgSHA512)))},
		{"ECDSA with SHA-256", ecc, changed("", onlyECDSA(tpm2.TPMAlgSHA256))},
		{"no protection against dictionary attacks", ecc, changed(keyPassword, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.NoDA = true })},
		{"SHA-384", both, changed("", func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA384 })},
		{"SHA-384, password", ecc, changed(keyPassword, func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA384 })},
		{"SHA-384, long password", ecc, changed("0123456789abcdef0123456789abcdef0123456789abcdef", func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA384 })},
	} {
		for _, kind := range c.kinds {
			t.Run(c.name+"/"+string(kind), func(t *testing.T) {
				m := *m
				m.TB = t
				m.contract(c.make(&m, kind))
			})
		}
	}
}

// byPolicy creates a key that requires a policy session with its password.
func (m *maker) byPolicy(template tpm2.TPMTPublic, command tpm2.TPMCC, password string) Config {
	m.Helper()
	template.ObjectAttributes.UserWithAuth = false
	template.AuthPolicy = m.policyDigest(template.NameAlg, func(s tpm2.TPMISHPolicy) error {
		_, err := tpm2.PolicyAuthValue{PolicySession: s}.Execute(m.tpm)
		return err
	})
	f := m.createUnderOwner(template, password)
	f.Policy = []tss2Policy{{Command: int64(command), Parameters: []byte{}}}
	return Config{PEM: f.pem(m), PIN: optionalPIN(password)}
}

func onlyRSA(scheme tpm2.TPMTRSAScheme) func(*tpm2.TPMTPublic) {
	return func(p *tpm2.TPMTPublic) {
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048, Symmetric: noSymmetric, Scheme: scheme})
	}
}

func rsassa(hash tpm2.TPMAlgID) tpm2.TPMTRSAScheme {
	return tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: hash})}
}

func rsapss(hash tpm2.TPMAlgID) tpm2.TPMTRSAScheme {
	return tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSAPSS, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: hash})}
}

func onlyECDSA(hash tpm2.TPMAlgID) func(*tpm2.TPMTPublic) {
	return func(p *tpm2.TPMTPublic) {
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256, Symmetric: noSymmetric, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash})},
		})
	}
}

// TestRefusedKinds tests objects that cannot sign or cannot be unsealed.
func TestRefusedKinds(t *testing.T) {
	m := newMaker(t, newTPM(t))
	sign := func(change func(*tpm2.TPMTPublic)) func(*maker) []byte {
		return func(m *maker) []byte {
			template := signingTemplate(keystore.P256)
			change(&template)
			return m.createUnderOwner(template, "").pem(m)
		}
	}
	onCurve := func(id tpm2.TPMECCCurve) func(*tpm2.TPMTPublic) {
		return func(p *tpm2.TPMTPublic) { p.Parameters = eccTemplate(id).Parameters }
	}
	policy := func(f func(*tss2)) func(*maker) []byte {
		return func(m *maker) []byte {
			file := m.createUnderOwner(signingTemplate(keystore.P256), "")
			f(&file)
			return file.pem(m)
		}
	}
	sealed := func(m *maker) []byte {
		pem, err := Seal(m.Context(), CreateConfig{Device: m.emulator.Path}, []byte("secret"))
		if err != nil {
			m.Fatal(err)
		}
		return pem
	}
	symmetric := func(p *tpm2.TPMTPublic) {
		p.Type = tpm2.TPMAlgSymCipher
		p.ObjectAttributes.Decrypt = true
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgSymCipher, &tpm2.TPMSSymCipherParms{Sym: tpm2.TPMTSymDefObject{
			Algorithm: tpm2.TPMAlgAES,
			KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
			Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
		}})
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgSymCipher, &tpm2.TPM2BDigest{})
	}
	hmac := func(p *tpm2.TPMTPublic) {
		p.Type = tpm2.TPMAlgKeyedHash
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{
			Scheme:  tpm2.TPMAlgHMAC,
			Details: tpm2.NewTPMUSchemeKeyedHash(tpm2.TPMAlgHMAC, &tpm2.TPMSSchemeHMAC{HashAlg: tpm2.TPMAlgSHA256}),
		}})
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{})
	}
	for _, c := range []struct {
		name   string
		make   func(*maker) []byte
		unseal bool
	}{
		{"restricted", sign(func(p *tpm2.TPMTPublic) {
			onlyECDSA(tpm2.TPMAlgSHA256)(p)
			p.ObjectAttributes.Restricted = true
		}), false},
		{"storage key", sign(func(p *tpm2.TPMTPublic) { *p = srkTemplate }), false},
		{"decrypts alone, ECC", sign(func(p *tpm2.TPMTPublic) {
			p.ObjectAttributes.SignEncrypt, p.ObjectAttributes.Decrypt = false, true
		}), false},
		{"decrypts alone, with a scheme", sign(func(p *tpm2.TPMTPublic) {
			*p = signingTemplate(keystore.RSA2048)
			p.ObjectAttributes.SignEncrypt, p.ObjectAttributes.Decrypt = false, true
			onlyRSA(tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgOAEP, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgOAEP, &tpm2.TPMSEncSchemeOAEP{HashAlg: tpm2.TPMAlgSHA256})})(p)
		}), false},
		{"ECDAA", sign(func(p *tpm2.TPMTPublic) {
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
				CurveID: tpm2.TPMECCNistP256, Symmetric: noSymmetric, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
				Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDAA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDAA, &tpm2.TPMSSchemeECDAA{HashAlg: tpm2.TPMAlgSHA256})},
			})
		}), false},
		{"ECDSA with SHA-1", sign(onlyECDSA(tpm2.TPMAlgSHA1)), false},
		{"PKCS #1 v1.5 with SHA-1", sign(func(p *tpm2.TPMTPublic) {
			*p = signingTemplate(keystore.RSA2048)
			onlyRSA(rsassa(tpm2.TPMAlgSHA1))(p)
		}), false},
		{"symmetric key", sign(symmetric), false},
		{"HMAC key", sign(hmac), false},
		{"sealed data", sealed, false},
		{"curve P-224", sign(onCurve(tpm2.TPMECCNistP224)), false},
		{"curve BN-256", sign(onCurve(tpm2.TPMECCBNP256)), false},
		{"signed policy", policy(func(f *tss2) {
			f.AuthPolicy = []tss2AuthPolicy{{Name: "release", Policy: []tss2Policy{{Command: int64(tpm2.TPMCCPolicyPCR), Parameters: []byte{}}}}}
		}), false},
		{"policy with another command", policy(func(f *tss2) {
			f.Policy = []tss2Policy{{int64(tpm2.TPMCCPolicyCommandCode), []byte{0, 0, 1, 0x5d}}}
		}), false},
		{"policy with an unknown command after PCRs", policy(func(f *tss2) {
			f.Policy = []tss2Policy{{int64(tpm2.TPMCCPolicyPCR), []byte{0, 0, 0, 0, 0, 0}}, {0x7fffffff, []byte{}}}
		}), false},
		{"key as sealed data", sign(func(*tpm2.TPMTPublic) {}), true},
		{"HMAC key as sealed data", sign(hmac), true},
		{"symmetric key as sealed data", sign(symmetric), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := *m
			m.TB = t
			cfg := Config{PEM: c.make(&m), Device: m.emulator.Path}
			err := refusal(&m, cfg, c.unseal)
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Fatalf("%v, want ErrUnsupported", err)
			}
			var code Error
			if errors.As(err, &code) {
				t.Errorf("%v: a command was sent to the TPM", err)
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
}

// TestRefusedHandles tests persistent objects that cannot sign.
func TestRefusedHandles(t *testing.T) {
	m := newMaker(t, newTPM(t))
	restricted := signingTemplate(keystore.P256)
	onlyECDSA(tpm2.TPMAlgSHA256)(&restricted)
	restricted.ObjectAttributes.Restricted = true
	m.persistentPrimary(eccParent, srkTemplate, "")
	m.persistent(persistedKey, restricted, "")
	for _, h := range []Handle{eccParent, persistedKey} {
		if err := refusal(m, Config{Handle: h, Device: m.emulator.Path}, false); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("0x%08x: %v, want ErrUnsupported", h, err)
		}
		if left := m.loadedHandles(); len(left) > 0 {
			t.Errorf("left in the TPM: %x", left)
		}
	}
	if err := refusal(m, Config{Handle: 0x81010009, Device: m.emulator.Path}, false); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("no such object: %v, want ErrNotFound", err)
	}
}

// TestRefusedFiles tests key files that the TPM cannot load, and that nothing
// is left in the TPM.
func TestRefusedFiles(t *testing.T) {
	m, other := newMaker(t, newTPM(t)), newMaker(t, newTPM(t))
	m.persistentPrimary(eccParent, srkTemplate, "")
	m.persistentPrimary(authParent, srkTemplate, parentPassword)
	change := func(f func(*tss2)) Config {
		file := m.createUnderOwner(signingTemplate(keystore.P256), "")
		f(&file)
		return Config{PEM: file.pem(t)}
	}
	guarded := m.createFile(keystore.P256, CreateConfig{PIN: optionalPIN(keyPassword)})
	below := m.createFile(keystore.P256, CreateConfig{Parent: authParent, ParentPIN: optionalPIN(parentPassword)})
	for _, c := range []struct {
		name string
		cfg  Config
		want error
	}{
		{"key of another TPM", Config{PEM: other.createFile(keystore.P256, CreateConfig{})}, signer.ErrNotFound},
		{"another hierarchy", change(func(f *tss2) { f.Parent = int64(tpm2.TPMRHEndorsement) }), signer.ErrNotFound},
		{"another parent", change(func(f *tss2) { f.Parent = int64(authParent) }), signer.ErrPINRequired},
		{"no such parent", change(func(f *tss2) { f.Parent = 0x81000077 }), signer.ErrNotFound},
		{"parent of another type", change(func(f *tss2) { f.RSAParent = true }), signer.ErrNotFound},
		{"no password", Config{PEM: guarded}, signer.ErrPINRequired},
		{"parent's password missing", Config{PEM: below}, signer.ErrPINRequired},
		{"parent's password wrong", Config{PEM: below, ParentPIN: optionalPIN("wrong")}, signer.ErrPINIncorrect},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := *m
			m.TB = t
			c.cfg.Device = m.emulator.Path
			if err := refusal(&m, c.cfg, false); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
	// Open does not check the password.
	k, err := Open(t.Context(), Config{PEM: guarded, PIN: optionalPIN("wrong"), Device: m.emulator.Path})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := m.sign(k); !errors.Is(err, signer.ErrPINIncorrect) {
		t.Errorf("wrong password: %v, want ErrPINIncorrect", err)
	}
	if left := m.loadedHandles(); len(left) > 0 {
		t.Errorf("left in the TPM: %x", left)
	}
}

// refusal returns the error of Open or Unseal.
func refusal(m *maker, cfg Config, sealed bool) error {
	if sealed {
		_, err := Unseal(m.Context(), cfg)
		return err
	}
	k, err := Open(m.Context(), cfg)
	if err == nil {
		err = k.Close()
	}
	return err
}
