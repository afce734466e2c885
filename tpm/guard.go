package tpm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// guard permits one authorization with the password p on the open device d.
// Every authorization that the TPM may count as a failed try, also one without
// a password, goes through it. The last try before a lockout is for a password
// that a person gave for it, or that the TPM has accepted before.
func (p *password) guard(d *device) error {
	if p.accepted {
		return nil
	}
	l, err := p.tries(d)
	if err == nil {
		err = l.err()
	}
	if err == nil && l.counts && p.permit != nil {
		err = p.permit(p.prompt(false, l))
	}
	switch {
	case err != nil:
		return err
	case l.triesLeft() > 1 || p.lastTry:
		return nil
	case p.ask == nil:
		return p.lastTryError(l)
	}
	return &askAgain{p, l}
}

func (p *password) prompt(optional bool, l lockout) keystore.Prompt {
	return keystore.Prompt{What: p.what, Ref: p.ref, Optional: optional, FewTries: l.tries > 0, LastTry: l.triesLeft() == 1, NextTry: l.interval}
}

// tries returns the lockout state of d if the TPM counts incorrect values of p,
// and otherwise the zero value.
func (p *password) tries(d *device) (lockout, error) {
	if p.exempt {
		return lockout{}, nil
	}
	if p.entity != 0 {
		o, err := d.readParent(p.entity)
		if err != nil || o.public.ObjectAttributes.NoDA {
			return lockout{}, err
		}
	}
	return readLockout(d)
}

// An askAgain is the error of an authorization that would use the last try, with
// a password that was not given for it.
type askAgain struct {
	password *password
	lockout  lockout
}

func (e *askAgain) Error() string {
	return fmt.Sprintf("%s: not tried, because only one try is left before the TPM locks", e.password.what)
}
func (e *askAgain) Unwrap() error { return signer.ErrPINRequired }
func (e *askAgain) Hint() string  { return e.lockout.hint() }

// forgetLast clears the password of err if err is an askAgain, so that it is
// asked for again. It reports whether it did.
func forgetLast(err error) bool {
	var again *askAgain
	ok := errors.As(err, &again)
	if ok {
		again.password.wipe()
	}
	return ok
}

// lastTryError is the error if there is no password for the last try.
func (p *password) lastTryError(l lockout) error {
	// If the object has a password, a try without one would lock the TPM.
	return signer.WithHint(fmt.Errorf("%s: not given, and only one try is left before the TPM locks: %w", p.what, signer.ErrPINRequired), l.hint())
}

// A lockout is the state of the dictionary attack protection of the TPM (TPM
// 2.0 Library, part 1, section 19.8). The zero value is for objects without
// this protection.
type lockout struct {
	counts     bool // false: for the zero value
	locked     bool
	tries, max uint32
	interval   time.Duration // after which tries decreases by one
}

// triesLeft returns how many tries are left: a large number if there is no
// limit.
func (l lockout) triesLeft() int {
	switch {
	case l.locked:
		return 0
	case !l.counts:
		return 1 << 30
	}
	return max(0, int(l.max)-int(l.tries))
}

// err returns an error if no try is left.
func (l lockout) err() error {
	if l.triesLeft() > 0 {
		return nil
	}
	err := fmt.Errorf("the TPM counted %d tries: %w", l.tries, signer.ErrPINLocked) // an unclean restart is also counted
	if l.interval > 0 {
		err = fmt.Errorf("the TPM counted %d tries and allows one more every %v: %w", l.tries, l.interval, signer.ErrPINLocked)
	}
	return signer.WithHint(err, hintLockout)
}

// hint says how to get more tries.
func (l lockout) hint() string {
	if l.interval > 0 {
		return fmt.Sprintf("the TPM allows one more try every %v; to reset the count with the lockout password: tpm2_dictionarylockout --clear-lockout", l.interval)
	}
	return hintLockout
}

// inLockout is the bit of TPMA_PERMANENT that says that the TPM is in lockout
// (part 2, section 8.6).
const inLockout = 1 << 9

// readLockout reads the lockout state from the TPM.
func readLockout(t transport.TPM) (lockout, error) {
	// The properties from TPM_PT_PERMANENT to TPM_PT_LOCKOUT_INTERVAL have
	// consecutive numbers (part 2, section 6.13).
	answer, err := tpm2.GetCapability{
		Capability:    tpm2.TPMCapTPMProperties,
		Property:      uint32(tpm2.TPMPTPermanent),
		PropertyCount: uint32(tpm2.TPMPTLockoutInterval-tpm2.TPMPTPermanent) + 1,
	}.Execute(t)
	if err != nil {
		return lockout{}, explain("TPM2_GetCapability", err)
	}
	properties, err := answer.CapabilityData.Data.TPMProperties()
	if err != nil {
		return lockout{}, explain("TPM2_GetCapability", err)
	}
	l := lockout{counts: true}
	for _, p := range properties.TPMProperty {
		switch p.Property {
		case tpm2.TPMPTPermanent:
			l.locked = p.Value&inLockout != 0
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

// tries returns the lockout state of the TPM if it counts incorrect values of
// p. It then leaves the TPM open.
func (ld *loader) tries(ctx context.Context, p *password) (l lockout, err error) {
	if p.exempt {
		return lockout{}, nil
	}
	err = ld.with(ctx, func(d *device) (err error) {
		l, err = p.tries(d)
		return err
	})
	return l, err
}

// explainLockout adds the lockout state of the TPM to err if err is
// TPM_RC_LOCKOUT.
func (ld *loader) explainLockout(ctx context.Context, err error) error {
	if !errors.Is(err, signer.ErrPINLocked) || !errors.Is(err, Error(tpm2.TPMRCLockout)) {
		return err
	}
	defer ld.unload()
	var l lockout
	readErr := ld.with(ctx, func(d *device) (err error) {
		l, err = readLockout(d)
		return err
	})
	if readErr == nil && l.err() != nil {
		return fmt.Errorf("%w: %w", l.err(), err)
	}
	return err
}
