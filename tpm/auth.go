package tpm

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A password is the password of a key or its parent. It comes from a PIN source
// when it is needed, and is kept until the TPM refuses it. A refused password
// is not retried, because a PIN source that always returns the same incorrect
// password would lock the TPM. A password is not safe for concurrent use.
type password struct {
	ask    keystore.PINFunc
	permit func(keystore.Prompt) error // before the TPM can count a try; nil: permitted
	what   string
	ref    keystore.Ref
	size   int // maximum length in bytes: the digest size of the name algorithm

	// The TPM does not count incorrect passwords of an exempt object. If the
	// handle entity is not 0, the object is also exempt if its public area in
	// the TPM says so.
	exempt bool
	entity tpm2.TPMHandle

	known    bool
	value    []byte // empty: no password
	lastTry  bool   // a person gave the value for the last try
	accepted bool   // the TPM accepted the value
	refused  []byte // hash of the password that the TPM refused last
}

// get gets the password from the PIN source, unless it is known. If optional,
// the source may return no password.
func (p *password) get(ctx context.Context, optional bool, l lockout) error {
	if p.known {
		return nil
	}
	if p.ask == nil {
		// Without a count, a try without a password is harmless.
		if !optional && !p.exempt {
			return fmt.Errorf("%s: %w", p.what, signer.ErrPINRequired)
		}
		return p.set(nil, l)
	}
	value, err := p.ask(ctx, p.prompt(optional, l))
	if err != nil && l.triesLeft() == 1 && p.what == keystore.AskTPMParent { // no prompt asks for it
		err = signer.WithHint(err, l.hint())
	}
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
			return fmt.Errorf("%s: not given, and the TPM refused a try without one before: %w", p.what, signer.ErrPINRequired)
		}
		return fmt.Errorf("%s: not retried because the TPM refused it before: %w", p.what, signer.ErrPINIncorrect)
	case len(value) == 0 && l.triesLeft() == 1:
		return p.lastTryError(l)
	}
	p.value, p.known, p.accepted, p.lastTry = value, true, false, l.triesLeft() == 1
	return nil
}

// noteRefusal clears the password if err means that the TPM refused it. The
// returned error wraps err and says whether the password was incorrect or
// missing.
func (p *password) noteRefusal(err error) error {
	var other *otherPassword
	if !errors.Is(err, signer.ErrPINIncorrect) || !p.known || errors.As(err, &other) {
		return err
	}
	none := len(p.value) == 0
	hash := sha256.Sum256(p.value)
	p.wipe()
	if !none || errors.Is(err, signer.ErrTryCounted) {
		p.refused = hash[:]
	}
	if none {
		return signer.WithHint(fmt.Errorf("%s: required but not given: %w", p.what, missingPassword(err)),
			"give the password with Config.PIN, or its source with pin-source= in the reference")
	}
	return fmt.Errorf("%s: %w", p.what, err)
}

// An otherPassword is an error about another password than that of the object.
type otherPassword struct{ err error }

func (e *otherPassword) Error() string { return e.err.Error() }
func (e *otherPassword) Unwrap() error { return e.err }

func (p *password) wipe() {
	clear(p.value)
	p.value, p.known, p.accepted, p.lastTry = nil, false, false, false
}

// Options that make a session encrypt the first parameter of a command or of
// its response. The TPM refuses the option if the command or the response has
// no such parameter (part 1, section 21.1): the response of TPM2_Sign and the
// command TPM2_Unseal have none.
func encryptCommand() tpm2.AuthOption  { return tpm2.AESEncryption(128, tpm2.EncryptIn) }
func encryptResponse() tpm2.AuthOption { return tpm2.AESEncryption(128, tpm2.EncryptOut) }

// sessionOptions returns the options of an HMAC session with the password
// value. The session is salted with the key salt, so that an attacker who reads
// the bus cannot guess passwords offline (part 1, section 19.6.8).
func sessionOptions(value []byte, salt storageKey) []tpm2.AuthOption {
	return []tpm2.AuthOption{tpm2.Auth(value), tpm2.Salted(salt.handle, salt.public)}
}

// encryptedOptions is sessionOptions for a session that also encrypts. Sessions of a
// TPM encrypt with AES in CFB mode (part 1, section 21.3), which the FIPS module of Go
// does not have: package crypto/cipher panics if only approved algorithms are allowed.
func encryptedOptions(value []byte, salt storageKey, encryption tpm2.AuthOption) ([]tpm2.AuthOption, error) {
	if fips140.Enforced() {
		return nil, signer.WithHint(
			fmt.Errorf("AES in CFB mode, with which a TPM exchanges passwords and secrets, is not allowed in FIPS mode: %w", errors.ErrUnsupported),
			"use a TPM key without a password, or the mode GODEBUG=fips140=on")
	}
	return append(sessionOptions(value, salt), encryption), nil
}

// nonceSize is the size of session nonces, in bytes.
const nonceSize = 16

// newParentPassword returns the password of the parent with the given handle.
// The TPM counts no tries for hierarchies (part 1, section 19.8.1).
func newParentPassword(ask keystore.PINFunc, ref keystore.Ref, parent Handle) password {
	return password{ask: ask, what: keystore.AskTPMParent, ref: ref, size: maxDigest,
		exempt: isHierarchy(parent), entity: tpm2.TPMHandle(parent)}
}

// getPasswords gets the passwords that are not known yet.
func (ld *loader) getPasswords(ctx context.Context) error {
	if err := ld.getParentPassword(ctx); err != nil {
		return err
	}
	if err := ld.getPassword(ctx, &ld.endorsementPassword, ld.endorsementPassword.ask == nil); err != nil {
		return err
	}
	if len(ld.policy) > 0 && !ld.policy.wantsPassword() {
		if ld.password.known {
			return nil
		}
		return ld.password.set(nil, lockout{})
	}
	// Use a password that is given even if the file says that the key has
	// none: tpm2_encodeobject 5.4 writes this for keys with a password.
	err := ld.getPassword(ctx, &ld.password, ld.file == nil || ld.file.emptyAuth)
	if ld.file != nil && errors.Is(err, signer.ErrPINRequired) && signer.Hint(err) == "" {
		err = signer.WithHint(err, ld.sourceHint())
	}
	return err
}

// sourceHint says how to give the password that the file demands.
func (ld *loader) sourceHint() string {
	if ld.secretResponse {
		return "add the source of the password to the reference of the sealed data: pin-source=file:PATH or env:NAME"
	}
	return "give the password with Config.PIN; if the key has none, although its file says so, use a Config.PIN that returns nothing"
}

// getParentPassword gets the password of the parent, unless it is known. Most
// parents have none.
func (ld *loader) getParentPassword(ctx context.Context) error {
	return ld.getPassword(ctx, &ld.parentPassword, ld.parentPassword.ask == nil)
}

func (ld *loader) getPassword(ctx context.Context, p *password, optional bool) error {
	if p.known {
		return nil
	}
	var l lockout
	if p.ask != nil { // the prompt says how many tries are left
		var err error
		if l, err = ld.tries(ctx, p); err == nil {
			err = l.err()
		}
		if err != nil {
			return err
		}
		if ld.openDevice != nil && !ld.openDevice.managed {
			ld.unload() // let other programs use the TPM during the prompt
		}
	}
	return p.get(ctx, optional, l)
}
