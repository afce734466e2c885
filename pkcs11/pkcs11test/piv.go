package pkcs11test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"
	"sync"
)

// PIVPIN is the PIN of a new [PIVCard].
const PIVPIN = "314159"

// pivTries is how many consecutive incorrect PINs lock a new card.
const pivTries = 3

// A PINPolicy is the time at which a key on a card requires the PIN.
type PINPolicy int

// The PIN policies of keys on a PIV card (NIST SP 800-73-4, part 1).
const (
	PINOnce   PINPolicy = iota // once after power-up
	PINAlways                  // in the command before each signature
	PINNever
)

// A PIVSlot is a key reference of NIST SP 800-73-4, part 1.
type PIVSlot byte

// The slots for keys that sign or exchange keys.
const (
	PIVAuthentication     PIVSlot = 0x9a
	PIVDigitalSignature   PIVSlot = 0x9c
	PIVKeyManagement      PIVSlot = 0x9d
	PIVCardAuthentication PIVSlot = 0x9e
)

// A pivSlot contains the properties of a slot, and the CKA_ID that OpenSC
// assigns to its objects.
type pivSlot struct {
	object string // tag of the data object of the certificate
	policy PINPolicy
	id     byte
}

var pivSlots = map[PIVSlot]pivSlot{
	PIVAuthentication:     {"\x5f\xc1\x05", PINOnce, 1},
	PIVDigitalSignature:   {"\x5f\xc1\x0a", PINAlways, 2},
	PIVKeyManagement:      {"\x5f\xc1\x0b", PINOnce, 3},
	PIVCardAuthentication: {"\x5f\xc1\x01", PINNever, 4},
}

// Policy returns the PIN policy of the key in the slot.
func (s PIVSlot) Policy() PINPolicy { return pivSlots[s].policy }

// ID returns the CKA_ID that OpenSC assigns to the key and the certificate in
// the slot.
func (s PIVSlot) ID() string { return string([]byte{pivSlots[s].id}) }

// A PIVKey is a key with its certificate. The key is an *rsa.PrivateKey or an
// *ecdsa.PrivateKey.
type PIVKey struct {
	Key         crypto.Signer
	Certificate *x509.Certificate
}

// A PIVCard simulates a PIV card (NIST SP 800-73-4). It supports the commands
// that are necessary for signing. Its answer to reset is that of a YubiKey 4,
// so that OpenSC uses elliptic curve keys on it. It is safe for concurrent use.
type PIVCard struct {
	keys map[PIVSlot]PIVKey

	mu         sync.Mutex
	pin        string
	tries      int
	wrong      int
	signatures map[PIVSlot]int

	verified     bool   // the PIN was verified after power-up
	justVerified bool   // the last command verified the PIN
	chained      []byte // data received so far by command chaining
	pending      []byte // remaining parts of the response
}

// NewPIVCard returns a card with keys. Its PIN is [PIVPIN]. Three consecutive
// incorrect PINs lock the card.
func NewPIVCard(keys map[PIVSlot]PIVKey) *PIVCard {
	return &PIVCard{keys: keys, pin: PIVPIN, tries: pivTries, signatures: make(map[PIVSlot]int)}
}

// Tries returns the number of tries left until the PIN is locked.
func (c *PIVCard) Tries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries
}

// Wrong returns the total number of incorrect PINs.
func (c *PIVCard) Wrong() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong
}

// Signatures returns the number of signatures by the key in a slot.
func (c *PIVCard) Signatures(s PIVSlot) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.signatures[s]
}

// Status words of ISO/IEC 7816-4, section 5.6.
var (
	swOK           = []byte{0x90, 0x00}
	swLength       = []byte{0x67, 0x00}
	swSecurity     = []byte{0x69, 0x82}
	swBlocked      = []byte{0x69, 0x83}
	swData         = []byte{0x6a, 0x80}
	swNotFound     = []byte{0x6a, 0x82}
	swReference    = []byte{0x6a, 0x88}
	swInstruction  = []byte{0x6d, 0x00}
	pivApplication = []byte{0xa0, 0, 0, 3, 8}
)

// Reset resets the card. The PIN must be verified again.
func (c *PIVCard) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verified, c.justVerified, c.chained, c.pending = false, false, nil, nil
}

// ATR returns the answer to reset.
func (c *PIVCard) ATR() []byte {
	atr := append([]byte{0x3b, 0xf8, 0x13, 0, 0, 0x81, 0x31, 0xfe, 0x15}, "Yubikey4"...)
	var check byte // ISO/IEC 7816-3, section 8.2.5
	for _, b := range atr[1:] {
		check ^= b
	}
	return append(atr, check)
}

// Transmit returns the response of the card to a command APDU (ISO/IEC 7816-4,
// section 5.1).
func (c *PIVCard) Transmit(apdu []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := parseAPDU(apdu)
	if !ok {
		return swLength
	}
	const getResponse = 0xc0
	if a.ins == getResponse {
		return c.nextPart(a.expected)
	}
	c.pending = nil
	if a.class&0x10 != 0 { // command chaining: more parts follow
		c.chained = append(c.chained, a.data...)
		return swOK
	}
	a.data = append(c.chained, a.data...)
	c.chained = nil
	fresh := c.justVerified
	c.justVerified = false
	switch a.ins {
	case 0xa4:
		return c.selectApplication(a)
	case 0x20:
		return c.verify(a)
	case 0xcb:
		return c.getData(a)
	case 0x87:
		return c.authenticate(a, fresh)
	case 0xfd: // get the version of a YubiKey
		return append([]byte{4, 3, 5}, swOK...)
	}
	return swInstruction
}

type apdu struct {
	class, ins, p1, p2 byte
	data               []byte
	expected           int
}

func parseAPDU(b []byte) (a apdu, ok bool) {
	if len(b) < 4 {
		return a, false
	}
	a = apdu{class: b[0], ins: b[1], p1: b[2], p2: b[3], expected: 256}
	body := b[4:]
	length, size := 0, 0 // length of the data, and size of the length field
	switch {
	case len(body) == 0:
		return a, true
	case len(body) == 1:
		if body[0] > 0 {
			a.expected = int(body[0])
		}
		return a, true
	case body[0] == 0 && len(body) >= 3: // extended
		if len(body) == 3 {
			a.expected = 1 << 16
			return a, true
		}
		length, size = int(body[1])<<8|int(body[2]), 3
	default:
		length, size = int(body[0]), 1
	}
	if len(body) < size+length {
		return a, false
	}
	a.data = body[size : size+length]
	if tail := body[size+length:]; size == 3 && len(tail) > 0 {
		a.expected = 1 << 16
	} else if len(tail) == 1 && tail[0] > 0 {
		a.expected = int(tail[0])
	}
	return a, true
}

func (c *PIVCard) respond(a apdu, data []byte) []byte {
	c.pending = data
	return c.nextPart(a.expected)
}

// nextPart returns the next part of a response, with a status word that
// contains the number of remaining bytes.
func (c *PIVCard) nextPart(n int) []byte {
	n = min(n, len(c.pending))
	part := slices.Clone(c.pending[:n])
	c.pending = c.pending[n:]
	if len(c.pending) == 0 {
		return append(part, swOK...)
	}
	return append(part, 0x61, byte(min(len(c.pending), 256))) // 0 means 256
}

// selectApplication implements NIST SP 800-73-4, part 2, section 3.1.1.
func (c *PIVCard) selectApplication(a apdu) []byte {
	if len(a.data) < len(pivApplication) || !slices.Equal(a.data[:len(pivApplication)], pivApplication) {
		return swNotFound
	}
	return c.respond(a, tlv(0x61, tlv(0x4f, []byte{0, 0, 0x10, 0, 1, 0}), tlv(0x79, tlv(0x4f, pivApplication))))
}

// verify implements NIST SP 800-73-4, part 2, section 3.2.1.
func (c *PIVCard) verify(a apdu) []byte {
	left := []byte{0x63, 0xc0 | byte(c.tries)}
	switch {
	case a.p2 != 0x80:
		return swReference
	case c.tries == 0:
		return swBlocked
	case a.p1 == 0xff:
		c.verified = false
		return swOK
	case len(a.data) == 0 && c.verified:
		return swOK
	case len(a.data) == 0:
		return left
	case len(a.data) != 8:
		return swData
	}
	want := append([]byte(c.pin), "\xff\xff\xff\xff\xff\xff\xff\xff"...)[:8]
	if !slices.Equal(a.data, want) {
		c.verified = false
		c.tries--
		c.wrong++
		return []byte{0x63, 0xc0 | byte(c.tries)}
	}
	c.verified, c.justVerified, c.tries = true, true, pivTries
	return swOK
}

// getData implements NIST SP 800-73-4, part 2, section 3.1.2.
func (c *PIVCard) getData(a apdu) []byte {
	object := string(find(a.data, 0x5c))
	for name, slot := range pivSlots {
		if k, ok := c.keys[name]; ok && slot.object == object {
			return c.respond(a, tlv(0x53, tlv(0x70, k.Certificate.Raw), tlv(0x71, []byte{0}), tlv(0xfe)))
		}
	}
	switch object {
	case "\x7e": // discovery object
		return c.respond(a, tlv(0x7e, tlv(0x4f, pivApplication, []byte{0, 0, 0x10, 0, 1, 0}), tlv(0x5f2f, []byte{0x40, 0})))
	case "\x5f\xc1\x02": // card holder unique identifier
		return c.respond(a, tlv(0x53, tlv(0x30, make([]byte, 25)), tlv(0x34, []byte("Holdfast testing")), tlv(0x35, []byte("20991231")), tlv(0x3e), tlv(0xfe)))
	}
	return swNotFound
}

// authenticate implements NIST SP 800-73-4, part 2, section 3.2.4.
func (c *PIVCard) authenticate(a apdu, fresh bool) []byte {
	slot := PIVSlot(a.p2)
	k, ok := c.keys[slot]
	if !ok {
		return swReference
	}
	switch slot.Policy() {
	case PINOnce:
		ok = c.verified
	case PINAlways:
		ok = c.verified && fresh
	}
	if !ok {
		return swSecurity
	}
	input := find(find(a.data, 0x7c), 0x81)
	if len(input) == 0 {
		return swData
	}
	var sig []byte
	switch key := k.Key.(type) {
	case *rsa.PrivateKey:
		m := new(big.Int).SetBytes(input)
		if len(input) != key.Size() || m.Cmp(key.N) >= 0 {
			return swData
		}
		sig = m.Exp(m, key.D, key.N).FillBytes(make([]byte, key.Size()))
	case *ecdsa.PrivateKey:
		var err error
		if sig, err = ecdsa.SignASN1(rand.Reader, key, input); err != nil {
			return swData
		}
	default:
		return swReference
	}
	c.signatures[slot]++
	return c.respond(a, tlv(0x7c, tlv(0x82, sig)))
}

// tlv encodes a data object (ISO/IEC 7816-4, section 5.2.2) of at most 65535
// bytes.
func tlv(tag int, values ...[]byte) []byte {
	var out []byte
	if tag > 0xff {
		out = append(out, byte(tag>>8))
	}
	out = append(out, byte(tag))
	value := slices.Concat(values...)
	switch n := len(value); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	return append(out, value...)
}

// find returns the value of the data object in b with the given one-byte tag.
func find(b []byte, tag byte) []byte {
	for len(b) >= 2 {
		length, size := int(b[1]), 2
		if long := int(b[1]) - 0x80; long > 0 {
			if size += long; long > 2 || len(b) < size {
				return nil
			}
			length = 0
			for _, d := range b[2:size] {
				length = length<<8 | int(d)
			}
		}
		if len(b) < size+length {
			return nil
		}
		if b[0] == tag {
			return b[size : size+length]
		}
		b = b[size+length:]
	}
	return nil
}
