package tpm

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// An endorsementType is a kind of endorsement key (TCG EK Credential Profile for
// TPM Family 2.0, sections 2.2.1.4 and 2.2.1.5, and annex B).
type endorsementType struct {
	kind        keystore.KeyType
	certificate tpm2.TPMHandle // NV index of its certificate
	template    func() tpm2.TPMTPublic
}

// endorsementTypes are in the order of preference. A key of another type, such as
// RSA-3072, is not supported.
var endorsementTypes = []endorsementType{
	{keystore.RSA2048, 0x01c00002, func() tpm2.TPMTPublic { return tpm2.RSAEKTemplate }}, // L-1
	{keystore.P256, 0x01c0000a, func() tpm2.TPMTPublic { return tpm2.ECCEKTemplate }},    // L-2
	{keystore.P384, 0x01c00016, endorsementTemplateP384},                                 // H-3
}

// endorsementTemplateP384 returns template H-3, whose policy is PolicyB.
func endorsementTemplateP384() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA384,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, AdminWithPolicy: true, Restricted: true, Decrypt: true},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: []byte{
			0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
			0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
			0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
		}},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{
				Algorithm: tpm2.TPMAlgAES,
				KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(256)),
				Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
			},
			CurveID: tpm2.TPMECCNistP384, Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull}, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

// The persistent handles of the endorsement hierarchy (TCG Registry of Reserved TPM
// 2.0 Handles, section 2.3.1).
const firstEndorsement, lastEndorsement tpm2.TPMHandle = 0x81010000, 0x8101ffff

// endorse makes the password of the endorsement hierarchy available.
func (ld *loader) endorse() {
	ld.endorsementPassword = password{
		ask: ld.cfg.EndorsementPIN, permit: ld.cfg.permit, what: keystore.AskTPMEndorsement, ref: ld.cfg.name(), size: maxDigest,
		exempt: true, entity: tpm2.TPMRHEndorsement,
	}
}

// endorsementKey returns the endorsement key of a type: the persistent object with
// the public key wanted if there is one, because a TPM can need a minute to create an
// RSA key, or else a new primary key, which can have another public key. l.flush
// flushes it. wanted may be nil.
func (ld *loader) endorsementKey(l *loadedObject, t endorsementType, wanted crypto.PublicKey) (storageKey, crypto.PublicKey, error) {
	// A persistent key that is used with its password could have one.
	if wanted != nil && !t.template().ObjectAttributes.UserWithAuth {
		ek, found, err := persistentEndorsementKey(l.device, t, wanted)
		if found || err != nil {
			return ek, wanted, err
		}
	}
	auth := tpm2.PasswordAuth(nil)
	if len(ld.endorsementPassword.value) > 0 {
		salt, err := l.primary(tpm2.TPMRHNull, false, auth)
		if err != nil {
			return storageKey{}, nil, err
		}
		defer func() { _ = l.flushOne(salt.handle) }()
		auth = tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, sessionOptions(ld.endorsementPassword.value, salt)...)
	}
	ek, err := l.createPrimary(tpm2.TPMRHEndorsement, t.template(), auth)
	if err != nil {
		return storageKey{}, nil, ld.endorsementError(err)
	}
	pub, err := publicKeyOf(ek)
	return ek, pub, err
}

func persistentEndorsementKey(d *device, t endorsementType, wanted crypto.PublicKey) (storageKey, bool, error) {
	found, err := handles(d, firstEndorsement)
	if err != nil {
		return storageKey{}, false, err
	}
	for _, h := range found {
		if h > lastEndorsement {
			break
		}
		ek, err := readPublic(d, h)
		if err != nil || !isOfTemplate(ek.public, t.template()) {
			continue
		}
		if pub, err := publicKeyOf(ek); err == nil && signer.SamePublicKey(pub, wanted) {
			return ek, true, nil
		}
	}
	return storageKey{}, false, nil
}

// isOfTemplate reports whether a public area differs from a template only in the
// field unique.
func isOfTemplate(area, template tpm2.TPMTPublic) bool {
	area.Unique = template.Unique
	return area.Type == template.Type && bytes.Equal(tpm2.Marshal(area), tpm2.Marshal(template))
}

// endorsementSession returns a session that authorizes the use of an endorsement
// key and encrypts the response. l.flush flushes it.
func (ld *loader) endorsementSession(l *loadedObject, ek storageKey) (tpm2.Session, error) {
	options, err := encryptedOptions(nil, ek, encryptResponse())
	if err != nil {
		return nil, err
	}
	start := tpm2.PolicySession
	if ek.public.ObjectAttributes.UserWithAuth { // PolicyB; endorsementKey has created the key, without a password
		start = tpm2.HMACSession
	}
	s, _, err := start(l, ek.public.NameAlg, nonceSize, options...)
	if err != nil {
		return nil, explain("TPM2_StartAuthSession", err)
	}
	l.toFlush = append(l.toFlush, s.Handle())
	if ek.public.ObjectAttributes.UserWithAuth {
		return s, nil
	}
	auth := tpm2.PasswordAuth(nil) // PolicyA
	if value := ld.endorsementPassword.value; len(value) > 0 {
		auth = tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, sessionOptions(value, ek)...)
	}
	_, err = tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: auth},
		PolicySession: s.Handle(),
		NonceTPM:      s.NonceTPM(),
	}.Execute(l)
	return s, ld.endorsementError(explain("TPM2_PolicySecret", err))
}

// endorsementError adds to err that the password of the endorsement hierarchy is
// incorrect or missing, if this is the case.
func (ld *loader) endorsementError(err error) error {
	if !errors.Is(err, signer.ErrPINIncorrect) {
		return err
	}
	if len(ld.endorsementPassword.value) > 0 {
		return &otherPassword{ld.endorsementPassword.noteRefusal(err)}
	}
	return signer.WithHint(fmt.Errorf("no password was given for the endorsement hierarchy, which has one: %w", missingPassword(err)),
		"give its source in the reference, such as tpm:path=key.pem;endorsement-auth-source=file:PATH")
}

// publicKeyOf returns the public key of an endorsement key.
func publicKeyOf(ek storageKey) (crypto.PublicKey, error) {
	o := object{area: ek.public}
	var err error
	if ek.public.Type == tpm2.TPMAlgRSA {
		err = o.readRSA()
	} else {
		err = o.readECC()
	}
	return o.pub, err
}

// maxNV bounds what is read from the nonvolatile memory, in bytes.
const maxNV = 16 << 10

// nvChunk is the size of one read, in bytes. Every TPM supports it: the buffer of
// TPM2_NV_Read (TPM_PT_NV_BUFFER_MAX) has at least 512 bytes (PC Client Platform TPM
// Profile, section 4.3).
const nvChunk = 512

// readNV returns the contents of an NV index that everybody may read, at most
// maxNV bytes.
func readNV(d *device, index tpm2.TPMHandle) ([]byte, error) {
	area, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, fmt.Errorf("is disabled: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return nil, explain("TPM2_NV_ReadPublic", err)
	}
	public, err := area.NVPublic.Contents()
	if err != nil {
		return nil, explain("TPM2_NV_ReadPublic", err)
	}
	if a := public.Attributes; !a.AuthRead || !a.NoDA { // a guess of its password could lock the TPM
		return nil, fmt.Errorf("may not be readable without a password: %w", errors.ErrUnsupported)
	}
	if public.DataSize > maxNV {
		return nil, fmt.Errorf("contains %d bytes: %w", public.DataSize, errors.ErrUnsupported)
	}
	var data []byte
	for len(data) < int(public.DataSize) {
		answer, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: index, Name: area.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: area.NVName},
			Size:       min(public.DataSize-uint16(len(data)), nvChunk), Offset: uint16(len(data)),
		}.Execute(d)
		if err != nil {
			return nil, explain("TPM2_NV_Read", err)
		}
		if len(answer.Data.Buffer) == 0 {
			return nil, fmt.Errorf("TPM2_NV_Read: %w: the response is empty", errNotTPM)
		}
		data = append(data, answer.Data.Buffer...)
	}
	return data, nil
}

// firstEndorsementIndex is the first NV index for certificates of endorsement keys
// (TCG Registry of Reserved TPM 2.0 Handles, section 2.2.2).
const firstEndorsementIndex tpm2.TPMHandle = 0x01c00000

// The NV indices of the certificates of the CAs above the endorsement key (TCG EK
// Credential Profile, section 2.2.1.5.2). One after the other, they contain
// certificates in DER, which can continue in the next index.
const firstIssuer, lastIssuer tpm2.TPMHandle = 0x01c00100, 0x01c001ff

// issuers returns the certificates of CAs that the TPM contains, as far as they
// can be read. The error is that of the connection.
func (ld *loader) issuers(d *device, indices []tpm2.TPMHandle) (all [][]byte, _ error) {
	warn := func(index tpm2.TPMHandle, err error) {
		ld.log.Warn("certificates of CAs in the TPM are not used", "index", fmt.Sprintf("0x%08x", uint32(index)), "cause", err)
	}
	var data []byte
	last := firstIssuer
	for _, index := range indices {
		if index < firstIssuer || index > lastIssuer || len(data) > maxNV {
			continue
		}
		part, err := readNV(d, index)
		switch {
		case errors.Is(err, errBus), lost(err):
			return nil, err
		case err != nil:
			warn(index, err)
			continue
		}
		data, last = append(data, part...), index
	}
	for rest := cryptobyte.String(data); len(rest) > 0 && len(all) < maxIssuers; {
		c, err := firstCertificate(&rest)
		if err != nil {
			if len(all) == 0 {
				warn(last, err)
			}
			break // an index can be longer than its certificates
		}
		all = append(all, c.Raw)
	}
	return all, nil
}

// maxIssuers bounds the number of certificates of CAs.
const maxIssuers = 8

// firstCertificate returns the certificate at the beginning of data. An NV index can
// be longer than its certificate.
func firstCertificate(data *cryptobyte.String) (*x509.Certificate, error) {
	var raw cryptobyte.String
	if !data.ReadASN1Element(&raw, der.SEQUENCE) {
		return nil, errors.New("is not an X.509 certificate in DER")
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("is not an X.509 certificate that Holdfast supports: %w", err)
	}
	return c, nil
}
