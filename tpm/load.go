package tpm

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// A loadedObject is an object that is ready to be used, with its connection.
type loadedObject struct {
	*device
	handle     tpm2.TPMHandle
	name       tpm2.TPM2BName
	session    tpm2.Session
	encryption []tpm2.Session // encrypt the response if it is secret
	policy     policy
	toFlush    []tpm2.TPMHandle // objects and sessions of this package; flushed from the last to the first
	loadedAt   time.Time

	password   *password // of the object
	authorized bool      // the password was used
}

func isTransient(h tpm2.TPMHandle) bool { return h>>24 == 0x80 }

// flushOne flushes one object or session.
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

// flush flushes all objects and sessions of l. err is the previous error: if it
// is errBus, flush sends nothing. It ignores errors, because the TPM may
// already have lost the objects.
func (l *loadedObject) flush(err error) {
	for i := len(l.toFlush) - 1; i >= 0 && !errors.Is(err, errBus); i-- {
		_, err = tpm2.FlushContext{FlushHandle: l.toFlush[i]}.Execute(l)
	}
	l.toFlush = nil
}

// close flushes l and closes the connection. With a resource manager, closing
// the connection is enough.
func (l *loadedObject) close() {
	if !l.managed {
		l.flush(nil)
	}
	_ = l.device.close()
}

// load loads the object, and starts a session if the object has a password or a
// policy. On error it leaves nothing in the TPM.
func (ld *loader) load(d *device) (_ *loadedObject, err error) {
	l := &loadedObject{device: d, policy: ld.policy, password: &ld.password}
	defer func() {
		if err != nil {
			l.flush(err)
		}
	}()
	salted := len(ld.password.value) > 0 || ld.secretResponse
	var salt storageKey
	if ld.file == nil {
		if salt, err = ld.usePersistent(l, salted); err != nil {
			return nil, err
		}
	} else {
		parent, auth, err := ld.prepareParent(l, salted)
		if err != nil {
			return nil, ld.parentError(err)
		}
		if err := ld.loadFile(l, tpm2.AuthHandle{Handle: parent.handle, Name: parent.name, Auth: auth}); err != nil {
			return nil, ld.parentError(err)
		}
		ld.parentPassword.accepted = true
		salt = parent
	}
	if err := ld.startSessions(l, salt); err != nil {
		return nil, err
	}
	if isTransient(salt.handle) {
		if err := l.flushOne(salt.handle); err != nil {
			return nil, err
		}
	}
	l.loadedAt = time.Now() // not earlier: the first command may have waited for other programs
	return l, nil
}

// usePersistent checks the name of a persistent object. If salted, it returns a
// new key for salting sessions.
func (ld *loader) usePersistent(l *loadedObject, salted bool) (storageKey, error) {
	if l.device != ld.checkedDevice { // on the same connection, the name cannot have changed
		o, err := readPublic(l.device, ld.handle)
		if err != nil {
			return storageKey{}, err
		}
		if !bytes.Equal(o.name.Buffer, ld.name.Buffer) {
			return storageKey{}, fmt.Errorf("handle 0x%08x: now belongs to a different key: %w", uint32(ld.handle), signer.ErrUnavailable)
		}
	}
	ld.checkedDevice = nil
	l.handle, l.name = ld.handle, ld.name
	if !salted {
		return storageKey{}, nil
	}
	return l.primary(tpm2.TPMRHNull, false, tpm2.PasswordAuth(nil))
}

// loadFile loads the key in a file. It imports an importable key once and then
// uses the result, which only this TPM can load.
func (ld *loader) loadFile(l *loadedObject, parent tpm2.AuthHandle) error {
	public := tpm2.BytesAs2B[tpm2.TPMTPublic](ld.file.public[2:])
	if ld.private == nil {
		private, err := unmarshal[tpm2.TPM2BPrivate](ld.file.private)
		if err != nil {
			return malformed("private part: " + err.Error())
		}
		if ld.file.kind.Equal(oidImportable) || len(ld.file.secret) > 0 {
			secret, err := unmarshal[tpm2.TPM2BEncryptedSecret](ld.file.secret)
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
		ld.private = private
	}
	o, err := tpm2.Load{ParentHandle: parent, InPrivate: *ld.private, InPublic: public}.Execute(l)
	if err != nil {
		return explain("TPM2_Load", err)
	}
	l.toFlush = append(l.toFlush, o.ObjectHandle)
	l.handle, l.name = o.ObjectHandle, o.Name
	return nil
}

// startSessions starts the sessions that authorize the use of the object.
func (ld *loader) startSessions(l *loadedObject, salt storageKey) error {
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
	case ld.secretResponse:
		// A separate session, because the encryption key of an authorization
		// session depends on the password of the object. The password may be
		// unknown if a policy does not require it.
		forHidden, err := encryptedOptions(nil, salt, encryptResponse())
		if err != nil {
			return err
		}
		hidden, err := started(tpm2.HMACSession(l, tpm2.TPMAlgSHA256, nonceSize, forHidden...))
		if err != nil {
			return err
		}
		l.encryption = []tpm2.Session{hidden}
		if len(ld.password.value) > 0 {
			options = sessionOptions(ld.password.value, salt)
		}
	case len(ld.password.value) > 0:
		if options, err = encryptedOptions(ld.password.value, salt, encryptCommand()); err != nil {
			return err
		}
	}
	switch {
	case len(ld.policy) > 0 && ld.area.NameAlg == tpm2.TPMAlgSHA1 && fips140.Enforced():
		return fmt.Errorf("the key has a policy with SHA-1, which is not allowed in FIPS mode: %w", errors.ErrUnsupported)
	case len(ld.policy) > 0:
		l.session, err = started(tpm2.PolicySession(l, ld.area.NameAlg, nonceSize, options...))
	case options != nil:
		l.session, err = started(tpm2.HMACSession(l, tpm2.TPMAlgSHA256, nonceSize, options...))
	default:
		l.session = tpm2.PasswordAuth(nil)
	}
	return err
}

// authHandle returns the handle of the object for one command, after satisfying
// its policy.
func (l *loadedObject) authHandle() (tpm2.AuthHandle, error) {
	if err := l.password.guard(l.device); err != nil {
		return tpm2.AuthHandle{}, err
	}
	l.authorized = true
	if len(l.policy) > 0 {
		if err := l.policy.satisfy(l, l.session.Handle()); err != nil {
			return tpm2.AuthHandle{}, err
		}
	}
	return tpm2.AuthHandle{Handle: l.handle, Name: l.name, Auth: l.session}, nil
}
