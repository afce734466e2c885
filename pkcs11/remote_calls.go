package pkcs11

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
)

// errAnswer is the error of an answer that lacks something.
var errAnswer = errors.New("the helper process returned a malformed answer")

// numbers returns the n numbers of an answer.
func numbers(a *wire.Response, n int, err error) ([]uint, error) {
	if err != nil {
		return nil, err
	}
	if n >= 0 && len(a.Numbers) != n || len(a.Numbers) > maxNumbers {
		return nil, errAnswer
	}
	all := make([]uint, len(a.Numbers))
	for i, v := range a.Numbers {
		if all[i] = uint(v); uint64(all[i]) != v {
			return nil, errAnswer
		}
	}
	return all, nil
}

const (
	some       = -1      // any number of numbers
	maxNumbers = 1 << 16 // in one answer
)

func (r *remote) info() (libraryInfo, error) {
	a, err := r.call(wire.Request{Op: wire.Info})
	n, err := numbers(a, 2, err)
	if err != nil || len(a.Texts) != 2 {
		return libraryInfo{}, orMalformed(err)
	}
	texts := unpadded(a.Texts)
	return libraryInfo{texts[0], texts[1], byte(n[0]), byte(n[1])}, nil
}

// unpadded returns texts without the blanks at their ends, as the binding for cgo does.
func unpadded(all []string) (texts []string) {
	for _, s := range all {
		texts = append(texts, strings.TrimRight(s, " "))
	}
	return texts
}

func orMalformed(err error) error {
	if err == nil {
		err = errAnswer
	}
	return err
}

func (r *remote) slots() ([]uint, error) {
	a, err := r.call(wire.Request{Op: wire.Slots})
	return numbers(a, some, err)
}

func (r *remote) slotInfo(slot uint) (slotInfo, error) {
	a, err := r.call(wire.Request{Op: wire.SlotInfo, Slot: uint64(slot)})
	n, err := numbers(a, 1, err)
	if err != nil || len(a.Texts) != 2 {
		return slotInfo{}, orMalformed(err)
	}
	texts := unpadded(a.Texts)
	return slotInfo{texts[0], texts[1], n[0]&cktFlagRemovableDevice != 0}, nil
}

func (r *remote) tokenInfo(slot uint) (tokenInfo, error) {
	a, err := r.call(wire.Request{Op: wire.TokenInfo, Slot: uint64(slot)})
	n, err := numbers(a, 2, err)
	if err != nil || len(a.Texts) != 4 {
		return tokenInfo{}, orMalformed(err)
	}
	texts := unpadded(a.Texts)
	return tokenInfo{texts[0], texts[1], texts[2], texts[3], n[0], n[1]}, nil
}

func (r *remote) mechanisms(slot uint) ([]uint, error) {
	a, err := r.call(wire.Request{Op: wire.Mechanisms, Slot: uint64(slot)})
	return numbers(a, some, err)
}

func (r *remote) openSession(slot uint, write bool) (uint, error) {
	h, err := r.helper()
	if err != nil {
		return 0, err
	}
	a, err := h.call(wire.Request{Op: wire.OpenSession, Slot: uint64(slot), Flag: write})
	if err != nil {
		return 0, err
	}
	if len(a.Numbers) != 1 {
		return 0, errAnswer
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.sessions[r.next] = remoteHandle{h, a.Numbers[0]}
	return r.next, nil
}

func (r *remote) closeSession(session uint) error {
	_, err := r.in(session, wire.Request{Op: wire.CloseSession})
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, session)
	return err
}

func (r *remote) loggedIn(session uint) (bool, error) {
	a, err := r.in(session, wire.Request{Op: wire.LoggedIn})
	n, err := numbers(a, 1, err)
	return err == nil && n[0] != 0, err
}

func (r *remote) login(session, user uint, pin []byte) error {
	_, err := r.in(session, wire.Request{Op: wire.Login, User: uint64(user), Data: pin})
	return err
}

func (r *remote) find(session uint, template []attribute, limit int) ([]uint, error) {
	t, err := toWire(template)
	if err != nil {
		return nil, err
	}
	a, err := r.in(session, wire.Request{Op: wire.Find, Template: t, Limit: uint64(limit)})
	n, err := numbers(a, some, err)
	if err != nil || len(n) > limit {
		return nil, orMalformed(err)
	}
	return r.found(session, n), nil
}

func (r *remote) attributes(session, object uint, types ...uint) (map[uint][]byte, error) {
	q := wire.Request{Op: wire.Attributes}
	for _, t := range types {
		q.Types = append(q.Types, uint64(t))
	}
	a, err := r.with(session, object, ckrObjectHandleInvalid, q)
	if err != nil {
		return nil, err
	}
	values := make(map[uint][]byte, len(a.Attributes))
	for _, v := range a.Attributes {
		values[uint(v.Kind)] = v.Value
	}
	return values, nil
}

func (r *remote) sign(session, key uint, m mechanism, input []byte, authenticate func() error) ([]byte, error) {
	q := wire.Request{Op: wire.Sign, Mechanism: m.toWire(), Data: input}
	if authenticate != nil {
		q.Op, q.Data = wire.SignInit, nil
		if _, err := r.with(session, key, ckrKeyHandleInvalid, q); err != nil {
			return nil, err
		}
		if err := authenticate(); err != nil {
			return nil, err
		}
		return data(r.in(session, wire.Request{Op: wire.SignFinish, Data: input}))
	}
	return data(r.with(session, key, ckrKeyHandleInvalid, q))
}

func data(a *wire.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return a.Data, nil
}

func (r *remote) generateKeyPair(session uint, m mechanism, public, private []attribute) (pub, priv uint, err error) {
	a, err := toWire(public)
	if err != nil {
		return 0, 0, err
	}
	b, err := toWire(private)
	if err != nil {
		return 0, 0, err
	}
	got, err := r.in(session, wire.Request{Op: wire.GenerateKeyPair, Mechanism: m.toWire(), Template: a, Private: b})
	n, err := numbers(got, 2, err)
	if err != nil {
		return 0, 0, err
	}
	n = r.found(session, n)
	return n[0], n[1], nil
}

func (r *remote) createObject(session uint, template []attribute) (uint, error) {
	t, err := toWire(template)
	if err != nil {
		return 0, err
	}
	a, err := r.in(session, wire.Request{Op: wire.CreateObject, Template: t})
	n, err := numbers(a, 1, err)
	if err != nil {
		return 0, err
	}
	return r.found(session, n)[0], nil
}

func (r *remote) destroyObject(session, object uint) error {
	_, err := r.with(session, object, ckrObjectHandleInvalid, wire.Request{Op: wire.DestroyObject})
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.handles, r.objects[object])
		delete(r.objects, object)
	}
	return err
}

func (m mechanism) toWire() wire.Mechanism {
	w := wire.Mechanism{Kind: uint64(m.kind)}
	if m.pss != nil {
		w.Parameters = []uint64{uint64(m.pss.hash), uint64(m.pss.mgf), uint64(m.pss.saltLen)}
	}
	return w
}

func toWire(template []attribute) ([]wire.Attribute, error) {
	all := make([]wire.Attribute, len(template))
	for i, a := range template {
		all[i].Kind = uint64(a.kind)
		switch v := a.value.(type) {
		case []byte:
			all[i].Value = v
		case string:
			all[i].Value = []byte(v)
		case bool:
			all[i].Form, all[i].Value = wire.Bool, []byte{0}
			if v {
				all[i].Value[0] = 1
			}
		case uint:
			all[i].Form, all[i].Value = wire.Number, binary.BigEndian.AppendUint64(nil, uint64(v))
		default:
			return nil, fmt.Errorf("attribute 0x%x: a value of type %T", a.kind, v)
		}
	}
	return all, nil
}
