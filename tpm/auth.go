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

// A password is asked when it is needed and kept as long as the TPM takes it.
// One that the TPM refused is not tried again: a source that gives it again and
// again would lock the TPM. It is not safe for concurrent use.
type password struct {
	ask  keystore.PINFunc
	what string
	ref  keystore.Ref
	size int // of the name's hash, in bytes: no longer password fits

	known   bool
	value   []byte // empty: none
	refused []byte // hash of the last one that the TPM refused
}

// get asks for the password, unless it is known. An optional one may be absent.
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

// set takes a password as if it had been asked for.
func (p *password) set(value []byte, l lockout) error {
	// Zeros at its end are none of an authorization value (TPM 2.0 Library,
	// part 1, section 19.6.4.3).
	value = bytes.TrimRight(value, "\x00")
	hash := sha256.Sum256(value)
	switch {
	case bytes.Contains(value, []byte{0}):
		clear(value)
		return fmt.Errorf("%s with a NUL inside: %w", p.what, errors.ErrUnsupported)
	case len(value) > p.size:
		clear(value)
		return fmt.Errorf("%s: is longer than the %d bytes that the TPM takes: %w", p.what, p.size, signer.ErrPINIncorrect)
	case bytes.Equal(p.refused, hash[:]):
		clear(value)
		if len(value) == 0 {
			return fmt.Errorf("%s: %w", p.what, signer.ErrPINRequired)
		}
		return fmt.Errorf("%s: not trying again the one that the TPM refused: %w", p.what, signer.ErrPINIncorrect)
	case len(value) == 0 && l.triesLeft() == 1:
		// Nobody gave one, and if there is one this try would lock the TPM.
		return signer.WithHint(fmt.Errorf("%s: none is given, and the TPM has one try left: %w", p.what, signer.ErrPINRequired), hintLockout)
	}
	p.value, p.known = value, true
	return nil
}

// learn takes note of an error of the TPM. Its result says what it means for
// this password.
func (p *password) noteRefusal(err error) error {
	if !errors.Is(err, signer.ErrPINIncorrect) || !p.known {
		return err
	}
	none := len(p.value) == 0
	hash := sha256.Sum256(p.value)
	p.wipe()
	p.refused = hash[:]
	if none {
		return signer.WithHint(fmt.Errorf("%s: there is one, and none was given: %w", p.what, missingPassword(err)),
			"name where it is: Config.PIN, or pin-source= in the reference")
	}
	return fmt.Errorf("%s: %w", p.what, err)
}

func (p *password) wipe() {
	clear(p.value)
	p.value, p.known = nil, false
}

// A lockout is the state of the TPM's protection against dictionary attacks
// (TPM 2.0 Library, part 1, section 19.8). The zero value is that of keys
// without it.
type lockout struct {
	tries, max uint32
	interval   time.Duration // until one try is forgotten
}

// left returns how many tries there are, a large number if there is no limit.
func (l lockout) triesLeft() int {
	if l.max == 0 {
		return 1 << 30
	}
	return max(0, int(l.max)-int(l.tries))
}

// err tells when the TPM takes a password again, or returns nil.
func (l lockout) err() error {
	if l.triesLeft() > 0 {
		return nil
	}
	err := fmt.Errorf("%d wrong passwords were given: %w", l.tries, signer.ErrPINLocked)
	if l.interval > 0 {
		err = fmt.Errorf("%d wrong passwords were given; one try comes back every %v: %w", l.tries, l.interval, signer.ErrPINLocked)
	}
	return signer.WithHint(err, hintLockout)
}

// readLockout asks the TPM.
func readLockout(t transport.TPM) (lockout, error) {
	// Four properties with successive numbers (part 2, section 6.13).
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

// What a session encrypts is the first parameter of a command or of its
// response. A command refuses a session that encrypts where it has none of that
// kind (part 1, section 21.1): TPM2_Sign has none in its response, TPM2_Unseal
// none in its command.
var (
	encryptCommand  = tpm2.AESEncryption(128, tpm2.EncryptIn)
	encryptResponse = tpm2.AESEncryption(128, tpm2.EncryptOut)
)

// sessionOptions are those of a session that proves a password without showing
// it. Its key is made with salt's key, so that who listens on the bus learns
// nothing to guess with (part 1, section 19.6.8).
func sessionOptions(value []byte, salt storageKey, encryption ...tpm2.AuthOption) []tpm2.AuthOption {
	return append([]tpm2.AuthOption{tpm2.Auth(value), tpm2.Salted(salt.handle, salt.public)}, encryption...)
}

// nonceSize is that of session nonces, in bytes.
const nonceSize = 16
