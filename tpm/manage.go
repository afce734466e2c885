package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Generate implements [keystore.Generator]: a key in a new file (path=) or a
// persistent one (handle=), below the owner hierarchy or parent=. It gets the
// password of pin-source or pin-value, or none; pcrs=sha256:0,7 binds it to the
// values that PCRs have now.
func (Backend) Generate(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, call keystore.Call) (keystore.Key, error) {
	cfg, create, path, err := createConfigFor(ref, call)
	if err != nil {
		return nil, err
	}
	if err := checkAbsent(path); err != nil { // before a key is made
		return nil, err
	}
	pem, err := Create(ctx, create, spec.Type)
	if err != nil {
		return nil, err
	}
	if path != "" {
		err = writeNew(path, pem)
	} else {
		err = persist(ctx, cfg, create, pem, dial)
	}
	if err != nil {
		return nil, err
	}
	cfg.Ref = openedBy(ref)
	if path != "" {
		cfg.PEM = pem
	}
	k, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// openedBy returns the reference of the key that ref makes, without what is for
// making it and without its password.
func openedBy(ref keystore.Ref) keystore.Ref {
	parts := slices.DeleteFunc(strings.Split(ref.Rest, ";"), func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		return slices.Contains([]string{"parent", "pcrs", "pin-value"}, name)
	})
	return keystore.Ref{Scheme: ref.Scheme, Rest: strings.Join(parts, ";")}
}

// createConfigFor turns a reference into what makes a key, and into what opens
// it then.
func createConfigFor(ref keystore.Ref, call keystore.Call) (cfg Config, c CreateConfig, path string, err error) {
	cfg, a, err := parse(ref, call)
	if err != nil {
		return cfg, c, "", err
	}
	refuse := func(err error) (Config, CreateConfig, string, error) {
		return cfg, c, "", &keystore.RefError{Ref: ref.String(), Err: err}
	}
	if a == nil {
		return refuse(signer.WithHint(errors.New("does not say where in a TPM the key is to be"), "tpm:path=new.pem makes a key file, tpm:handle=0x81010002 a persistent key"))
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
		return refuse(errors.New("has pcrs and handle: only a file keeps the policy that the key needs"))
	case c.Parent == NullHierarchy, c.Parent == PlatformHierarchy, cfg.Handle >= firstPlatformHandle:
		return refuse(signer.WithHint(errors.New("is not for the owner to keep in the TPM"),
			"a persistent key is below the owner or endorsement hierarchy, with a handle up to 0x817fffff"))
	}
	return cfg, c, a["path"], nil
}

// Seal implements [keystore.Sealer]: a secret in a new file (path=), which the
// TPM opens with the password of pin-source or pin-value, or without, and with
// pcrs=sha256:0,7 only while PCRs have the values that they have now.
func (Backend) Seal(ctx context.Context, ref keystore.Ref, secret []byte, call keystore.Call) error {
	_, create, path, err := createConfigFor(ref, call)
	if err != nil {
		return err
	}
	if path == "" {
		return &keystore.RefError{Ref: ref.String(), Err: errors.New("needs path=: sealed data is kept in a file")}
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

func checkAbsent(path string) error {
	if _, err := os.Lstat(path); path != "" && err == nil {
		return existsError(path)
	}
	return nil
}

func existsError(path string) error {
	return signer.WithHint(fmt.Errorf("%s: %w", path, os.ErrExist), "a key file is never overwritten: give another path, or move the file away")
}

// writeNew makes a file for its owner alone, whole or not at all.
func writeNew(path string, data []byte) error {
	f := atomicfile.File{Name: path}
	err := f.Create(data)
	if err == nil {
		err = f.SyncFolder()
	}
	// The name of the file that becomes it means nothing to anybody.
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.Is(err, fs.ErrExist):
		return existsError(path)
	case errors.As(err, &pathErr):
		return &fs.PathError{Op: "make", Path: path, Err: pathErr.Err}
	case errors.As(err, &linkErr):
		return &fs.PathError{Op: "make", Path: path, Err: linkErr.Err}
	}
	return err
}

// persist keeps a key in the TPM under the handle of cfg.
func persist(ctx context.Context, cfg Config, c CreateConfig, pem []byte, dial dialer) error {
	r, err := newLoader(ctx, Config{PEM: pem, Device: c.Device, ParentPIN: c.ParentPIN, Ref: c.Ref, Logger: c.Logger}, dial)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.wipe()
	if err := r.password.set(nil, lockout{}); err != nil { // the key is not used, but moved
		return err
	}
	return r.use(ctx, func(l *loadedObject) error {
		owner, err := r.ownerAuth(l)
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
				"a persistent key is never overwritten: give another handle, or remove it: tpm2_evictcontrol -c "+fmt.Sprintf("0x%08x", uint32(cfg.Handle)))
		}
		if r.file.parent != OwnerHierarchy && errors.Is(err, signer.ErrPINIncorrect) {
			return signer.WithHint(fmt.Errorf("the owner hierarchy has a password, without which no key is made persistent: %w", missingPassword(err)),
				"make the key below the owner hierarchy, without parent=: parent-auth-source is then for its password")
		}
		return r.parentError(err)
	})
}

// ownerAuth proves the password of the owner hierarchy, if the key is below
// that.
func (r *loader) ownerAuth(l *loadedObject) (tpm2.Session, error) {
	if r.file.parent != OwnerHierarchy || len(r.parentPassword.value) == 0 {
		return tpm2.PasswordAuth(nil), nil
	}
	salt, err := l.primary(tpm2.TPMRHNull, false, tpm2.PasswordAuth(nil))
	if err != nil {
		return nil, err
	}
	return tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, sessionOptions(r.parentPassword.value, salt)...), nil
}

// List implements [keystore.Lister]: the persistent keys that can sign.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	device := ""
	if call.LookupEnv != nil {
		device, _ = call.LookupEnv(deviceVariable)
	}
	named := ""
	if ref.Rest != "" {
		a, err := keystore.ParseAttributes(ref.Rest, "device")
		if err != nil {
			return nil, &keystore.RefError{Ref: ref.String(), Err: err}
		}
		device = a["device"]
		named = ";" + keystore.FormatAttribute("device", device)
	}
	d, err := dialer(dial).open(ctx, device)
	if err != nil {
		return nil, err
	}
	entries, err := list(d, named)
	return entries, errors.Join(err, d.close())
}

func list(d *device, named string) ([]keystore.Entry, error) {
	found, err := handles(d, 0x81000000)
	if err != nil {
		return nil, err
	}
	var entries []keystore.Entry
	var unread []error
	for _, h := range found {
		o, err := readPublic(d, h)
		if err != nil {
			unread = append(unread, fmt.Errorf("handle 0x%08x: %w", uint32(h), err))
			continue
		}
		if key, err := signingKey(o.public); err == nil {
			entries = append(entries, keystore.Entry{
				Ref:  keystore.Ref{Scheme: "tpm", Rest: fmt.Sprintf("handle=0x%08x%s", uint32(h), named)},
				Kind: keystore.KeyEntry, Public: key.pub,
			})
		}
	}
	return entries, errors.Join(unread...)
}
