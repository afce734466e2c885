package pkcs11

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"maps"
	"math/big"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

type fakeToken struct {
	tokenInfo
	slotInfo
	pin          string
	tries        int  // wrong PINs before it is locked
	wrong        int  // wrong PINs so far
	hidden       uint // flags about tries that it does not set
	logins       int  // successful logins
	limit        int  // maximum number of sessions; 0: no limit
	mechs        []uint
	objects      []*fakeObject
	loggedIn     bool
	lastPIN      []byte // the argument of the last login, not copied
	nilPINLogins int
	onSign       func() // if not nil, called within sign, without a lock
}

type fakeObject struct {
	handle  uint
	private bool
	values  map[uint][]byte
	key     crypto.Signer
	broken  Error // the error of reading it
}

const fakePIN = "864201"

var allMechanisms = []uint{ckmRSA, ckmRSAPSS, ckmECDSA, ckmEdDSA}

func newFakeToken(label string) *fakeToken {
	return &fakeToken{
		tokenInfo: tokenInfo{
			label: label + "    ", manufacturer: "Test", model: "Fake", serial: "serial of " + label,
			flags: cktFlagTokenInitialized | cktFlagLoginRequired | cktFlagUserPINInitialized,
		},
		slotInfo: slotInfo{"slot   ", "Test", false},
		pin:      fakePIN,
		tries:    3,
		mechs:    allMechanisms,
	}
}

// addKey puts a key pair on t.
func (t *fakeToken) addKey(key crypto.Signer, label, id string) *fakeObject {
	public := publicAttributes(key.Public())
	t.objects = append(t.objects, &fakeObject{values: with(public, ckaClass, ulongBytes(ckoPublicKey), ckaLabel, []byte(label), ckaID, []byte(id))})
	return t.addPrivate(key, label, id)
}

// addPrivate puts only the private key on t, without attributes of the public
// key.
func (t *fakeToken) addPrivate(key crypto.Signer, label, id string) *fakeObject {
	o := &fakeObject{private: true, key: key, values: map[uint][]byte{
		ckaClass: ulongBytes(ckoPrivateKey), ckaKeyType: publicAttributes(key.Public())[ckaKeyType],
		ckaLabel: []byte(label), ckaID: []byte(id),
	}}
	t.objects = append(t.objects, o)
	return o
}

func (t *fakeToken) addCertificate(der []byte, label, id string) *fakeObject {
	o := &fakeObject{values: map[uint][]byte{
		ckaClass: ulongBytes(ckoCertificate), ckaLabel: []byte(label), ckaID: []byte(id), ckaValue: der,
	}}
	t.objects = append(t.objects, o)
	return o
}

func with(m map[uint][]byte, pairs ...any) map[uint][]byte {
	m = maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		m[uint(pairs[i].(int))] = pairs[i+1].([]byte)
	}
	return m
}

func ulongBytes(n uint) []byte { return binary.NativeEndian.AppendUint64(nil, uint64(n)) }

func publicAttributes(pub crypto.PublicKey) map[uint][]byte {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return map[uint][]byte{ckaKeyType: ulongBytes(ckkRSA), ckaModulus: pub.N.Bytes(), ckaPublicExponent: big.NewInt(int64(pub.E)).Bytes()}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		for _, curve := range curves {
			if curve.Value() == pub.Curve {
				return map[uint][]byte{ckaKeyType: ulongBytes(ckkEC), ckaECParams: []byte(curve.Key), ckaECPoint: derOctets(point)}
			}
		}
	case ed25519.PublicKey:
		return map[uint][]byte{ckaKeyType: ulongBytes(ckkECEdwards), ckaECPoint: derOctets(pub)}
	}
	panic(fmt.Sprintf("key of type %T", pub))
}

func derOctets(b []byte) []byte {
	der, err := asn1.Marshal(b)
	if err != nil {
		panic(err)
	}
	return der
}

func bytesOf(v any) []byte {
	switch v := v.(type) {
	case uint:
		return ulongBytes(v)
	case string:
		return []byte(v)
	case bool:
		if v {
			return []byte{1}
		}
		return []byte{0}
	}
	return v.([]byte)
}

func (t *fakeToken) object(handle uint) *fakeObject {
	for _, o := range t.objects {
		if o.handle == handle {
			return o
		}
	}
	return nil
}

// issue returns a certificate for key from a new CA.
func issue(tb testing.TB, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	return signertest.NewCA(tb, "root").Issue(tb, key, nil)
}
