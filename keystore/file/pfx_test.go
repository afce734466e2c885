package file

import (
	"context"
	"encoding/asn1"
	"errors"
	"math"
	"math/big"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func encodePFX(t testing.TB, encoder *pkcs12.Encoder, password string) []byte {
	t.Helper()
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	pfx, err := encoder.Encode(key, ca.Issue(t, key, nil), nil, password)
	if err != nil {
		t.Fatal(err)
	}
	return pfx
}

// An element is an element of a DER file. An edit changes it in place.
type element struct {
	tag      byte
	body     []byte
	previous byte // the tag of the element before it, or 0
}

// rewrite decodes der, including sequences inside of an OCTET STRING, applies
// edit to every element, inner elements first, and encodes the result.
func rewrite(t testing.TB, der []byte, edit func(*element)) []byte {
	t.Helper()
	var out []byte
	var previous byte
	for in := cryptobyte.String(der); !in.Empty(); {
		var body cryptobyte.String
		var tag cbasn1.Tag
		if !in.ReadAnyASN1(&body, &tag) {
			t.Fatal("not DER")
		}
		e := element{byte(tag), body, previous}
		previous = e.tag
		var whole cryptobyte.String
		if rest := body; tag&0x20 != 0 || tag == cbasn1.OCTET_STRING && rest.ReadASN1Element(&whole, cbasn1.SEQUENCE) && rest.Empty() {
			e.body = rewrite(t, body, edit)
		}
		edit(&e)
		b, err := asn1.Marshal(asn1.RawValue{Class: int(e.tag >> 6), Tag: int(e.tag & 0x1f), IsCompound: e.tag&0x20 != 0, Bytes: e.body})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// setCounts sets the iteration counts of the n-th and all later key
// derivations.
func setCounts(t testing.TB, der []byte, n int, count *big.Int) []byte {
	t.Helper()
	i := 0
	out := rewrite(t, der, func(e *element) {
		if e.tag != asn1.TagInteger || e.previous != asn1.TagOctetString {
			return
		}
		if i >= n {
			b, err := asn1.Marshal(count)
			if err != nil {
				t.Fatal(err)
			}
			e.body = b[2:]
		}
		i++
	})
	if i <= n {
		t.Fatalf("%d key derivations, want more than %d", i, n)
	}
	return out
}

func TestPFXCounts(t *testing.T) {
	encoders := map[string]*pkcs12.Encoder{
		"2023": pkcs12.Modern2023, "2026": pkcs12.Modern2026, "RC2": pkcs12.LegacyRC2, "DES": pkcs12.LegacyDES,
	}
	for name, encoder := range encoders {
		pfx := encodePFX(t, encoder.WithIterations(2), "x") // the encoder omits a count of 1
		if s, err := open(t.Context(), pfx); err != nil {
			t.Fatalf("%s: %v", name, err)
		} else {
			s.Close()
		}
		for _, count := range []*big.Int{
			big.NewInt(-1), big.NewInt(maxPFXIterations + 1), big.NewInt(1 << 31), big.NewInt(1 << 62),
			big.NewInt(math.MinInt64), new(big.Int).Lsh(big.NewInt(1), 64), new(big.Int).Lsh(big.NewInt(1), 1000),
		} {
			for n := range 3 { // 0: certificates, 1: key, 2: MAC
				promptly(t, func() {
					if s, err := open(t.Context(), setCounts(t, pfx, n, count)); err == nil || errors.Is(err, signer.ErrPINIncorrect) {
						t.Errorf("%s: count %v from derivation %d on: got %v, error %v", name, count, n, s, err)
					}
				})
			}
		}
		// Each count is within the limit, but not their sum.
		promptly(t, func() {
			if _, err := open(t.Context(), setCounts(t, pfx, 0, big.NewInt(maxPFXIterations/2))); err == nil || errors.Is(err, signer.ErrPINIncorrect) {
				t.Errorf("%s: error %v for counts whose sum is above the limit", name, err)
			}
		})
	}
}

// The decoder accepts more ASN.1 types for a salt and for the contents than
// PKCS #12 allows.
func TestPFXCountsAfterOtherTypes(t *testing.T) {
	huge := big.NewInt(1 << 62)
	for _, test := range []struct {
		name    string
		encoder *pkcs12.Encoder
		edit    func(e *element)
	}{
		{"salt with a context tag", pkcs12.Modern2023, func(e *element) {
			if e.tag == asn1.TagOctetString && string(e.body) == "salt" {
				e.tag = 0x84
			}
		}},
		{"salt with a constructed tag", pkcs12.Modern2023, func(e *element) {
			if e.tag == asn1.TagOctetString && string(e.body) == "salt" {
				e.tag, e.body = 0x24, []byte{4, 0}
			}
		}},
		{"content as UTF8String", pkcs12.Modern2023, func(e *element) {
			if e.tag == asn1.TagOctetString && len(e.body) > 500 {
				e.tag = asn1.TagUTF8String
			}
		}},
		{"content with a context tag", pkcs12.LegacyDES, func(e *element) {
			if e.tag == asn1.TagOctetString && len(e.body) > 500 {
				e.tag = 0x87
			}
		}},
		{"content with a tag of two bytes", pkcs12.LegacyDES, func(e *element) {
			if e.tag == 0xa0 && len(e.body) > 500 && e.body[0] == asn1.TagOctetString {
				e.body = append([]byte{0x9f, 0x21}, e.body[1:]...)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Without a MAC the empty password opens it.
			pfx := rewrite(t, encodePFX(t, test.encoder.WithIterations(1), ""), func(e *element) {
				if e.tag == asn1.TagOctetString && len(e.body) == 8 || len(e.body) == 16 && e.previous == 0 {
					e.body = []byte("salt")
				}
			})
			changed := rewrite(t, setCounts(t, withoutMAC(t, pfx), 0, huge), test.edit)
			promptly(t, func() {
				if s, err := open(t.Context(), changed); err == nil {
					t.Errorf("opened %v", s)
				}
			})
		})
	}
}

// withoutMAC drops MacData, the third element of PFX (RFC 7292, section 4).
func withoutMAC(t testing.TB, der []byte) []byte {
	t.Helper()
	var pfx struct {
		Version  int
		AuthSafe asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der, &pfx); err != nil {
		t.Fatal(err)
	}
	b, err := asn1.Marshal(pfx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Only the decoder sees a count that is encrypted. When ctx ends, decodePFX
// does not wait for the decoder.
func TestPFXWithEncryptedCount(t *testing.T) {
	oid := func(rest ...int) asn1.ObjectIdentifier {
		return append(asn1.ObjectIdentifier{1, 2, 840, 113549, 1}, rest...)
	}
	explicit := func(b []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: b}
	}
	key := encrypt(t, keyDER(t, "p256"), "")
	key.kdfParams = seq{[]byte("salt"), 3_000_000} // some seconds, which continue after this test
	bags := encrypt(t, der(t, seq{seq{oid(12, 10, 1, 2), explicit(key.der(t))}}), "")
	content := seq{oid(7, 1), bags.algorithm(), asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: bags.data}}
	safe := der(t, seq{seq{oid(7, 6), explicit(der(t, seq{0, content}))}})
	pfx := der(t, seq{3, seq{oid(7, 1), explicit(der(t, safe))}})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(ctx, pfx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestPFXNesting(t *testing.T) {
	deep := []byte{}
	for range 5000 {
		deep = der(t, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: deep})
	}
	pfx := der(t, seq{3, asn1.RawValue{FullBytes: deep}})
	promptly(t, func() {
		if _, err := open(t.Context(), pfx); err == nil {
			t.Error("opened")
		}
	})
}
