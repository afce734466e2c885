// Package wire has the messages between package pkcs11 and its helper process, which
// loads the module. Each request names one Cryptoki function, or a few that are always
// called together; the helper answers each request once, in any order.
//
// A message is its length in four bytes, big-endian, and its fields in the order of the
// struct. Numbers are unsigned varints; bytes, text and lists have their length before
// them.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Version is the version of the protocol. The program refuses a helper with any other.
const Version = 1

// MaxMessage bounds a message, in bytes.
const MaxMessage = 1 << 20

// MaxRequests bounds the requests without an answer. The program makes no more, and the
// helper ends if there are many more.
const MaxRequests = 512

// An Op names the functions that a request calls.
type Op uint64

// The operations, with the fields of a request that they use.
const (
	Load            Op = iota + 1 // Data: the path; loads the module and calls C_Initialize
	Reinitialize                  // C_Finalize and C_Initialize
	Finalize                      // the helper then ends
	Info                          //
	Slots                         // with a token
	SlotInfo                      // Slot
	TokenInfo                     // Slot
	Mechanisms                    // Slot
	OpenSession                   // Slot, Flag: read-write
	CloseSession                  // Session
	LoggedIn                      // Session
	Login                         // Session, User, Data: the PIN; empty: the device asks for it
	Find                          // Session, Template, Limit; C_FindObjectsInit to C_FindObjectsFinal
	Attributes                    // Session, Object, Types
	Sign                          // Session, Object, Mechanism, Data; C_SignInit and C_Sign
	SignInit                      // Session, Object, Mechanism
	SignFinish                    // Session, Data; C_Sign after SignInit
	GenerateKeyPair               // Session, Mechanism, Template: of the public key, Private
	CreateObject                  // Session, Template
	DestroyObject                 // Session, Object
	lastOp          = DestroyObject
)

// A Hello is the first message of the helper. It begins in the same way in all versions of
// the protocol.
type Hello struct {
	Version uint64
	Program string // the version of the helper's program: only for people, who may read it
}

// maxProgram bounds Hello.Program, in bytes.
const maxProgram = 200

// A Request is a message to the helper. Op says which fields it uses.
type Request struct {
	ID        uint64
	Op        Op
	Slot      uint64
	Session   uint64
	Object    uint64
	User      uint64
	Limit     uint64
	Flag      bool
	Types     []uint64
	Mechanism Mechanism
	Template  []Attribute
	Private   []Attribute
	Data      []byte
}

// A Mechanism is a CK_MECHANISM. Parameters are the CK_ULONG fields of its parameter, such
// as those of CK_RSA_PKCS_PSS_PARAMS; nil: it has none.
type Mechanism struct {
	Kind       uint64
	Parameters []uint64
}

// A Form says how the helper encodes the value of an attribute.
type Form uint64

// The forms of values.
const (
	Bytes  Form = iota
	Bool        // CK_BBOOL: one byte
	Number      // CK_ULONG: eight bytes, big-endian
)

// An Attribute is a CK_ATTRIBUTE.
type Attribute struct {
	Kind  uint64
	Form  Form // in answers: always Bytes
	Value []byte
}

// A Response is the answer to the request with the same ID. Unless Text is empty, the
// helper could not call the function, or not use its result; RV is then CKR_OK, or that of
// the function that Text names. Otherwise RV is the CK_RV of the function, and the other
// fields are its result if RV is CKR_OK.
type Response struct {
	ID         uint64
	Text       string
	RV         uint64
	Numbers    []uint64 // handles, IDs or counts
	Texts      []string // of CK_INFO, CK_SLOT_INFO and CK_TOKEN_INFO, as they are there
	Attributes []Attribute
	Data       []byte
}

// ErrMalformed is the error of a message that is none.
var ErrMalformed = errors.New("malformed message")

// A VersionError is the version of the protocol that the other side speaks, if it is not
// [Version].
type VersionError uint64

// Error implements error.
func (e VersionError) Error() string {
	return fmt.Sprintf("it speaks version %d of the protocol, not %d", uint64(e), Version)
}

// ErrTooLong is the error of a message that was not written, because the other side would
// refuse it.
var ErrTooLong = errors.New("a message is longer than 1024 KiB") // MaxMessage

// WriteHello writes the first message of the helper.
func WriteHello(w io.Writer, h Hello) error {
	b := begin()
	b = binary.AppendUvarint(b, h.Version)
	return finish(w, appendBytes(b, h.Program))
}

// ReadHello reads the first message of the helper. It fails with a [VersionError] if the
// version differs.
func ReadHello(r io.Reader) (h Hello, err error) {
	b, err := readMessage(r)
	if err != nil {
		return h, err
	}
	in := input{rest: b}
	h.Version, h.Program = in.number(), string(in.bytes())
	switch {
	case in.err != nil:
		return h, in.err
	case len(h.Program) > maxProgram || strings.ContainsFunc(h.Program, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return h, ErrMalformed
	case h.Version != Version:
		return h, VersionError(h.Version)
	}
	return h, in.end()
}

// WriteRequest writes one message. It clears its copy of Data, which can be a PIN.
func WriteRequest(w io.Writer, r *Request) error {
	b := begin()
	for _, n := range []uint64{r.ID, uint64(r.Op), r.Slot, r.Session, r.Object, r.User, r.Limit, number(r.Flag)} {
		b = binary.AppendUvarint(b, n)
	}
	b = appendNumbers(b, r.Types)
	b = binary.AppendUvarint(b, r.Mechanism.Kind)
	b = appendNumbers(b, r.Mechanism.Parameters)
	b = appendAttributes(b, r.Template)
	b = appendAttributes(b, r.Private)
	b = append(make([]byte, 0, len(b)+len(r.Data)+binary.MaxVarintLen64), b...) // append must not copy Data again
	b = appendBytes(b, r.Data)
	defer clear(b)
	return finish(w, b)
}

// ReadRequest reads one message. The caller clears Data, which is the only copy. The
// error is [io.EOF] at the end of r.
func ReadRequest(r io.Reader) (*Request, error) {
	b, err := readMessage(r)
	if err != nil {
		return nil, err
	}
	in, q := input{rest: b}, new(Request)
	q.ID, q.Op = in.number(), Op(in.number())
	q.Slot, q.Session, q.Object, q.User, q.Limit = in.number(), in.number(), in.number(), in.number(), in.number()
	q.Flag = in.flag()
	q.Types = in.numbers()
	q.Mechanism = Mechanism{in.number(), in.numbers()}
	q.Template, q.Private = in.attributes(), in.attributes()
	q.Data = in.bytes()
	if in.err == nil && (q.Op == 0 || q.Op > lastOp) {
		in.err = fmt.Errorf("operation %d: %w", q.Op, errors.ErrUnsupported)
	}
	return q, in.end()
}

// WriteResponse writes one message.
func WriteResponse(w io.Writer, r *Response) error {
	b := begin()
	b = binary.AppendUvarint(b, r.ID)
	b = appendBytes(b, r.Text)
	b = binary.AppendUvarint(b, r.RV)
	b = appendNumbers(b, r.Numbers)
	b = binary.AppendUvarint(b, uint64(len(r.Texts)))
	for _, s := range r.Texts {
		b = appendBytes(b, s)
	}
	b = appendAttributes(b, r.Attributes)
	return finish(w, appendBytes(b, r.Data))
}

// ReadResponse reads one message. The error is [io.EOF] at the end of r.
func ReadResponse(r io.Reader) (*Response, error) {
	b, err := readMessage(r)
	if err != nil {
		return nil, err
	}
	in, s := input{rest: b}, new(Response)
	s.ID, s.Text, s.RV, s.Numbers = in.number(), string(in.bytes()), in.number(), in.numbers()
	for range in.count() {
		s.Texts = append(s.Texts, string(in.bytes()))
	}
	s.Attributes, s.Data = in.attributes(), in.bytes()
	return s, in.end()
}

// lengthSize is the size of the length before a message.
const lengthSize = 4

func begin() []byte { return make([]byte, lengthSize, 128) }

// finish writes the message b, which begin began, with one call of Write.
func finish(w io.Writer, b []byte) error {
	n := len(b) - lengthSize
	if n > MaxMessage {
		return ErrTooLong
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	_, err := w.Write(b)
	return err
}

func readMessage(r io.Reader) ([]byte, error) {
	var length [lengthSize]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > MaxMessage {
		return nil, fmt.Errorf("a message of %d bytes is longer than %d: %w", n, MaxMessage, ErrMalformed)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("end of a message: %w", io.ErrUnexpectedEOF)
	}
	return b, nil
}

// A reader is a buffer that clears what has been read, which can be a PIN.
type reader struct {
	from       io.Reader
	start, end int
	b          [4 << 10]byte
}

// NewReader returns a buffer for [ReadRequest].
func NewReader(r io.Reader) io.Reader { return &reader{from: r} }

func (r *reader) Read(p []byte) (int, error) {
	if r.start == r.end {
		if len(p) >= len(r.b) {
			return r.from.Read(p)
		}
		n, err := r.from.Read(r.b[:])
		if r.start, r.end = 0, n; n == 0 {
			return 0, err
		}
	}
	got := r.b[r.start:r.end]
	n := copy(p, got)
	clear(got[:n])
	r.start += n
	return n, nil
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendNumbers(b []byte, all []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, n := range all {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendAttributes(b []byte, all []Attribute) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, a := range all {
		b = binary.AppendUvarint(b, a.Kind)
		b = binary.AppendUvarint(b, uint64(a.Form))
		b = appendBytes(b, a.Value)
	}
	return b
}

func number(flag bool) uint64 {
	if flag {
		return 1
	}
	return 0
}

// An input reads the fields of a message. After an error, all further fields are zero.
type input struct {
	rest []byte
	err  error
}

func (in *input) fail() {
	in.err = ErrMalformed
	in.rest = nil
}

func (in *input) number() uint64 {
	n, size := binary.Uvarint(in.rest)
	if size <= 0 {
		in.fail()
		return 0
	}
	in.rest = in.rest[size:]
	return n
}

func (in *input) flag() bool {
	n := in.number()
	if n > 1 {
		in.fail()
	}
	return n == 1
}

// count returns the length of a list or text, whose elements take at least one byte each.
func (in *input) count() int {
	n := in.number()
	if n > uint64(len(in.rest)) {
		in.fail()
		return 0
	}
	return int(n)
}

// bytes returns a part of the message, nil if it is empty.
func (in *input) bytes() []byte {
	n := in.count()
	if n == 0 {
		return nil
	}
	b := in.rest[:n:n]
	in.rest = in.rest[n:]
	return b
}

func (in *input) numbers() (all []uint64) {
	for range in.count() {
		all = append(all, in.number())
	}
	return all
}

func (in *input) attributes() (all []Attribute) {
	for range in.count() {
		a := Attribute{in.number(), Form(in.number()), in.bytes()}
		if a.Form > Number || a.Form == Number && len(a.Value) != 8 || a.Form == Bool && len(a.Value) != 1 {
			in.fail()
		}
		all = append(all, a)
	}
	return all
}

// end returns the error of the message, also if something follows its last field.
func (in *input) end() error {
	if in.err == nil && len(in.rest) > 0 {
		in.fail()
	}
	return in.err
}
