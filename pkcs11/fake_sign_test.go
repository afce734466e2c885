package pkcs11

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"slices"
)

func (f *fakeModule) sign(session, key uint, m mechanism, input []byte, authenticate func() error) ([]byte, error) {
	s, done, err := f.session("sign", session, input)
	if err != nil {
		return nil, err
	}
	defer done()
	f.mu.Lock()
	o, err := f.signInit(s, key, m)
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if authenticate != nil {
		if err := authenticate(); err != nil {
			return nil, err
		}
	}
	if f := s.token.onSign; f != nil {
		f()
	}
	f.mu.Lock()
	err = f.enter("sign2", session, input)
	switch {
	case err != nil:
	case f.sessions[session] != s:
		err = ckrSessionHandleInvalid
	case isTrue(o.values[ckaAlwaysAuthenticate]) && !s.authenticated:
		err = ckrUserNotLoggedIn
	default:
		s.active, s.authenticated = false, false
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return rawSignature(o.key, m, input)
}

func (f *fakeModule) signInit(s *fakeSession, key uint, m mechanism) (*fakeObject, error) {
	o := s.token.object(key)
	switch {
	case s.active:
		f.tb.Error("sign: another operation is active in the session")
		return nil, ckrOperationActive
	case o == nil || o.key == nil:
		return nil, ckrKeyHandleInvalid
	case !s.token.loggedIn && s.token.flags&cktFlagLoginRequired != 0:
		return nil, ckrUserNotLoggedIn
	case !slices.Contains(s.token.mechs, m.kind):
		return nil, ckrMechanismInvalid
	case !slices.Contains(mechanismsOf(o.key.Public()), m.kind):
		return nil, ckrKeyTypeInconsistent
	}
	s.active = true
	return o, nil
}

func rawSignature(key crypto.Signer, m mechanism, input []byte) ([]byte, error) {
	switch m.kind {
	case ckmRSA:
		return rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), 0, input)
	case ckmRSAPSS:
		for _, hash := range pssHashes {
			if hash.Value.ckm == m.pss.hash && hash.Value.ckg == m.pss.mgf {
				return rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), hash.Key, input, &rsa.PSSOptions{SaltLength: int(m.pss.saltLen)})
			}
		}
		return nil, ckrMechanismParamInvalid
	case ckmECDSA:
		der, err := ecdsa.SignASN1(rand.Reader, key.(*ecdsa.PrivateKey), input)
		if err != nil {
			return nil, err
		}
		var sig struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &sig); err != nil {
			return nil, err
		}
		n := (key.(*ecdsa.PrivateKey).Curve.Params().BitSize + 7) / 8
		raw := make([]byte, 2*n)
		sig.R.FillBytes(raw[:n])
		sig.S.FillBytes(raw[n:])
		return raw, nil
	case ckmEdDSA:
		return key.Sign(nil, input, crypto.Hash(0))
	}
	return nil, ckrMechanismInvalid
}

func (f *fakeModule) generateKeyPair(session uint, m mechanism, public, private []attribute) (uint, uint, error) {
	s, done, err := f.session("generateKeyPair", session, nil)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	value := func(t []attribute, kind uint) []byte {
		for _, a := range t {
			if a.kind == kind {
				return bytesOf(a.value)
			}
		}
		return nil
	}
	var key crypto.Signer
	switch m.kind {
	case ckmRSAKeyPairGen:
		bits, _ := ulong(value(public, ckaModulusBits))
		key, err = rsa.GenerateKey(rand.Reader, int(bits))
	case ckmECKeyPairGen:
		var curve elliptic.Curve = curves.Get(string(value(public, ckaECParams)))()
		key, err = ecdsa.GenerateKey(curve, rand.Reader)
	case ckmEdwardsKeyPairGen:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = ckrMechanismInvalid
	}
	if err != nil {
		return 0, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	o := s.token.addKey(key, string(value(private, ckaLabel)), string(value(private, ckaID)))
	o2 := s.token.objects[len(s.token.objects)-2]
	o2.handle, o.handle, f.next = f.next+1, f.next+2, f.next+2
	return o2.handle, o.handle, nil
}

func (f *fakeModule) createObject(session uint, template []attribute) (uint, error) {
	s, done, err := f.session("createObject", session, nil)
	if err != nil {
		return 0, err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	o := &fakeObject{handle: f.next, values: make(map[uint][]byte)}
	for _, a := range template {
		o.values[a.kind] = bytesOf(a.value)
	}
	s.token.objects = append(s.token.objects, o)
	return o.handle, nil
}

func (f *fakeModule) destroyObject(session, object uint) error {
	s, done, err := f.session("destroyObject", session, nil)
	if err != nil {
		return err
	}
	defer done()
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(s.token.objects)
	s.token.objects = slices.DeleteFunc(s.token.objects, func(o *fakeObject) bool { return o.handle == object })
	if len(s.token.objects) == before {
		return ckrObjectHandleInvalid
	}
	return nil
}
