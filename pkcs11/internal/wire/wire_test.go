package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

var requests = []*Request{
	{ID: 1, Op: Load, Data: []byte("/usr/lib/module.so")},
	{ID: 1<<64 - 1, Op: DestroyObject, Slot: 1, Session: 2, Object: 3, User: 4, Limit: 5, Flag: true, Types: []uint64{6, 1<<64 - 1}},
	{ID: 2, Op: Sign, Mechanism: Mechanism{0xd, []uint64{0x250, 2, 32}}, Data: bytes.Repeat([]byte{7}, 1000)},
	{ID: 3, Op: GenerateKeyPair, Template: []Attribute{{1, Bytes, []byte("a")}, {2, Bool, []byte{1}}}, Private: []Attribute{{3, Number, make([]byte, 8)}, {4, Bytes, nil}}},
}

var responses = []*Response{
	{ID: 1, Text: "cannot be loaded"},
	{ID: 2, RV: 0xa0},
	{ID: 3, Numbers: []uint64{1, 2}, Texts: []string{"label", "", "x"}, Attributes: []Attribute{{0x11, Bytes, []byte{1, 2}}}, Data: []byte("signature")},
}

func TestRoundTrip(t *testing.T) {
	var b bytes.Buffer
	if err := WriteHello(&b, Hello{Version, "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if err := WriteRequest(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range responses {
		if err := WriteResponse(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	if h, err := ReadHello(&b); err != nil || h.Program != "v1.2.3" {
		t.Errorf("got %v, error %v", h, err)
	}
	for _, want := range requests {
		if got, err := ReadRequest(&b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v, error %v", got, want, err)
		}
	}
	for _, want := range responses {
		if got, err := ReadResponse(&b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v, error %v", got, want, err)
		}
	}
	if _, err := ReadResponse(&b); err != io.EOF {
		t.Errorf("at the end: error %v", err)
	}
}

// message returns a message with these fields.
func message(fields ...uint64) []byte {
	b := begin()
	for _, f := range fields {
		b = binary.AppendUvarint(b, f)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-lengthSize))
	return b
}

func TestMalformed(t *testing.T) {
	for name, b := range map[string][]byte{
		"too long":              {0xff, 0xff, 0xff, 0xff},
		"cut off":               {0, 0, 0, 9, 1},
		"length cut off":        {0, 0},
		"empty":                 message(),
		"no operation":          message(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"unknown operation":     message(1, uint64(lastOp)+1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"flag of 2":             message(1, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0),
		"more types than bytes": message(1, 1, 0, 0, 0, 0, 0, 0, 1<<40, 0, 0, 0, 0, 0),
		"unknown form":          message(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9, 0, 0, 0),
		"number of one byte":    message(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, uint64(Number), 1, 5, 0, 0),
		"something follows":     message(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
		"varint without end":    append([]byte{0, 0, 0, 10}, bytes.Repeat([]byte{0xff}, 10)...),
	} {
		if _, err := ReadRequest(bytes.NewReader(b)); err == nil || err == io.EOF {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for want, b := range map[string][]byte{
		"it speaks version 2 of the protocol, not 1": message(Version+1, 0),
		"it speaks version 9 of the protocol, not 1": message(9, 2, 'v', '9', 7), // with a new field
		"malformed":         message(Version, 3, 'v', 27, '9'),
		"malformed message": message(append([]uint64{Version, maxProgram + 1}, make([]uint64, maxProgram+1)...)...),
	} {
		if _, err := ReadHello(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A message that the other side would refuse is not sent, and the request's own copy of a
// PIN is cleared.
func TestWrite(t *testing.T) {
	err := WriteResponse(io.Discard, &Response{Data: make([]byte, MaxMessage)})
	if err == nil {
		t.Error("a long message was sent")
	}
	var sent []byte
	pin := []byte("a PIN that is cleared")
	err = WriteRequest(writer(func(b []byte) (int, error) {
		sent = b
		if !bytes.Contains(b, pin) {
			t.Error("the PIN was not sent")
		}
		return 0, errors.ErrUnsupported
	}), &Request{Op: Login, Data: pin})
	if !errors.Is(err, errors.ErrUnsupported) || bytes.Contains(sent, pin[:5]) || len(sent) == 0 || string(pin) != "a PIN that is cleared" {
		t.Errorf("error %v, and the message is %q", err, sent)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// FuzzMessages: any bytes are refused, or are messages that can be written again.
func FuzzMessages(f *testing.F) {
	var b bytes.Buffer
	for _, r := range requests {
		_ = WriteRequest(&b, r)
		f.Add(bytes.Clone(b.Bytes()))
		b.Reset()
	}
	for _, r := range responses {
		_ = WriteResponse(&b, r)
		f.Add(bytes.Clone(b.Bytes()))
		b.Reset()
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var again bytes.Buffer
		if q, err := ReadRequest(bytes.NewReader(data)); err == nil {
			if err := WriteRequest(&again, q); err != nil && again.Len() > 0 {
				t.Fatal(err)
			} else if err == nil {
				if second, err := ReadRequest(&again); err != nil || !reflect.DeepEqual(second, q) {
					t.Errorf("read %+v, then %+v, error %v", q, second, err)
				}
			}
		}
		again.Reset()
		if s, err := ReadResponse(bytes.NewReader(data)); err == nil {
			if err := WriteResponse(&again, s); err == nil {
				if second, err := ReadResponse(&again); err != nil || !reflect.DeepEqual(second, s) {
					t.Errorf("read %+v, then %+v, error %v", s, second, err)
				}
			}
		}
		_, _ = ReadHello(bytes.NewReader(data))
	})
}
