package tpm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
)

// A loader loads an object when it is needed, and again after the TPM lost it.
// The object is a key or sealed data; the comments here mention only keys.
type loader struct {
	cfg  Config
	dial dialer
	log  *slog.Logger

	file           *keyFile       // nil: persistent
	handle         tpm2.TPMHandle // of a persistent object
	area           tpm2.TPMTPublic
	name           tpm2.TPM2BName
	policy         policy
	secretResponse bool // responses must be encrypted on the bus

	// A TPM executes one command at a time. mu guards the following fields.
	mu             mutex
	caller         context.Context // of the current use; bounds the commands of it
	password       password
	parentPassword password

	endorsementPassword password // set by endorse

	private       *tpm2.TPM2BPrivate // private area for TPM2_Load; nil: not parsed or imported yet
	current       *loadedObject      // nil: the object is not loaded
	openDevice    *device            // an open connection for the next use; nil: none
	checkedDevice *device            // the connection on which the name of the persistent object was read
	idleTimer     *time.Timer
	yieldUntil    time.Time // leave the TPM to other programs until this time
	needsFlush    bool      // the connection failed: objects of this package may be left in the TPM
}

// Without a resource manager, a loader closes the TPM so that other processes
// can use it: maxIdle after the last use, and after the first use that ends
// maxHold or more after loading.
const (
	maxIdle = 50 * time.Millisecond
	maxHold = 250 * time.Millisecond
	// yieldTime is longer than the pause between attempts to open a busy
	// TPM.
	yieldTime = 15 * time.Millisecond
)

func newLoader(ctx context.Context, cfg Config, dial dialer) (*loader, error) {
	ld := &loader{cfg: cfg, dial: dial, log: logging.OrDiscard(cfg.Logger), handle: tpm2.TPMHandle(cfg.Handle), mu: newMutex(), caller: ctx}
	var err error
	if cfg.Handle != 0 {
		err = ld.readPersistent(ctx)
	} else {
		err = ld.parseFile(cfg.PEM)
	}
	if err != nil {
		return nil, err
	}
	size := maxDigest
	if h, err := ld.area.NameAlg.Hash(); err == nil {
		size = h.Size()
	}
	ld.password = password{ask: cfg.PIN, what: keystore.AskTPMKey, ref: cfg.name(), size: size, exempt: ld.area.ObjectAttributes.NoDA}
	parent := OwnerHierarchy // a persistent key needs no parent
	if ld.file != nil {
		parent = ld.file.parent
	}
	ld.parentPassword = newParentPassword(cfg.ParentPIN, cfg.name(), parent)
	if ld.file == nil {
		ld.parentPassword.ask = nil
	}
	ld.password.permit, ld.parentPassword.permit = cfg.permit, cfg.permit
	return ld, nil
}

func (ld *loader) parseFile(pem []byte) (err error) {
	if ld.file, err = parseKeyPEM(pem); err != nil {
		return err
	}
	if f := ld.file.parent; !isHierarchy(f) && !isPersistent(f) {
		return malformed(fmt.Sprintf("parent 0x%08x is neither a hierarchy nor persistent", uint32(f)))
	}
	if ld.area, err = parsePublic(ld.file.public); err != nil {
		return err
	}
	ld.policy, err = policyOf(ld.file)
	return err
}

// maxAttempts limits how often one use is attempted if the TPM loses its
// objects repeatedly.
const maxAttempts = 3

// use calls f with the loaded object. The caller holds ld.mu.
func (ld *loader) use(ctx context.Context, f func(*loadedObject) error) error {
	for n := 1; ; n++ {
		err := ld.ensureLoaded(ctx)
		if err == nil {
			if err = f(ld.current); err == nil {
				ld.password.accepted = ld.password.accepted || ld.current.authorized
				ld.afterUse()
				return nil
			}
			err = ld.password.noteRefusal(err)
			ld.repair(ld.current.device, err)
		}
		ld.unload()
		ld.needsFlush = ld.needsFlush || errors.Is(err, errBus)
		if !lost(err) && !forgetLast(err) || n == maxAttempts || ctx.Err() != nil {
			return err
		}
		ld.log.Debug("loading the key again", "cause", err)
	}
}

// ensureLoaded opens the TPM and loads the object, unless it is already loaded.
func (ld *loader) ensureLoaded(ctx context.Context) error {
	if ld.current != nil {
		return nil
	}
	if err := ld.getPasswords(ctx); err != nil {
		return err
	}
	d, err := ld.open(ctx)
	if err != nil {
		return err
	}
	if ld.current, err = ld.load(d); err == nil {
		return nil
	}
	if ld.repair(d, err) {
		if ld.current, err = ld.load(d); err == nil {
			return nil
		}
	}
	return errors.Join(err, d.close())
}

// bind makes ctx the caller. Commands end soon after ctx ends.
func (ld *loader) bind(ctx context.Context) {
	ld.caller = ctx
	if ld.openDevice != nil {
		ld.openDevice.bind(ctx)
	}
	if ld.current != nil {
		ld.current.bind(ctx)
	}
}

// flushTime is how long flushing may take when no caller waits for it.
const flushTime = 2 * time.Second

// bindFlush is bind with flushTime. The caller calls the result in the end.
func (ld *loader) bindFlush() context.CancelFunc {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	ld.bind(ctx)
	return cancel
}

// open opens the TPM, but not before yieldUntil.
func (ld *loader) open(ctx context.Context) (*device, error) {
	if d := ld.openDevice; d != nil {
		ld.openDevice = nil
		return d, nil
	}
	if err := await.Pause(ctx, time.Until(ld.yieldUntil)); err != nil {
		return nil, err
	}
	d, err := ld.dial.open(ctx, ld.cfg.Device)
	if err == nil {
		d.bind(ld.caller)
	}
	if err == nil && ld.needsFlush && !d.managed {
		if n := flushAll(d); n > 0 {
			ld.log.Warn("the connection to the TPM was interrupted before; flushed all objects and sessions", "count", n)
		}
	}
	ld.needsFlush = ld.needsFlush && err != nil
	return d, err
}

// repair starts or empties a TPM without a resource manager. It reports whether
// the caller can retry the command. The open connection has exclusive use of
// the TPM. Therefore loaded objects were left by a process that was killed, or
// belong to a program that must expect to share the TPM.
func (ld *loader) repair(d *device, err error) bool {
	switch {
	case d.managed:
		return false
	case errors.Is(err, Error(tpm2.TPMRCInitialize)):
		_, err := tpm2.Startup{StartupType: tpm2.TPMSUClear}.Execute(d)
		return err == nil
	case errors.Is(err, Error(tpm2.TPMRCObjectMemory)), errors.Is(err, Error(tpm2.TPMRCSessionMemory)), errors.Is(err, Error(tpm2.TPMRCSessionHandles)):
		n := flushAll(d)
		ld.log.Warn("the TPM was full; flushed all objects and sessions", "count", n)
		return n > 0
	}
	return false
}

// flushAll flushes all transient objects and loaded sessions, and returns how
// many. It keeps saved sessions, which need no memory in the TPM and belong to
// other programs.
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

// readPersistent reads the public area of a persistent object. It leaves the
// TPM open.
func (ld *loader) readPersistent(ctx context.Context) error {
	return ld.with(ctx, func(d *device) error {
		o, err := readPublic(d, ld.handle)
		ld.area, ld.name, ld.checkedDevice = o.public, o.name, d
		return err
	})
}

// with calls f with an open TPM, and again after a repair. It leaves the TPM
// open unless f fails.
func (ld *loader) with(ctx context.Context, f func(*device) error) error {
	d, err := ld.open(ctx)
	if err != nil {
		return err
	}
	if err = f(d); err != nil && ld.repair(d, err) {
		err = f(d)
	}
	if err != nil {
		return errors.Join(err, d.close())
	}
	ld.openDevice = d
	return nil
}

// afterUse is called after each use. It closes the TPM, now or later.
func (ld *loader) afterUse() {
	h := ld.current
	switch {
	case h.managed:
	case time.Since(h.loadedAt) > maxHold:
		ld.unload()
		ld.yieldUntil = time.Now().Add(yieldTime)
	case ld.idleTimer == nil:
		ld.idleTimer = time.AfterFunc(maxIdle, ld.closeIdle)
	default:
		ld.idleTimer.Reset(maxIdle)
	}
}

// closeIdle is called when the object was not used for maxIdle. If the object
// is in use at this moment, afterUse will be called.
func (ld *loader) closeIdle() {
	if !ld.mu.TryLock() {
		return
	}
	defer ld.mu.Unlock()
	defer ld.bindFlush()()
	ld.unload()
}

// unload flushes the object and closes the TPM.
func (ld *loader) unload() {
	if ld.openDevice != nil {
		_ = ld.openDevice.close()
	}
	ld.openDevice, ld.checkedDevice = nil, nil
	if ld.idleTimer != nil {
		ld.idleTimer.Stop()
	}
	if ld.current != nil {
		ld.current.close()
		ld.current = nil
	}
}

// wipe unloads the object and clears the passwords.
func (ld *loader) wipe() {
	ld.unload()
	ld.password.wipe()
	ld.parentPassword.wipe()
	ld.endorsementPassword.wipe()
}
