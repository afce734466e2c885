package tpm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A resident is an object that is loaded into the TPM when it is needed, and
// again when the TPM lost it. What is said of keys here holds for sealed data
// too.
type loader struct {
	cfg  Config
	dial dialer
	log  *slog.Logger

	file           *keyFile       // nil: persistent
	handle         tpm2.TPMHandle // of a persistent object
	area           tpm2.TPMTPublic
	name           tpm2.TPM2BName
	policy         policy
	secretResponse bool // what comes out of the TPM is not for who listens on the bus

	// One command at a time is all that a TPM does. mu guards what follows.
	mu             sync.Mutex
	password       password
	parentPassword password
	private        *tpm2.TPM2BPrivate // of file, as the TPM loads it
	current        *loadedObject      // nil: the object is not loaded
	openDevice     *device            // open, and used for nothing else
	checkedDevice  *device            // where the name of a persistent object was read
	idleTimer      *time.Timer
	yieldUntil     time.Time // others are let in until then
	needsFlush     bool      // the way to the TPM was cut: it may have something of ours
}

// A TPM without a resource manager is held no longer than this, so that other
// processes get their turn: after the last use, and in all if there are many.
const (
	maxIdle = 50 * time.Millisecond
	maxHold = 250 * time.Millisecond
	// yieldFor is longer than the pause between two tries of those that wait.
	yieldTime = 15 * time.Millisecond
)

func newLoader(ctx context.Context, cfg Config, dial dialer) (*loader, error) {
	r := &loader{cfg: cfg, dial: dial, log: logging.OrDiscard(cfg.Logger), handle: tpm2.TPMHandle(cfg.Handle)}
	var err error
	if cfg.Handle != 0 {
		err = r.readPersistent(ctx)
	} else {
		err = r.parseFile(cfg.PEM)
	}
	if err != nil {
		return nil, err
	}
	size := maxDigest
	if h, err := r.area.NameAlg.Hash(); err == nil {
		size = h.Size()
	}
	r.password = password{ask: cfg.PIN, what: keystore.AskTPMKey, ref: cfg.name(), size: size}
	r.parentPassword = password{ask: cfg.ParentPIN, what: keystore.AskTPMParent, ref: cfg.name(), size: maxDigest}
	return r, nil
}

func (r *loader) parseFile(pem []byte) (err error) {
	if r.file, err = parseKeyPEM(pem); err != nil {
		return err
	}
	if f := r.file.parent; !isHierarchy(f) && !isPersistent(f) {
		return malformed(fmt.Sprintf("parent 0x%08x is neither a hierarchy nor persistent", uint32(f)))
	}
	if r.area, err = parsePublic(r.file.public); err != nil {
		return err
	}
	r.policy, err = policyOf(r.file)
	return err
}

// maxAttempts bounds what one use takes of a TPM that loses its objects again
// and again.
const maxAttempts = 3

// use runs f with the object loaded. The caller holds r.mu.
func (r *loader) use(ctx context.Context, f func(*loadedObject) error) error {
	for n := 1; ; n++ {
		err := r.ensureLoaded(ctx)
		if err == nil {
			if err = f(r.current); err == nil {
				r.afterUse()
				return nil
			}
			err = r.password.noteRefusal(err)
		}
		r.unload()
		r.needsFlush = r.needsFlush || errors.Is(err, errBus)
		if !lost(err) || n == maxAttempts || ctx.Err() != nil {
			return err
		}
		r.log.Debug("loading the key again", "cause", err)
	}
}

// hold opens the TPM and loads the object, unless that is so.
func (r *loader) ensureLoaded(ctx context.Context) error {
	if r.current != nil {
		return nil
	}
	if err := r.getPasswords(ctx); err != nil {
		return err
	}
	d, err := r.open(ctx)
	if err != nil {
		return err
	}
	if r.current, err = r.load(d); err == nil {
		return nil
	}
	if r.repair(d, err) {
		if r.current, err = r.load(d); err == nil {
			return nil
		}
	}
	return errors.Join(err, d.close())
}

// open opens the TPM after others had their turn.
func (r *loader) open(ctx context.Context) (*device, error) {
	if d := r.openDevice; d != nil {
		r.openDevice = nil
		return d, nil
	}
	if err := await.Pause(ctx, time.Until(r.yieldUntil)); err != nil {
		return nil, err
	}
	d, err := r.dial.open(ctx, r.cfg.Device)
	if err == nil && r.needsFlush && !d.managed {
		if n := flushAll(d); n > 0 {
			r.log.Warn("the TPM was left in the middle of something; removed what was in it", "objects", n)
		}
	}
	r.needsFlush = r.needsFlush && err != nil
	return d, err
}

// mend does for a TPM that nobody manages what a resource manager would, and
// reports whether it is worth another try. While it is open it is ours alone:
// what is loaded was left behind by a process that was killed, or is that of a
// program that has to share the TPM as we do.
func (r *loader) repair(d *device, err error) bool {
	switch {
	case d.managed:
		return false
	case errors.Is(err, Error(tpm2.TPMRCInitialize)):
		_, err := tpm2.Startup{StartupType: tpm2.TPMSUClear}.Execute(d)
		return err == nil
	case errors.Is(err, Error(tpm2.TPMRCObjectMemory)), errors.Is(err, Error(tpm2.TPMRCSessionMemory)), errors.Is(err, Error(tpm2.TPMRCSessionHandles)):
		n := flushAll(d)
		r.log.Warn("the TPM was full; removed what was left in it", "objects", n)
		return n > 0
	}
	return false
}

// evict flushes all transient objects and loaded sessions. Sessions that were
// saved take no room, and are somebody's.
func flushAll(d *device) int {
	n := 0
	for _, first := range []tpm2.TPMHandle{0x80000000, 0x02000000} {
		found, _ := handles(d, first)
		for _, h := range found {
			if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(d); err == nil {
				n++
			}
		}
	}
	return n
}

// authorize asks for the passwords that are not known.
func (r *loader) getPasswords(ctx context.Context) error {
	if !r.parentPassword.known {
		// Nobody is asked for it: most parents have none.
		r.parentPassword.known = r.parentPassword.ask == nil
		if err := r.parentPassword.get(ctx, false, lockout{}); err != nil {
			return err
		}
	}
	if r.password.known {
		return nil
	}
	optional := r.file == nil || r.file.emptyAuth
	if len(r.policy) > 0 && !r.policy.wantsPassword() {
		return r.password.set(nil, lockout{})
	}
	if optional && r.file != nil {
		// What a file says to have no password is believed, unless one is
		// given: tpm2_encodeobject 5.4 says so of keys that have one.
		if err := r.password.get(ctx, true, lockout{}); err != nil || len(r.password.value) == 0 {
			return err
		}
	}
	var l lockout
	if !r.area.ObjectAttributes.NoDA {
		var err error
		if l, err = r.lockout(ctx); err == nil {
			err = l.err()
		}
		if err != nil {
			r.password.wipe()
			return err
		}
	}
	if r.password.known && l.triesLeft() > 1 {
		return nil
	}
	r.password.wipe()
	if r.password.ask != nil && r.openDevice != nil && !r.openDevice.managed {
		r.unload() // others are not kept waiting while a person types
	}
	return r.password.get(ctx, optional, l)
}

// lockout asks the TPM how many tries are left. It leaves the TPM open.
func (r *loader) lockout(ctx context.Context) (lockout, error) {
	d, err := r.open(ctx)
	if err != nil {
		return lockout{}, err
	}
	l, err := readLockout(d)
	if err != nil && r.repair(d, err) {
		l, err = readLockout(d)
	}
	if err != nil {
		return lockout{}, errors.Join(err, d.close())
	}
	r.openDevice = d
	return l, nil
}

// discover reads what a persistent object is.
func (r *loader) readPersistent(ctx context.Context) error {
	d, err := r.open(ctx)
	if err != nil {
		return err
	}
	o, err := readPublic(d, r.handle)
	if err != nil && r.repair(d, err) {
		o, err = readPublic(d, r.handle)
	}
	if err != nil {
		return errors.Join(err, d.close())
	}
	r.area, r.name = o.public, o.name
	r.openDevice, r.checkedDevice = d, d
	return nil
}

// rest is called after each use.
func (r *loader) afterUse() {
	h := r.current
	switch {
	case h.managed:
	case time.Since(h.loadedAt) > maxHold:
		r.unload()
		r.yieldUntil = time.Now().Add(yieldTime)
	case r.idleTimer == nil:
		r.idleTimer = time.AfterFunc(maxIdle, r.closeIdle)
	default:
		r.idleTimer.Reset(maxIdle)
	}
}

// expire is called when nobody used the object for a while. Who uses it now
// calls rest afterwards.
func (r *loader) closeIdle() {
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	r.unload()
}

// drop takes the object out of the TPM and closes that.
func (r *loader) unload() {
	if r.openDevice != nil {
		_ = r.openDevice.close()
	}
	r.openDevice, r.checkedDevice = nil, nil
	if r.idleTimer != nil {
		r.idleTimer.Stop()
	}
	if r.current != nil {
		r.current.close()
		r.current = nil
	}
}

// forget ends the use of the object for good.
func (r *loader) wipe() {
	r.unload()
	r.password.wipe()
	r.parentPassword.wipe()
}

// handles lists those of one kind, from first on.
func handles(d *device, first tpm2.TPMHandle) ([]tpm2.TPMHandle, error) {
	answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: 256}.Execute(d)
	if err != nil {
		return nil, explain("TPM2_GetCapability", err)
	}
	list, err := answer.CapabilityData.Data.Handles()
	if err != nil {
		return nil, err
	}
	return list.Handle, nil
}

// explainLockout adds what the TPM says of its lockout to an error of it.
func (r *loader) explainLockout(ctx context.Context, err error) error {
	if !errors.Is(err, signer.ErrPINLocked) || !errors.Is(err, Error(tpm2.TPMRCLockout)) {
		return err
	}
	defer r.unload()
	if l, readErr := r.lockout(ctx); readErr == nil && l.err() != nil {
		return fmt.Errorf("%w: %w", l.err(), err)
	}
	return err
}
