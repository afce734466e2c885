package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Generate implements [keystore.Generator]. It creates a key in a new file
// (path=) or a persistent key (handle=), under the owner hierarchy or parent=.
// The password of the key comes from pin-source or pin-value; without these,
// the key has no password. pcrs=sha256:0,7 binds the key to the current values
// of PCRs.
func (Backend) Generate(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, call keystore.Call) (keystore.Key, error) {
	cfg, create, path, err := createConfigFor(ref, call)
	if err != nil {
		return nil, err
	}
	if err := checkAbsent(path); err != nil { // before creating the key
		return nil, err
	}
	return generate(ctx, cfg, create, path, spec)
}

// generate creates the key of createConfigFor and opens it.
func generate(ctx context.Context, cfg Config, create CreateConfig, path string, spec keystore.KeySpec) (keystore.Key, error) {
	if cfg.PIN != nil {
		p := &newPassword{ask: cfg.PIN}
		defer p.forget()
		create.PIN, cfg.PIN = p.choose, p.get
	}
	pem, err := Create(ctx, create, spec.Type)
	if err == nil && ctx.Err() != nil { // nobody waits any more
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	if path != "" {
		cfg.PEM = pem
		err = writeNew(path, pem)
	} else {
		err = persist(ctx, cfg, create, pem, dial)
	}
	if err != nil {
		return nil, err
	}
	k, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// A newPassword keeps the password of a new key, so that opening this key does
// not ask for it again. It is safe for concurrent use.
type newPassword struct {
	ask keystore.PINFunc

	mu    sync.Mutex
	value []byte
	known bool // value is the password, which can be empty
	ended bool // keep nothing any more
}

// choose asks for the password of the new key.
func (p *newPassword) choose(ctx context.Context, prompt keystore.Prompt) ([]byte, error) {
	value, err := p.ask(ctx, prompt)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && !p.ended {
		p.value, p.known = bytes.Clone(value), true
	}
	return value, err
}

// get returns the chosen password once, and then asks.
func (p *newPassword) get(ctx context.Context, prompt keystore.Prompt) ([]byte, error) {
	p.mu.Lock()
	value, known := p.value, p.known
	p.value, p.known = nil, false
	p.mu.Unlock()
	if !known {
		return p.ask(ctx, prompt)
	}
	return value, nil
}

func (p *newPassword) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.value)
	p.value, p.known, p.ended = nil, false, true
}

// createConfigFor converts a reference to the CreateConfig that creates a key
// and the Config that opens the key. path is the key file; "" for a persistent
// key.
func createConfigFor(ref keystore.Ref, call keystore.Call) (cfg Config, c CreateConfig, path string, err error) {
	cfg, a, err := parse(ref, call)
	if err != nil {
		return cfg, c, "", err
	}
	refuse := func(err error) (Config, CreateConfig, string, error) {
		return cfg, c, "", &keystore.RefError{Ref: ref.String(), Err: err}
	}
	if a == nil {
		return refuse(signer.WithHint(errors.New("does not name a new TPM key"), "use tpm:path=new.pem for a key file, or tpm:handle=0x81010002 for a persistent key"))
	}
	c = CreateConfig{Device: cfg.Device, ParentPIN: cfg.ParentPIN, PIN: cfg.PIN, Ref: ref, Logger: call.Logger}
	if p := a["parent"]; p != "" {
		if c.Parent, err = parseHandle(p); err != nil || !isHierarchy(c.Parent) && !isPersistent(c.Parent) {
			return refuse(fmt.Errorf("attribute %q is neither a hierarchy nor a persistent handle", "parent"))
		}
	}
	if p := a["pcrs"]; p != "" {
		if c.PCRs, err = ParsePCRs(p); err != nil {
			return refuse(fmt.Errorf("attribute %q %w", "pcrs", err))
		}
	}
	switch {
	case cfg.Handle == 0:
	case c.PCRs != nil:
		return refuse(errors.New("contains both pcrs and handle; only a key file can store the policy"))
	case c.Parent == NullHierarchy, c.Parent == PlatformHierarchy, cfg.Handle >= firstPlatformHandle:
		return refuse(signer.WithHint(errors.New("names a persistent key that the owner cannot create"),
			"create the key under the owner or endorsement hierarchy, with a handle from 0x81000000 to 0x817fffff"))
	}
	return cfg, c, a["path"], nil
}

// Seal implements [keystore.Sealer]. It seals a secret into a new file (path=).
// To unseal it, the TPM requires the password from pin-source or pin-value, if
// there is one, and with pcrs=sha256:0,7 the current values of these PCRs.
func (Backend) Seal(ctx context.Context, ref keystore.Ref, secret []byte, call keystore.Call) error {
	_, create, path, err := createConfigFor(ref, call)
	if err != nil {
		return err
	}
	if path == "" {
		return &keystore.RefError{Ref: ref.String(), Err: errors.New("does not contain path=; sealed data is stored in a file")}
	}
	if err := checkAbsent(path); err != nil {
		return err
	}
	pem, err := Seal(ctx, create, secret)
	if err != nil {
		return err
	}
	return writeNew(path, pem)
}

// checkAbsent returns an error if path exists. A path of "" is ignored.
func checkAbsent(path string) error {
	if _, err := os.Lstat(path); path != "" && err == nil {
		return existsError(path)
	}
	return nil
}

func existsError(path string) error {
	return signer.WithHint(fmt.Errorf("%s: %w", path, os.ErrExist), "use another path, or move the existing file; Holdfast never overwrites a key file")
}

// writeNew atomically creates a file that only its owner can access.
func writeNew(path string, data []byte) error {
	f := atomicfile.File{Name: path}
	err := f.Create(data)
	if err == nil {
		err = f.SyncFolder()
	}
	// Errors must not name the temporary file.
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.Is(err, fs.ErrExist):
		return existsError(path)
	case errors.As(err, &pathErr):
		return &fs.PathError{Op: "create", Path: path, Err: pathErr.Err}
	case errors.As(err, &linkErr):
		return &fs.PathError{Op: "create", Path: path, Err: linkErr.Err}
	}
	return err
}

// persist makes a key persistent with the handle of cfg.
func persist(ctx context.Context, cfg Config, c CreateConfig, pem []byte, dial dialer) error {
	_, err := bounded(ctx, c.Device, func() (struct{}, error) { return struct{}{}, persistNow(ctx, cfg, c, pem, dial) }, nil)
	return err
}

func persistNow(ctx context.Context, cfg Config, c CreateConfig, pem []byte, dial dialer) error {
	ld, err := newLoader(ctx, Config{PEM: pem, Device: c.Device, ParentPIN: c.ParentPIN, Ref: c.Ref, Logger: c.Logger}, dial)
	if err != nil {
		return err
	}
	ld.mu.Lock()
	defer ld.mu.Unlock()
	defer ld.wipe()
	if err := ld.password.set(nil, lockout{}); err != nil { // TPM2_EvictControl does not need it
		return err
	}
	return ld.use(ctx, func(l *loadedObject) error {
		owner, err := ld.ownerAuth(l)
		if err != nil {
			return err
		}
		_, err = tpm2.EvictControl{
			Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: owner},
			ObjectHandle:     &tpm2.NamedHandle{Handle: l.handle, Name: l.name},
			PersistentHandle: tpm2.TPMHandle(cfg.Handle),
		}.Execute(l)
		err = explain("TPM2_EvictControl", err)
		if errors.Is(err, Error(tpm2.TPMRCNVDefined)) {
			return signer.WithHint(fmt.Errorf("handle 0x%08x: %w", uint32(cfg.Handle), os.ErrExist),
				"use another handle, or remove the existing object: tpm2_evictcontrol -c "+fmt.Sprintf("0x%08x", uint32(cfg.Handle)))
		}
		if ld.file.parent != OwnerHierarchy && errors.Is(err, signer.ErrPINIncorrect) {
			return signer.WithHint(fmt.Errorf("a persistent key requires the password of the owner hierarchy: %w", missingPassword(err)),
				"create the key under the owner hierarchy: remove parent=, and give the owner password with parent-auth-source")
		}
		return ld.parentError(err)
	})
}

// ownerAuth returns a session with the password of the owner hierarchy if the
// key is under this hierarchy. Otherwise the session has an empty password.
func (ld *loader) ownerAuth(l *loadedObject) (tpm2.Session, error) {
	if ld.file.parent != OwnerHierarchy || len(ld.parentPassword.value) == 0 {
		return tpm2.PasswordAuth(nil), nil
	}
	salt, err := l.primary(tpm2.TPMRHNull, false, tpm2.PasswordAuth(nil))
	if err != nil {
		return nil, err
	}
	return tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, sessionOptions(ld.parentPassword.value, salt)...), nil
}

// List implements [keystore.Lister]. It lists the persistent keys that can
// sign.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	device := ""
	if call.LookupEnv != nil {
		device, _ = call.LookupEnv(deviceVariable)
	}
	suffix := ""
	if ref.Rest != "" {
		a, err := keystore.ParseAttributes(ref.Rest, "device")
		if named, _ := keystore.ParseAttributes(ref.Rest, attributes...); named["path"] != "" || named["handle"] != "" {
			err = signer.WithHint(errors.New("names one key, but list shows all persistent keys of a TPM"),
				"use tpm: or tpm:device=PATH; for a key file, use its path without tpm:path=")
		}
		if err != nil {
			return nil, &keystore.RefError{Ref: ref.String(), Err: err}
		}
		device = a["device"]
		suffix = ";" + keystore.FormatAttribute("device", device)
	}
	return listOn(ctx, device, suffix, dial)
}

func listOn(ctx context.Context, device, suffix string, dial dialer) ([]keystore.Entry, error) {
	return bounded(ctx, device, func() ([]keystore.Entry, error) {
		d, err := dial.open(ctx, device)
		if err != nil {
			return nil, err
		}
		entries, err := list(d, suffix)
		return entries, errors.Join(err, d.close())
	}, nil)
}

// list returns the persistent keys of d. It appends suffix to their references.
func list(d *device, suffix string) ([]keystore.Entry, error) {
	found, err := handles(d, 0x81000000)
	if err != nil {
		return nil, err
	}
	var entries []keystore.Entry
	var unread []error
	for _, h := range found {
		o, err := readPublic(d, h)
		if err != nil {
			unread = append(unread, err)
			continue
		}
		if key, err := signingKey(o.public); err == nil {
			entries = append(entries, keystore.Entry{
				Ref:  keystore.Ref{Scheme: "tpm", Rest: fmt.Sprintf("handle=0x%08x%s", uint32(h), suffix)},
				Kind: keystore.KeyEntry, Public: key.pub,
			})
		}
	}
	return entries, errors.Join(unread...)
}
