package pkcs11

import (
	"bytes"
	"maps"
	"slices"
)

func (f *fakeModule) info() (libraryInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return libraryInfo{"Test", "Fake library", 2, 40}, f.enter("info", 0, nil)
}

func (f *fakeModule) slots() ([]uint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("slots", 0, nil); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(f.bySlot)), nil
}

func (f *fakeModule) inSlot(call string, slot uint) (*fakeToken, error) {
	if err := f.enter(call, 0, nil); err != nil {
		return nil, err
	}
	if t := f.bySlot[slot]; t != nil {
		return t, nil
	}
	return nil, ckrTokenNotPresent
}

func (f *fakeModule) slotInfo(slot uint) (slotInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("slotInfo", slot)
	if err != nil {
		return slotInfo{}, err
	}
	return t.slotInfo, nil
}

func (f *fakeModule) tokenInfo(slot uint) (tokenInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("tokenInfo", slot)
	if err != nil {
		return tokenInfo{}, err
	}
	info := t.tokenInfo
	info.flags |= t.pinFlags() &^ t.hidden
	return info, nil
}

// pinFlags returns the flags that show how many tries were used.
func (t *fakeToken) pinFlags() uint {
	switch left := t.tries - t.wrong; {
	case left <= 0:
		return cktFlagUserPINLocked
	case left == 1:
		return cktFlagUserPINFinalTry | cktFlagUserPINCountLow
	case t.wrong > 0:
		return cktFlagUserPINCountLow
	}
	return 0
}

func (f *fakeModule) mechanisms(slot uint) ([]uint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("mechanisms", slot)
	if err != nil {
		return nil, err
	}
	return t.mechs, nil
}

func (f *fakeModule) openSession(slot uint, write bool) (uint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.inSlot("openSession", slot)
	if err != nil {
		return 0, err
	}
	open := 0
	for _, s := range f.sessions {
		if s.token == t {
			open++
		}
	}
	if t.limit > 0 && open >= t.limit {
		return 0, ckrSessionCount
	}
	f.next++
	f.opened++
	f.sessions[f.next] = &fakeSession{token: t}
	f.maxOpen = max(f.maxOpen, open+1)
	return f.next, nil
}

func (f *fakeModule) closeSession(session uint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("closeSession", session, nil); err != nil {
		return err
	}
	s := f.sessions[session]
	if s == nil {
		return ckrSessionHandleInvalid
	}
	if s.busy {
		f.tb.Error("closeSession: session is in use")
	}
	f.endSession(session)
	return nil
}

func (f *fakeModule) loggedIn(session uint) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("loggedIn", session, nil); err != nil {
		return false, err
	}
	if s := f.sessions[session]; s != nil {
		return s.token.loggedIn, nil
	}
	return false, ckrSessionHandleInvalid
}

func (f *fakeModule) login(session, user uint, pin []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("login", session, nil); err != nil {
		return err
	}
	s := f.sessions[session]
	if s == nil {
		return ckrSessionHandleInvalid
	}
	t := s.token
	t.lastPIN = pin
	switch {
	case user == ckuUser && t.loggedIn:
		return ckrUserAlreadyLoggedIn
	case user == ckuContextSpecific && !s.active:
		return ckrOperationNotInit
	case t.wrong >= t.tries:
		return ckrPINLocked
	case t.flags&cktFlagProtectedPath != 0:
		if pin != nil {
			f.tb.Error("login with a PIN although the token has a protected authentication path")
		}
		t.nilPINLogins++
	case pin == nil:
		f.tb.Error("login without a PIN")
		return ckrPINIncorrect
	case string(pin) != t.pin:
		if t.wrong++; t.wrong >= t.tries {
			return ckrPINLocked
		}
		return ckrPINIncorrect
	}
	t.wrong = 0
	t.logins++
	if user == ckuUser {
		t.loggedIn = true
	} else {
		s.authenticated = true
	}
	return nil
}

func (f *fakeModule) find(session uint, template []attribute, limit int) ([]uint, error) {
	s, done, err := f.session("find", session, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sessions[session] != s { // closed meanwhile
		return nil, ckrSessionHandleInvalid
	}
	var found []uint
	for _, o := range s.token.objects {
		if o.private && !s.token.loggedIn && s.token.flags&cktFlagLoginRequired != 0 {
			continue
		}
		if len(found) < limit && !slices.ContainsFunc(template, func(a attribute) bool { return !bytes.Equal(o.values[a.kind], bytesOf(a.value)) }) {
			found = append(found, o.handle)
		}
	}
	return found, nil
}

func (f *fakeModule) attributes(session, object uint, types ...uint) (map[uint][]byte, error) {
	s, done, err := f.session("attributes", session, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	o := s.token.object(object)
	if o == nil {
		return nil, ckrObjectHandleInvalid
	}
	if o.broken != 0 {
		return nil, o.broken
	}
	values := make(map[uint][]byte)
	for _, t := range types {
		if v := o.values[t]; len(v) > 0 {
			values[t] = v
		}
	}
	return values, nil
}

func (f *fakeModule) finalize() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("finalize", 0, nil); err != nil {
		return err
	}
	f.finalized = true
	f.sessions = nil
	return nil
}
