package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A password is the password of a key or its parent. It comes from a PIN source
// when it is needed, and is kept until the TPM refuses it. A refused password
// is not retried, because a PIN source that always returns the same incorrect
// password would lock the TPM. A password is not safe for concurrent use.
type password struct {
	ask  keystore.PINFunc
	what string
	ref  keystore.Ref
	size int // maximum length in bytes: the digest size of the name algorithm

	known   bool
	value   []byte // empty: no password
	refused []byte // hash of the password that the TPM refused last
}

// get gets the password from the PIN source, unless it is known. If optional,
// the source may return no password.
func (p *password) get(ctx context.Context, optional bool, l lockout) error {
	if p.known {
		return nil
	}
	if p.ask == nil {
		if !optional {
			return fmt.Errorf("%s: %w", p.what, signer.ErrPINRequired)
		}
		return p.set(nil, l)
	}
	value, err := p.ask(ctx, keystore.Prompt{
		What: p.what, Ref: p.ref, Optional: optional,
		FewTries: l.tries > 0, LastTry: l.triesLeft() == 1,
	})
	if err != nil {
		return err
	}
	return p.set(value, l)
}

// set sets the password to value, which it owns.
func (p *password) set(value []byte, l lockout) error {
	// Trailing zeros are not part of an authorization value (TPM 2.0
	// Library, part 1, section 19.6.4.3).
	value = bytes.TrimRight(value, "\x00")
	hash := sha256.Sum256(value)
	switch {
	case bytes.Contains(value, []byte{0}):
		clear(value)
		return fmt.Errorf("%s: contains a NUL: %w", p.what, errors.ErrUnsupported)
	case len(value) > p.size:
		clear(value)
		return fmt.Errorf("%s: is longer than the maximum of %d bytes: %w", p.what, p.size, signer.ErrPINIncorrect)
	case bytes.Equal(p.refused, hash[:]):
		clear(value)
		if len(value) == 0 {
			return fmt.Errorf("%s: %w", p.what, signer.ErrPINRequired)
		}
		return fmt.Errorf("%s: not retried because the TPM refused it before: %w", p.what, signer.ErrPINIncorrect)
	case len(value) == 0 && l.triesLeft() == 1:
		// If the object has a password, a try without one would lock the TPM.
		return signer.WithHint(fmt.Errorf("%s: not given, and only one try is left before the TPM locks: %w", p.what, signer.ErrPINRequired), hintLockout)
	}
	p.value, p.known = value, true
	return nil
}

// noteRefusal clears the password if err means that the TPM refused it. The
// returned error wraps err and says whether the password was incorrect or
// missing.
func (p *password) noteRefusal(err error) error {
	if !errors.Is(err, signer.ErrPINIncorrect) || !p.known {
		return err
	}
	none := len(p.value) == 0
	hash := sha256.Sum256(p.value)
	p.wipe()
	p.refused = hash[:]
	if none {
		return signer.WithHint(fmt.Errorf("%s: required but not given: %w", p.what, missingPassword(err)),
			"give the source of the password: Config.PIN, or pin-source= in the reference")
	}
	return fmt.Errorf("%s: %w", p.what, err)
}

func (p *password) wipe() {
	clear(p.value)
	p.value, p.known = nil, false
}

// A lockout is the state of the dictionary attack protection of the TPM (TPM
// 2.0 Library, part 1, section 19.8). The zero value is for objects without
// this protection.
type lockout struct {
	tries, max uint32
	interval   time.Duration // after which tries decreases by one
}

// triesLeft returns how many tries are left: a large number if there is no
// limit.
func (l lockout) triesLeft() int {
	if l.max == 0 {
		return 1 << 30
	}
	return max(0, int(l.max)-int(l.tries))
}

// err returns an error if no try is left.
func (l lockout) err() error {
	if l.triesLeft() > 0 {
		return nil
	}
	err := fmt.Errorf("the TPM counted %d incorrect passwords: %w", l.tries, signer.ErrPINLocked)
	if l.interval > 0 {
		err = fmt.Errorf("the TPM counted %d incorrect passwords and allows one more try every %v: %w", l.tries, l.interval, signer.ErrPINLocked)
	}
	return signer.WithHint(err, hintLockout)
}

// readLockout reads the lockout state from the TPM.
func readLockout(t transport.TPM) (lockout, error) {
	// Four properties with consecutive numbers (part 2, section 6.13).
	answer, err := tpm2.GetCapability{
		Capability:    tpm2.TPMCapTPMProperties,
		Property:      uint32(tpm2.TPMPTLockoutCounter),
		PropertyCount: 4,
	}.Execute(t)
	if err != nil {
		return lockout{}, explain("TPM2_GetCapability", err)
	}
	properties, err := answer.CapabilityData.Data.TPMProperties()
	if err != nil {
		return lockout{}, explain("TPM2_GetCapability", err)
	}
	var l lockout
	for _, p := range properties.TPMProperty {
		switch p.Property {
		case tpm2.TPMPTLockoutCounter:
			l.tries = p.Value
		case tpm2.TPMPTMaxAuthFail:
			l.max = p.Value
		case tpm2.TPMPTLockoutInterval:
			l.interval = time.Duration(p.Value) * time.Second
		}
	}
	return l, nil
}

// Options that make a session encrypt the first parameter of a command or of
// its response. The TPM refuses the option if the command or the response has
// no such parameter (part 1, section 21.1): the response of TPM2_Sign and the
// command TPM2_Unseal have none.
var (
	encryptCommand  = tpm2.AESEncryption(128, tpm2.EncryptIn)
	encryptResponse = tpm2.AESEncryption(128, tpm2.EncryptOut)
)

// sessionOptions returns the options of an HMAC session with the password
// value. The session is salted with the key salt, so that an attacker who reads
// the bus cannot guess passwords offline (part 1, section 19.6.8).
func sessionOptions(value []byte, salt storageKey, encryption ...tpm2.AuthOption) []tpm2.AuthOption {
	return append([]tpm2.AuthOption{tpm2.Auth(value), tpm2.Salted(salt.handle, salt.public)}, encryption...)
}

// nonceSize is the size of session nonces, in bytes.
const nonceSize = 16

// getPasswords gets the passwords that are not known yet.
func (ld *loader) getPasswords(ctx context.Context) error {
	if !ld.parentPassword.known {
		// Most parents have no password.
		ld.parentPassword.known = ld.parentPassword.ask == nil
		if err := ld.parentPassword.get(ctx, false, lockout{}); err != nil {
			return err
		}
	}
	if ld.password.known {
		return nil
	}
	optional := ld.file == nil || ld.file.emptyAuth
	if len(ld.policy) > 0 && !ld.policy.wantsPassword() {
		return ld.password.set(nil, lockout{})
	}
	if optional && ld.file != nil {
		// The file says that the key has no password. Still use a password that
		// is given: tpm2_encodeobject 5.4 writes this for keys with a password.
		if err := ld.password.get(ctx, true, lockout{}); err != nil || len(ld.password.value) == 0 {
			return err
		}
	}
	var l lockout
	if !ld.area.ObjectAttributes.NoDA {
		var err error
		if l, err = ld.lockout(ctx); err == nil {
			err = l.err()
		}
		if err != nil {
			ld.password.wipe()
			return err
		}
	}
	if ld.password.known && l.triesLeft() > 1 {
		return nil
	}
	ld.password.wipe()
	if ld.password.ask != nil && ld.openDevice != nil && !ld.openDevice.managed {
		ld.unload() // let other programs use the TPM during the prompt
	}
	return ld.password.get(ctx, optional, l)
}

// lockout returns the lockout state of the TPM. It leaves the TPM open.
func (ld *loader) lockout(ctx context.Context) (lockout, error) {
	d, err := ld.open(ctx)
	if err != nil {
		return lockout{}, err
	}
	l, err := readLockout(d)
	if err != nil && ld.repair(d, err) {
		l, err = readLockout(d)
	}
	if err != nil {
		return lockout{}, errors.Join(err, d.close())
	}
	ld.openDevice = d
	return l, nil
}

// explainLockout adds the lockout state of the TPM to err if err is
// TPM_RC_LOCKOUT.
func (ld *loader) explainLockout(ctx context.Context, err error) error {
	if !errors.Is(err, signer.ErrPINLocked) || !errors.Is(err, Error(tpm2.TPMRCLockout)) {
		return err
	}
	defer ld.unload()
	if l, readErr := ld.lockout(ctx); readErr == nil && l.err() != nil {
		return fmt.Errorf("%w: %w", l.err(), err)
	}
	return err
}
