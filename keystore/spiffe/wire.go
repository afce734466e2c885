package spiffe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Limits of a response.
const (
	maxMessage = 1 << 20 // bytes
	maxSVIDs   = 64
)

// malformed is the error for bytes that are not a message, as opposed to an error of the
// connection.
type malformed string

func (m malformed) Error() string { return string(m) }

// readFrame reads a message of a gRPC stream (gRPC over HTTP2, Length-Prefixed-Message). It
// calls begun after the first byte. The error is [io.EOF] if the stream ends before the
// message.
func readFrame(r io.Reader, begun func()) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, err
	}
	begun()
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return nil, inFrame(err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	switch {
	case head[0] == 1:
		return nil, malformed("the message is compressed, which was not offered")
	case head[0] != 0:
		return nil, malformed(fmt.Sprintf("the message begins with %d, which is not a flag of gRPC", head[0]))
	case n > maxMessage:
		return nil, malformed(fmt.Sprintf("the message has %d bytes; at most %d are read", n, maxMessage))
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, inFrame(err)
	}
	return data, nil
}

// inFrame returns the error for a stream that ends in the middle of a message.
func inFrame(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// The wire types (Protocol Buffers, Encoding, "Message Structure").
const (
	typeVarint = 0
	type64Bit  = 1
	typeBytes  = 2
	type32Bit  = 5
)

const errMalformed = malformed("the message is not one of Protocol Buffers")

// eachField calls use with the fields of a message. value is that of a field of the type
// typeBytes, and nil for any other. It shares the memory of data.
func eachField(data []byte, use func(number, wireType uint64, value []byte) error) error {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		number, wireType := tag>>3, tag&7
		if n <= 0 || number == 0 || number > 1<<29-1 {
			return errMalformed
		}
		data = data[n:]
		var value []byte
		switch wireType {
		case typeVarint:
			_, n = binary.Uvarint(data)
		case type64Bit:
			n = 8
		case type32Bit:
			n = 4
		case typeBytes:
			size, prefix := binary.Uvarint(data)
			if prefix <= 0 || size > uint64(len(data)-prefix) {
				return errMalformed
			}
			n = prefix + int(size)
			value = data[prefix:n:n]
		default:
			n = 0
		}
		if n <= 0 || n > len(data) {
			return errMalformed
		}
		data = data[n:]
		if err := use(number, wireType, value); err != nil {
			return err
		}
	}
	return nil
}

// decodeResponse decodes an X509SVIDResponse (SPIFFE Workload API, section 5.1). It ignores
// the revocation lists and the bundles, which are for checking others, and fields that it
// does not know.
func decodeResponse(data []byte) (all svids, err error) {
	err = eachField(data, func(number, wireType uint64, value []byte) error {
		switch {
		case number <= 3 && wireType != typeBytes:
			return errMalformed
		case number != 1:
			return nil
		case len(all) == maxSVIDs:
			return malformed(fmt.Sprintf("the message has more than %d SVIDs", maxSVIDs))
		}
		s, err := decodeSVID(value)
		all = append(all, s)
		return err
	})
	if err != nil {
		all.clear()
		return nil, err
	}
	return all, nil
}

// decodeSVID decodes an X509SVID. A field that occurs twice is refused: no
// implementation of the API writes one, and two readers could disagree about it.
func decodeSVID(data []byte) (s svid, err error) {
	seen := 0
	err = eachField(data, func(number, wireType uint64, value []byte) error {
		if number > 5 {
			return nil
		}
		if wireType != typeBytes || seen&(1<<number) != 0 || (number == 1 || number == 5) && !utf8.Valid(value) {
			return errMalformed
		}
		seen |= 1 << number
		switch number {
		case 1:
			s.id = string(value)
		case 2:
			s.chain = value
		case 3:
			s.key = value
		case 5:
			s.hint = string(value)
		}
		return nil
	})
	return s, err
}
