package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// mustAttest returns the evidence of a key, and checks that nothing is left.
func mustAttest(tb testing.TB, emulator *tpmtest.TPM, cfg Config, kind keystore.KeyType) keystore.Attestation {
	tb.Helper()
	at, err := attest(tb.Context(), cfg, kind, dial)
	if err != nil {
		tb.Fatal(err)
	}
	checkEmpty(tb, emulator)
	return at
}

// TestActivateRefused activates credentials that are not for the key or the TPM, or
// that were changed.
func TestActivateRefused(t *testing.T) {
	emulator, other := newTPM(t), newTPM(t)
	cfg := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path}), Device: emulator.Path}
	second := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path}), Device: emulator.Path}
	at := mustAttest(t, emulator, cfg, keystore.P256)
	atSecond := mustAttest(t, emulator, second, keystore.P256)
	atOther := mustAttest(t, other, Config{PEM: makeKey(t, CreateConfig{Device: other.Path}), Device: other.Path}, keystore.P256)
	secret := bytes.Repeat([]byte{7}, 32)
	good := credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, secret)
	changed := func(part func(*keystore.Credential) *[]byte, i int) keystore.Credential {
		c := good
		*part(&c) = bytes.Clone(*part(&c))
		(*part(&c))[i] ^= 1
		return c
	}
	blob := func(c *keystore.Credential) *[]byte { return &c.Blob }
	encrypted := func(c *keystore.Credential) *[]byte { return &c.Secret }
	type refusal struct {
		name       string
		credential keystore.Credential
		want       error
		text       string
	}
	tests := []refusal{
		{"for another key", credentialFor(t, at.TPM.EndorsementKey, atSecond.TPM.Area, secret), signer.ErrMismatch, "another key"},
		{"for another TPM", credentialFor(t, atOther.TPM.EndorsementKey, at.TPM.Area, secret), signer.ErrMismatch, "another TPM"},
		{"name of another key", keystore.Credential{Key: good.Key, EndorsementKey: good.EndorsementKey, Blob: credentialFor(t, at.TPM.EndorsementKey, atSecond.TPM.Area, secret).Blob, Secret: good.Secret}, signer.ErrMismatch, "was changed"},
		{"swapped seed", keystore.Credential{Key: good.Key, EndorsementKey: good.EndorsementKey, Blob: good.Blob, Secret: credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, secret).Secret}, signer.ErrMismatch, "was changed"},
		{"empty", keystore.Credential{Key: good.Key, EndorsementKey: good.EndorsementKey}, signer.ErrMismatch, "was changed"},
		{"huge", keystore.Credential{Key: good.Key, EndorsementKey: good.EndorsementKey, Blob: make([]byte, 1<<20), Secret: good.Secret}, signer.ErrMismatch, "was changed"},
		{"no endorsement key", keystore.Credential{Key: good.Key, Blob: good.Blob, Secret: good.Secret}, errors.ErrUnsupported, "unknown type"},
		{"Ed25519", keystore.Credential{Key: good.Key, EndorsementKey: make(ed25519.PublicKey, 32), Blob: good.Blob, Secret: good.Secret}, errors.ErrUnsupported, "unknown type"},
	}
	for i := range good.Blob {
		tests = append(tests, refusal{"changed blob", changed(blob, i), signer.ErrMismatch, "was changed"})
	}
	for i := range good.Secret {
		tests = append(tests, refusal{"changed seed", changed(encrypted, i), signer.ErrMismatch, "was changed"})
	}
	certified := mustAttest(t, emulator, cfg, keystore.RSA2048) // an RSA key decrypts with OAEP
	byRSA := credentialFor(t, certified.TPM.EndorsementKey, at.TPM.Area, secret)
	for i := 0; i < len(byRSA.Secret); i += 50 {
		c := byRSA
		c.Secret = bytes.Clone(c.Secret)
		c.Secret[i] ^= 1
		tests = append(tests, refusal{"changed seed for an RSA key", c, signer.ErrMismatch, "was changed"})
	}
	for n := range good.Blob {
		c := good
		c.Blob = c.Blob[:n]
		tests = append(tests, refusal{"short blob", c, signer.ErrMismatch, "was changed"})
	}
	for _, test := range tests {
		got, err := activate(t.Context(), cfg, test.credential, dial)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || got != nil {
			t.Errorf("%s: %x, %v", test.name, got, err)
		}
	}
	checkEmpty(t, emulator)
	if got, err := activate(t.Context(), cfg, good, dial); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("the unchanged credential: %x, %v", got, err)
	}
	if _, err := attest(t.Context(), Config{PEM: cfg.PEM, Device: other.Path}, "", dial); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("evidence for the key of another TPM: %v", err)
	}
	if _, err := attest(t.Context(), cfg, keystore.P521, dial); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("endorsement key of an unknown type: %v", err)
	}
	sealed, err := Seal(t.Context(), CreateConfig{Device: emulator.Path}, secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest(t.Context(), Config{PEM: sealed, Device: emulator.Path}, "", dial); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("evidence for sealed data: %v", err)
	}
}

// TestForgedKeys has the TPM of an attacker, who can use any command. A credential
// for a software key with the attributes of a TPM key is never decrypted.
func TestForgedKeys(t *testing.T) {
	emulator := newTPM(t)
	m := newMaker(t, emulator)
	at := mustAttest(t, emulator, Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path}), Device: emulator.Path}, keystore.P256)
	area, err := unmarshal[tpm2.TPMTPublic](at.TPM.Area)
	if err != nil {
		t.Fatal(err)
	}
	soft, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := soft.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d, err := soft.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})
	sensitive := tpm2.New2B(tpm2.TPMTSensitive{SensitiveType: tpm2.TPMAlgECC, Sensitive: tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgECC, &tpm2.TPM2BECCParameter{Buffer: d})})
	ek := m.primary(entity{handle: tpm2.TPMRHEndorsement}, tpm2.ECCEKTemplate, "")
	defer m.flush(ek.handle)
	secret := bytes.Repeat([]byte{7}, 32)

	command := tpm2.PolicyCommandCode{Code: tpm2.TPMCCActivateCredential}
	calculator, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Update(calculator); err != nil {
		t.Fatal(err)
	}
	anybody := calculator.Hash().Digest // of a policy that everybody satisfies
	byPolicy := tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, tpm2.PolicyCallback(func(tr transport.TPM, h tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		command.PolicySession = h
		_, err := command.Execute(tr)
		return err
	}))
	for _, test := range []struct {
		name        string
		fixed       bool
		adminPolicy bool
		private     bool // load the private part, too
		auth        tpm2.Session
		loads, wins bool
	}{
		{"private part, fixed", true, false, true, nil, false, false},
		{"public part, fixed", true, false, false, tpm2.PasswordAuth(nil), true, false},
		{"public part, fixed, HMAC", true, false, false, tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize), true, false},
		{"public part, fixed, policy", true, true, false, byPolicy, true, false},
		{"private part, attributes cleared", false, false, true, tpm2.PasswordAuth(nil), true, true}, // attestation.Verify refuses it
	} {
		forged := *area
		a := &forged.ObjectAttributes
		a.FixedTPM, a.FixedParent, a.SensitiveDataOrigin = test.fixed, test.fixed, test.fixed
		if test.adminPolicy {
			a.AdminWithPolicy, forged.AuthPolicy = true, tpm2.TPM2BDigest{Buffer: anybody}
		}
		load := tpm2.LoadExternal{InPublic: tpm2.New2B(forged), Hierarchy: tpm2.TPMRHNull}
		if test.private {
			load.InPrivate = sensitive
		}
		o, err := load.Execute(m.tpm)
		if (err == nil) != test.loads {
			t.Errorf("%s: TPM2_LoadExternal: %v", test.name, err)
		}
		if err != nil {
			continue
		}
		c := credentialFor(t, at.TPM.EndorsementKey, tpm2.Marshal(forged), secret)
		answer, err := tpm2.ActivateCredential{
			ActivateHandle: tpm2.AuthHandle{Handle: o.ObjectHandle, Name: o.Name, Auth: test.auth},
			KeyHandle: tpm2.AuthHandle{Handle: ek.handle, Name: ek.name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, tpm2.PolicyCallback(func(tr transport.TPM, h tpm2.TPMISHPolicy, n tpm2.TPM2BNonce) error {
				_, err := tpm2.PolicySecret{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)}, PolicySession: h, NonceTPM: n}.Execute(tr)
				return err
			}))},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.Blob}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: c.Secret},
		}.Execute(m.tpm)
		if won := err == nil && bytes.Equal(answer.CertInfo.Buffer, secret); won != test.wins {
			t.Errorf("%s: the TPM decrypts the credential: %v, %v", test.name, won, err)
		}
		if !test.wins && !errors.Is(err, tpm2.TPMRCAuthUnavailable) {
			t.Errorf("%s: %v, want %v", test.name, err, tpm2.TPMRCAuthUnavailable)
		}
		m.flush(o.ObjectHandle)
	}
}

// TestForeignCertificates has certificates of endorsement keys in a TPM that cannot
// be used, and certificates of CAs.
func TestForeignCertificates(t *testing.T) {
	certs := tpmtest.NewMaker(t)
	certified := certs.Start(t)
	at := mustAttest(t, certified, Config{PEM: makeKey(t, CreateConfig{Device: certified.Path}), Device: certified.Path}, keystore.P384)
	text, err := os.ReadFile(certs.Roots)
	if err != nil {
		t.Fatal(err)
	}
	root, rest := pem.Decode(text)
	issuer, _ := pem.Decode(rest)

	emulator := newTPM(t)
	m := newMaker(t, emulator)
	m.defineNV(0x01c00002, []byte("no certificate"))
	m.defineNV(0x01c0000a, at.TPM.EndorsementCertificate) // of another key
	chain := append(bytes.Clone(issuer.Bytes), root.Bytes...)
	cfg := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path}), Device: emulator.Path}
	var log logRecorder
	cfg.Logger = log.logger()
	m.lockedNV(0x01c00016, []byte("with a password"))
	m.lockedNV(0x01c00100, []byte("with a password"))
	got := mustAttest(t, emulator, cfg, "")
	if n := triesUsed(t, emulator); n != 0 {
		t.Errorf("the TPM counted %d tries", n)
	}
	if kind, _ := keystore.KeyTypeOf(got.TPM.EndorsementKey); kind != keystore.RSA2048 || got.TPM.EndorsementCertificate != nil || log.warnings() != 3 {
		t.Errorf("endorsement key %s with a certificate of %d bytes, %d warnings", kind, len(got.TPM.EndorsementCertificate), log.warnings())
	}

	m = newMaker(t, certified)
	m.defineNV(0x01c00100, chain[:600])
	m.defineNV(0x01c00101, append(chain[600:], 0xff, 0xff, 0xff)) // longer than the certificates
	m.defineNV(0x01c00200, []byte("not for this"))
	cfg = Config{PEM: makeKey(t, CreateConfig{Device: certified.Path}), Device: certified.Path}
	m.persistOther()
	got = mustAttest(t, certified, cfg, "")
	if got.TPM.EndorsementCertificate == nil {
		t.Error("another persistent object hides the endorsement key")
	}
	if len(got.TPM.EndorsementIssuers) != 2 || !bytes.Equal(got.TPM.EndorsementIssuers[0], issuer.Bytes) || !bytes.Equal(got.TPM.EndorsementIssuers[1], root.Bytes) {
		t.Errorf("%d certificates of CAs", len(got.TPM.EndorsementIssuers))
	}
}

// persistOther makes a primary key of the owner hierarchy persistent that has the
// template of an endorsement key, before the real one.
func (m *maker) persistOther() {
	m.Helper()
	o := m.primary(owner, tpm2.RSAEKTemplate, "")
	m.persist(o, firstEndorsement)
	m.flush(o.handle)
}

// lockedNV defines an NV index with a password, whose guesses the TPM counts.
func (m *maker) lockedNV(index tpm2.TPMHandle, data []byte) {
	m.Helper()
	m.defineNVWith(index, tpm2.TPMANV{OwnerWrite: true, AuthRead: true, NT: tpm2.TPMNTOrdinary}, keyPassword, data)
}

// TestManyIndices finds the certificates of endorsement keys behind more NV indices than
// one answer of the TPM contains, and does without them if the firmware disables them.
func TestManyIndices(t *testing.T) {
	emulator := tpmtest.NewMaker(t).Start(t)
	m := newMaker(t, emulator)
	cfg := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path}), Device: emulator.Path}
	b := &bus{intercept: func(_ int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
		if codeOf(command) == tpm2.TPMCCGetCapability {
			command = bytes.Clone(command)
			binary.BigEndian.PutUint32(command[len(command)-4:], 1) // a TPM that returns one handle at once
		}
		return send(command)
	}}
	at, err := attest(t.Context(), cfg, keystore.P384, b.dial)
	if err != nil || at.TPM.EndorsementCertificate == nil {
		t.Errorf("certificate of %d bytes: %v", len(at.TPM.EndorsementCertificate), err)
	}
	disable := []byte{ // TPM2_HierarchyControl (part 3, section 24.2) of TPM_RH_PLATFORM_NV with an empty password
		0x80, 0x02, 0, 0, 0, 32, 0, 0, 0x01, 0x21, 0x40, 0, 0, 0x0c, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0x40, 0, 0, 0x0d, 0,
	}
	if answer, err := m.tpm.Send(disable); err != nil || !bytes.Equal(answer[6:10], []byte{0, 0, 0, 0}) {
		t.Fatalf("%x, %v", answer, err)
	}
	var log logRecorder
	cfg.Logger = log.logger()
	if at := mustAttest(t, emulator, cfg, ""); at.TPM.EndorsementCertificate != nil || log.warnings() != 2 {
		t.Errorf("certificate of %d bytes, %d warnings", len(at.TPM.EndorsementCertificate), log.warnings())
	}
}

// defineNV defines an NV index that everybody may read.
func (m *maker) defineNV(index tpm2.TPMHandle, data []byte) {
	m.Helper()
	m.defineNVWith(index, tpm2.TPMANV{OwnerWrite: true, AuthRead: true, NoDA: true, NT: tpm2.TPMNTOrdinary}, "", data)
}

func (m *maker) defineNVWith(index tpm2.TPMHandle, attributes tpm2.TPMANV, password string, data []byte) {
	m.Helper()
	run(m, tpm2.NVDefineSpace{
		AuthHandle: owner.auth(),
		Auth:       tpm2.TPM2BAuth{Buffer: []byte(password)},
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)),
			Attributes: attributes,
		}),
	}.Execute)
	for offset := 0; offset < len(data); offset += nvChunk {
		public := run(m, tpm2.NVReadPublic{NVIndex: index}.Execute) // its name changes with the first write
		run(m, tpm2.NVWrite{
			AuthHandle: owner.auth(),
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: data[offset:min(offset+nvChunk, len(data))]},
			Offset:     uint16(offset),
		}.Execute)
	}
}
