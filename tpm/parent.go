package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// A storageKey is a parent of other objects. Sessions are salted with it.
type storageKey struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic // the zero value if it was not read
}

// primaryTemplate returns the template of the primary key that is the parent of
// key files under a hierarchy (draft-bottomley-tpm2-keys-00, section 3.1.8). It
// is template H-2 of the TCG EK Credential Profile with an empty unique field.
func primaryTemplate(isRSA bool) tpm2.TPMTPublic {
	if isRSA {
		t := tpm2.RSASRKTemplate
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
		return t
	}
	t := tpm2.ECCSRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return t
}

// primary creates the storage root key of a hierarchy. l.flush flushes it.
func (l *loadedObject) primary(hierarchy tpm2.TPMHandle, isRSA bool, auth tpm2.Session) (storageKey, error) {
	return l.createPrimary(hierarchy, primaryTemplate(isRSA), auth)
}

// createPrimary creates a primary key of a hierarchy. l.flush flushes it.
func (l *loadedObject) createPrimary(hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic, auth tpm2.Session) (storageKey, error) {
	p, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: auth},
		InPublic:      tpm2.New2B(template),
	}.Execute(l)
	if err != nil {
		return storageKey{}, explain("TPM2_CreatePrimary", err)
	}
	l.toFlush = append(l.toFlush, p.ObjectHandle)
	public, err := p.OutPublic.Contents()
	if err != nil {
		return storageKey{}, explain("TPM2_CreatePrimary", err)
	}
	return storageKey{p.ObjectHandle, p.Name, *public}, nil
}

// readParent is readPublic for a persistent parent. It reads once for each
// connection.
func (d *device) readParent(h tpm2.TPMHandle) (storageKey, error) {
	if d.parent.handle == h {
		return d.parent, nil
	}
	o, err := readPublic(d, h)
	if err == nil {
		d.parent = o
	}
	return o, err
}

// readPublic returns the public area and the name of an object.
func readPublic(d *device, h tpm2.TPMHandle) (storageKey, error) {
	answer, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(d)
	if err != nil {
		return storageKey{}, fmt.Errorf("handle 0x%08x: %w", uint32(h), explain("TPM2_ReadPublic", err))
	}
	public, err := answer.OutPublic.Contents()
	if err != nil {
		return storageKey{}, explain("TPM2_ReadPublic", err)
	}
	return storageKey{h, answer.Name, *public}, nil
}

// prepareParent returns the parent of a key file and a session with its
// password. It reads the public area of the parent only if a session needs it.
func (ld *loader) prepareParent(l *loadedObject, salted bool) (storageKey, tpm2.Session, error) {
	none := tpm2.PasswordAuth(nil)
	parent := tpm2.TPMHandle(ld.file.parent)
	if err := ld.parentPassword.guard(l.device); err != nil {
		return storageKey{}, nil, err
	}
	if isHierarchy(ld.file.parent) {
		auth := tpm2.Session(none)
		if len(ld.parentPassword.value) > 0 {
			salt, err := l.primary(tpm2.TPMRHNull, false, none)
			if err != nil {
				return storageKey{}, nil, err
			}
			defer func() { _ = l.flushOne(salt.handle) }()
			options, err := encryptedOptions(ld.parentPassword.value, salt, encryptCommand())
			if err != nil {
				return storageKey{}, nil, err
			}
			auth = tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, options...)
		}
		p, err := l.primary(parent, ld.file.rsaParent, auth)
		return p, none, err
	}
	// The name of the parent is needed only for the HMAC with a password.
	p := storageKey{handle: parent, name: tpm2.TPM2BName{Buffer: binary.BigEndian.AppendUint32(nil, uint32(parent))}}
	if !salted && len(ld.parentPassword.value) == 0 {
		return p, none, nil
	}
	p, err := l.device.readParent(parent)
	if err != nil || len(ld.parentPassword.value) == 0 {
		return p, none, err
	}
	options, err := encryptedOptions(ld.parentPassword.value, p, encryptCommand())
	if err != nil {
		return storageKey{}, nil, err
	}
	return p, tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, options...), nil
}

// parentError adds to err that the password of the parent is incorrect or
// missing, if this is the case.
func (ld *loader) parentError(err error) error {
	if !errors.Is(err, signer.ErrPINIncorrect) {
		return err
	}
	given := len(ld.parentPassword.value) > 0
	if refused := ld.parentPassword.noteRefusal(err); given {
		return &otherPassword{refused}
	}
	return signer.WithHint(fmt.Errorf("no password was given for the parent, which has one: %w", missingPassword(err)),
		"give the source of the parent password in the reference, such as tpm:path=key.pem;parent-auth-source=file:PATH")
}
