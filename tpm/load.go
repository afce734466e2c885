package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// A loaded object is in the TPM, ready to be used.
type loadedObject struct {
	*device
	handle     tpm2.TPMHandle
	name       tpm2.TPM2BName
	session    tpm2.Session
	encryption []tpm2.Session // encrypt what comes out, if that is secret
	policy     policy
	toFlush    []tpm2.TPMHandle // what is ours, the last first
	loadedAt   time.Time
}

// A storage is a storage key: the parent of others, and what sessions are
// salted with.
type storageKey struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic // the zero value if it was not needed
}

// primaryTemplate is that of the parent of key files under a hierarchy
// (draft-bottomley-tpm2-keys-00, section 3.1.8): the storage root key of the TCG
// EK Credential Profile, template H-2, here without the zeros of its unique
// field.
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

func isTransient(h tpm2.TPMHandle) bool { return h>>24 == 0x80 }

// primary makes the storage root key of a hierarchy. It is flushed with l.
func (l *loadedObject) primary(hierarchy tpm2.TPMHandle, isRSA bool, auth tpm2.Session) (storageKey, error) {
	p, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: auth},
		InPublic:      tpm2.New2B(primaryTemplate(isRSA)),
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

// readPublic returns the public area and name of what has handle h.
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

// release flushes one of what was loaded.
func (l *loadedObject) flushOne(h tpm2.TPMHandle) error {
	for i, f := range l.toFlush {
		if f == h {
			if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(l); err != nil {
				return explain("TPM2_FlushContext", err)
			}
			l.toFlush = append(l.toFlush[:i], l.toFlush[i+1:]...)
			return nil
		}
	}
	return nil
}

// clear flushes all that was loaded, unless the TPM does not answer. What the
// TPM lost already is no error.
func (l *loadedObject) flush(err error) {
	for i := len(l.toFlush) - 1; i >= 0 && !errors.Is(err, errBus); i-- {
		_, err = tpm2.FlushContext{FlushHandle: l.toFlush[i]}.Execute(l)
	}
	l.toFlush = nil
}

// close leaves nothing in the TPM. A resource manager sees to that by itself.
func (l *loadedObject) close() {
	if !l.managed {
		l.flush(nil)
	}
	_ = l.device.close()
}

// readyParent makes the parent of a key file ready. Its public area is read if
// sessions need it.
func (r *loader) prepareParent(l *loadedObject, salted bool) (storageKey, tpm2.Session, error) {
	none := tpm2.PasswordAuth(nil)
	parent := tpm2.TPMHandle(r.file.parent)
	if isHierarchy(r.file.parent) {
		auth := tpm2.Session(none)
		if len(r.parentPassword.value) > 0 {
			salt, err := l.primary(tpm2.TPMRHNull, false, none)
			if err != nil {
				return storageKey{}, nil, err
			}
			auth = tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, sessionOptions(r.parentPassword.value, salt, encryptCommand)...)
			defer func() { _ = l.flushOne(salt.handle) }()
		}
		p, err := l.primary(parent, r.file.rsaParent, auth)
		return p, none, err
	}
	// The name goes into the proof of a password alone.
	p := storageKey{handle: parent, name: tpm2.TPM2BName{Buffer: binary.BigEndian.AppendUint32(nil, uint32(parent))}}
	if !salted && len(r.parentPassword.value) == 0 {
		return p, none, nil
	}
	p, err := readPublic(l.device, parent)
	if err != nil || len(r.parentPassword.value) == 0 {
		return p, none, err
	}
	return p, tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, sessionOptions(r.parentPassword.value, p, encryptCommand)...), nil
}

// load brings the object into the TPM, with a session if it has a password or
// a policy. On an error nothing is left there.
func (r *loader) load(d *device) (_ *loadedObject, err error) {
	l := &loadedObject{device: d, policy: r.policy}
	defer func() {
		if err != nil {
			l.flush(err)
		}
	}()
	salted := len(r.password.value) > 0 || r.secretResponse
	var salt storageKey
	if r.file == nil {
		if salt, err = r.usePersistent(l, salted); err != nil {
			return nil, err
		}
	} else {
		parent, auth, err := r.prepareParent(l, salted)
		if err != nil {
			return nil, r.parentError(err)
		}
		if err := r.loadFile(l, tpm2.AuthHandle{Handle: parent.handle, Name: parent.name, Auth: auth}); err != nil {
			return nil, r.parentError(err)
		}
		salt = parent
	}
	if err := r.startSessions(l, salt); err != nil {
		return nil, err
	}
	if isTransient(salt.handle) {
		if err := l.flushOne(salt.handle); err != nil {
			return nil, err
		}
	}
	l.loadedAt = time.Now() // the first command may have waited for others
	return l, nil
}

// find looks at a persistent object, and makes a key to salt sessions with.
func (r *loader) usePersistent(l *loadedObject, salted bool) (storageKey, error) {
	if l.device != r.checkedDevice { // otherwise nobody can have changed it
		o, err := readPublic(l.device, r.handle)
		if err != nil {
			return storageKey{}, err
		}
		if !bytes.Equal(o.name.Buffer, r.name.Buffer) {
			return storageKey{}, fmt.Errorf("handle 0x%08x: another key is in its place: %w", uint32(r.handle), signer.ErrUnavailable)
		}
	}
	r.checkedDevice = nil
	l.handle, l.name = r.handle, r.name
	if !salted {
		return storageKey{}, nil
	}
	return l.primary(tpm2.TPMRHNull, false, tpm2.PasswordAuth(nil))
}

// loadFile loads a key file. An importable one is imported once; what the TPM
// makes of it is for this TPM alone.
func (r *loader) loadFile(l *loadedObject, parent tpm2.AuthHandle) error {
	public := tpm2.BytesAs2B[tpm2.TPMTPublic](r.file.public[2:])
	if r.private == nil {
		private, err := unmarshal[tpm2.TPM2BPrivate](r.file.private)
		if err != nil {
			return malformed("private part: " + err.Error())
		}
		if r.file.kind.Equal(oidImportable) || len(r.file.secret) > 0 {
			secret, err := unmarshal[tpm2.TPM2BEncryptedSecret](r.file.secret)
			if err != nil {
				return malformed("secret: " + err.Error())
			}
			imported, err := tpm2.Import{
				ParentHandle: parent,
				ObjectPublic: public,
				Duplicate:    *private,
				InSymSeed:    *secret,
				Symmetric:    tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
			}.Execute(l)
			if err != nil {
				return explain("TPM2_Import", err)
			}
			private = &imported.OutPrivate
		}
		r.private = private
	}
	o, err := tpm2.Load{ParentHandle: parent, InPrivate: *r.private, InPublic: public}.Execute(l)
	if err != nil {
		return explain("TPM2_Load", err)
	}
	l.toFlush = append(l.toFlush, o.ObjectHandle)
	l.handle, l.name = o.ObjectHandle, o.Name
	return nil
}

// parentError says that it is the parent whose password is wrong or missing.
func (r *loader) parentError(err error) error {
	if !errors.Is(err, signer.ErrPINIncorrect) {
		return err
	}
	if len(r.parentPassword.value) > 0 {
		return r.parentPassword.noteRefusal(err)
	}
	return signer.WithHint(fmt.Errorf("the key's parent has a password, and none was given: %w", missingPassword(err)),
		"name where it is: parent-auth-source=file:PATH in the reference, as in tpm:path=key.pem;parent-auth-source=file:PATH")
}

// startSessions chooses how the object is authorized.
func (r *loader) startSessions(l *loadedObject, salt storageKey) error {
	started := func(s tpm2.Session, _ func() error, err error) (tpm2.Session, error) {
		if err != nil {
			return nil, explain("TPM2_StartAuthSession", err)
		}
		l.toFlush = append(l.toFlush, s.Handle())
		return s, nil
	}
	var options []tpm2.AuthOption
	var err error
	switch {
	case r.secretResponse:
		// In a session of its own: one that authorizes the object encrypts with
		// its password, which need not be known if a policy does not want it.
		hidden, err := started(tpm2.HMACSession(l, tpm2.TPMAlgSHA256, nonceSize, sessionOptions(nil, salt, encryptResponse)...))
		if err != nil {
			return err
		}
		l.encryption = []tpm2.Session{hidden}
		if len(r.password.value) > 0 {
			options = sessionOptions(r.password.value, salt)
		}
	case len(r.password.value) > 0:
		options = sessionOptions(r.password.value, salt, encryptCommand)
	}
	switch {
	case len(r.policy) > 0:
		l.session, err = started(tpm2.PolicySession(l, r.area.NameAlg, nonceSize, options...))
	case options != nil:
		l.session, err = started(tpm2.HMACSession(l, tpm2.TPMAlgSHA256, nonceSize, options...))
	default:
		l.session = tpm2.PasswordAuth(nil)
	}
	return err
}

// authorized returns the object's handle for one command.
func (l *loadedObject) authHandle() (tpm2.AuthHandle, error) {
	if len(l.policy) > 0 {
		if err := l.policy.satisfy(l, l.session.Handle()); err != nil {
			return tpm2.AuthHandle{}, err
		}
	}
	return tpm2.AuthHandle{Handle: l.handle, Name: l.name, Auth: l.session}, nil
}
