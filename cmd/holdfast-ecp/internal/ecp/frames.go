package ecp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxMessage is the maximum size of a message in bytes. A request has some
// hundred.
const maxMessage = 1 << 20

// messages reads a stream of encoding/gob, which is a sequence of messages with
// their length, and ends it before a message that is too long. gob itself accepts
// messages of 1 GiB.
type messages struct {
	in   *bufio.Reader
	head []byte // the length of the current message, as far as it is not yet read
	left int    // bytes of the current message that follow head
	err  error
}

func newMessages(in io.Reader) *messages { return &messages{in: bufio.NewReader(in)} }

// Read implements io.Reader.
func (m *messages) Read(p []byte) (int, error) {
	if len(p) == 0 || m.err != nil {
		return 0, m.err
	}
	if len(m.head) == 0 && m.left == 0 {
		if m.err = m.next(); m.err != nil {
			return 0, m.err
		}
	}
	if len(m.head) > 0 {
		n := copy(p, m.head)
		m.head = m.head[n:]
		return n, nil
	}
	n, err := m.in.Read(p[:min(len(p), m.left)])
	m.left -= n
	if err != nil {
		m.err = unexpected(err)
	}
	return n, m.err
}

// ReadByte implements io.ByteReader. Without it, gob would add a buffer.
func (m *messages) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(m, b[:])
	return b[0], err
}

// next reads the length of a message.
func (m *messages) next() error {
	length, raw, err := unsigned(m.in)
	if err != nil {
		return err
	}
	if length == 0 || length > maxMessage {
		return fmt.Errorf("a message of %d bytes; 1 to %d are accepted", length, maxMessage)
	}
	m.head, m.left = raw, int(length)
	return nil
}

// unsigned reads a number as "Encoding Details" of encoding/gob says: one byte up
// to 0x7F, or the negated number of the bytes that follow, most significant first.
// It also returns the bytes of the number.
func unsigned(in io.ByteReader) (n uint64, raw []byte, err error) {
	b, err := in.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	if b <= 0x7f {
		return uint64(b), []byte{b}, nil
	}
	size := -int(int8(b))
	if size > 8 {
		return 0, nil, fmt.Errorf("a length of %d bytes", size)
	}
	raw = append(raw, b)
	for range size {
		if b, err = in.ReadByte(); err != nil {
			return 0, nil, unexpected(err)
		}
		raw, n = append(raw, b), n<<8|uint64(b)
	}
	return n, raw, nil
}

// unexpected returns the error for an end of the stream inside a message.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
