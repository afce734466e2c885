//go:build cgo

package pkcs11

import (
	"errors"
	"fmt"
	"maps"

	p11 "github.com/miekg/pkcs11"

	"github.com/holdfast-dev/holdfast/signer"
)

func supported() error { return nil }

// load opens and initializes the shared library at path.
func load(path string) (module, error) {
	done, err := func() {}, checkELF(path)
	if err == nil {
		done, err = probe(path)
	}
	if err != nil {
		return nil, notLoaded(path, err)
	}
	defer done()
	ctx := p11.New(path)
	if ctx == nil {
		return nil, signer.WithHint(fmt.Errorf("module %s: cannot be loaded: %w", path, signer.ErrUnavailable), moduleHint)
	}
	l, soft := library{ctx, true}, isSoftHSM(path)
	err = convertError(ctx.Initialize())
	if err == nil && soft {
		err = settleSoftHSM(l, l.again, settle)
	}
	if err == nil {
		return l, nil
	}
	if errors.Is(err, ckrCryptokiAlreadyInit) {
		// Other code in this process initialized the module and finalizes it.
		return library{ctx, false}, nil
	}
	ctx.Destroy()
	return nil, notInitialized(path, err)
}

type library struct {
	ctx         *p11.Ctx
	initialized bool
}

// again finalizes and initializes the module.
func (l library) again() error {
	if err := l.ctx.Finalize(); err != nil {
		return convertError(err)
	}
	return convertError(l.ctx.Initialize())
}

// convertError converts an error of the binding to an [Error].
func convertError(err error) error {
	if err == nil {
		return nil // the usual case: do not allocate e
	}
	var e p11.Error
	if errors.As(err, &e) {
		return Error(e)
	}
	return err
}

func (l library) info() (libraryInfo, error) {
	i, err := l.ctx.GetInfo()
	return libraryInfo{i.ManufacturerID, i.LibraryDescription, i.LibraryVersion.Major, i.LibraryVersion.Minor}, convertError(err)
}

func (l library) slots() ([]uint, error) {
	for n := 0; ; n++ {
		s, err := l.ctx.GetSlotList(true)
		err = convertError(err)
		// A token was inserted after the binding asked for the number of slots.
		if !errors.Is(err, ckrBufferTooSmall) || n == maxSlotLists {
			return s, err
		}
	}
}

// maxSlotLists is how often C_GetSlotList is repeated if the number of slots
// changes meanwhile.
const maxSlotLists = 4

func (l library) slotInfo(slot uint) (slotInfo, error) {
	i, err := l.ctx.GetSlotInfo(slot)
	return slotInfo{i.SlotDescription, i.ManufacturerID, i.Flags&p11.CKF_REMOVABLE_DEVICE != 0}, convertError(err)
}

func (l library) tokenInfo(slot uint) (tokenInfo, error) {
	i, err := l.ctx.GetTokenInfo(slot)
	t := tokenInfo{label: i.Label, manufacturer: i.ManufacturerID, model: i.Model, serial: i.SerialNumber, flags: i.Flags}
	if i.MaxSessionCount != p11.CK_UNAVAILABLE_INFORMATION {
		t.maxSessions = i.MaxSessionCount
	}
	return t, convertError(err)
}

func (l library) mechanisms(slot uint) ([]uint, error) {
	list, err := l.ctx.GetMechanismList(slot)
	if err != nil {
		return nil, convertError(err)
	}
	kinds := make([]uint, len(list))
	for i, m := range list {
		kinds[i] = m.Mechanism
	}
	return kinds, nil
}

func (l library) openSession(slot uint, write bool) (uint, error) {
	flags := uint(p11.CKF_SERIAL_SESSION)
	if write {
		flags |= p11.CKF_RW_SESSION
	}
	s, err := l.ctx.OpenSession(slot, flags)
	return uint(s), convertError(err)
}

func (l library) closeSession(session uint) error {
	return convertError(l.ctx.CloseSession(p11.SessionHandle(session)))
}

func (l library) loggedIn(session uint) (bool, error) {
	i, err := l.ctx.GetSessionInfo(p11.SessionHandle(session))
	return i.State == p11.CKS_RO_USER_FUNCTIONS || i.State == p11.CKS_RW_USER_FUNCTIONS, convertError(err)
}

func (l library) login(session, user uint, pin []byte) error {
	return login(l.ctx, session, user, pin)
}

func (l library) find(session uint, template []attribute, limit int) ([]uint, error) {
	s := p11.SessionHandle(session)
	if err := l.ctx.FindObjectsInit(s, toBinding(template)); err != nil {
		return nil, convertError(err)
	}
	var all []uint
	var err error
	for len(all) < limit {
		var some []p11.ObjectHandle
		if some, _, err = l.ctx.FindObjects(s, limit-len(all)); err != nil || len(some) == 0 {
			break
		}
		for _, o := range some {
			all = append(all, uint(o))
		}
	}
	return all, convertError(errors.Join(err, l.ctx.FindObjectsFinal(s)))
}

func (l library) attributes(session, object uint, types ...uint) (map[uint][]byte, error) {
	template := make([]*p11.Attribute, len(types))
	for i, t := range types {
		template[i] = p11.NewAttribute(t, nil)
	}
	got, err := l.ctx.GetAttributeValue(p11.SessionHandle(session), p11.ObjectHandle(object), template)
	err = convertError(err)
	if absent := errors.Is(err, ckrAttributeTypeInvalid) || errors.Is(err, ckrAttributeSensitive); absent && len(types) > 1 {
		// The binding returns no value at all if one attribute is absent.
		values := make(map[uint][]byte, len(types))
		for _, t := range types {
			one, err := l.attributes(session, object, t)
			if err != nil {
				return nil, err
			}
			maps.Copy(values, one)
		}
		return values, nil
	} else if err != nil && !absent {
		return nil, err
	}
	values := make(map[uint][]byte, len(got))
	for _, a := range got {
		if len(a.Value) > 0 {
			values[a.Type] = a.Value
		}
	}
	return values, nil
}

func (l library) sign(session, key uint, m mechanism, input []byte, authenticate func() error) ([]byte, error) {
	s := p11.SessionHandle(session)
	if err := l.ctx.SignInit(s, []*p11.Mechanism{m.toBinding()}, p11.ObjectHandle(key)); err != nil {
		return nil, convertError(err)
	}
	if authenticate != nil {
		if err := authenticate(); err != nil {
			return nil, err
		}
	}
	sig, err := l.ctx.Sign(s, input)
	return sig, convertError(err)
}

func (m mechanism) toBinding() *p11.Mechanism {
	if m.pss != nil {
		return p11.NewMechanism(m.kind, p11.NewPSSParams(m.pss.hash, m.pss.mgf, m.pss.saltLen))
	}
	return p11.NewMechanism(m.kind, nil)
}

func (l library) generateKeyPair(session uint, m mechanism, public, private []attribute) (uint, uint, error) {
	pub, priv, err := l.ctx.GenerateKeyPair(p11.SessionHandle(session), []*p11.Mechanism{m.toBinding()}, toBinding(public), toBinding(private))
	return uint(pub), uint(priv), convertError(err)
}

func (l library) createObject(session uint, template []attribute) (uint, error) {
	o, err := l.ctx.CreateObject(p11.SessionHandle(session), toBinding(template))
	return uint(o), convertError(err)
}

func (l library) destroyObject(session, object uint) error {
	return convertError(l.ctx.DestroyObject(p11.SessionHandle(session), p11.ObjectHandle(object)))
}

func (l library) finalize() error {
	var err error
	if l.initialized {
		err = convertError(l.ctx.Finalize())
	}
	l.ctx.Destroy()
	return err
}

func toBinding(template []attribute) []*p11.Attribute {
	out := make([]*p11.Attribute, len(template))
	for i, a := range template {
		out[i] = p11.NewAttribute(a.kind, a.value)
	}
	return out
}
