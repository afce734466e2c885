package emulator

import (
	"encoding/binary"
	"fmt"
)

// encodeError encodes an [rpcError] in CBOR, which is all that the emulator says in that
// encoding: a map of two pairs of texts (RFC 8949, section 3.1).
func encodeError(v any) ([]byte, error) {
	e, ok := v.(rpcError)
	if !ok {
		return nil, fmt.Errorf("%T is not an error", v)
	}
	b := []byte{0xa0 | 2}
	for _, text := range []string{"__type", e.Type, "message", e.Message} {
		b = binary.BigEndian.AppendUint16(append(b, 0x60|25), uint16(len(text))) // a text whose length has two bytes
		b = append(b, text...)
	}
	return b, nil
}
