//go:build windows || ((darwin || linux) && (amd64 || arm64))

package binding

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

// The systems of PKCS #11 v3.1, section 2.1, on processors with 64 bits.
var (
	unix      = abi{8, false}
	microsoft = abi{4, true}
)

// fromHex decodes a byte string with blanks.
func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func littleEndian(t *testing.T) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 || pointer != 8 {
		t.Skip("the byte strings are those of a little-endian processor with 64 bits")
	}
}

// The structures that the package writes, as a C compiler lays them out.
func TestWrite(t *testing.T) {
	littleEndian(t)
	for _, test := range []struct {
		name          string
		write         func(*record)
		unix, windows string
	}{
		{"CK_ATTRIBUTE", func(r *record) { r.ulong(0x102); r.pointer(0x1122334455667788); r.ulong(5) },
			"0201000000000000 8877665544332211 0500000000000000",
			"02010000 8877665544332211 05000000"},
		{"two CK_ATTRIBUTE", func(r *record) {
			for _, n := range []uint64{0, 3} {
				r.ulong(n)
				r.pointer(uintptr(0x10 + n))
				r.ulong(n + 1)
			}
		},
			"0000000000000000 1000000000000000 0100000000000000 0300000000000000 1300000000000000 0400000000000000",
			"00000000 1000000000000000 01000000 03000000 1300000000000000 04000000"},
		{"CK_MECHANISM", func(r *record) { r.ulong(0x1041); r.pointer(0); r.ulong(0) },
			"4110000000000000 0000000000000000 0000000000000000",
			"41100000 0000000000000000 00000000"},
		{"CK_RSA_PKCS_PSS_PARAMS", func(r *record) { r.ulong(0x250); r.ulong(2); r.ulong(32) },
			"5002000000000000 0200000000000000 2000000000000000",
			"50020000 02000000 20000000"},
		{"CK_C_INITIALIZE_ARGS", func(r *record) {
			for range 4 {
				r.pointer(0)
			}
			r.ulong(2)
			r.pointer(0)
		},
			strings.Repeat("0000000000000000", 4) + "0200000000000000 0000000000000000",
			strings.Repeat("0000000000000000", 4) + "02000000 0000000000000000"},
		{"CK_UNAVAILABLE_INFORMATION", func(r *record) { r.ulong(r.unavailable()) }, "ffffffffffffffff", "ffffffff"},
		{"a slot beyond 31 bits", func(r *record) { r.ulong(0xfffffffe) }, "feffffff00000000", "feffffff"},
	} {
		for a, want := range map[abi]string{unix: test.unix, microsoft: test.windows} {
			r := record{abi: a}
			test.write(&r)
			if !bytes.Equal(r.b, fromHex(t, want)) {
				t.Errorf("%s, %+v: %x, want %s", test.name, a, r.b, want)
			}
		}
	}
}

// Templates and mechanisms are written by the functions that calls use.
func TestWriteNative(t *testing.T) {
	littleEndian(t)
	one := encode([]Attribute{{0x0, Ulong(3)}, {0x108, []byte{1}}, {0x3, nil}})
	defer one.Unpin()
	v := view{native, one.b, 0}
	for _, want := range [][2]uint64{{0, uint64(native.ulong)}, {0x108, 1}, {0x3, 0}} {
		if kind, length := v.attribute(); kind != want[0] || length != want[1] {
			t.Errorf("attribute 0x%x of %d bytes, want 0x%x of %d", kind, length, want[0], want[1])
		}
	}
	if v.at != len(one.b) {
		t.Errorf("%d bytes, %d read", len(one.b), v.at)
	}
	pss, pin := Mechanism{0xd, []uint64{0x250, 2, 32}}.encode()
	defer pin.Unpin()
	v = view{native, pss.b, 0}
	if kind, length := v.attribute(); kind != 0xd || length != uint64(3*native.ulong) {
		t.Errorf("mechanism 0x%x with a parameter of %d bytes", kind, length)
	}
	if n := binary.LittleEndian.Uint64(pss.b[native.align(native.ulong, pointer):]); n == 0 {
		t.Error("the mechanism has no address of its parameter")
	}
}

// The structures that the package reads. Each has text of one letter, and numbers that say
// which field they are.
func TestRead(t *testing.T) {
	littleEndian(t)
	text := func(c string, n int) string { return strings.Repeat(hex.EncodeToString([]byte(c)), n) }
	for a, structures := range map[abi]map[string]string{
		unix: {
			"CK_INFO":      "0228" + text("m", 32) + "000000000000" + "0100000000000000" + text("d", 32) + "0307" + "000000000000",
			"CK_SLOT_INFO": text("d", 64) + text("m", 32) + "0700000000000000" + "0102" + "0304" + "00000000",
			"CK_TOKEN_INFO": text("l", 32) + text("m", 32) + text("t", 16) + text("s", 16) + "0c04000000000000" + "0800000000000000" +
				strings.Repeat("1100000000000000", 9) + "0102" + "0304" + text("0", 16) + "00000000",
			"CK_SESSION_INFO": "0500000000000000 0300000000000000 0600000000000000 0000000000000000",
		},
		microsoft: {
			"CK_INFO":         "0228" + text("m", 32) + "01000000" + text("d", 32) + "0307",
			"CK_SLOT_INFO":    text("d", 64) + text("m", 32) + "07000000" + "0102" + "0304",
			"CK_TOKEN_INFO":   text("l", 32) + text("m", 32) + text("t", 16) + text("s", 16) + "0c040000" + "08000000" + strings.Repeat("11000000", 9) + "0102" + "0304" + text("0", 16),
			"CK_SESSION_INFO": "05000000 03000000 06000000 00000000",
		},
	} {
		sizes := map[string]int{"CK_INFO": 88, "CK_SLOT_INFO": 112, "CK_TOKEN_INFO": 208, "CK_SESSION_INFO": 32}
		if a == microsoft {
			sizes = map[string]int{"CK_INFO": 72, "CK_SLOT_INFO": 104, "CK_TOKEN_INFO": 160, "CK_SESSION_INFO": 16}
		}
		of := func(name string) *view {
			b := fromHex(t, structures[name])
			if len(b) != sizes[name] {
				t.Fatalf("%s, %+v: the test has %d bytes, not %d", name, a, len(b), sizes[name])
			}
			return &view{a, b, 0}
		}
		v := of("CK_INFO")
		v.bytes(version)
		if m, flags, d, of := string(v.bytes(32)), v.ulong(), string(v.bytes(32)), v.bytes(version); m != strings.Repeat("m", 32) || flags != 1 || d != strings.Repeat("d", 32) || of[0] != 3 || of[1] != 7 {
			t.Errorf("CK_INFO, %+v: %q, %d, %q, %v", a, m, flags, d, of)
		}
		v = of("CK_SLOT_INFO")
		if d, m, flags := string(v.bytes(64)), string(v.bytes(32)), v.ulong(); d != strings.Repeat("d", 64) || m != strings.Repeat("m", 32) || flags != 7 {
			t.Errorf("CK_SLOT_INFO, %+v: %q, %q, %d", a, d, m, flags)
		}
		v = of("CK_TOKEN_INFO")
		if texts, flags, sessions := string(v.bytes(96)), v.ulong(), v.ulong(); !strings.HasPrefix(texts, "llll") || !strings.HasSuffix(texts, "ssss") || flags != 0x40c || sessions != 8 {
			t.Errorf("CK_TOKEN_INFO, %+v: %q, 0x%x, %d", a, texts, flags, sessions)
		}
		v = of("CK_SESSION_INFO")
		if slot, state := v.ulong(), v.ulong(); slot != 5 || state != 3 {
			t.Errorf("CK_SESSION_INFO, %+v: slot %d, state %d", a, slot, state)
		}
	}
}

// The buffers for structures that the module writes are at least as large as these.
func TestViewSizes(t *testing.T) {
	for _, test := range []struct{ asked, unix, windows int }{
		{version + 32 + 32 + version + ulong, 88, 72},
		{64 + 32 + ulong + 2*version, 112, 104},
		{32 + 32 + 16 + 16 + 11*ulong + 2*version + 16, 208, 160},
		{4 * ulong, 32, 16},
	} {
		if n := len(unix.view(test.asked).b); n < test.unix {
			t.Errorf("a buffer of %d bytes for %d", n, test.unix)
		}
		if n := len(microsoft.view(test.asked).b); n < test.windows {
			t.Errorf("a buffer of %d bytes for %d", n, test.windows)
		}
	}
	if n := unix.size(version, 60*8); n != 8+60*8 {
		t.Errorf("CK_FUNCTION_LIST has %d bytes", n)
	}
	if n := microsoft.size(version, 60*8); n != 2+60*8 {
		t.Errorf("CK_FUNCTION_LIST of Windows has %d bytes", n)
	}
}

// A CK_RV is an unsigned long, also if the register has more bits.
func TestResult(t *testing.T) {
	if pointer != 8 {
		t.Skip("registers have 32 bits")
	}
	garbage := uint64(0xdeadbeef_00000000)
	if got := microsoft.result(uintptr(garbage)); got != 0 {
		t.Errorf("0x%x, want CKR_OK", got)
	}
	if got := microsoft.result(uintptr(garbage | 0xa0)); got != 0xa0 {
		t.Errorf("0x%x, want CKR_PIN_INCORRECT", got)
	}
	if got := unix.result(0xa0); got != 0xa0 {
		t.Errorf("0x%x, want CKR_PIN_INCORRECT", got)
	}
}
