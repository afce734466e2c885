package tpm

import (
	"context"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A tss2 is a TPMKey structure for encoding/asn1. It is independent of keyFile,
// so that tests detect mistakes in keyFile.
type tss2 struct {
	Type       asn1.ObjectIdentifier
	EmptyAuth  bool             `asn1:"optional,explicit,tag:0"`
	Policy     []tss2Policy     `asn1:"optional,explicit,tag:1"`
	Secret     []byte           `asn1:"optional,explicit,tag:2"`
	AuthPolicy []tss2AuthPolicy `asn1:"optional,explicit,tag:3"`
	About      string           `asn1:"optional,explicit,utf8,tag:4"`
	RSAParent  bool             `asn1:"optional,explicit,tag:5"`
	Parent     int64
	Public     []byte
	Private    []byte
}

type tss2Policy struct {
	Command    int64  `asn1:"explicit,tag:0"`
	Parameters []byte `asn1:"explicit,tag:1"`
}

type tss2AuthPolicy struct {
	Name   string `asn1:"optional,explicit,utf8,tag:0"`
	Policy []tss2Policy
}

func (f tss2) pem(tb testing.TB) []byte {
	tb.Helper()
	der, err := asn1.Marshal(f)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "TSS2 PRIVATE KEY", Bytes: der})
}

// rewrite changes a key file.
func rewrite(tb testing.TB, data []byte, change func(*tss2)) []byte {
	tb.Helper()
	block, _ := pem.Decode(data)
	var f tss2
	if _, err := asn1.Unmarshal(block.Bytes, &f); err != nil {
		tb.Fatal(err)
	}
	change(&f)
	return f.pem(tb)
}

// A maker creates keys with bare commands, as other programs do.
type maker struct {
	testing.TB
	emulator *tpmtest.TPM
	tpm      transport.TPM
}

func newMaker(tb testing.TB, emulator *tpmtest.TPM) *maker {
	tb.Helper()
	return &maker{tb, emulator, perCommandTPM{tb.Context(), emulator.Path}}
}

// A perCommandTPM opens the TPM for each command, so that other programs can
// use it between commands.
type perCommandTPM struct {
	ctx  context.Context
	path string
}

func (v perCommandTPM) Send(command []byte) ([]byte, error) {
	d, err := dial(v.ctx, v.path)
	if err != nil {
		return nil, err
	}
	response, err := d.Send(command)
	return response, errors.Join(err, d.close())
}

// run executes a command and fails the test on error.
func run[R any](m *maker, execute func(transport.TPM, ...tpm2.Session) (R, error)) R {
	m.Helper()
	r, err := execute(m.tpm)
	if err != nil {
		m.Fatal(err)
	}
	return r
}

func (m *maker) flush(h tpm2.TPMHandle) {
	m.Helper()
	run(m, tpm2.FlushContext{FlushHandle: h}.Execute)
}

// An entity is an object or a hierarchy with its password.
type entity struct {
	handle   tpm2.TPMHandle
	name     tpm2.TPM2BName
	password string
}

func (p entity) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: tpm2.PasswordAuth([]byte(p.password))}
}

var (
	owner = entity{handle: tpm2.TPMRHOwner}
	null  = entity{handle: tpm2.TPMRHNull}
)

// primary creates a primary key. The caller flushes it.
func (m *maker) primary(hierarchy entity, template tpm2.TPMTPublic, password string) entity {
	m.Helper()
	p := run(m, tpm2.CreatePrimary{
		PrimaryHandle: hierarchy.auth(),
		InSensitive:   tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte(password)}}},
		InPublic:      tpm2.New2B(template),
	}.Execute)
	return entity{p.ObjectHandle, p.Name, password}
}

// persistentPrimary creates a persistent primary key with the handle h in the
// owner hierarchy.
func (m *maker) persistentPrimary(h tpm2.TPMHandle, template tpm2.TPMTPublic, password string) {
	m.Helper()
	p := m.primary(owner, template, password)
	m.persist(p, h)
	m.flush(p.handle)
}

func (m *maker) persist(o entity, h tpm2.TPMHandle) {
	m.Helper()
	run(m, tpm2.EvictControl{
		Auth:             owner.auth(),
		ObjectHandle:     &tpm2.NamedHandle{Handle: o.handle, Name: o.name},
		PersistentHandle: h,
	}.Execute)
}

// create creates a key file under parent. inFile is the handle of the parent in
// the file: a hierarchy or a persistent key.
func (m *maker) create(parent entity, inFile tpm2.TPMHandle, template tpm2.TPMTPublic, password string) tss2 {
	m.Helper()
	made := run(m, tpm2.Create{
		ParentHandle: parent.auth(),
		InSensitive:  tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte(password)}}},
		InPublic:     tpm2.New2B(template),
	}.Execute)
	return tss2{
		Type: oidLoadable, EmptyAuth: password == "", Parent: int64(inFile),
		Public: tpm2.Marshal(made.OutPublic), Private: tpm2.Marshal(made.OutPrivate),
	}
}

// srkTemplate is the template of the parent of key files under a hierarchy.
var srkTemplate = func() tpm2.TPMTPublic {
	t := tpm2.ECCSRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return t
}()

var rsaSRKTemplate = func() tpm2.TPMTPublic {
	t := tpm2.RSASRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	return t
}()

// createUnderOwner creates a key file under the owner hierarchy.
func (m *maker) createUnderOwner(template tpm2.TPMTPublic, password string) tss2 {
	m.Helper()
	srk := m.primary(owner, srkTemplate, "")
	defer m.flush(srk.handle)
	return m.create(srk, tpm2.TPMRHOwner, template, password)
}

// load loads a key file. The caller flushes the object.
func (m *maker) load(parent entity, f tss2, password string) entity {
	m.Helper()
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](f.Public)
	if err != nil {
		m.Fatal(err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](f.Private)
	if err != nil {
		m.Fatal(err)
	}
	o := run(m, tpm2.Load{ParentHandle: parent.auth(), InPrivate: *private, InPublic: *public}.Execute)
	return entity{o.ObjectHandle, o.Name, password}
}

// persistent creates a persistent key.
func (m *maker) persistent(h tpm2.TPMHandle, template tpm2.TPMTPublic, password string) {
	m.Helper()
	srk := m.primary(owner, srkTemplate, "")
	defer m.flush(srk.handle)
	key := m.load(srk, m.create(srk, tpm2.TPMRHOwner, template, password), password)
	defer m.flush(key.handle)
	m.persist(key, h)
}

// remove removes a persistent object.
func (m *maker) remove(h tpm2.TPMHandle) {
	m.Helper()
	o := run(m, tpm2.ReadPublic{ObjectHandle: h}.Execute)
	m.persist(entity{handle: h, name: o.Name}, h)
}

// importable creates a key that can be duplicated, and returns an importable
// key file for parent.
func (m *maker) importable(parent entity, inFile tpm2.TPMHandle, template tpm2.TPMTPublic, password string) tss2 {
	m.Helper()
	calculator, err := tpm2.NewPolicyCalculator(template.NameAlg)
	if err != nil {
		m.Fatal(err)
	}
	duplicable := tpm2.PolicyCommandCode{Code: tpm2.TPMCCDuplicate}
	if err := duplicable.Update(calculator); err != nil {
		m.Fatal(err)
	}
	template.AuthPolicy = tpm2.TPM2BDigest{Buffer: calculator.Hash().Digest}
	template.ObjectAttributes.FixedTPM, template.ObjectAttributes.FixedParent = false, false
	srk := m.primary(null, srkTemplate, "")
	f := m.create(srk, inFile, template, password)
	key := m.load(srk, f, password)
	m.flush(srk.handle)
	duplicate := run(m, tpm2.Duplicate{
		ObjectHandle: tpm2.AuthHandle{Handle: key.handle, Name: key.name, Auth: tpm2.Policy(template.NameAlg, 16,
			func(t transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
				duplicable.PolicySession = session
				_, err := duplicable.Execute(t)
				return err
			})},
		NewParentHandle: tpm2.NamedHandle{Handle: parent.handle, Name: parent.name},
		Symmetric:       tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	}.Execute)
	m.flush(key.handle)
	f.Type = oidImportable
	f.Private = tpm2.Marshal(duplicate.Duplicate)
	f.Secret = tpm2.Marshal(duplicate.OutSymSeed)
	return f
}

// policyDigest returns the digest of a policy, computed by the TPM.
func (m *maker) policyDigest(hash tpm2.TPMAlgID, steps ...func(tpm2.TPMISHPolicy) error) tpm2.TPM2BDigest {
	m.Helper()
	session, end, err := tpm2.PolicySession(m.tpm, hash, 16, tpm2.Trial())
	if err != nil {
		m.Fatal(err)
	}
	for _, step := range steps {
		if err := step(session.Handle()); err != nil {
			m.Fatal(err)
		}
	}
	d := run(m, tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute)
	if err := end(); err != nil {
		m.Fatal(err)
	}
	return d.PolicyDigest
}

// extend extends a PCR of the SHA-256 bank.
func (m *maker) extend(pcr tpm2.TPMHandle) {
	m.Helper()
	run(m, tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: pcr, Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
	}.Execute)
}

// setAuth changes the password of a hierarchy.
func (m *maker) setAuth(hierarchy entity, password string) {
	m.Helper()
	run(m, tpm2.HierarchyChangeAuth{AuthHandle: hierarchy.auth(), NewAuth: tpm2.TPM2BAuth{Buffer: []byte(password)}}.Execute)
}

// loadedHandles returns the transient objects and sessions in the TPM.
func (m *maker) loadedHandles() (all []tpm2.TPMHandle) {
	m.Helper()
	for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} {
		answer := run(m, tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64}.Execute)
		list, err := answer.CapabilityData.Data.Handles()
		if err != nil {
			m.Fatal(err)
		}
		all = append(all, list.Handle...)
	}
	return all
}

// optionalPIN returns a PINFunc for a password, or nil for "".
func optionalPIN(password string) keystore.PINFunc {
	if password == "" {
		return nil
	}
	return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(password), nil }
}

// signingTemplate returns the template of a signing key with userWithAuth.
func signingTemplate(kind keystore.KeyType) tpm2.TPMTPublic {
	t, _ := keyTemplate(kind)
	t.ObjectAttributes.UserWithAuth = true
	return t
}
