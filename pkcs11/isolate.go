package pkcs11

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
	"github.com/holdfast-dev/holdfast/signer"
)

// newRemote returns a remote without a helper.
func newRemote() *remote {
	return &remote{sessions: make(map[uint]remoteHandle), objects: make(map[uint]remoteHandle), handles: make(map[remoteHandle]uint)}
}

// isolate starts a helper for the module at path: program, with the environment env. It
// calls begun first, and failed each time a helper ends although nobody wanted that.
func isolate(path, program string, env []string, begun func(abandoner), failed func()) (module, error) {
	if err := checkELF(path); err != nil {
		return nil, notLoaded(path, err)
	}
	r := newRemote()
	r.start = func() (*helper, error) {
		if err := checkHelper(program); err != nil { // it can have changed since the last start
			if errors.Is(err, fs.ErrNotExist) {
				err = signer.WithHint(err, "install "+helperName+" of the same version as this program again at "+program)
			}
			return nil, &helperError{err: err}
		}
		h, err := startHelper(program, path, env, failed)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.loading = h
		r.mu.Unlock()
		err = loadIn(h, path)
		r.mu.Lock()
		r.loading = nil
		r.mu.Unlock()
		if err != nil {
			h.discard()
			return nil, err
		}
		return h, nil
	}
	begun(r)
	_, err := r.helper()
	var rv Error
	switch {
	case errors.As(err, new(*endedError)), errors.As(err, new(*helperError)):
		return nil, err
	case errors.As(err, &rv):
		return nil, notInitialized(path, err)
	case err != nil:
		return nil, notLoaded(path, err)
	}
	return r, nil
}

// loadIn loads and initializes the module at path in h.
func loadIn(h *helper, path string) error {
	_, err := h.call(wire.Request{Op: wire.Load, Data: []byte(path)})
	if err != nil || !isSoftHSM(path) {
		return err
	}
	only := newRemote()
	only.start, only.current = func() (*helper, error) { return nil, h.err }, h
	return settleSoftHSM(only, only.again, settle)
}

// notLoaded and notInitialized say why a module cannot be used.
func notLoaded(path string, err error) error {
	hint := signer.Hint(err)
	if hint == "" {
		hint = moduleHint
	}
	return signer.WithHint(fmt.Errorf("module %s: cannot be loaded: %w: %w", path, signer.ErrUnavailable, err), hint)
}

func notInitialized(path string, err error) error {
	hint := "check the configuration of the module, and that its device or server is available"
	if isSoftHSM(path) {
		if soft := softHSMHint(); soft != "" {
			hint = soft
		}
	}
	return signer.WithHint(fmt.Errorf("module %s: initialize: %w: %w", path, signer.ErrUnavailable, err), hint)
}
