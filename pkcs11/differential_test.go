//go:build linux && cgo

package pkcs11

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A side is a module of a comparison with its handles.
type side struct {
	module
	name           string
	slot           uint
	session, other uint // other: read-write
	pub, priv, rsa uint
}

// A step calls one function. Its result does not depend on handles.
type step struct {
	name string
	call func(s *side) (any, error)
}

// noHandle is a number that no session, slot or object has.
const noHandle = 987654321

// long is longer than the fields and buffers of modules.
var long = strings.Repeat("long ", 20_000)

func count[T any](all []T, err error) (any, error) { return len(all), err }

func nothing(err error) (any, error) { return nil, err }

// object returns a template for session objects of one side.
func (s *side) object(class uint, more ...attribute) []attribute {
	return append([]attribute{{ckaClass, class}, {ckaToken, false}, {ckaLabel, "differential " + s.name}}, more...)
}

func p256Templates(s *side) (public, private []attribute) {
	params := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	return s.object(ckoPublicKey, attribute{ckaECParams, params}, attribute{ckaVerify, true}, attribute{ckaID, []byte{1}}),
		s.object(ckoPrivateKey, attribute{ckaSign, true}, attribute{ckaID, []byte{1}}, attribute{ckaSensitive, true}, attribute{ckaPrivate, true})
}

var steps = []step{
	{"info", func(s *side) (any, error) { return s.info() }},
	{"slots", func(s *side) (any, error) { return s.slots() }},
	{"slotInfo", func(s *side) (any, error) { return s.slotInfo(s.slot) }},
	{"slotInfo of no slot", func(s *side) (any, error) { _, err := s.slotInfo(noHandle); return nil, err }},
	{"tokenInfo", func(s *side) (any, error) { return s.tokenInfo(s.slot) }},
	{"tokenInfo of no slot", func(s *side) (any, error) { _, err := s.tokenInfo(noHandle); return nil, err }},
	{"mechanisms", func(s *side) (any, error) { return s.mechanisms(s.slot) }},
	{"mechanisms of no slot", func(s *side) (any, error) { return count(s.mechanisms(noHandle)) }},

	{"openSession of no slot", func(s *side) (any, error) { _, err := s.openSession(noHandle, false); return nil, err }},
	{"openSession", func(s *side) (_ any, err error) { s.session, err = s.openSession(s.slot, false); return nil, err }},
	{"openSession read-write", func(s *side) (_ any, err error) { s.other, err = s.openSession(s.slot, true); return nil, err }},
	{"loggedIn before", func(s *side) (any, error) { return s.loggedIn(s.session) }},
	{"loggedIn in no session", func(s *side) (any, error) { return s.loggedIn(noHandle) }},
	{"generateKeyPair before", func(s *side) (any, error) {
		public, private := p256Templates(s)
		_, _, err := s.generateKeyPair(s.other, mechanism{ckmECKeyPairGen, nil}, public, private)
		return nil, err
	}},

	{"login in no session", func(s *side) (any, error) { return nothing(s.login(noHandle, ckuUser, []byte(pkcs11test.PIN))) }},
	{"login with a wrong PIN", func(s *side) (any, error) { return nothing(s.login(s.session, ckuUser, []byte("000000"))) }},
	{"login with a short PIN", func(s *side) (any, error) { return nothing(s.login(s.session, ckuUser, []byte("0"))) }},
	{"login with a long PIN", func(s *side) (any, error) { return nothing(s.login(s.session, ckuUser, []byte(long))) }},
	{"login without a PIN", func(s *side) (any, error) { return nothing(s.login(s.session, ckuUser, nil)) }},
	{"login as nobody", func(s *side) (any, error) { return nothing(s.login(s.session, 77, []byte(pkcs11test.PIN))) }},
	{"login for a signature", func(s *side) (any, error) {
		return nothing(s.login(s.session, ckuContextSpecific, []byte(pkcs11test.PIN)))
	}},
	{"login", func(s *side) (any, error) { return nothing(s.login(s.session, ckuUser, []byte(pkcs11test.PIN))) }},
	{"login again", func(s *side) (any, error) { return nothing(s.login(s.session, ckuUser, []byte(pkcs11test.PIN))) }},
	{"loggedIn", func(s *side) (any, error) { return s.loggedIn(s.session) }},
	{"loggedIn in the other session", func(s *side) (any, error) { return s.loggedIn(s.other) }},

	{"generateKeyPair", func(s *side) (_ any, err error) {
		public, private := p256Templates(s)
		s.pub, s.priv, err = s.generateKeyPair(s.other, mechanism{ckmECKeyPairGen, nil}, public, private)
		return s.pub != s.priv, err
	}},
	{"generateKeyPair RSA", func(s *side) (_ any, err error) {
		_, s.rsa, err = s.generateKeyPair(s.other, mechanism{ckmRSAKeyPairGen, nil},
			s.object(ckoPublicKey, attribute{ckaModulusBits, uint(1024)}, attribute{ckaPublicExponent, []byte{1, 0, 1}}, attribute{ckaVerify, true}),
			s.object(ckoPrivateKey, attribute{ckaSign, true}, attribute{ckaID, []byte{}}))
		return nil, err
	}},
	{"generateKeyPair in no session", func(s *side) (any, error) {
		public, private := p256Templates(s)
		_, _, err := s.generateKeyPair(noHandle, mechanism{ckmECKeyPairGen, nil}, public, private)
		return nil, err
	}},
	{"generateKeyPair with an unknown mechanism", func(s *side) (any, error) {
		public, private := p256Templates(s)
		_, _, err := s.generateKeyPair(s.other, mechanism{0x7fffffff, nil}, public, private)
		return nil, err
	}},
	{"generateKeyPair with a mechanism for signatures", func(s *side) (any, error) {
		public, private := p256Templates(s)
		_, _, err := s.generateKeyPair(s.other, mechanism{ckmECDSA, nil}, public, private)
		return nil, err
	}},
	{"generateKeyPair without templates", func(s *side) (any, error) {
		_, _, err := s.generateKeyPair(s.other, mechanism{ckmECKeyPairGen, nil}, nil, nil)
		return nil, err
	}},

	{"find", func(s *side) (any, error) { return count(s.find(s.session, s.object(ckoPrivateKey), 10)) }},
	{"find one", func(s *side) (any, error) { return count(s.find(s.session, s.object(ckoPrivateKey), 1)) }},
	{"find nothing", func(s *side) (any, error) { return count(s.find(s.session, []attribute{{ckaLabel, "absent"}}, 10)) }},
	{"find up to none", func(s *side) (any, error) { return count(s.find(s.session, s.object(ckoPrivateKey), 0)) }},
	{"find a long label", func(s *side) (any, error) { return count(s.find(s.session, []attribute{{ckaLabel, long}}, 10)) }},
	{"find an unknown type", func(s *side) (any, error) { return count(s.find(s.session, []attribute{{0x7ffffff1, []byte{1}}}, 10)) }},
	{"find an empty ID", func(s *side) (any, error) {
		return count(s.find(s.session, s.object(ckoPrivateKey, attribute{ckaID, []byte{}}), 10))
	}},
	{"find by everything", func(s *side) (any, error) {
		return count(s.find(s.session, s.object(ckoPrivateKey, attribute{ckaKeyType, uint(ckkEC)}, attribute{ckaID, []byte{1}}, attribute{ckaSign, true}), 10))
	}},
	{"find in no session", func(s *side) (any, error) { return count(s.find(noHandle, nil, 10)) }},
	{"the same object twice", func(s *side) (any, error) {
		a, err := s.find(s.session, s.object(ckoPrivateKey, attribute{ckaID, []byte{1}}), 10)
		b, err2 := s.find(s.other, s.object(ckoPrivateKey, attribute{ckaID, []byte{1}}), 10)
		return slices.Equal(a, b) && slices.Equal(a, []uint{s.priv}), errors.Join(err, err2)
	}},

	{"attributes", func(s *side) (any, error) {
		return s.attributes(s.session, s.priv, ckaClass, ckaKeyType, ckaID, ckaToken, ckaSensitive, ckaSign, ckaECParams)
	}},
	{"attributes of a public key", func(s *side) (any, error) {
		v, err := s.attributes(s.session, s.pub, ckaECPoint)
		return len(v[ckaECPoint]), err
	}},
	{"sensitive attributes", func(s *side) (any, error) { return s.attributes(s.session, s.priv, ckaValue, ckaID) }},
	{"a sensitive attribute", func(s *side) (any, error) { return s.attributes(s.session, s.priv, ckaValue) }},
	{"unknown attributes", func(s *side) (any, error) { return s.attributes(s.session, s.priv, ckaID, 0x7ffffff1, ckaClass) }},
	{"an unknown attribute", func(s *side) (any, error) { return s.attributes(s.session, s.priv, 0x7ffffff1) }},
	{"an empty attribute", func(s *side) (any, error) { return s.attributes(s.session, s.rsa, ckaID, ckaClass) }},
	{"attributes of nothing", func(s *side) (any, error) { return s.attributes(s.session, noHandle, ckaID) }},
	{"attributes in no session", func(s *side) (any, error) { return s.attributes(noHandle, s.priv, ckaID) }},

	{"sign", func(s *side) (any, error) {
		return count(s.sign(s.session, s.priv, mechanism{ckmECDSA, nil}, make([]byte, 32), nil))
	}},
	{"sign nothing", func(s *side) (any, error) { return count(s.sign(s.session, s.rsa, mechanism{ckmRSA, nil}, nil, nil)) }},
	{"sign too much", func(s *side) (any, error) {
		return count(s.sign(s.session, s.rsa, mechanism{ckmRSA, nil}, []byte(long), nil))
	}},
	{"sign with RSA", func(s *side) (any, error) {
		return count(s.sign(s.session, s.rsa, mechanism{ckmRSA, nil}, make([]byte, 51), nil))
	}},
	{"sign with PSS", func(s *side) (any, error) {
		return count(s.sign(s.session, s.rsa, mechanism{ckmRSAPSS, &pssParams{ckmSHA256, ckgSHA256, 32}}, make([]byte, 32), nil))
	}},
	{"sign with wrong PSS parameters", func(s *side) (any, error) {
		return count(s.sign(s.session, s.rsa, mechanism{ckmRSAPSS, &pssParams{1, 2, 1 << 40}}, make([]byte, 32), nil))
	}},
	{"sign with PSS without parameters", func(s *side) (any, error) {
		return count(s.sign(s.session, s.rsa, mechanism{ckmRSAPSS, nil}, make([]byte, 32), nil))
	}},
	{"sign with an unknown mechanism", func(s *side) (any, error) {
		return count(s.sign(s.session, s.priv, mechanism{0x7fffffff, nil}, make([]byte, 32), nil))
	}},
	{"sign with a mechanism for another key", func(s *side) (any, error) {
		return count(s.sign(s.session, s.priv, mechanism{ckmRSA, nil}, make([]byte, 32), nil))
	}},
	{"sign with no key", func(s *side) (any, error) {
		_, err := s.sign(s.session, noHandle, mechanism{ckmECDSA, nil}, make([]byte, 32), nil)
		if errors.Is(err, ckrObjectHandleInvalid) { // which the helper does not ask
			err = ckrKeyHandleInvalid
		}
		return nil, err
	}},
	{"sign in no session", func(s *side) (any, error) {
		return count(s.sign(noHandle, s.priv, mechanism{ckmECDSA, nil}, make([]byte, 32), nil))
	}},
	{"sign after a login", func(s *side) (any, error) {
		called := 0
		sig, err := s.sign(s.session, s.priv, mechanism{ckmECDSA, nil}, make([]byte, 32), func() error { called++; return nil })
		return []int{len(sig), called}, err
	}},
	{"sign after a failed login", func(s *side) (any, error) {
		return count(s.sign(s.session, s.priv, mechanism{ckmECDSA, nil}, make([]byte, 32), func() error { return ckrPINIncorrect }))
	}},
	{"sign while another operation is active", func(s *side) (any, error) {
		return count(s.sign(s.session, s.priv, mechanism{ckmECDSA, nil}, make([]byte, 32), nil))
	}},
	{"find while another operation is active", func(s *side) (any, error) { return count(s.find(s.session, nil, 10)) }},

	{"createObject", func(s *side) (any, error) {
		o, err := s.createObject(s.other, s.object(0, attribute{ckaValue, []byte(long)}, attribute{ckaPrivate, false}))
		if err != nil {
			return nil, err
		}
		v, err := s.attributes(s.other, o, ckaValue)
		again := s.destroyObject(s.other, o)
		return []any{string(v[ckaValue]) == long, again, s.destroyObject(s.other, o)}, err
	}},
	{"createObject that is malformed", func(s *side) (any, error) { _, err := s.createObject(s.other, nil); return nil, err }},
	{"createObject with a wrong type", func(s *side) (any, error) {
		_, err := s.createObject(s.other, []attribute{{ckaClass, []byte{1}}})
		return nil, err
	}},
	{"createObject read-only", func(s *side) (any, error) {
		_, err := s.createObject(s.session, []attribute{{ckaClass, uint(0)}, {ckaToken, true}})
		return nil, err
	}},
	{"destroyObject of nothing", func(s *side) (any, error) { return nothing(s.destroyObject(s.other, noHandle)) }},
	{"destroyObject in no session", func(s *side) (any, error) { return nothing(s.destroyObject(noHandle, s.pub)) }},

	{"closeSession of nothing", func(s *side) (any, error) { return nothing(s.closeSession(noHandle)) }},
	{"closeSession", func(s *side) (any, error) { return nothing(s.closeSession(s.session)) }},
	{"closeSession again", func(s *side) (any, error) { return nothing(s.closeSession(s.session)) }},
	{"after closeSession", func(s *side) (any, error) { return s.loggedIn(s.session) }},
	{"loggedIn after closeSession", func(s *side) (any, error) { return s.loggedIn(s.other) }},
	{"closeSession of the other", func(s *side) (any, error) { return nothing(s.closeSession(s.other)) }},
	{"finalize", func(s *side) (any, error) { return nothing(s.finalize()) }},
}

// newSides loads a module in this process and in the helper.
func newSides(t *testing.T, path string) [2]*side {
	t.Helper()
	here, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	there, err := isolate(path, pkcs11test.Helper(t), os.Environ(), func(abandoner) {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return [2]*side{{module: here, name: "here"}, {module: there, name: "there"}}
}

// differ makes a step on both sides and reports a difference.
func differ(t *testing.T, what string, sides [2]*side, st step) {
	t.Helper()
	var results [2]string
	for i, s := range sides {
		value, err := st.call(s)
		if err != nil {
			value = nil
		}
		rv := Error(0)
		errors.As(err, &rv)
		results[i] = fmt.Sprintf("%#v, CKR 0x%x, error %v", value, uint(rv), err)
	}
	if results[0] != results[1] {
		t.Errorf("%s%s:\nin this process: %.300s\nin the helper:   %.300s", what, st.name, results[0], results[1])
	}
}

// useSoftHSM makes a token for a comparison and returns its slot's module.
func useSoftHSM(t *testing.T) *pkcs11test.SoftHSM {
	t.Helper()
	signertest.Require(t, "softhsm", "softhsm2-util")
	hsm := pkcs11test.New(t)
	hsm.Token(t)
	return hsm
}

func setSlots(t *testing.T, sides [2]*side) {
	t.Helper()
	for _, s := range sides {
		found, err := tokens(s.module, URI{})
		if err != nil || len(found) != 1 {
			t.Fatalf("%d tokens, error %v", len(found), err)
		}
		s.slot = found[0].slot
	}
}

// Every function returns the same in this process, where cgo calls it, and in the helper,
// whose binding encodes its structures by hand.
func TestSameResults(t *testing.T) {
	sides := newSides(t, useSoftHSM(t).Module)
	setSlots(t, sides)
	for _, st := range steps {
		differ(t, "", sides, st)
	}
}

// The same with a module that fails. "length" makes the module return values of an odd
// length.
func TestSameFaults(t *testing.T) {
	hsm := useSoftHSM(t)
	rules := filepath.Join(t.TempDir(), "rules")
	t.Setenv("FAULT_MODULE", hsm.Module)
	t.Setenv("FAULT_RULES", rules)
	path := pkcs11test.FaultModule(t, signertest.Require(t, "cc", "cc"), t.TempDir())
	sides := newSides(t, path)
	setSlots(t, sides)
	generation := 0
	set := func(rule string) {
		generation++
		if err := os.WriteFile(rules, fmt.Appendf(nil, "%d none 1 0 return 0\n%d %s\n", generation, generation, rule), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	until := func(name string) (before []step) { // the steps before one that ends the sessions
		i := slices.IndexFunc(steps, func(s step) bool { return s.name == name })
		return steps[:i]
	}
	for _, st := range until("find") {
		differ(t, "", sides, st)
	}
	var reading []step
	for _, st := range until("createObject")[len(until("find")):] {
		// The helper is not asked for what is not one of its own.
		if !slices.ContainsFunc([]string{"active", "failed login", " of nothing", " no session", " no key"}, func(part string) bool { return strings.Contains(st.name, part) }) {
			reading = append(reading, st)
		}
	}
	reading = append(reading, until("openSession of no slot")...)
	for _, rule := range []string{
		"C_GetSlotList 1 0 return 0x150", "C_GetSlotList 2 1 return 0x150", "C_GetSlotList 1 0 none 0", "C_GetSlotList 1 0 return 0x5",
		"C_GetMechanismList 1 0 return 0x54", "C_GetMechanismList 1 0 return 0x30", "C_GetInfo 1 0 return 0x5",
		"C_GetTokenInfo 1 0 return 0xe0", "C_GetSlotInfo 1 0 return 0x3",
		"C_GetAttributeValue 1 0 return 0x12", "C_GetAttributeValue 1 0 return 0x11", "C_GetAttributeValue 2 0 return 0x12",
		"C_GetAttributeValue 1 0 return 0x82", "C_GetAttributeValue 1 0 return 0x150", "C_GetAttributeValue 1 0 return 0x80000001",
		"C_GetAttributeValue 1 0 invalid 0x102", "C_GetAttributeValue 1 0 sensitive 0x102", "C_GetAttributeValue 1 0 unavailable 0x102",
		"C_GetAttributeValue 1 0 length 5000",
		"C_FindObjectsInit 1 0 return 0x90", "C_FindObjects 1 0 return 0xb3", "C_FindObjectsFinal 1 0 return 0x91",
		"C_SignInit 1 0 return 0x70", "C_Sign 1 0 return 0x6", "C_Sign 1 0 length 0", "C_Sign 1 0 length 63", "C_Sign 1 0 print 0",
		"C_GetSessionInfo 1 0 return 0xb0",
	} {
		set(rule)
		for _, st := range reading {
			differ(t, rule+": ", sides, st)
		}
		if strings.HasPrefix(rule, "C_SignInit") || strings.HasPrefix(rule, "C_Sign ") || strings.HasPrefix(rule, "C_Find") {
			set("none 1 0 return 0")
			for _, s := range sides { // an operation may be active
				_ = s.closeSession(s.session)
				var err error
				if s.session, err = s.openSession(s.slot, false); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	set("none 1 0 return 0")
	for _, st := range steps[len(until("createObject")):] {
		differ(t, "", sides, st)
	}
}
