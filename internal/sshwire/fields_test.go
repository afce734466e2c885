package sshwire

import (
	"bytes"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFields(t *testing.T) {
	var b Builder
	b.Byte(7)
	b.Bool(true)
	b.Bool(false)
	b.Uint32(0x01020304)
	b.Uint64(1 << 40)
	b.Bytes([]byte("bytes"))
	b.Text("text")
	b.Mpint(new(big.Int))
	b.Mpint(big.NewInt(0x7f))
	b.Mpint(big.NewInt(0x80))
	b.Raw([]byte("rest"))
	r := NewReader(b.Data())
	if r.Byte() != 7 || !r.Bool() || r.Bool() || r.Uint32() != 0x01020304 || r.Uint64() != 1<<40 ||
		string(r.Bytes()) != "bytes" || r.Text() != "text" {
		t.Error("fields differ")
	}
	for _, want := range []int64{0, 0x7f, 0x80} {
		if got := r.Mpint(); got.Int64() != want {
			t.Errorf("mpint %v, want %d", got, want)
		}
	}
	if r.Empty() || r.End() == nil {
		t.Error("the rest was not noticed")
	}
	r = NewReader([]byte("rest"))
	if string(r.Remaining()) != "rest" || !r.Empty() || r.End() != nil {
		t.Error("the rest is not taken")
	}
}

// TestReaderEnds cuts a message at each byte.
func TestReaderEnds(t *testing.T) {
	var b Builder
	b.Byte(1)
	b.Uint32(2)
	b.Uint64(3)
	b.Text("text")
	b.Mpint(big.NewInt(4))
	read := func(data []byte) error {
		r := NewReader(data)
		r.Byte()
		r.Uint32()
		r.Uint64()
		r.Text()
		if r.Mpint() == nil {
			t.Error("Mpint returned nil")
		}
		if r.Err() != nil && (r.Byte() != 0 || r.Bool() || r.Uint64() != 0 || r.Remaining() != nil || !r.Empty()) {
			t.Error("a field after an error")
		}
		return r.End()
	}
	for n := range b.Data() {
		if read(b.Data()[:n]) != errShort {
			t.Errorf("%d bytes were enough", n)
		}
	}
	if err := read(b.Data()); err != nil {
		t.Error(err)
	}
}

func TestMpint(t *testing.T) {
	largest := append([]byte{0}, bytes.Repeat([]byte{0xff}, maxBits/8)...)
	for _, c := range []struct {
		name string
		in   []byte
		ok   bool
	}{
		{"zero", nil, true},
		{"one", []byte{1}, true},
		{"padded", []byte{0, 0x80}, true},
		{"largest", largest, true},
		{"zero with a byte", []byte{0}, false},
		{"superfluous zero", []byte{0, 0x7f}, false},
		{"two zeros", []byte{0, 0, 0x80}, false},
		{"negative", []byte{0x80}, false},
		{"too large", append([]byte{1}, largest[1:]...), false},
		{"much too large", bytes.Repeat([]byte{1}, 1<<16), false},
	} {
		var b Builder
		b.Bytes(c.in)
		r := NewReader(b.Data())
		n := r.Mpint()
		if (r.End() == nil) != c.ok {
			t.Errorf("%s: %v", c.name, r.Err())
		}
		var again Builder
		again.Mpint(n)
		if c.ok && !bytes.Equal(again.Data(), b.Data()) {
			t.Errorf("%s: encodes to %x", c.name, again.Data())
		}
	}
}

func TestMessages(t *testing.T) {
	var stream bytes.Buffer
	for _, contents := range []string{"", "contents", strings.Repeat("x", MaxMessage-1)} {
		if err := WriteMessage(&stream, SignRequest, []byte(contents)); err != nil {
			t.Fatal(err)
		}
		kind, got, err := ReadMessage(iotest.OneByteReader(&stream))
		if kind != SignRequest || string(got) != contents || err != nil {
			t.Errorf("type %d, %d bytes, %v", kind, len(got), err)
		}
	}
	if err := WriteMessage(&stream, Success, make([]byte, MaxMessage)); err == nil || stream.Len() != 0 {
		t.Errorf("too large: error %v, %d bytes written", err, stream.Len())
	}
	for _, c := range []struct {
		name, in string
		want     error // nil: any
	}{
		{"end", "", io.EOF},
		{"end in the length", "\x00\x00", io.ErrUnexpectedEOF},
		{"end after the length", "\x00\x00\x00\x02", io.ErrUnexpectedEOF},
		{"end in the contents", "\x00\x00\x00\x02\x05", io.ErrUnexpectedEOF},
		{"empty", "\x00\x00\x00\x00", nil},
		{"1 byte too large", "\x00\x04\x00\x01" + strings.Repeat("x", MaxMessage+1), nil},
		{"1 GB", "\x40\x00\x00\x00", nil},
		{"largest length", "\xff\xff\xff\xff", nil},
	} {
		if _, _, err := ReadMessage(strings.NewReader(c.in)); err == nil || c.want != nil && err != c.want {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
	kind, contents, err := ReadMessage(strings.NewReader("\x00\x00\x00\x01\x05next"))
	if kind != Failure || len(contents) != 0 || err != nil {
		t.Errorf("type %d, contents %q, %v", kind, contents, err)
	}
}

func TestWriteMessageFails(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(errors.ErrUnsupported)
	if err := WriteMessage(w, Success, nil); err != errors.ErrUnsupported {
		t.Error(err)
	}
}

func TestIdentities(t *testing.T) {
	ids := []Identity{{[]byte("one"), "first"}, {[]byte("two"), ""}}
	contents := MarshalIdentities(ids)
	got, err := ParseIdentities(contents)
	if err != nil || len(got) != 2 || string(got[0].Blob) != "one" || got[0].Comment != "first" || string(got[1].Blob) != "two" || got[1].Comment != "" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ParseIdentities(MarshalIdentities(nil)); len(got) != 0 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for n := range contents {
		if _, err := ParseIdentities(contents[:n]); err == nil {
			t.Errorf("%d bytes were enough", n)
		}
	}
	if _, err := ParseIdentities(append(contents, 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
	if _, err := ParseIdentities(append([]byte{0, 0, 8, 1}, make([]byte, 8*(MaxIdentities+1))...)); err == nil {
		t.Error("a key too many is accepted")
	}
	if _, err := ParseIdentities([]byte{0xff, 0xff, 0xff, 0xff}); err == nil {
		t.Error("2³² keys are accepted")
	}
}

func TestSigning(t *testing.T) {
	contents := Signing{[]byte("key"), []byte("message"), FlagRSASHA512}.Marshal()
	got, err := ParseSigning(contents)
	if err != nil || string(got.Blob) != "key" || string(got.Message) != "message" || got.Flags != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range contents {
		if _, err := ParseSigning(contents[:n]); err == nil {
			t.Errorf("%d bytes were enough", n)
		}
	}
	if _, err := ParseSigning(append(contents, 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
}
