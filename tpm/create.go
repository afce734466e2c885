package tpm

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A CreateConfig says where and how to create a key or sealed data.
type CreateConfig struct {
	Device    string           // as in Config
	Parent    Handle           // a hierarchy or a persistent storage key; 0: OwnerHierarchy
	ParentPIN keystore.PINFunc // nil: the parent has no password

	// PIN returns the password for the new object. The object has no
	// password if PIN is nil or returns an empty password. The prompt is
	// optional.
	PIN keystore.PINFunc

	// PCRs binds the object to the current values of these PCRs.
	PCRs []PCRs

	Ref    keystore.Ref // name of the object in prompts and errors
	Logger *slog.Logger // nil: no log
}

// PCRs selects platform configuration registers of one bank.
type PCRs struct {
	Hash    crypto.Hash // SHA-1, SHA-256, SHA-384 or SHA-512
	Numbers []uint      // 0 to 23
}

// banks maps the names of PCR banks in tpm2-tools to hash functions.
var banks = lookup.Table[string, crypto.Hash]{
	{"sha1", crypto.SHA1},
	{"sha256", crypto.SHA256},
	{"sha384", crypto.SHA384},
	{"sha512", crypto.SHA512},
}

var bankIDs = lookup.Table[crypto.Hash, tpm2.TPMAlgID]{
	{crypto.SHA1, tpm2.TPMAlgSHA1},
	{crypto.SHA256, tpm2.TPMAlgSHA256},
	{crypto.SHA384, tpm2.TPMAlgSHA384},
	{crypto.SHA512, tpm2.TPMAlgSHA512},
}

// ParsePCRs parses a PCR selection in the syntax of tpm2-tools, such as
// sha256:0,7+sha384:1.
func ParsePCRs(s string) ([]PCRs, error) {
	var all []PCRs
	for part := range strings.SplitSeq(s, "+") {
		bank, numbers, ok := strings.Cut(part, ":")
		p := PCRs{Hash: banks.Get(bank)}
		if !ok || p.Hash == 0 || slices.ContainsFunc(all, func(o PCRs) bool { return o.Hash == p.Hash }) {
			return nil, errPCRs
		}
		for n := range strings.SplitSeq(numbers, ",") {
			v, err := strconv.ParseUint(n, 10, 8)
			if err != nil || v >= pcrCount {
				return nil, errPCRs
			}
			p.Numbers = append(p.Numbers, uint(v))
		}
		all = append(all, p)
	}
	return all, nil
}

// pcrCount is the number of PCRs in a bank (TCG PC Client Platform TPM Profile,
// section 4.6).
const pcrCount = 24

var errPCRs = errors.New("is not a PCR selection such as sha256:0,7 (banks sha1, sha256, sha384 and sha512; PCRs 0 to 23)")

// create creates an object under a parent. It returns a loadable key file.
func create(ctx context.Context, cfg CreateConfig, template tpm2.TPMTPublic, data []byte, dial dialer) (*keyFile, error) {
	own := bytes.Clone(data) // the call may outlive ctx
	return bounded(ctx, cfg.Device, func() (*keyFile, error) {
		defer clear(own)
		return createNow(ctx, cfg, template, own, dial)
	}, nil)
}

func createNow(ctx context.Context, cfg CreateConfig, template tpm2.TPMTPublic, data []byte, dial dialer) (*keyFile, error) {
	f := &keyFile{kind: oidLoadable, parent: cmp.Or(cfg.Parent, OwnerHierarchy)}
	if !isHierarchy(f.parent) && !isPersistent(f.parent) {
		return nil, fmt.Errorf("parent 0x%08x is neither a hierarchy nor persistent", uint32(f.parent))
	}
	ld := &loader{
		cfg: Config{Device: cfg.Device}, dial: dial, log: logging.OrDiscard(cfg.Logger), file: f, area: template, mu: newMutex(), caller: ctx,
		password:       password{ask: cfg.PIN, what: keystore.AskTPMKey, ref: cmp.Or(cfg.Ref, unnamedRef), size: maxDigest / 2},
		parentPassword: newParentPassword(cfg.ParentPIN, cmp.Or(cfg.Ref, unnamedRef), f.parent),
	}
	ld.mu.Lock()
	defer ld.mu.Unlock()
	defer ld.wipe()
	for {
		if err := ld.getParentPassword(ctx); err != nil {
			return nil, err
		}
		if err := ld.password.get(ctx, true, lockout{}); err != nil {
			return nil, err
		}
		f.emptyAuth = len(ld.password.value) == 0
		err := ld.with(ctx, func(d *device) error { return ld.createOn(d, cfg.PCRs, template, data) })
		ld.unload()
		if !forgetLast(err) {
			return f, err
		}
	}
}

func (ld *loader) createOn(d *device, pcrs []PCRs, template tpm2.TPMTPublic, data []byte) (err error) {
	l := &loadedObject{device: d}
	defer func() { l.flush(err) }()
	ld.file.policy = nil
	if len(pcrs) > 0 {
		if err := ld.bindToPCRs(d, pcrs, &template); err != nil {
			return err
		}
	} else {
		template.ObjectAttributes.UserWithAuth = true
	}
	// A lockout must not affect an object without a password.
	template.ObjectAttributes.NoDA = template.ObjectAttributes.NoDA || len(ld.password.value) == 0
	parent, auth, err := ld.prepareParent(l, true)
	if err != nil {
		return ld.parentError(err)
	}
	if a := parent.public.ObjectAttributes; !a.Restricted || !a.Decrypt {
		return fmt.Errorf("parent 0x%08x is not a storage key: %w", uint32(ld.file.parent), errors.ErrUnsupported)
	}
	// One session encrypts the password and the data on the bus.
	var encryption []tpm2.Session
	if !auth.IsDecryption() {
		options, err := encryptedOptions(nil, parent, encryptCommand())
		if err != nil {
			return err
		}
		encryption = append(encryption, tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, options...))
	}
	created, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: parent.handle, Name: parent.name, Auth: auth},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: ld.password.value},
			Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data}),
		}},
		InPublic: tpm2.New2B(template),
	}.Execute(l, encryption...)
	if err != nil {
		return ld.parentError(explain("TPM2_Create", err))
	}
	ld.file.public, ld.file.private = tpm2.Marshal(created.OutPublic), tpm2.Marshal(created.OutPrivate)
	return nil
}

// bindToPCRs sets the policy of the file and the template to the current values
// of PCRs, and to the password if there is one.
func (ld *loader) bindToPCRs(d *device, pcrs []PCRs, template *tpm2.TPMTPublic) error {
	hash, err := template.NameAlg.Hash()
	if err != nil {
		return err
	}
	var selection tpm2.TPMLPCRSelection
	values := hash.New()
	for _, bank := range pcrs {
		id, ok := bankIDs.Find(bank.Hash)
		if !ok {
			return fmt.Errorf("PCR bank %v: %w", bank.Hash, errors.ErrUnsupported)
		}
		numbers := slices.Compact(slices.Sorted(slices.Values(bank.Numbers)))
		selection.PCRSelections = append(selection.PCRSelections, selectPCRs(id, numbers))
		for _, n := range numbers { // one by one: a TPM may return fewer PCRs than requested
			answer, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{
				PCRSelections: []tpm2.TPMSPCRSelection{selectPCRs(id, []uint{n})},
			}}.Execute(d)
			if err != nil {
				return explain("TPM2_PCR_Read", err)
			}
			if len(answer.PCRValues.Digests) != 1 {
				return fmt.Errorf("the TPM has no PCR %d in the bank %v: %w", n, bank.Hash, errors.ErrUnsupported)
			}
			values.Write(answer.PCRValues.Digests[0].Buffer)
		}
	}
	digest := tpm2.TPM2BDigest{Buffer: values.Sum(nil)}
	calculator, err := tpm2.NewPolicyCalculator(template.NameAlg)
	if err != nil {
		return err
	}
	if err := (tpm2.PolicyPCR{PcrDigest: digest, Pcrs: selection}).Update(calculator); err != nil {
		return err
	}
	ld.file.policy = []policyStep{{tpm2.TPMCCPolicyPCR, append(tpm2.Marshal(digest), tpm2.Marshal(selection)...)}}
	if len(ld.password.value) > 0 {
		if err := (tpm2.PolicyAuthValue{}).Update(calculator); err != nil {
			return err
		}
		ld.file.policy = append(ld.file.policy, policyStep{command: tpm2.TPMCCPolicyAuthValue})
	}
	template.AuthPolicy = tpm2.TPM2BDigest{Buffer: calculator.Hash().Digest}
	template.ObjectAttributes.UserWithAuth = false
	return nil
}

func selectPCRs(hash tpm2.TPMAlgID, numbers []uint) tpm2.TPMSPCRSelection {
	var bits uint32
	for _, n := range numbers {
		bits |= 1 << n
	}
	return tpm2.TPMSPCRSelection{Hash: hash, PCRSelect: binary.LittleEndian.AppendUint32(nil, bits)[:pcrCount/8]}
}

// keyTemplate returns the template of keys of a type.
func keyTemplate(t keystore.KeyType) (template tpm2.TPMTPublic, ok bool) {
	switch t {
	case keystore.RSA2048:
		return rsaTemplate(2048), true
	case keystore.RSA3072:
		return rsaTemplate(3072), true
	case keystore.RSA4096:
		return rsaTemplate(4096), true
	case keystore.P256:
		return eccTemplate(tpm2.TPMECCNistP256), true
	case keystore.P384:
		return eccTemplate(tpm2.TPMECCNistP384), true
	case keystore.P521:
		return eccTemplate(tpm2.TPMECCNistP521), true
	}
	return tpm2.TPMTPublic{}, false
}

// signingAttributes are the attributes of a signing key that cannot leave the
// TPM.
var signingAttributes = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true}

func rsaTemplate(bits tpm2.TPMKeyBits) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: signingAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: bits, Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull}, Symmetric: noSymmetric}),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{}),
	}
}

func eccTemplate(curve tpm2.TPMECCCurve) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: signingAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: curve, Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull}, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull}, Symmetric: noSymmetric}),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

var noSymmetric = tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}

// Create creates a key and returns its key file, a TSS2 PRIVATE KEY block. If
// the TPM does not support the key type, the error is [errors.ErrUnsupported].
func Create(ctx context.Context, cfg CreateConfig, kind keystore.KeyType) ([]byte, error) {
	return createKey(ctx, cfg, kind, dial)
}

func createKey(ctx context.Context, cfg CreateConfig, kind keystore.KeyType, dial dialer) ([]byte, error) {
	template, ok := keyTemplate(kind)
	if !ok {
		return nil, fmt.Errorf("key type %q: %w", kind, errors.ErrUnsupported)
	}
	f, err := create(ctx, cfg, template, nil, dial)
	if errors.Is(err, Error(tpm2.TPMRCValue)) || errors.Is(err, Error(tpm2.TPMRCCurve)) || errors.Is(err, Error(tpm2.TPMRCKeySize)) {
		err = signer.WithHint(fmt.Errorf("this TPM does not support keys of type %s: %w: %w", kind, err, errors.ErrUnsupported),
			"use p256 or rsa2048, which every TPM supports")
	}
	if err != nil {
		return nil, err
	}
	return f.marshal()
}
